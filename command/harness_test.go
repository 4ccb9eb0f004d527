package command

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/config"
	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/keyspace"
	"github.com/gtinside/corecache/reply"
)

// newServer returns a server with data in memory, configured by words like "--maxclients 5".
func newServer(t testing.TB, words ...string) *Server {
	t.Helper()
	return newServerOn(t, vfs.NewMem(), words...)
}

// newServerOn is newServer with the data in a file system.
func newServerOn(t testing.TB, fs vfs.FS, words ...string) *Server {
	t.Helper()
	s := newLoadingServer(t, words...)
	db, err := engine.Open("db", engine.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	ks, err := keyspace.Open(db, keyspace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Attach(db, ks)
	t.Cleanup(func() {
		s.Close()
		if err := errors.Join(ks.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newLoadingServer returns a server that has no data yet.
func newLoadingServer(t testing.TB, words ...string) *Server {
	t.Helper()
	args := strings.Fields("--enable-debug-command yes " + strings.Join(words, " "))
	cfg, err := config.Parse(append(args, "--dir", t.TempDir()), nil)
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	s := New(Options{Config: cfg, Log: log, Version: "test"})
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// testConn is a connection whose sent bytes are kept.
type testConn struct {
	addr string
	done chan struct{}
	once sync.Once
	w    *reply.Writer

	mu struct {
		sync.Mutex
		sent   []byte
		pushed []byte
		limit  int // of pushed bytes, 0 = none
	}
}

func (c *testConn) RemoteAddr() string { return c.addr }
func (c *testConn) LocalAddr() string  { return "127.0.0.1:6379" }
func (c *testConn) FD() int            { return 9 }
func (c *testConn) Charge(int64)       {}
func (c *testConn) Usage() Usage       { return Usage{QueryBuffer: 10, QueryFree: 20} }

func (c *testConn) Push(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.limit > 0 && len(c.mu.pushed)+len(b) > c.mu.limit {
		return errors.New("output limit")
	}
	c.mu.pushed = append(c.mu.pushed, b...)
	return nil
}

func (c *testConn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.sent = append(c.mu.sent, c.w.Buf...)
	c.w.Buf = c.w.Buf[:0]
	return nil
}

func (c *testConn) Send(bool) error { return c.Flush() }
func (c *testConn) Yield()          {}

func (c *testConn) Kill()                 { c.once.Do(func() { close(c.done) }) }
func (c *testConn) Done() <-chan struct{} { return c.done }

func (c *testConn) killed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *testConn) pushedText() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.mu.pushed)
}

// testClient is a session driven by a test.
type testClient struct {
	t    testing.TB
	srv  *Server
	sess *Session
	conn *testConn
	w    reply.Writer
}

func newClient(t testing.TB, s *Server) *testClient {
	c := &testClient{t: t, srv: s}
	c.conn = &testConn{addr: "127.0.0.1:50000", done: make(chan struct{}), w: &c.w}
	c.sess = s.NewSession(c.conn)
	t.Cleanup(func() { s.CloseSession(c.sess) })
	return c
}

// do executes one command, its words separated by blanks, as a unit and returns the reply.
func (c *testClient) do(line string) string { return c.unit(line) }

// unit executes lines as one unit and returns the replies.
func (c *testClient) unit(lines ...string) string {
	c.w.Reset()
	for _, line := range lines {
		c.dispatch(strings.Fields(line)...)
	}
	c.srv.EndUnit(c.sess, &c.w)
	c.conn.Flush()
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	out := string(c.conn.mu.sent)
	c.conn.mu.sent = nil
	return out
}

func (c *testClient) dispatch(args ...string) {
	words := make([][]byte, len(args))
	for i, a := range args {
		words[i] = []byte(a)
	}
	c.w.Proto = c.sess.Proto()
	c.srv.Dispatch(c.sess, words, &c.w)
}

// want executes a command and compares its reply, in which ¦ stands for CR LF.
func (c *testClient) want(line, reply string) {
	c.t.Helper()
	reply = strings.ReplaceAll(reply, "¦", "\r\n")
	if got := c.do(line); got != reply {
		c.t.Errorf("%s:\n got %q\nwant %q", line, got, reply)
	}
}

// wantAll runs pairs of commands and replies.
func (c *testClient) wantAll(pairs [][2]string) {
	c.t.Helper()
	for _, p := range pairs {
		c.want(p[0], p[1])
	}
}
