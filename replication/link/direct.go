package link

import (
	"errors"
	"io"
	"syscall"
	"unsafe"
)

// direct is the way to a socket past what a net.Conn does for all: it writes without ever waiting, and tells the scheduler
// of no short system call, which may take it longer than the call does. One goroutine at a time reads and one writes, the latter
// only while nobody writes by other means.
type direct struct {
	raw     syscall.RawConn
	in, out attempt
}

// attempt is what is to be done with the descriptor.
type attempt struct {
	b   []byte
	n   int
	err error
	f   func(fd uintptr) bool // here so that it is not allocated each time
}

// newDirect returns nil if sc has no descriptor any more.
func newDirect(sc syscall.Conn) *direct {
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{raw: raw}
	d.in.f, d.out.f = d.in.read, d.out.write
	return d
}

// Read waits until there is something, or for the deadline of the connection.
func (d *direct) Read(b []byte) (int, error) {
	a := &d.in
	a.b, a.n, a.err = b, 0, nil
	err := d.raw.Read(a.f)
	a.b = nil
	if err = errors.Join(err, a.err); err == nil && a.n == 0 && len(b) > 0 {
		err = io.EOF
	}
	return a.n, err
}

// tryWrite returns how many bytes the socket has taken at once.
func (d *direct) tryWrite(b []byte) (int, error) {
	a := &d.out
	a.b, a.n, a.err = b, 0, nil
	err := d.raw.Control(func(fd uintptr) { a.f(fd) }) // and not Write, which minds the deadlines of those who wait
	a.b = nil
	return a.n, errors.Join(err, a.err)
}

func (a *attempt) read(fd uintptr) (done bool) {
	for {
		a.n, a.err = readNow(fd, a.b)
		switch a.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			a.err = nil
			return false
		}
		return true
	}
}

func (a *attempt) write(fd uintptr) (done bool) {
	for a.n < len(a.b) {
		n, err := writeNow(fd, a.b[a.n:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			a.err = err
			return true
		default:
			a.n += n
		}
	}
	return true
}

// short bounds what is copied in a system call that the scheduler is not told of.
const short = 64 << 10

func readNow(fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(min(len(b), short)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func writeNow(fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(min(len(b), short)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
