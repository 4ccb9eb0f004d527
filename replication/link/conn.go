package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Conn is a link. Send, TrySend and Close may be called concurrently; Receive is for
// one goroutine at a time. It has a goroutine of its own, for heartbeats and for what TrySend
// leaves to it, which Close ends.
type Conn struct {
	o    Options
	nc   net.Conn
	raw  net.Conn // nc, or what TLS runs over. To close that does not wait for a peer that takes nothing
	peer Peer
	in   decoder // owned by Receive
	now  *direct // nil: with TLS

	wake       chan struct{} // there is something to write
	done       chan struct{} // err is set
	background sync.WaitGroup

	mu struct {
		sync.Mutex
		moved   sync.Cond // room in the queue, the end of a write, the end of the link
		seal    sealer
		queue   []byte    // frames
		spare   []byte    // a buffer to be used next
		writing bool      // somebody writes
		closing time.Time // until then; zero: not closing
		err     error     // the link is over
	}
}

// Dial connects to a node. If node is not empty it must be the one that answers there.
// Purpose (up to 255 bytes) tells the other side what the link is for.
func Dial(ctx context.Context, network, addr, node, purpose string, o Options) (*Conn, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if len(node) > maxName || len(purpose) > maxName {
		return nil, fmt.Errorf("link: a node or purpose has at most %d bytes", maxName)
	}
	ctx, cancel := context.WithTimeout(ctx, o.HandshakeTimeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c, err := establish(ctx, nc, o, dialerWords, func(nc net.Conn) (session, error) { return greet(nc, o, node, purpose) })
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", addr, err)
	}
	return c, nil
}

// Accept makes a connection that came in a link, after the handshake. It closes nc
// if that fails. A stranger costs no more than a small buffer, for no longer than o.HandshakeTimeout.
func Accept(ctx context.Context, nc net.Conn, o Options) (*Conn, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	c, err := establish(ctx, nc, o, acceptorWords, func(nc net.Conn) (session, error) { return welcome(nc, o) })
	if err != nil {
		return nil, fmt.Errorf("link from %s: %w", nc.RemoteAddr(), err)
	}
	return c, nil
}

func establish(ctx context.Context, nc net.Conn, o Options, words string, shake func(net.Conn) (session, error)) (c *Conn, err error) {
	raw := nc
	defer func() {
		if err != nil {
			err = errors.Join(err, raw.Close())
		}
	}()
	done, err := deadline(ctx, nc, o.HandshakeTimeout)
	if err != nil {
		return nil, err
	}
	if o.TLS != nil {
		t := tls.Server(nc, o.TLS)
		if words == dialerWords {
			t = tls.Client(nc, o.TLS)
		}
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, done())
		}
		nc = t
	}
	s, err := shake(nc)
	if e := done(); err == nil || ctx.Err() != nil { // else what ctx did to the connection would be the reason
		err = errors.Join(e, err)
	}
	if err != nil {
		return nil, err
	}
	return newConn(nc, raw, o, &s, words), nil
}

func newConn(nc, raw net.Conn, o Options, s *session, words string) *Conn {
	other := acceptorWords
	if words == acceptorWords {
		other = dialerWords
	}
	c := &Conn{o: o, nc: nc, raw: raw, peer: s.peer, wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.in = decoder{r: &patientReader{c: c}, max: o.MaxFrame, seal: newSealer(s, other)}
	c.mu.seal = newSealer(s, words)
	c.mu.moved.L = &c.mu
	if sc, ok := nc.(syscall.Conn); ok {
		c.now = newDirect(sc)
	}
	c.background.Add(1)
	go c.run()
	return c
}

// patientReader reads from the socket, and waits for the next byte no longer than ReadTimeout and an eighth.
type patientReader struct {
	c     *Conn
	until time.Time // the deadline that is set
}

func (r *patientReader) Read(p []byte) (int, error) {
	now, timeout := time.Now(), r.c.o.ReadTimeout
	if r.until.Sub(now) < timeout { // to set it costs as much as a small frame
		r.until = now.Add(timeout + timeout/8)
		if err := r.c.nc.SetReadDeadline(r.until); err != nil {
			return 0, err
		}
	}
	if r.c.now != nil {
		return r.c.now.Read(p)
	}
	return r.c.nc.Read(p)
}

// Peer is who is on the other side.
func (c *Conn) Peer() Peer { return c.peer }

// MaxFrame is the largest payload of a frame, in bytes.
func (c *Conn) MaxFrame() int { return c.o.MaxFrame }

// Done is closed when the link is over; Err says why.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is nil while the link lives. It wraps ErrClosed after Close here or on the other side.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.err
}

// Receive returns the next frame. The payload is valid until the following call. After an
// error the link is over.
func (c *Conn) Receive() (typ byte, payload []byte, err error) {
	for {
		typ, payload, err = c.in.next()
		switch {
		case err == io.EOF:
			return 0, nil, c.fail(fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err))
		case err != nil:
			return 0, nil, c.fail(err)
		case typ == typeBye:
			return 0, nil, c.fail(fmt.Errorf("%w by node %q: %q", ErrClosed, c.peer.Node, payload))
		case typ >= FirstType:
			return typ, payload, nil
		case typ != typeHeartbeat:
			return 0, nil, c.fail(fmt.Errorf("%w: type %d", ErrFrame, typ))
		}
	}
}

// Buffered tells whether the next frame is there already, so that Receive does not wait. It belongs to the
// goroutine that calls Receive.
func (c *Conn) Buffered() bool { return c.in.buffered() }

