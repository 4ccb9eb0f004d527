package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gtinside/corecache/integration/zoo"
)

// nodes are the processes of a cluster.
type nodes struct {
	t     *testing.T
	zk    *zoo.Ensemble
	args  []string
	procs []*server
}

// startCluster starts a ZooKeeper ensemble and n nodes, and waits until all of them are in sync.
func startCluster(t *testing.T, n int, args ...string) *nodes {
	t.Helper()
	c := newCluster(t, args...)
	for range n {
		c.add().launch()
	}
	c.waitInSync(n)
	return c
}

// newCluster starts a ZooKeeper ensemble.
func newCluster(t *testing.T, args ...string) *nodes {
	t.Helper()
	zk, err := zoo.Start(3, zoo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := zk.Close(); err != nil {
			t.Error(err)
		}
	})
	return &nodes{t: t, zk: zk, args: args}
}

// add prepares another node, without starting it.
func (c *nodes) add() *server {
	s := newServer(c.t)
	c.join(s)
	return s
}

// join makes a server one of the cluster from its next start on.
func (c *nodes) join(s *server) {
	name := strings.ToLower(strings.ReplaceAll(c.t.Name(), "/", "-"))
	s.args = append([]string{"--zookeeper", strings.Join(c.zk.Servers(), ",") + "/" + name, "--node-id", fmt.Sprint("n", len(c.procs)+1),
		"--enable-debug-command", "yes", "--replication-port", strconv.Itoa(freePort(c.t))}, c.args...)
	c.procs = append(c.procs, s)
}

// info reads a field of INFO replication; "" when the node does not answer.
func (s *server) info(field string) string {
	c := s.client()
	defer c.Close()
	text, err := c.Info(ctx, "replication").Result()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			return v
		}
	}
	return ""
}

func (s *server) leads() bool {
	return s.info("role") == "master" && s.info("cluster_role") == "leader"
}

func (c *nodes) waitFor(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		for _, s := range c.procs {
			if s.cmd != nil && s.ended() && s.cmd.ProcessState.ExitCode() > 0 {
				c.t.Fatalf("the node on port %d has ended:\n%s", s.port, s.log.String())
			}
		}
		if time.Now().After(end) {
			c.t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// leader waits for the node that leads.
func (c *nodes) leader() (found *server) {
	c.t.Helper()
	c.waitFor("a leader", func() bool {
		for _, s := range c.procs {
			if !s.ended() && s.leads() {
				found = s
			}
		}
		return found != nil
	})
	return found
}

func (c *nodes) waitInSync(n int) {
	c.t.Helper()
	c.waitFor(fmt.Sprint(n, " nodes in sync"), func() bool {
		return len(strings.Split(c.leader().info("cluster_isr"), ",")) == n
	})
}

// same demands that all nodes have the same data.
func (c *nodes) same() {
	c.t.Helper()
	c.waitFor("all nodes to have the same", func() bool {
		digests := map[string]bool{}
		for _, s := range c.procs {
			cl := s.client()
			d, err := cl.Do(ctx, "debug", "digest").Text()
			cl.Close()
			if err != nil {
				return false
			}
			digests[d] = true
		}
		return len(digests) == 1
	})
}

// clusterLoad writes to whichever node takes it, and remembers what was acknowledged.
type clusterLoad struct {
	c     *nodes
	stop  chan struct{}
	done  sync.WaitGroup
	count atomic.Int64
	last  atomic.Int64 // when a write was acknowledged last, unix nanoseconds
	pause atomic.Int64 // the longest time without one
	bad   atomic.Int64 // errors which say that the outcome is unknown
	cut   atomic.Int64 // connections that ended instead of a reply

	mu    sync.Mutex
	acked map[string]string
}

func (c *nodes) load(writers int) *clusterLoad {
	l := &clusterLoad{c: c, stop: make(chan struct{}), acked: map[string]string{}}
	l.last.Store(time.Now().UnixNano())
	for w := range writers {
		l.done.Go(func() { l.write(w) })
	}
	return l
}

func (l *clusterLoad) write(w int) {
	var clients []*redis.Client
	for _, s := range l.c.procs {
		clients = append(clients, redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: 10 * time.Second}))
		defer clients[len(clients)-1].Close()
	}
	for i, at := 0, 0; ; i++ {
		select {
		case <-l.stop:
			return
		default:
		}
		key, value := fmt.Sprintf("w%d:%d", w, i%2000), fmt.Sprintf("%d:%0100d", i, i)
		for {
			err := clients[at].Set(ctx, key, value, 0).Err()
			if err == nil {
				now := time.Now().UnixNano()
				old := l.last.Swap(now)
				l.pause.Store(max(l.pause.Load(), now-old))
				l.mu.Lock()
				l.acked[key] = value
				l.mu.Unlock()
				l.count.Add(1)
				break
			}
			if redis.HasErrorPrefix(err, "CLUSTERDOWN") || redis.HasErrorPrefix(err, "LOADING") || redis.HasErrorPrefix(err, "TRYAGAIN") ||
				strings.Contains(err.Error(), "refused") {
				at = (at + 1) % len(clients) // it was not executed
				select {
				case <-l.stop:
					return
				case <-time.After(time.Millisecond):
				}
				continue
			}
			if _, reply := err.(redis.Error); reply {
				l.c.t.Logf("a write to n%d: %v", at+1, err)
				l.bad.Add(1)
			} else {
				l.cut.Add(1)
			}
			l.mu.Lock()
			delete(l.acked, key)
			l.mu.Unlock()
			break
		}
	}
}

