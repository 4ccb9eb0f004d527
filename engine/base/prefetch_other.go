//go:build !amd64 && !arm64

package base

import "unsafe"

// Prefetch does nothing on this architecture.
func Prefetch(unsafe.Pointer) {}
