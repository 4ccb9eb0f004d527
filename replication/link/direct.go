package link

import (
	"errors"
	"syscall"
)

// direct writes to a socket without ever waiting for it, which a net.Conn can not do. One goroutine at a time uses it, and
// nobody writes by other means meanwhile.
type direct struct {
	raw syscall.RawConn
	f   func(fd uintptr) // try; here so that it is not allocated each time
	b   []byte
	n   int
	err error
}

// newDirect returns nil if sc has no descriptor any more.
func newDirect(sc syscall.Conn) *direct {
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{raw: raw}
	d.f = d.try
	return d
}

// write returns how many bytes the socket has taken.
func (d *direct) write(b []byte) (int, error) {
	d.b, d.n, d.err = b, 0, nil
	err := d.raw.Control(d.f) // and not Write, which minds the deadlines of those who wait
	d.b = nil
	return d.n, errors.Join(err, d.err)
}

func (d *direct) try(fd uintptr) {
	for len(d.b) > d.n {
		n, err := syscall.Write(int(fd), d.b[d.n:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return
		case err != nil:
			d.err = err
			return
		}
		d.n += n
	}
}
