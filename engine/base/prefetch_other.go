//go:build !amd64 && !arm64

package base

// Prefetch does nothing on this architecture.
func Prefetch(uintptr) {}
