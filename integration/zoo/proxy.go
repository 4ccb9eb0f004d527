package zoo

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Fault is what a Proxy does to the connections through it. The zero value is none.
type Fault struct {
	Refuse       bool // new connections are reset
	HoldRequests bool // nothing passes from client to server
	HoldReplies  bool // nothing passes from server to client: requests are executed, answers do not come
	DropEvents   bool // watch events are left out of what the server sends
}

// Stall is a network that swallows everything without breaking a connection.
var Stall = Fault{HoldRequests: true, HoldReplies: true}

// Proxy stands between clients and one server. What is held passes on when the fault is lifted, unless the connection was
// broken by then. Methods may be called concurrently.
type Proxy struct {
	listener net.Listener
	done     sync.WaitGroup

	mu struct {
		sync.Mutex
		target  string
		fault   Fault
		changed chan struct{} // closed when fault changes
		links   map[*link]bool
		closed  bool
		dropped int // watch events left out
		held    int // packets that wait for the fault to be lifted
	}
}

// link is a connection of a client and the one to the server.
type link struct {
	client, server net.Conn
	closed         chan struct{}
	once           sync.Once
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.closed)
		_ = l.client.Close() // both are given up; there is nothing left to lose
		_ = l.server.Close()
	})
}

// NewProxy listens on a free port of the loopback interface and passes connections on to target.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l}
	p.mu.target, p.mu.changed, p.mu.links = target, make(chan struct{}), map[*link]bool{}
	p.done.Go(p.accept)
	return p, nil
}

// Addr is where clients connect to, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set makes the proxy behave so from now on, also on the connections that exist.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.fault = f
	close(p.mu.changed)
	p.mu.changed = make(chan struct{})
}

// Break resets all connections.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.mu.links {
		l.close()
	}
}

// Cut is Set(Fault{Refuse: true}) and Break: the server is unreachable until Set(Fault{}).
func (p *Proxy) Cut() {
	p.Set(Fault{Refuse: true})
	p.Break()
}

// Retarget sends new connections to another server.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.target = target
}

// Connections is the number of connections through the proxy.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.links)
}

// DroppedEvents counts what DropEvents has left out.
func (p *Proxy) DroppedEvents() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.dropped
}

// Held tells whether something waits for the fault to be lifted.
func (p *Proxy) Held() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.held > 0
}

// Close breaks all connections and returns when the proxy's goroutines have ended.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.mu.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.Break()
	p.done.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.done.Go(func() { p.serve(conn) })
		}
	}
}

func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	target, refuse := p.mu.target, p.mu.fault.Refuse
	p.mu.Unlock()
	if refuse {
		reset(client)
		return
	}
	server, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		reset(client)
		return
	}
	l := &link{client: client, server: server, closed: make(chan struct{})}
	if !p.add(l) {
		return
	}
	p.done.Go(func() {
		defer l.close()
		p.requests(l)
	})
	p.replies(l)
	l.close()
	p.mu.Lock()
	delete(p.mu.links, l)
	p.mu.Unlock()
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		l.close()
		return false
	}
	p.mu.links[l] = true
	return true
}

// reset closes with RST, as a machine does that has no such server.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // if it fails, the client sees an orderly end instead
	}
	_ = c.Close()
}

// pass waits while the fault holds what flows in one direction; it fails when the link is closed.
func (p *Proxy) pass(l *link, held func(Fault) bool) (Fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for held(p.mu.fault) {
		changed, closed := p.mu.changed, false
		p.mu.held++
		p.mu.Unlock()
		select {
		case <-changed:
		case <-l.closed:
			closed = true
		}
		p.mu.Lock()
		p.mu.held--
		if closed {
			return p.mu.fault, false
		}
	}
	return p.mu.fault, true
}

// requests copies what the client sends.
func (p *Proxy) requests(l *link) {
	buf := make([]byte, 32<<10)
	for {
		n, err := l.client.Read(buf)
		if err != nil {
			return
		}
		if _, ok := p.pass(l, func(f Fault) bool { return f.HoldRequests }); !ok {
			return
		}
		if _, err := l.server.Write(buf[:n]); err != nil {
			return
		}
	}
}

const (
	maxFrame = 8 << 20 // a server sends at most 1 MiB
	eventXid = -1      // of a frame that answers no request: a watch event
)

// replies copies what the server sends, frame by frame: 4 bytes of length, big endian, then as many bytes, which begin
// with the number of the request that is answered.
func (p *Proxy) replies(l *link) {
	frame := make([]byte, 4, 4096)
	for {
		if _, err := io.ReadFull(l.server, frame[:4]); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(frame[:4])
		if size > maxFrame {
			return
		}
		frame = append(frame[:4], make([]byte, size)...)
		if _, err := io.ReadFull(l.server, frame[4:]); err != nil {
			return
		}
		f, ok := p.pass(l, func(f Fault) bool { return f.HoldReplies })
		if !ok {
			return
		}
		if f.DropEvents && size >= 4 && int32(binary.BigEndian.Uint32(frame[4:])) == eventXid {
			p.mu.Lock()
			p.mu.dropped++
			p.mu.Unlock()
			continue
		}
		if _, err := l.client.Write(frame); err != nil {
			return
		}
	}
}
