package resp

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/reply"
)

// client is one connection: its session, which runs on redcon's goroutine (session.go),
// and what others may do to it. It is the command.Conn of its session.
type client struct {
	server *Server
	nc     net.Conn
	raw    syscall.RawConn
	tls    *tls.Conn // nil for plain connections
	remote string
	local  string
	fd     int

	// Owned by the session's goroutine.
	sess    *command.Session
	w       reply.Writer
	in      input
	frame   framer
	ws      *workspace // nil while the client is silent
	readFn  func(fd uintptr) bool
	readN   int
	readErr error
	filled  bool  // the last read has filled the buffer: there is probably more
	noWait  bool  // readFn is not to wait
	charged int64 // what the budget has been told of the input and of the session
	blocked int64 // and of the workspace, which a blocked command keeps

	// Self-synchronised.
	out       outbox
	watcher   watcher
	done      chan struct{} // closed by Kill
	killed    sync.Once
	bytesIn   atomic.Int64
	qbuf      atomic.Int64 // unexecuted bytes and free rest of the read buffer, for CLIENT LIST
	qfree     atomic.Int64
	held      atomic.Int64 // bytes counted in the budget
	progress  atomic.Int64 // server.clock when something was read or written
	softSince atomic.Int64 // server.clock since when the output exceeds the soft limit, 0 = it does not
	inUnit    atomic.Bool  // replies are being collected; set by the session's goroutine, cleared under pushed
	ready     atomic.Bool  // sess is set and may be looked at by others

	pushed struct {
		sync.Mutex
		buf []byte // messages which wait for the end of the unit
	}
}

func newClient(s *Server, nc net.Conn, useTLS bool) (*client, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, errClosed
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &client{server: s, nc: nc, raw: raw, done: make(chan struct{})}
	c.remote, c.local = addresses(nc)
	c.readFn = c.readOnce
	c.out.init(nc, raw, c)
	now := s.clock.Load()
	c.progress.Store(now)
	if err := raw.Control(func(fd uintptr) { c.fd = int(fd) }); err != nil {
		return nil, err
	}
	if useTLS {
		c.tls = tls.Server(cipherSide{c}, s.tls.current.Load())
	}
	return c, nil
}

// addresses prints the ends of a connection as CLIENT LIST shows them.
func addresses(nc net.Conn) (remote, local string) {
	remote, local = nc.RemoteAddr().String(), nc.LocalAddr().String()
	if nc.LocalAddr().Network() == "unix" {
		local += ":0"
		remote = local
	}
	return remote, local
}

// RemoteAddr implements command.Conn.
func (c *client) RemoteAddr() string { return c.remote }

// LocalAddr implements command.Conn.
func (c *client) LocalAddr() string { return c.local }

// FD implements command.Conn.
func (c *client) FD() int { return c.fd }

// Done implements command.Conn.
func (c *client) Done() <-chan struct{} { return c.done }

// Kill implements command.Conn. It neither waits nor sends anything.
func (c *client) Kill() {
	c.killed.Do(func() {
		c.out.fail(errClosed)
		close(c.done)
		c.nc.Close()
	})
}

func (c *client) isKilled() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// interrupt makes a client that waits for its next request notice that the server
// stops, and closes one that a command blocks.
func (c *client) interrupt() {
	if c.watcher.active.Load() {
		c.Kill()
		return
	}
	c.nc.SetReadDeadline(past)
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// Usage implements command.Conn.
func (c *client) Usage() command.Usage {
	return command.Usage{
		QueryBuffer: int(c.qbuf.Load()), QueryFree: int(c.qfree.Load()),
		OutputBuffer: int(c.out.pending.Load()),
		BytesIn:      c.bytesIn.Load(), BytesOut: c.out.sent.Load(),
	}
}

// Push implements command.Conn. While the client's own commands run, messages wait until
// their replies have been sent.
func (c *client) Push(b []byte) error {
	c.pushed.Lock()
	defer c.pushed.Unlock()
	if !c.inUnit.Load() {
		return c.pushNow(b)
	}
	n := int64(len(c.pushed.buf) + len(b))
	if !c.mayQueue(c.out.pending.Load()+n, true) {
		c.out.fail(errOutputLimit)
		return errOutputLimit
	}
	c.pushed.buf = append(c.pushed.buf, b...)
	return nil
}

func (c *client) pushNow(b []byte) error {
	if c.tls == nil {
		return c.out.push(b)
	}
	_, err := c.tls.Write(b)
	return err
}

// endReplies sends the messages that have come during the unit, behind its replies.
func (c *client) endReplies() error {
	c.pushed.Lock()
	defer c.pushed.Unlock()
	c.inUnit.Store(false)
	if len(c.pushed.buf) == 0 {
		return nil
	}
	b := c.pushed.buf
	c.pushed.buf = nil
	return c.pushNow(b)
}

// mayQueue implements account with client-output-buffer-limit. Pushed messages have a bound also
// where replies have none, as nobody waits for them.
func (c *client) mayQueue(n int64, push bool) bool {
	set := c.server.settings.Load()
	limit := set.Normal
	if push && limit.Hard == 0 {
		limit = set.PubSub
	}
	if limit.Soft == 0 || n <= limit.Soft {
		c.softSince.Store(0)
	} else {
		c.softSince.CompareAndSwap(0, max(c.server.clock.Load(), 1))
	}
	if limit.Hard > 0 && n > limit.Hard {
		c.server.stats.outputClosed.Add(1)
		return false
	}
	return true
}

// queued implements account.
func (c *client) queued(delta int64) {
	if delta < 0 {
		c.progress.Store(c.server.clock.Load())
	}
	c.charge(delta)
}

// charge counts memory that the client holds in the budget of all.
func (c *client) charge(delta int64) {
	if delta == 0 {
		return
	}
	c.held.Add(delta)
	total := c.server.held.Add(delta)
	if limit := c.server.settings.Load().MaxMemory; delta > 0 && limit > 0 && total > limit {
		select {
		case c.server.pressure <- struct{}{}:
		default:
		}
	}
}