func (l *clusterLoad) end() {
	close(l.stop)
	l.done.Wait()
}

// flows waits for some more writes.
func (l *clusterLoad) flows(n int64) {
	l.c.t.Helper()
	at := l.count.Load()
	l.c.waitFor("writes", func() bool { return l.count.Load() >= at+n })
}

// check demands every acknowledged write.
func (l *clusterLoad) check() {
	l.c.t.Helper()
	c := l.c.leader().client()
	defer c.Close()
	lost := 0
	for _, key := range slices.Sorted(maps.Keys(l.acked)) {
		if got, err := c.Get(ctx, key).Result(); got != l.acked[key] {
			if lost++; lost < 5 {
				l.c.t.Errorf("%s is %q (%v), %q was acknowledged", key, got, err, l.acked[key])
			}
		}
	}
	if lost > 0 || len(l.acked) == 0 {
		l.c.t.Fatalf("%d of %d acknowledged writes are lost", lost, len(l.acked))
	}
}

// TestClusterKill kills the leader with -9 under load and starts it again, some times: another node takes writes soon, nothing that was
// acknowledged is lost, and in the end all nodes have the same.
func TestClusterKill(t *testing.T) {
	c := startCluster(t, 3)
	l := c.load(4)
	var took []time.Duration
	for end, round := time.Now().Add(soak(t, 20*time.Second)), 0; round < 3 || time.Now().Before(end); round++ {
		l.flows(200)
		old := c.leader()
		start := time.Now()
		old.kill()
		killed := time.Now().UnixNano()
		c.waitFor("a write after the kill", func() bool { return l.last.Load() > killed+int64(100*time.Millisecond) })
		took = append(took, time.Duration(l.last.Load()-start.UnixNano()))
		old.launch()
		c.waitInSync(3)
	}
	l.end()
	slices.Sort(took)
	t.Logf("%d kills, %d writes, %d of unknown outcome and %d cut off; from the kill to a write: median %v, worst %v",
		len(took), l.count.Load(), l.bad.Load(), l.cut.Load(), took[len(took)/2], took[len(took)-1])
	if took[len(took)/2] > 3*time.Second {
		t.Error("too long")
	}
	c.same()
	l.check()
}

// TestClusterHandOver stops the leader with SIGTERM under load: no write fails, and the pause is short. A client that sends something just as
// its connection is closed, at the end, can not know what became of it; that is not counted.
func TestClusterHandOver(t *testing.T) {
	c := startCluster(t, 3)
	for range 3 {
		l := c.load(3)
		l.flows(200)
		old := c.leader()
		l.pause.Store(0)
		if code := old.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		l.flows(200)
		l.end()
		t.Logf("the longest pause was %v, %d writes failed, %d connections were closed", time.Duration(l.pause.Load()), l.bad.Load(), l.cut.Load())
		if l.bad.Load() > 0 {
			t.Errorf("%d writes failed", l.bad.Load())
		}
		old.launch()
		c.waitInSync(3)
		c.same()
		l.check()
	}
}

