package command

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/config"
	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/keyspace"
)

// RedisVersion is the version of Redis whose behaviour the commands have.
const RedisVersion = "7.2.0"

// Options are what a Server is built from. Config is required.
type Options struct {
	Config  *config.Config
	Log     *logrus.Logger // nil: logrus' standard logger
	Version string         // CoreCache's own version, for INFO and LOLWUT
	Hooks   Hooks
	Cluster Cluster // who leads; nil: this node is on its own
	// Replication goes with Cluster; nil: it says nothing of other nodes.
	Replication Replication
	Proxy       Proxy // with Cluster: how commands get to the node that leads
}

// Hooks are what commands ask of the process around them. Each may be nil.
type Hooks struct {
	// Shutdown begins an orderly stop of the process and returns at once.
	Shutdown func()
	// Front reports what the front end has counted since it started.
	Front func() FrontStats
}

// FrontStats are the counters of the front end shown by INFO.
type FrontStats struct {
	Port                int   // the port listened on, 0 = none
	Connections         int64 // accepted since the start
	Rejected            int64 // refused because of maxclients
	Evicted             int64 // closed because all buffers together exceeded maxmemory-clients
	BytesIn, BytesOut   int64
	QueryBufferClosed   int64 // closed because of a request beyond the limits
	OutputBufferClosed  int64 // closed because of an output limit
	MaxInput, MaxOutput int   // largest buffers of a connected client now
}

// Server is what all handlers share. Its methods are safe for concurrent use; a
// Session belongs to the goroutine that dispatches its commands.
type Server struct {
	Config   *config.Config
	DB       *engine.DB         // nil until Attach
	Keyspace *keyspace.Keyspace // nil until Attach
	Log      *logrus.Logger

	hooks   Hooks
	cluster Cluster // nil: this node is on its own
	proxy   Proxy
	version string
	start   time.Time
	runID   string
	table   *table
	set     settings
	clients *clients

	replication Replication // nil: the same

	// Self-synchronised.
	gates        atomic.Uint32 // gateLoading | ...: zero on the normal path
	tick         atomic.Uint32 // moved on by the cron; see lap
	replID       atomic.Pointer[string]
	refused      atomic.Pointer[error] // why writes are refused, set with gateWritesRefused
	stats        stats
	slowlog      slowlog
	latency      latencyMonitor
	monitors     monitors
	pause        pause
	largeReplies chan struct{} // holds a token while a session has the turn
	saves        saves
	panics       rateLimit // of their lines in the log
	logged       rateLimit // of other lines that clients can cause

	mu struct {
		sync.Mutex
		closed bool
	}
	quit chan struct{}
	cron sync.WaitGroup
}

// settings are the parameters read on hot paths.
type settings struct {
	slowerThan       *config.Setting // slowlog-log-slower-than, microseconds
	latencyThreshold *config.Setting // latency-monitor-threshold, milliseconds
	latencyTracking  *config.Setting
	requirePass      *config.Setting
	masterAuth       *config.Setting
	databases        *config.Setting
	maxQuery         *config.Setting // client-query-buffer-limit, bytes
}

// New returns a server that answers -LOADING to whatever needs data until Attach is called.
func New(o Options) *Server {
	s := &Server{
		Config: o.Config, Log: o.Log, hooks: o.Hooks, cluster: o.Cluster, proxy: o.Proxy, replication: o.Replication, version: o.Version,
		start: time.Now(), runID: randomHex(20),
		table: newTable(families(o.Cluster != nil)), clients: newClients(),
		quit: make(chan struct{}), largeReplies: make(chan struct{}, 1),
	}
	if s.Log == nil {
		s.Log = logrus.StandardLogger()
	}
	if s.cluster != nil {
		s.table.addHidden(proxyCommand)
	}
	s.set = settings{
		slowerThan:       o.Config.Setting("slowlog-log-slower-than"),
		latencyThreshold: o.Config.Setting("latency-monitor-threshold"),
		latencyTracking:  o.Config.Setting("latency-tracking"),
		requirePass:      o.Config.Setting("requirepass"),
		masterAuth:       o.Config.Setting("masterauth"),
		databases:        o.Config.Setting("databases"),
		maxQuery:         o.Config.Setting("client-query-buffer-limit"),
	}
	id := randomHex(20)
	s.replID.Store(&id)
	s.gates.Store(gateLoading)
	s.slowlog.init(o.Config)
	s.saves.init(s.start)
	return s
}

