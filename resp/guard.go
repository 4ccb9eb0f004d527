package resp

import (
	"io"
	"net"
	"time"
)

// openingFrame makes redcon call its handler for a new connection.
const openingFrame = "*1\r\n$4\r\nOPEN\r\n"

// guard is what redcon gets as the connection of a client: it can read an opening frame and
// then the end. Everything else passes between the client and its session.
type guard struct {
	client *client
	opened bool
}

// Read returns the opening frame, then the end.
func (g *guard) Read(p []byte) (int, error) {
	if g.opened {
		return 0, io.EOF
	}
	g.opened = true
	return copy(p, openingFrame), nil
}

// Write accepts what redcon flushes: nothing.
func (g *guard) Write(p []byte) (int, error) { return len(p), nil }

// Close ends the connection; the session notices.
func (g *guard) Close() error {
	g.client.Kill()
	return nil
}

// LocalAddr is the server's end.
func (g *guard) LocalAddr() net.Addr { return g.client.ends.local }

// RemoteAddr is the client's end.
func (g *guard) RemoteAddr() net.Addr { return g.client.ends.remote }

// SetDeadline is not used by redcon.
func (g *guard) SetDeadline(time.Time) error { return nil }

// SetReadDeadline is not used by redcon.
func (g *guard) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is not used by redcon.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }

// cipherSide is the connection below TLS: its writes go through the outbox, so that they
// never wait.
type cipherSide struct {
	net.Conn
	c *client
}

func (s cipherSide) Write(p []byte) (int, error) {
	if _, err := s.c.out.send(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close is called when the time for a handshake is over.
func (s cipherSide) Close() error {
	s.c.Kill()
	return nil
}

// SetWriteDeadline does nothing: writes do not wait.
func (s cipherSide) SetWriteDeadline(time.Time) error { return nil }
