package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/config"
	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/keyspace"
	"github.com/gtinside/corecache/reply"
	"github.com/gtinside/corecache/resp"
)

// patience bounds what tests wait for; nothing takes that long.
const patience = 20 * time.Second

// testCluster is a cluster in one process, in which a test says who leads. Its nodes share the data, as if replication took no time.
type testCluster struct {
	t   testing.TB
	db  *engine.DB
	ks  *keyspace.Keyspace
	log *logrus.Logger

	loops int // resp.Address.Loops of nodes that are started

	mu struct {
		sync.Mutex
		leader  string // "" = unknown
		addr    map[string]string
		term    uint64
		lease   bool
		changed chan struct{}
	}
}

func newCluster(t testing.TB) *testCluster {
	t.Helper()
	db, err := engine.Open("db", engine.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	ks, err := keyspace.Open(db, keyspace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &testCluster{t: t, db: db, ks: ks, log: logrus.New()}
	c.log.SetOutput(io.Discard)
	c.mu.addr = make(map[string]string)
	c.mu.changed = make(chan struct{})
	t.Cleanup(func() {
		if err := errors.Join(ks.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// lead makes a node the leader; "" = nobody.
func (c *testCluster) lead(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.leader, c.mu.lease = id, true
	c.mu.term++
	close(c.mu.changed)
	c.mu.changed = make(chan struct{})
}

// loseLease makes the leader's lease end, or begin again, without anybody being told.
func (c *testCluster) loseLease(lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.lease = !lost
}

// setAddr changes where a node is reached.
func (c *testCluster) setAddr(id, addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.addr[id] = addr
	close(c.mu.changed)
	c.mu.changed = make(chan struct{})
}

// view is what one node sees of a cluster.
type view struct {
	*testCluster
	id string
}

func (v view) Self() string { return v.id }

func (v view) Leads() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mu.leader != v.id || !v.mu.lease {
		return 0
	}
	return v.mu.term
}

func (v view) Holds(term uint64) bool { return v.Leads() == term }

func (v view) Leader() (id, addr string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mu.leader, v.mu.addr[v.mu.leader]
}

func (v view) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mu.changed
}

// node is one server.
type node struct {
	t        testing.TB
	id       string
	commands *command.Server
	proxy    *Proxy
	front    *resp.Server
	stopped  sync.Once
}

// start starts a node, configured by words like "--requirepass secret". change may be nil.
func (c *testCluster) start(id string, change func(*Options), words ...string) *node {
	c.t.Helper()
	cfg, err := config.Parse(append([]string{"--enable-debug-command", "yes", "--dir", c.t.TempDir()}, words...), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	n := &node{t: c.t, id: id}
	o := Options{Cluster: view{c, id}, Log: c.log, Secret: func() string { return n.commands.ClusterSecret() }}
	if change != nil {
		change(&o)
	}
	n.proxy = New(o)
	n.commands = command.New(command.Options{Config: cfg, Log: c.log, Version: "test", Cluster: view{c, id}, Proxy: n.proxy})
	n.commands.Start()
	n.front = resp.New(n.commands, resp.SettingsFrom(cfg), c.log)
	if err := n.front.Listen(resp.Address{Bind: []string{"127.0.0.1"}, Port: -1, Loops: c.loops}); err != nil {
		c.t.Fatal(err)
	}
	n.front.Start()
	n.commands.Attach(c.db, c.ks)
	c.setAddr(id, n.addr())
	c.t.Cleanup(n.stop)
	return n
}

func (n *node) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.front.Port())) }

// stop stops a node as if it were killed.
func (n *node) stop() {
	n.stopped.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		n.front.Shutdown(ctx)
		n.proxy.Close()
		n.commands.Close()
	})
}

// pair starts a leader and a follower.
func pair(t testing.TB) (c *testCluster, leader, follower *node) {
	c = newCluster(t)
	leader, follower = c.start("one", nil), c.start("two", nil)
	c.lead("one")
	return c, leader, follower
}

// client is a connection which fails the test instead of returning errors.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (n *node) dial() *client {
	n.t.Helper()
	return dialTo(n.t, n.addr())
}

func dialTo(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &client{Conn: nc, t: t, r: bufio.NewReaderSize(nc, 64<<10)}
}

// send sends lines of words as one pipeline.
func (c *client) send(lines ...string) {
	c.t.Helper()
	var b []byte
	for _, line := range lines {
		b = appendCommand(b, strings.Fields(line)...)
	}
	c.sendRaw(b)
}

func (c *client) sendRaw(b []byte) {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(b); err != nil {
		c.t.Fatalf("sending %.60q: %v", b, err)
	}
}

// reply reads one reply.
func (c *client) reply() string {
	c.t.Helper()
	b, err := c.tryReply()
	if err != nil {
		c.t.Fatalf("after %.100q: %v", b, err)
	}
	return b
}

func (c *client) tryReply() (string, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	var s reply.Scanner
	var all []byte
	for {
		head, err := c.r.Peek(max(c.r.Buffered(), 1))
		if err != nil {
			return string(all), err
		}
		n, done, err := s.Scan(head)
		if err == nil && n == 0 && !done { // a part of a head
			if head, err = c.r.Peek(len(head) + 1); err == nil {
				n, done, err = s.Scan(head)
			}
		}
		all = append(all, head[:n]...)
		c.r.Discard(n)
		if done || err != nil {
			return string(all), err
		}
	}
}

// do sends lines as one pipeline and returns the replies, joined, in which ¦ stands for CR LF.
func (c *client) do(lines ...string) string {
	c.t.Helper()
	c.send(lines...)
	var b strings.Builder
	for range lines {
		b.WriteString(c.reply())
	}
	return strings.ReplaceAll(b.String(), "\r\n", "¦")
}

func (c *client) want(line, want string) {
	c.t.Helper()
	if got := c.do(line); got != want {
		c.t.Errorf("%s:\n got %q\nwant %q", line, got, want)
	}
}

func (c *client) wantPrefix(line, want string) {
	c.t.Helper()
	if got := c.do(line); !strings.HasPrefix(got, want) {
		c.t.Errorf("%s:\n got %q\nwant %q...", line, got, want)
	}
}

// eventually waits for a condition that others bring about.
func eventually(t testing.TB, what string, ok func() bool) {
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
