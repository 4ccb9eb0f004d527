//go:build amd64 || arm64

package base

import "unsafe"

// Prefetch asks the processor for the cache line at p, and does not wait for it. p may point anywhere. Who knows
// some addresses ahead of their use saves most of the time that memory takes: the lines come side by side.
//
//go:noescape
func Prefetch(p unsafe.Pointer)