// TestClusterJoin adds an empty node to a node with data, and shows what operators see.
func TestClusterJoin(t *testing.T) {
	c := startCluster(t, 2, smallTree...)
	l := c.load(2)
	l.flows(500)
	c.add().launch()
	c.waitInSync(3)
	l.flows(200)
	l.end()
	c.same()
	l.check()
	leader := c.leader()
	cl := leader.client()
	defer cl.Close()
	if n, err := cl.Wait(ctx, 2, 10*time.Second).Result(); n != 2 || err != nil {
		t.Errorf("WAIT: %d, %v", n, err)
	}
	if err := cl.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
	if v, err := cl.Do(ctx, "waitaof", 1, 2, 10000).Int64Slice(); err != nil || len(v) != 2 || v[0] != 1 || v[1] != 2 {
		t.Errorf("WAITAOF: %v, %v", v, err)
	}
	if n := leader.info("connected_slaves"); n != "2" {
		t.Errorf("connected_slaves:%s", n)
	}
	for _, s := range c.procs {
		if s != leader && (s.info("role") != "slave" || s.info("master_link_status") != "up" || s.info("master_port") != strconv.Itoa(leader.port)) {
			t.Errorf("a follower says %s, %s, %s", s.info("role"), s.info("master_link_status"), s.info("master_port"))
		}
	}
	if err := cl.ConfigSet(ctx, "min-replicas-to-write", "3").Err(); err != nil {
		t.Fatal(err)
	}
	c.waitFor("NOREPLICAS", func() bool { return redis.HasErrorPrefix(cl.Set(ctx, "k", "w", 0).Err(), "NOREPLICAS") })
	if v, err := cl.Get(ctx, "k").Result(); v != "v" || err != nil {
		t.Errorf("a read gives %q, %v", v, err)
	}
}

// TestClusterRefusals: what does not belong together is refused, and said.
func TestClusterRefusals(t *testing.T) {
	c := startCluster(t, 1)
	alone := startServer(t)
	cl := alone.client()
	if err := cl.Set(context.Background(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	alone.stop()
	c.join(alone)
	c.procs = c.procs[:1]
	alone.launch()
	if code := alone.wait(); code == 0 || !strings.Contains(alone.log.String(), "was written without a cluster") {
		t.Errorf("code %d:\n%s", code, alone.log.String())
	}
	alone.args = nil
	alone.start()
	cl = alone.client()
	defer cl.Close()
	if v := cl.Get(ctx, "k").Val(); v != "v" {
		t.Errorf("the data has changed: %q", v)
	}
}

// TestClusterFounder makes a cluster of a server with data, which its new followers get.
func TestClusterFounder(t *testing.T) {
	c := newCluster(t, smallTree...)
	founder := startServer(t, smallTree...)
	cl := founder.client()
	defer cl.Close()
	for i := range 3000 {
		if err := cl.Set(ctx, fmt.Sprint("k", i), strings.Repeat("v", 1000), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	founder.stop()
	c.join(founder)
	founder.launch()
	c.waitInSync(1)
	c.add().launch()
	c.add().launch()
	c.waitInSync(3)
	c.same()
	if n := cl.DBSize(ctx).Val(); n != 3000 {
		t.Errorf("%d keys", n)
	}
	founder.kill()
	next := c.leader().client()
	defer next.Close()
	if n := next.DBSize(ctx).Val(); n != 3000 {
		t.Errorf("%d keys at the next leader", n)
	}
	if v := next.Get(ctx, "k2999").Val(); len(v) != 1000 {
		t.Errorf("%d bytes", len(v))
	}
}

// TestClusterPause stops the leader's process for longer than its lease: another one takes over, and when the old one goes on it
// answers no read from the past.
func TestClusterPause(t *testing.T) {
	c := startCluster(t, 3)
	old := c.leader()
	cl := old.client()
	defer cl.Close()
	if err := cl.Set(ctx, "k", "old", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := old.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	read := make(chan *redis.StringCmd, 1)
	go func() { read <- cl.Get(ctx, "k") }() // it is answered when the process goes on
	var next *server
	c.waitFor("another leader", func() bool {
		for _, s := range c.procs {
			if s != old && s.leads() {
				next = s
			}
		}
		return next != nil
	})
	n := next.client()
	defer n.Close()
	c.waitFor("a write", func() bool { return n.Set(ctx, "k", "new", 0).Err() == nil })
	if err := old.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got.Val() != "new" && !redis.HasErrorPrefix(got.Err(), "TRYAGAIN") {
		t.Errorf("a leader that was deposed answers %v", got)
	}
	c.waitInSync(3)
	c.same()
}

// TestClusterWithoutZooKeeper: writes go on while ZooKeeper is gone, and a leader is replaced when it is back.
func TestClusterWithoutZooKeeper(t *testing.T) {
	c := startCluster(t, 3)
	l := c.load(2)
	l.flows(200)
	c.zk.Kill()
	l.pause.Store(0)
	end := time.Now().Add(3 * time.Second)
	c.waitFor("three seconds of writes", func() bool { return time.Now().After(end) })
	l.flows(200)
	if p := time.Duration(l.pause.Load()); p > time.Second {
		t.Errorf("writes paused for %v", p)
	}
	old := c.leader()
	old.kill()
	if err := c.zk.Restart(); err != nil {
		t.Fatal(err)
	}
	l.flows(200)
	old.launch()
	c.waitInSync(3)
	l.end()
	c.same()
	l.check()
}