// Send sends a frame whose payload is the parts, which it copies. It waits while the queue is
// full, and it may be the one who writes what others have sent. After an error the link is over.
func (c *Conn) Send(typ byte, parts ...[]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.mu.err == nil && c.mu.closing.IsZero() && len(c.mu.queue) >= c.o.Queue {
		c.mu.moved.Wait()
	}
	if err := c.putLocked(typ, parts); err != nil {
		return err
	}
	if !c.mu.writing {
		c.writeLocked()
	}
	return c.mu.err
}

// TrySend is Send for those who must not wait: the frame is taken if there is room in the queue. What the socket takes
// leaves at once, on the caller's goroutine, and the rest soon.
func (c *Conn) TrySend(typ byte, parts ...[]byte) (taken bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.err == nil && len(c.mu.queue) >= c.o.Queue {
		return false, nil
	}
	if err := c.putLocked(typ, parts); err != nil {
		return false, err
	}
	if !c.mu.writing {
		c.tryWriteLocked()
	}
	return true, c.mu.err
}

// Idle tells whether everything that was sent is in the hands of the kernel.
func (c *Conn) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.mu.writing && len(c.mu.queue) == 0
}

// tryWriteLocked writes what the socket takes without waiting, while nobody else writes, and leaves the rest to the goroutine.
func (c *Conn) tryWriteLocked() {
	if c.now != nil {
		n, err := c.now.tryWrite(c.mu.queue)
		if err != nil {
			c.failLocked(err)
			return
		}
		c.mu.queue = c.mu.queue[:copy(c.mu.queue, c.mu.queue[n:])]
	}
	if len(c.mu.queue) > 0 {
		c.wakeWriter()
	}
}

func (c *Conn) putLocked(typ byte, parts [][]byte) error {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	switch {
	case c.mu.err != nil:
		return c.mu.err
	case !c.mu.closing.IsZero():
		return ErrClosed
	case size > c.o.MaxFrame || typ < FirstType:
		return fmt.Errorf("%w: type %d, %d bytes to be sent, %d is the most", ErrFrame, typ, size, c.o.MaxFrame)
	}
	c.mu.queue = c.mu.seal.appendFrame(c.mu.queue, typ, parts...)
	return nil
}

func (c *Conn) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// writeSize is how much has to be taken by the peer within WriteTimeout.
const writeSize = 256 << 10

// writeLocked writes until the queue is empty. It is called with mu held while
// nobody writes, and drops it.
func (c *Conn) writeLocked() {
	c.mu.writing = true
	for c.mu.err == nil && len(c.mu.queue) > 0 {
		out := c.mu.queue
		c.mu.queue, c.mu.spare = c.mu.spare[:0], nil
		c.mu.moved.Broadcast()
		closing := c.mu.closing
		c.mu.Unlock()
		err := c.write(out, closing)
		c.mu.Lock()
		if cap(out) <= c.o.Queue+c.o.MaxFrame {
			c.mu.spare = out[:0]
		}
		if err != nil {
			c.failLocked(err)
		}
	}
	c.mu.writing = false
	c.mu.moved.Broadcast()
}

func (c *Conn) write(out []byte, closing time.Time) error {
	for len(out) > 0 {
		until := closing
		if until.IsZero() {
			until = time.Now().Add(c.o.WriteTimeout)
		}
		if err := c.nc.SetWriteDeadline(until); err != nil {
			return err
		}
		n, err := c.nc.Write(out[:min(len(out), writeSize)])
		if err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// run sends heartbeats, and writes what TrySend left, until the link is over.
func (c *Conn) run() {
	defer c.background.Done()
	tick := time.NewTicker(c.o.Heartbeat)
	defer tick.Stop()
	frames := uint64(0)
	for {
		beat := false
		select {
		case <-c.done:
			return
		case <-c.wake:
		case <-tick.C:
			beat = true
		}
		c.mu.Lock()
		if beat && c.mu.seal.frames == frames && len(c.mu.queue) == 0 && !c.mu.writing && c.mu.closing.IsZero() {
			c.mu.queue = c.mu.seal.appendFrame(c.mu.queue, typeHeartbeat)
		}
		if beat {
			frames = c.mu.seal.frames
		}
		if !c.mu.writing {
			c.writeLocked()
		}
		c.mu.Unlock()
	}
}

// fail ends the link and returns why it ended, which may be an earlier reason.
func (c *Conn) fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err)
	return c.mu.err
}

func (c *Conn) failLocked(err error) {
	if c.mu.err != nil {
		return
	}
	c.mu.err = err
	close(c.done)
	c.mu.moved.Broadcast()
	if e := c.raw.Close(); e != nil {
		c.mu.err = errors.Join(err, e)
	}
}

// Close sends what was to be sent, for at most CloseTimeout, and then the reason, and ends the link.
// A peer who is sending at that moment may see a broken connection instead of the reason.
// Further calls do nothing.
func (c *Conn) Close(reason string) error {
	c.mu.Lock()
	if c.mu.err == nil && c.mu.closing.IsZero() {
		c.mu.closing = time.Now().Add(c.o.CloseTimeout)
		if err := c.nc.SetWriteDeadline(c.mu.closing); err != nil {
			c.failLocked(err)
		}
		c.mu.queue = c.mu.seal.appendFrame(c.mu.queue, typeBye, []byte(reason[:min(len(reason), c.o.MaxFrame, maxRefusalText)]))
		for c.mu.writing {
			c.mu.moved.Wait()
		}
		c.writeLocked()
		c.failLocked(ErrClosed)
	}
	c.mu.Unlock()
	c.background.Wait()
	return nil
}
