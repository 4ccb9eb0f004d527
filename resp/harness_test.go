package resp

import (
	"bufio"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/config"
	"github.com/gtinside/corecache/reply"
)

// testLoops is Address.Loops of the servers under test. One event loop is where clients meet most.
var testLoops = 1

// testWatching is how often their watchdog looks.
var testWatching = watchEvery

// withoutWatchdog keeps the watchdogs of a test's servers from doing anything.
func withoutWatchdog(t *testing.T) {
	testWatching = time.Hour
	t.Cleanup(func() { testWatching = watchEvery })
}

// patience bounds what tests wait for; nothing takes that long.
const patience = 20 * time.Second

// testCommands executes a few commands of its own and leaves the others to the real server, which
// has no data.
type testCommands struct {
	*command.Server
	units   atomic.Int64                    // EndUnit calls
	running chan *command.Session           // told of sessions in SLOW, BLOCK and WRITE
	release chan struct{}                   // lets SLOW and BLOCK go on
	commits chan struct{}                   // with slow, a token lets one unit with a WRITE end
	slow    atomic.Bool                     // commits take long
	panics  atomic.Pointer[command.Session] // whose next EndUnit panics
	later   chan func()                     // not nil: gets what lets units with a WRITE end, instead of commits
}

func (f *testCommands) Await(sessions []*command.Session, done func()) bool {
	if f.later == nil {
		return false
	}
	f.later <- func() {
		for _, sess := range sessions {
			sess.LastWrite = 0
		}
		done()
	}
	return true
}

func (f *testCommands) EndUnit(sess *command.Session, w *reply.Writer) error {
	f.units.Add(1)
	if f.panics.CompareAndSwap(sess, nil) {
		panic("on purpose")
	}
	if sess.Dirty() && f.slow.Load() {
		f.awaitCommit(sess)
		sess.LastWrite = 0
	}
	return f.Server.EndUnit(sess, w)
}

// awaitCommit is for a client that is with its own goroutine, or an answerer's.
func (f *testCommands) awaitCommit(sess *command.Session) {
	if f.later == nil {
		f.running <- sess
		<-f.commits
		return
	}
	done := make(chan struct{})
	f.later <- func() { close(done) }
	<-done
}

func (f *testCommands) EndsAtOnce(sess *command.Session) bool {
	return !sess.Dirty() || !f.slow.Load()
}

func (f *testCommands) Dispatch(sess *command.Session, args [][]byte, w *reply.Writer) {
	switch string(args[0]) {
	case "PING": // the real one says LOADING
		w.Simple("PONG")
	case "WORDS": // the arguments
		w.Array(len(args) - 1)
		for _, a := range args[1:] {
			w.Bulk(a)
		}
	case "BIG": // so many bytes
		n, _ := strconv.Atoi(string(args[1]))
		w.BulkString(strings.Repeat("x", n))
	case "LEN": // the length of the argument
		w.Int(int64(len(args[1])))
	case "SLOW": // takes long
		f.running <- sess
		<-f.release
		w.Simple("DONE")
	case "BLOCK": // waits, as BLPOP does
		sess.Conn.Flush()
		w.Reset()
		f.running <- sess
		select {
		case <-f.release:
			w.Simple("AWAKE")
		case <-sess.Conn.Done():
			w.Simple("GONE")
			f.running <- nil
		}
	case "NAP": // waits for a moment
		sess.Conn.Flush()
		w.Reset()
		select {
		case <-time.After(time.Millisecond):
		case <-sess.Conn.Done():
		}
		w.Simple("AWAKE")
	case "HANG": // waits for the end of its client
		sess.Conn.Flush()
		w.Reset()
		<-sess.Conn.Done()
	case "WRITE": // has to be committed
		sess.LastWrite++
		w.OK()
	case "SPIN": // takes 3 ms of processor time
		for start := time.Now(); time.Since(start) < 3*time.Millisecond; {
		}
		w.Simple("SPUN")
	case "WATCH-ME": // tells the test of the session
		f.running <- sess
		w.OK()
	case "PANIC-AT-END":
		f.panics.Store(sess)
	case "PANIC":
		panic("on purpose")
	default:
		f.Server.Dispatch(sess, args, w)
	}
}

type testServer struct {
	*Server
	t    *testing.T
	fake *testCommands
}

// startServer serves on a port of its own until the test ends. change may be nil.
func startServer(t *testing.T, change func(*Settings, *Address), args ...string) *testServer {
	t.Helper()
	return startImpatient(t, 10*patience, change, args...) // the test gives up first
}

// startImpatient is startServer with another time after which a client that takes nothing is closed.
func startImpatient(t *testing.T, stall time.Duration, change func(*Settings, *Address), args ...string) *testServer {
	t.Helper()
	cfg, err := config.Parse(args, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	commands := command.New(command.Options{Config: cfg, Log: log})
	f := &testCommands{Server: commands, running: make(chan *command.Session, 100), release: make(chan struct{}), commits: make(chan struct{})}
	set, addr := SettingsFrom(cfg), Address{Bind: []string{"127.0.0.1"}, Port: -1, Loops: testLoops}
	if change != nil {
		change(&set, &addr)
	}
	s := New(f, set, log)
	s.stall, s.linger, s.handshake, s.watching = stall, stall, stall, testWatching
	if err := s.Listen(addr); err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(ctx)
		commands.Close()
	})
	return &testServer{Server: s, t: t, fake: f}
}

// testClient is a connection which fails the test instead of returning errors.
type testClient struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (s *testServer) dial() *testClient {
	s.t.Helper()
	return dialTest(s.t, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port())))
}

func dialTest(t *testing.T, network, addr string) *testClient {
	t.Helper()
	nc, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	return wrapClient(t, nc)
}

func wrapClient(t *testing.T, nc net.Conn) *testClient {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience)) // for what uses it directly
	return &testClient{Conn: nc, t: t, r: bufio.NewReader(patient{nc})}
}

// patient is a connection that fails when nothing passes for as long as patience, however long all of it takes.
type patient struct{ net.Conn }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// Write writes in steps, so that a large one is no single wait.
func (p patient) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		if err = p.SetWriteDeadline(time.Now().Add(patience)); err == nil {
			var taken int
			taken, err = p.Conn.Write(b[n:min(len(b), n+flushAt)])
			n += taken
		}
	}
	return n, err
}

func (c *testClient) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(patient{c.Conn}, s); err != nil {
		c.t.Fatalf("sending %.60q: %v", s, err)
	}
}

// expect reads exactly what is wanted.
func (c *testClient) expect(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.r, got)
	if string(got[:n]) != want {
		c.t.Fatalf("got %.300q, want %.300q (%v)", got[:n], want, err)
	}
}

// expectEnd reads the end of the connection, which may be a reset when the server had more to read.
func (c *testClient) expectEnd() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if len(rest) > 0 {
		c.t.Fatalf("got %.300q, want the end", rest)
	}
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the connection was not closed")
	}
}

// eventually waits for a condition that others bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not reached: %s", what)
		}
	}
}

func array(args ...string) string {
	b := appendHeader(nil, '*', len(args))
	for _, a := range args {
		b = appendHeader(b, '$', len(a))
		b = append(b, a...)
		b = append(b, '\r', '\n')
	}
	return string(b)
}
