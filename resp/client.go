package resp

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/reply"
)

// client is one connection: its session (session.go), and what others may do to it. It is the
// command.Conn of its session.
//
// At any time at most one goroutine holds a client and executes its requests: its own (redcon's), an
// event loop or one that waits for a commit. See loop.go.
type client struct {
	server *Server
	to     transport
	sock   *socket // to, when an event loop watches it, else nil
	loop   *loop
	stream *stream // to, when there is no event loop
	tls    *tls.Conn
	ends   endpoints
	remote string
	local  string
	fd     int
	tag    int32 // of the events of fd; set by loop.watch

	// Owned by the holder.
	sess     *command.Session
	w        reply.Writer
	in       input
	frame    framer
	ws       *workspace // nil while the client is silent
	filled   bool       // the last read has filled the buffer: there is probably more
	over     bool       // the session ends with the replies collected
	turn     uint64     // not 0: the holder is the event loop, with this turn
	next     outcome    // of the unit whose replies were sent last
	slow     int        // how slow the units are lately; see slowUnit
	executed int        // commands of the unit
	charged  int64      // what the budget has been told of the input and of the session
	blocked  int64      // and of the workspace, which a blocked command keeps

	// Owned by the loop.
	gone bool // nothing that is sent arrives any more

	// Self-synchronised.
	state     atomic.Int32  // idle, held, ...
	hup       atomic.Bool   // the peer has closed its end
	away      atomic.Int64  // server.clock when the loop's lane took the client, 0 = it has not got it; written by the loop
	own       chan struct{} // tells the client's own goroutine that it is the holder
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

// endpoints are the addresses of a connection.
type endpoints struct{ local, remote net.Addr }

// newClient makes a client of a connection, which it owns from then on, also after an error.
func newClient(s *Server, nc net.Conn, useTLS bool) (*client, error) {
	c := &client{server: s, done: make(chan struct{}), own: make(chan struct{}, 1)}
	c.ends = endpoints{nc.LocalAddr(), nc.RemoteAddr()}
	c.remote, c.local = c.ends.print()
	c.state.Store(held)
	c.progress.Store(s.clock.Load())
	if err := c.connect(nc, useTLS); err != nil {
		nc.Close()
		return nil, err
	}
	c.out.init(c.to, c)
	if useTLS {
		c.tls = tls.Server(cipherSide{nc, c}, s.tls.current.Load())
	}
	return c, nil
}

// connect chooses between an event loop and a goroutine that reads.
func (c *client) connect(nc net.Conn, useTLS bool) error {
	if l := c.server.nextLoop(); l != nil && !useTLS {
		sc, ok := nc.(syscallConn)
		if !ok {
			return errClosed
		}
		fd, err := detach(sc)
		if err != nil {
			return err
		}
		c.sock = &socket{fd: fd, writable: make(chan struct{}, 1), done: c.done}
		c.to, c.loop, c.fd = c.sock, l, fd
		return nil
	}
	st, err := newStream(nc)
	if err != nil {
		return err
	}
	c.to, c.stream = st, st
	return st.raw.Control(func(fd uintptr) { c.fd = int(fd) })
}

// print shows the ends of a connection as CLIENT LIST does.
func (e endpoints) print() (remote, local string) {
	remote, local = e.remote.String(), e.local.String()
	if e.local.Network() == "unix" {
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
		c.to.kill()
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
// stops, and closes one that a command blocks. One whose command ends soon gets its reply first.
func (c *client) interrupt() {
	if c.watcher.active.Load() && !c.sess.EndsSoon() {
		c.Kill()
		return
	}
	if c.sock != nil {
		c.summon()
		return
	}
	c.stream.nc.SetReadDeadline(past)
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

// Charge implements command.Conn.
func (c *client) Charge(delta int64) { c.charge(delta) }

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
