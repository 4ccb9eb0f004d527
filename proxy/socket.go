package proxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// socket is the TCP connection to a leader. A goroutine that uses it waits, as with any connection; unless it is detached: then it never
// waits, and an event loop says when it is worth trying again.
type socket struct {
	net.Conn
	raw syscall.RawConn

	// While it is detached.
	detached bool
	fd       int
	out      []byte // written, and not yet taken by the kernel

	mu struct {
		sync.Mutex
		open bool // fd is
	}
}

func newSocket(nc net.Conn) (*socket, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, errors.New("proxy: not a socket")
	}
	raw, err := sc.SyscallConn()
	return &socket{Conn: nc, raw: raw}, err
}

// Read returns os.ErrDeadlineExceeded when a detached socket has nothing to read, as if there were a deadline that has passed. With
// that TLS above it goes on the next time where it was.
func (s *socket) Read(b []byte) (int, error) {
	if !s.detached {
		return s.Conn.Read(b)
	}
	return readNow(s.fd, b)
}

// Write keeps what the kernel does not take from a detached socket, for flush.
func (s *socket) Write(b []byte) (int, error) {
	if !s.detached {
		return s.Conn.Write(b)
	}
	n := 0
	if len(s.out) == 0 {
		var err error
		if n, err = writeNow(s.fd, b); err != nil {
			return n, err
		}
	}
	s.out = append(s.out, b[n:]...)
	return len(b), nil
}

// flush goes on with what was kept.
func (s *socket) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	n, err := writeNow(s.fd, s.out)
	if s.out = s.out[n:]; len(s.out) == 0 {
		s.out = nil
	}
	return err
}

// detach takes the socket away from the library's own poller, which would otherwise be woken by every packet, too.
func (s *socket) detach() error {
	fd, err := duplicate(s.raw)
	if err != nil {
		return err
	}
	_ = s.Conn.Close() // there is another descriptor
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fd, s.detached, s.mu.open = fd, true, true
	return nil
}

// attach is the opposite. What was written and not taken yet is left to the caller.
func (s *socket) attach() (rest []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := os.NewFile(uintptr(s.fd), "")
	s.mu.open = false
	nc, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if s.raw, err = nc.(syscall.Conn).SyscallConn(); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	rest, s.out = s.out, nil
	s.Conn, s.detached = nc, false
	return rest, nil
}

func (s *socket) Close() error {
	if !s.detached {
		return s.Conn.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.open {
		return net.ErrClosed
	}
	s.mu.open = false
	return syscall.Close(s.fd)
}

// hangUp makes the end of a detached socket come. It may be called from any goroutine.
func (s *socket) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.open {
		_ = syscall.Shutdown(s.fd, syscall.SHUT_RDWR) // it can only fail because the end has come
	}
}

// quiet reports whether there is nothing to read, neither bytes nor an end.
func (s *socket) quiet() (yes bool) {
	if s.detached {
		return quiet(s.fd)
	}
	err := s.raw.Control(func(fd uintptr) { yes = quiet(int(fd)) })
	return err == nil && yes
}

// SetWriteDeadline has nothing to do for a detached socket, nor have the other two.
func (s *socket) SetWriteDeadline(t time.Time) error {
	if s.detached {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}

func (s *socket) SetReadDeadline(t time.Time) error {
	if s.detached {
		return nil
	}
	return s.Conn.SetReadDeadline(t)
}

func (s *socket) SetDeadline(t time.Time) error {
	if s.detached {
		return nil
	}
	return s.Conn.SetDeadline(t)
}
