package resp

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// transport is what a client reads from and writes to. Its methods may be called by different
// goroutines at the same time, but each of tryRead, tryWrite and Write by one only.
type transport interface {
	// tryRead and tryWrite never wait; EAGAIN says that they would have to.
	tryWrite(p []byte) (int, error)
	// Write waits until some of p, which is not empty, is written, or the client was killed. So a client that takes little at a
	// time is seen to take something.
	Write(p []byte) (int, error)
	// kill ends the connection at once: whoever reads or writes gets an error.
	kill()
	// closeWrite says to the peer that nothing more comes.
	closeWrite()
	// close gives the descriptor back. Nobody may use the transport any more.
	close()
}

type syscallConn interface {
	syscall.Conn
	io.Closer
}

// socket is a transport that an event loop watches. It owns its descriptor.
type socket struct {
	fd       int
	waiting  atomic.Bool   // Write waits for room
	writable chan struct{} // a token when there is room again
	done     <-chan struct{}

	mu struct {
		sync.Mutex
		closed bool
	}
}

// tryRead is read(2), repeated when a signal interrupts it.
func (s *socket) tryRead(p []byte) (int, error) {
	for {
		n, err := readNow(uintptr(s.fd), p)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

func (s *socket) tryWrite(p []byte) (written int, err error) {
	return writeAll(uintptr(s.fd), p)
}

// writeAll writes until the kernel takes no more.
func writeAll(fd uintptr, p []byte) (written int, err error) {
	for written < len(p) {
		n, err := writeNow(fd, p[written:])
		switch err {
		case nil:
			written += n
		case syscall.EINTR:
		default:
			return written, err
		}
	}
	return written, nil
}

func (s *socket) Write(p []byte) (int, error) {
	defer s.waiting.Store(false)
	for {
		n, err := s.tryWrite(p)
		if n > 0 || err != syscall.EAGAIN {
			return written(n, err)
		}
		if !s.waiting.Swap(true) {
			continue // the room may have come before anybody knew that it is waited for
		}
		select {
		case <-s.writable:
		case <-s.done:
			return 0, errClosed
		}
	}
}

// written is the result of a Write that has not waited in vain.
func written(n int, err error) (int, error) {
	if n > 0 && err == syscall.EAGAIN {
		err = nil
	}
	return n, err
}

// roomCame is called by the event loop.
func (s *socket) roomCame() {
	if !s.waiting.Load() {
		return
	}
	select {
	case s.writable <- struct{}{}:
	default:
	}
}

func (s *socket) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.closed {
		shutdown(s.fd)
	}
}

func (s *socket) closeWrite() { shutdownWrite(s.fd) }

func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.closed {
		s.mu.closed = true
		closeSocket(s.fd)
	}
}

// stream is a transport that a goroutine of its own reads from: TLS, and everything where there
// is no event loop.
type stream struct {
	nc  net.Conn
	raw syscall.RawConn
}

func newStream(nc net.Conn) (*stream, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, errClosed
	}
	raw, err := sc.SyscallConn()
	return &stream{nc: nc, raw: raw}, err
}

func (s *stream) tryWrite(p []byte) (int, error) { return s.write(p, false) }

func (s *stream) Write(p []byte) (int, error) { return written(s.write(p, true)) }

// write writes what the kernel takes; with wait it waits until that is something.
func (s *stream) write(p []byte, wait bool) (n int, err error) {
	rawErr := s.raw.Write(func(fd uintptr) bool {
		n, err = writeAll(fd, p)
		return n > 0 || err != syscall.EAGAIN || !wait
	})
	if rawErr != nil {
		return n, rawErr
	}
	return n, err
}

func (s *stream) kill() { s.nc.Close() }

func (s *stream) closeWrite() {
	if half, ok := s.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func (s *stream) close() { s.nc.Close() }