// Attach gives the server its data and ends -LOADING. The caller keeps owning both
// and closes them after Close.
func (s *Server) Attach(db *engine.DB, ks *keyspace.Keyspace) {
	s.pause.mu.Lock()
	defer s.pause.mu.Unlock()
	s.DB, s.Keyspace = db, ks
	s.gates.And(^uint32(gateLoading))
	s.pause.keepLocked(s)
}

// Loading reports whether Attach has not been called yet.
func (s *Server) Loading() bool { return s.gates.Load()&gateLoading != 0 }

// Start runs the cron goroutine, and in a cluster one that follows it. Close ends them.
func (s *Server) Start() {
	s.cron.Add(1)
	go s.runCron()
	if s.cluster != nil {
		s.cron.Add(1)
		go s.followCluster()
	}
}

// Close ends what Start began, releases paused clients and waits for a running
// BGSAVE. It may be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	first := !s.mu.closed
	s.mu.closed = true
	s.mu.Unlock()
	if first {
		close(s.quit)
		s.pause.end(s)
	}
	s.cron.Wait()
	s.saves.wait()
}

// RunID identifies this run of the process: 40 hexadecimal digits.
func (s *Server) RunID() string { return s.runID }

// nanos reads the monotonic clock: nanoseconds since the server was built.
func (s *Server) nanos() int64 { return int64(time.Since(s.start)) }

const (
	tickBusy = 5 * time.Millisecond
	tickIdle = 100 * time.Millisecond
)

// runCron moves the tick on, often while commands run and seldom when nothing
// happens, and samples the rates shown by INFO.
func (s *Server) runCron() {
	defer s.cron.Done()
	t := time.NewTimer(tickBusy)
	defer t.Stop()
	var lastSample time.Duration
	quiet := 0
	last := s.stats.units.Load()
	for {
		select {
		case <-s.quit:
			return
		case <-t.C:
		}
		s.tick.Add(1)
		now := time.Since(s.start)
		if now-lastSample >= tickIdle {
			s.stats.sample(s, now-lastSample)
			lastSample = now
		}
		quiet++
		if n := s.stats.units.Load(); n != last {
			last, quiet = n, 0
		}
		if quiet > 20 {
			t.Reset(tickIdle)
		} else {
			t.Reset(tickBusy)
		}
	}
}

// now reads the wall clock (and the monotonic one).
func (s *Server) now() time.Time { return time.Now() }

// randomHex returns 2n random hexadecimal digits.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// NewSession registers a client. The front end owns the session and ends it with CloseSession.
func (s *Server) NewSession(conn Conn) *Session {
	sess := &Session{Conn: conn, Created: time.Now(), server: s}
	sess.call.Server, sess.call.Session = s, sess
	sess.proto.Store(2)
	sess.queued.Store(-1)
	sess.authenticated.Store(s.set.requirePass.String() == "")
	sess.lastActive.Store(s.nanos())
	s.clients.add(sess)
	return sess
}

// CloseSession forgets a client. No Dispatch of the session may be under way.
func (s *Server) CloseSession(sess *Session) {
	s.finishUnit(sess)
	sess.led.Store(false)
	s.endLargeReply(sess)
	if sess.up != nil {
		sess.up.Close()
	}
	s.clients.remove(sess)
	s.monitors.remove(sess)
	s.unwatch(sess)
	sess.resetMulti()
}
