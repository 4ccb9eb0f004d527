//go:build amd64 || arm64

package base

// Prefetch asks the processor for the cache line at an address, which may be any, and does not wait for it. Who knows
// some addresses ahead of their use saves most of the time that memory takes: the lines come side by side.
func Prefetch(address uintptr)
