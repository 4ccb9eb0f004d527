package vfs

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func fdatasync(f *osFile) error {
	return retry(func() error { return syscall.Fdatasync(f.fd) })
}

func fallocate(f *osFile, off, n int64) error {
	err := retry(func() error { return syscall.Fallocate(f.fd, 0, off, n) })
	if err == syscall.EOPNOTSUPP || err == syscall.ENOSYS {
		return f.grow(off + n)
	}
	return err
}

// writeBack only starts the writing, and takes no error from a later fdatasync (sync_file_range(2)).
func writeBack(f *osFile, off, n int64) {
	_ = unix.SyncFileRange(f.fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
}

func flock(f *os.File) error {
	err := retry(func() error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) })
	if err == syscall.EWOULDBLOCK {
		return ErrLocked
	}
	return err
}

func statfs(dir string) (total, free uint64, err error) {
	var s syscall.Statfs_t
	if err := retry(func() error { return syscall.Statfs(dir, &s) }); err != nil {
		return 0, 0, err
	}
	return s.Blocks * uint64(s.Bsize), s.Bavail * uint64(s.Bsize), nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}
