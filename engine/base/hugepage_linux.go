package base

import (
	"syscall"
	"unsafe"
)

// AdviseHugePages asks for huge pages under b. A search jumps across the whole
// arena; with pages of 4 KiB, each jump also misses the TLB, which about
// doubles its cost. Where there are none, nothing is lost, so errors are not
// reported.
func AdviseHugePages(b []byte) {
	const huge = 2 << 20
	start := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (huge - 1)
	if start >= uintptr(len(b)) {
		return
	}
	if b = b[start:]; len(b) >= huge {
		_ = syscall.Madvise(b[:len(b)&^(huge-1)], 14) // MADV_HUGEPAGE
	}
}
