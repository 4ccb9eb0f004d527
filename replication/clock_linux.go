package replication

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// clock reads a clock, in nanoseconds, that never steps and runs while the machine sleeps: a leader that has slept must know.
func clock() int64 {
	var t unix.Timespec
	// The scheduler is not told of it, which may take it longer than the system call does.
	_, _, err := syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&t)), 0)
	if err != 0 {
		return int64(time.Since(started)) // older than Linux 2.6.39
	}
	return t.Nano()
}

var started = time.Now()
