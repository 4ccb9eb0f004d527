package resp

import (
	"syscall"
	"unsafe"
)

// rawBelow bounds what is copied in a system call that the scheduler is not told of.
const rawBelow = 64 << 10

// readNow and writeNow are read(2) and write(2) on a descriptor that never blocks. Short ones do without
// telling the scheduler, which costs about as much as parsing the request that is read.

func readNow(fd uintptr, b []byte) (int, error) {
	if len(b) == 0 || len(b) > rawBelow {
		return syscall.Read(int(fd), b)
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func writeNow(fd uintptr, b []byte) (int, error) {
	if len(b) == 0 || len(b) > rawBelow {
		return syscall.Write(int(fd), b)
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
