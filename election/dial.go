package election

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialPace         = 100 * time.Millisecond // between two attempts to connect
	minHandshakeWait = time.Second
)

// hosts gives the library one server after the other, by name: the dialer resolves the name each time. (The library's own
// provider resolves once, when the process starts.) The library pauses for a second after each fruitless round.
type hosts struct {
	mu    sync.Mutex
	names []string
	next  int
	tried int // since the last connection
}

func (h *hosts) Init(servers []string) error {
	h.names = servers
	return nil
}

func (h *hosts) Len() int { return len(h.names) }

func (h *hosts) Next() (server string, retryStart bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	server = h.names[h.next%len(h.names)]
	h.next++
	if h.tried == len(h.names) {
		h.tried, retryStart = 0, true
	}
	h.tried++
	return server, retryStart
}

func (h *hosts) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried = 0
}

// dialer connects for the library and sees to it that no connection hangs.
type dialer struct {
	ctx           context.Context // ends all attempts
	handshakeWait time.Duration

	mu struct {
		sync.Mutex
		socket *socket // the newest
		failed error   // why the newest attempt failed; nil when it did not
		last   time.Time
	}
}

// dial is called by one goroutine of the library.
func (d *dialer) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	if err := d.pause(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(d.ctx, timeout)
	defer cancel()
	conn, err := dialAny(ctx, network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.ctx.Err() != nil { // closed meanwhile: nobody would drop it any more
		err = errors.Join(d.ctx.Err(), conn.Close())
	}
	d.mu.failed = err
	if err != nil {
		return nil, err
	}
	d.mu.socket = &socket{Conn: conn, handshakeWait: d.handshakeWait}
	return d.mu.socket, nil
}

// pause keeps attempts apart: a server that ends each connection at once must not be asked without end.
func (d *dialer) pause() error {
	d.mu.Lock()
	wait := time.Until(d.mu.last.Add(dialPace))
	d.mu.last = time.Now().Add(max(wait, 0))
	d.mu.Unlock()
	if wait <= 0 {
		return d.ctx.Err()
	}
	select {
	case <-time.After(wait):
		return nil
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
}

// dialAny resolves the name anew and tries its addresses in any order, each with its share of the time. A name that
// stands for all servers thus does not always lead to the one that hangs.
func dialAny(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	addrs = slices.Clone(addrs)
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	for i, a := range addrs {
		var conn net.Conn
		if conn, err = dialOne(ctx, network, net.JoinHostPort(a, port), len(addrs)-i); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func dialOne(ctx context.Context, network, address string, left int) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	one, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
	defer cancel()
	return (&net.Dialer{}).DialContext(one, network, address)
}

// problem is why there is no connection, as far as that is known.
func (d *dialer) problem() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.failed
}

// drop closes the newest connection; the library goes on to the next server. With a time it does so only if nothing has
// arrived since then.
func (d *dialer) drop(silentSince time.Time) bool {
	d.mu.Lock()
	s := d.mu.socket
	d.mu.Unlock()
	if s == nil || !silentSince.IsZero() && s.heard.Load() >= silentSince.UnixNano() {
		return false
	}
	_ = s.Close() // whatever it says, the connection is given up
	return true
}

// socket is a connection on which the handshake ends in time. The library would wait for it for almost seven
// session time-outs, and for its second half without end, since it takes the deadline off in between.
type socket struct {
	net.Conn
	handshakeWait time.Duration
	heard         atomic.Int64 // when something arrived last, in Unix nanoseconds

	shaken bool // the first deadline was set; used by the one goroutine that reads
}

// SetReadDeadline keeps the old deadline where the library would take it off; it sets one for each packet.
func (s *socket) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	if limit := time.Now().Add(s.handshakeWait); !s.shaken && t.After(limit) {
		t = limit
	}
	s.shaken = true
	return s.Conn.SetReadDeadline(t)
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.heard.Store(time.Now().UnixNano())
	}
	return n, err
}
