package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/command"
)

// Options are what a Proxy is built from. Cluster is required.
type Options struct {
	Cluster command.Cluster
	Secret  func() string      // what the nodes of the cluster prove to each other to know; nil = nothing
	TLS     func() *tls.Config // for connections to the leader; nil, or a nil configuration = without TLS
	Log     *logrus.Logger     // nil: logrus' standard logger

	// Hears reports whether this node has heard of the leader lately, by whatever else they talk over; nil = always. It must not block.
	Hears func() bool

	Wait  time.Duration // how long commands wait for a leader; 0 = 5 s
	Dial  time.Duration // for connecting, TLS and the handshake together; 0 = 1 s
	Idle  time.Duration // a connection that is silent for longer is closed; 0 = 60 s
	Watch time.Duration // when a reply takes longer, somebody looks whether it is worth waiting for; 0 = 50 ms
}

const (
	maxDials = 64 // connections that are being made at the same time

	pauseMin = 5 * time.Millisecond // between attempts to reach a leader
	pauseMax = 200 * time.Millisecond
)

// Proxy forwards the commands of sessions to the leader. It is a command.Proxy. Its methods are safe for concurrent use.
type Proxy struct {
	o       Options
	start   time.Time
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	dials   chan struct{} // a token for each connection being made
	pool    sync.Pool     // of *workspace
	buffers sync.Pool     // of *[inSize]byte, for input
	open    atomic.Int64  // connections
	waiting atomic.Int64  // exchanges that have had to wait for a leader
	tasks   sync.WaitGroup
	logged  limiter

	mu struct {
		sync.Mutex
		idle   []*connection // the one used last is at the end
		lanes  []*lane
		lines  map[*line]struct{} // of the lanes
		closed bool
	}
}

// New returns a Proxy, which Close ends.
func New(o Options) *Proxy {
	p := &Proxy{o: o.withDefaults(), start: time.Now(), dials: make(chan struct{}, maxDials)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.pool.New = func() any { return new(workspace) }
	p.buffers.New = func() any { return new([inSize]byte) }
	p.mu.lines = make(map[*line]struct{})
	p.tasks.Go(p.sweep)
	p.tasks.Go(p.guardLines)
	return p
}

func (o Options) withDefaults() Options {
	if o.Secret == nil {
		o.Secret = func() string { return "" }
	}
	if o.TLS == nil {
		o.TLS = func() *tls.Config { return nil }
	}
	if o.Hears == nil {
		o.Hears = func() bool { return true }
	}
	if o.Log == nil {
		o.Log = logrus.StandardLogger()
	}
	for _, d := range []struct {
		set *time.Duration
		to  time.Duration
	}{{&o.Wait, 5 * time.Second}, {&o.Dial, time.Second}, {&o.Idle, time.Minute}, {&o.Watch, 50 * time.Millisecond}} {
		if *d.set == 0 {
			*d.set = d.to
		}
	}
	return o
}

// Close ends all waiting and closes the connections that are idle; those of sessions are closed with the session. The
// front end is shut down before.
func (p *Proxy) Close() {
	p.cancel()
	p.tasks.Wait()
	p.mu.Lock()
	p.mu.closed = true
	p.mu.Unlock()
	p.closeIdle(time.Now().Add(time.Hour))
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.mu.lanes { // their loops have ended
		l.close()
	}
}

// calm is for how long no command has waited for a leader when Settle takes the next ones to find it at once.
const calm = 50 * time.Millisecond

// Settle returns when commands do not wait for a leader any more, at the latest when ctx ends. The front end is to be shut
// down behind it: it lets commands that wait get their replies, but the first that comes after a change of the leader is the slowest.
func (p *Proxy) Settle(ctx context.Context) {
	tick := time.NewTicker(calm / 10)
	defer tick.Stop()
	for quiet := 0; quiet < 10; quiet++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if p.waiting.Load() > 0 {
			quiet = 0
		}
	}
}

// Connections is the number of connections to the leader.
func (p *Proxy) Connections() int { return int(p.open.Load()) }

// NewUpstream implements command.Proxy.
func (p *Proxy) NewUpstream(sess *command.Session) command.Upstream {
	return &Upstream{proxy: p, sess: sess}
}

// NewLane implements command.Proxy.
func (p *Proxy) NewLane(loop command.Loop) command.Lane {
	l := &lane{proxy: p, loop: loop}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.lanes = append(p.mu.lanes, l)
	return l
}

// take returns an idle connection to the leader, nil when there is none.
func (p *Proxy) take() *connection {
	for {
		c := p.pop()
		if c == nil || c.usable(p.o.Cluster) {
			return c
		}
		p.drop(c)
	}
}

func (p *Proxy) pop() *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.mu.idle)
	if n == 0 {
		return nil
	}
	c := p.mu.idle[n-1]
	p.mu.idle[n-1] = nil
	p.mu.idle = p.mu.idle[:n-1]
	return c
}

// give takes a connection back that nobody waits for replies on.
func (p *Proxy) give(c *connection) {
	p.release(c)
	c.used = time.Now()
	p.mu.Lock()
	closed := p.mu.closed
	if !closed {
		p.mu.idle = append(p.mu.idle, c)
	}
	p.mu.Unlock()
	if closed {
		p.drop(c)
	}
}

// release gives the buffer of a connection back.
func (p *Proxy) release(c *connection) {
	if c.in != nil {
		if len(c.in) == inSize {
			p.buffers.Put((*[inSize]byte)(c.in))
		}
		c.input = input{}
	}
}

// drop closes a connection.
func (p *Proxy) drop(c *connection) {
	p.release(c)
	p.open.Add(-1)
	_ = c.Close() // there is nothing that could still be done about an error
}

// sweep closes connections that are not needed any more.
func (p *Proxy) sweep() {
	t := time.NewTicker(max(p.o.Idle/4, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-t.C:
			p.closeIdle(time.Now().Add(-p.o.Idle))
		}
	}
}

// closeIdle closes the connections that were not used since before.
func (p *Proxy) closeIdle(before time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.mu.idle) && p.mu.idle[n].used.Before(before) {
		n++
	}
	old := append([]*connection(nil), p.mu.idle[:n]...)
	p.mu.idle = append(p.mu.idle[:0], p.mu.idle[n:]...)
	p.mu.Unlock()
	for _, c := range old {
		p.drop(c)
	}
}

// sleep waits for d or an event. It returns an error when there is nobody to wait for any more.
func (p *Proxy) sleep(sess *command.Session, changed <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-sess.Conn.Done():
		return errGone
	case <-p.ctx.Done():
		return errClosed
	}
	return nil
}

// pause is how long to wait after so many failures.
func pause(failures int) time.Duration {
	return min(pauseMin<<min(failures, 10), pauseMax)
}

var (
	errGone    = errors.New("the client has gone")
	errClosed  = errors.New("this node shuts down")
	errUnknown = errors.New("nobody is known to lead")
	errCrowd   = errors.New("too many connections to the leader are being made")
)

// complain logs why commands are not forwarded.
func (p *Proxy) complain(err error) {
	if p.logged.allow() {
		p.o.Log.WithError(err).Warn("commands are not forwarded")
	}
}

// limiter lets one message in a second through.
type limiter struct {
	sync.Mutex
	next time.Time
}

func (l *limiter) allow() bool {
	l.Lock()
	defer l.Unlock()
	now := time.Now()
	if now.Before(l.next) {
		return false
	}
	l.next = now.Add(time.Second)
	return true
}
