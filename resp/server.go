package resp

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/tidwall/redcon"

	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/reply"
)

// Commands is what executes the commands of clients: command.Server.
type Commands interface {
	NewSession(command.Conn) *command.Session
	CloseSession(*command.Session)
	Dispatch(*command.Session, [][]byte, *reply.Writer)
	EndUnit(*command.Session, *reply.Writer) error
	EndsAtOnce(*command.Session) bool
	Await(sessions []*command.Session, f func()) bool
	NewLane(command.Loop) command.Lane
}

// Server is the front end. Use: New, Listen, Start, and in the end Shutdown. Its methods are
// safe for concurrent use but for Listen, which comes before Start.
type Server struct {
	commands  Commands
	log       *limitedLog
	listeners []*listener
	port      int // TCP port listened on, 0 = none
	tlsPort   int
	tls       *certificates // nil without TLS
	loops     []*loop       // none: each client is read from by its own goroutine
	watchdog  watchdog
	stall     time.Duration // stallTime, shorter in tests
	linger    time.Duration // lingerTime, longer in tests
	handshake time.Duration // handshakeTime, shorter in tests
	watching  time.Duration // watchEvery, other in tests

	// Self-synchronised.
	settings atomic.Pointer[Settings]
	count    atomic.Int64  // clients, those being accepted included
	clock    atomic.Int64  // nanoseconds since start, moved on by the sweeper
	held     atomic.Int64  // bytes that clients hold
	pressure chan struct{} // tells the sweeper that clients hold too much
	stats    counters
	stop     chan struct{} // closed when no more clients are taken
	drained  chan struct{} // closed when all have ended
	quit     chan struct{} // closed to end the sweeper
	tasks    sync.WaitGroup
	start    time.Time

	mu struct {
		sync.Mutex
		conns    map[*client]struct{}
		stopping bool
		empty    chan struct{} // closed when stopping and no connection is left
	}
}

// counters are what the server has counted since it started.
type counters struct {
	accepted, rejected        atomic.Int64
	bytesIn, bytesOut         atomic.Int64 // of connections that have ended
	queryClosed, outputClosed atomic.Int64
	evicted                   atomic.Int64
}

// New returns a server with no addresses to listen on.
func New(commands Commands, set Settings, log *logrus.Logger) *Server {
	s := &Server{
		commands: commands, log: newLimitedLog(log), start: time.Now(), stall: stallTime, linger: lingerTime, handshake: handshakeTime, watching: watchEvery,
		stop: make(chan struct{}), drained: make(chan struct{}), quit: make(chan struct{}),
		pressure: make(chan struct{}, 1),
	}
	s.watchdog.wake = make(chan struct{}, 1)
	s.mu.conns = make(map[*client]struct{})
	s.mu.empty = make(chan struct{})
	s.settings.Store(&set)
	return s
}

// Port is the TCP port listened on, 0 when there is none.
func (s *Server) Port() int { return s.port }

// TLSPort is the port for TLS, 0 when there is none.
func (s *Server) TLSPort() int { return s.tlsPort }

// Start serves clients until Shutdown.
func (s *Server) Start() {
	for _, l := range s.listeners {
		s.tasks.Go(func() {
			// The only error is that the listener is closed.
			_ = redcon.Serve(l, handle, nil, nil)
		})
	}
	for _, l := range s.loops {
		l.lane = s.commands.NewLane(l)
		s.tasks.Go(l.run)
	}
	if len(s.loops) > 0 {
		s.tasks.Go(s.runWatchdog)
	}
	s.tasks.Go(s.runSweeper)
}

// handle is called by redcon with the opening frame of a connection.
func handle(rc redcon.Conn, _ redcon.Command) {
	if g, ok := rc.NetConn().(*guard); ok {
		g.client.serve()
	}
}

func (s *Server) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// Shutdown takes no more clients, lets units under way finish and send their replies, and closes
// every connection. When ctx ends first, the rest is closed at once. It returns when all
// goroutines have ended, and may be called more than once.
func (s *Server) Shutdown(ctx context.Context) {
	s.beginStop()
	select {
	case <-s.mu.empty:
	case <-ctx.Done():
		s.killAll()
		<-s.mu.empty
	}
	s.endStop()
	s.tasks.Wait()
	s.closeLoops()
}

func (s *Server) beginStop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.stopping {
		return
	}
	s.mu.stopping = true
	close(s.stop)
	for _, l := range s.listeners {
		l.Close()
	}
	for c := range s.mu.conns {
		c.interrupt()
	}
	s.checkEmptyLocked()
}

func (s *Server) endStop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.drained:
	default:
		close(s.drained)
		close(s.quit)
		for _, l := range s.loops {
			l.poll.wake()
		}
	}
}

// checkEmptyLocked tells Shutdown that the last connection has ended.
func (s *Server) checkEmptyLocked() {
	if !s.mu.stopping || len(s.mu.conns) > 0 {
		return
	}
	select {
	case <-s.mu.empty:
	default:
		close(s.mu.empty)
	}
}

func (s *Server) killAll() {
	for _, c := range s.connections() {
		c.Kill()
	}
}

// connections returns those that are open now.
func (s *Server) connections() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*client, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		all = append(all, c)
	}
	return all
}

// forget takes a closed connection out of the registry.
func (s *Server) forget(c *client) {
	s.stats.bytesIn.Add(c.bytesIn.Load())
	s.stats.bytesOut.Add(c.out.sent.Load())
	s.count.Add(-1)
	s.mu.Lock()
	delete(s.mu.conns, c)
	s.checkEmptyLocked()
	s.mu.Unlock()
}

// Stats returns the counters of the front end.
func (s *Server) Stats() command.FrontStats {
	st := command.FrontStats{
		Port:        s.port,
		Connections: s.stats.accepted.Load(), Rejected: s.stats.rejected.Load(), Evicted: s.stats.evicted.Load(),
		BytesIn: s.stats.bytesIn.Load(), BytesOut: s.stats.bytesOut.Load(),
		QueryBufferClosed: s.stats.queryClosed.Load(), OutputBufferClosed: s.stats.outputClosed.Load(),
	}
	for _, c := range s.connections() {
		u := c.Usage()
		st.BytesIn += u.BytesIn
		st.BytesOut += u.BytesOut
		st.MaxInput = max(st.MaxInput, u.QueryBuffer+u.QueryFree)
		st.MaxOutput = max(st.MaxOutput, u.OutputBuffer)
	}
	return st
}
