// Package base holds the few nouns that all parts of the engine share:
// sequence numbers, record kinds, internal keys and their order, and the
// error that marks damage on disk.
package base
