package base

import "github.com/cespare/xxhash/v2"

// Hash is the hash of a user key that memtable and table filters share, so
// that a point read computes it once: XXH64 with seed 0.
func Hash(key []byte) uint64 { return xxhash.Sum64(key) }
