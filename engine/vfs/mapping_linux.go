package vfs

import (
	"errors"
	"fmt"
	"runtime/debug"
	"syscall"
)

// Mapping is a part of a file in memory that the file shares: what is written to it
// is as good as written by WriteAt, without a system call. It is used by one goroutine at a time.
type Mapping struct {
	name string
	mem  []byte
	off  int64
}

// inPlace are the file systems that write over reserved space where it is, so
// that a mapped write does not run out of space.
var inPlace = map[uint64]bool{
	0xef53:     true, // ext4
	0x58465342: true, // XFS
	0x01021994: true, // tmpfs
}

// Map maps n bytes from off on, a multiple of the page size, of a file for which this space was reserved by
// Preallocate. It gives errors.ErrUnsupported for files and file systems that it does not fit.
// The file must not be truncated below the end of the mapping while that is used.
func Map(f File, off, n int64) (*Mapping, error) {
	o, ok := f.(*osFile)
	if !ok || o.sparse {
		return nil, errors.ErrUnsupported
	}
	var s syscall.Statfs_t
	if err := retry(func() error { return syscall.Fstatfs(o.fd, &s) }); err != nil {
		return nil, pathError("statfs", o.Name(), err)
	}
	if !inPlace[uint64(s.Type)] {
		return nil, errors.ErrUnsupported
	}
	mem, err := syscall.Mmap(o.fd, off, int(n), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, pathError("map", o.Name(), err)
	}
	return &Mapping{name: o.Name(), mem: mem, off: off}, nil
}

// Covers reports whether n bytes at off of the file lie in the mapping.
func (m *Mapping) Covers(off int64, n int) bool {
	return m != nil && off >= m.off && off+int64(n) <= m.off+int64(len(m.mem))
}

// WriteAt writes to the file. The mapping must cover it. A disk that fails becomes an error, as with a File:
// the fault that it raises ends here.
func (m *Mapping) WriteAt(b []byte, off int64) (n int, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			n, err = 0, pathError("write", m.name, fmt.Errorf("fault at %#x: %w", fault.Addr(), syscall.EIO))
		default:
			panic(fault)
		}
	}()
	return copy(m.mem[off-m.off:], b), nil
}

// Close ends the mapping. A nil one may be closed.
func (m *Mapping) Close() error {
	if m == nil || m.mem == nil {
		return nil
	}
	mem := m.mem
	m.mem = nil
	if err := syscall.Munmap(mem); err != nil {
		return pathError("unmap", m.name, err)
	}
	return nil
}
