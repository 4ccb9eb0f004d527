package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
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
	t      *testing.T
	zk     *zoo.Ensemble
	net    network // nil: all listen at 127.0.0.1
	prefix string  // what nodes are told of ZooKeeper: servers and chroot
	args   []string
	procs  []*server
	wait   time.Duration // the longest that waitFor waits, 0 = a minute
}

// startCluster starts n nodes, and waits until all of them are in sync.
func startCluster(t *testing.T, n int, args ...string) *nodes {
	t.Helper()
	return newCluster(t, args...).start(n)
}

// newCluster makes a cluster without nodes, in the ZooKeeper that all tests share.
func newCluster(t *testing.T, args ...string) *nodes {
	t.Helper()
	return newClusterIn(t, nil, sharedZooKeeper.get(t), args...)
}

var chroots atomic.Int64

func newClusterIn(t *testing.T, net network, zk *zoo.Ensemble, args ...string) *nodes {
	servers := zk.Servers()
	if net != nil {
		servers = net.zookeeper(zk)
	}
	chroot := fmt.Sprint("/", strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")), chroots.Add(1))
	return &nodes{t: t, zk: zk, net: net, prefix: strings.Join(servers, ",") + chroot, args: args}
}

// sharedZooKeeper is for all tests that leave ZooKeeper alone. It starts when the first one asks.
var sharedZooKeeper sharedEnsemble

type sharedEnsemble struct {
	sync.Mutex
	*zoo.Ensemble
}

func (s *sharedEnsemble) get(t *testing.T) *zoo.Ensemble {
	t.Helper()
	s.Lock()
	defer s.Unlock()
	if s.Ensemble == nil {
		zk, err := zoo.Start(3, zoo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.Ensemble = zk
	}
	return s.Ensemble
}

func (s *sharedEnsemble) close() {
	if s.Ensemble != nil {
		_ = s.Ensemble.Close() // what is left is in the system's folder for that
	}
}

// ownZooKeeper starts one that the test may break.
func ownZooKeeper(t *testing.T, o zoo.Options) *zoo.Ensemble {
	t.Helper()
	zk, err := zoo.Start(3, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(zk.Log())
		}
		if err := zk.Close(); err != nil {
			t.Error(err)
		}
	})
	return zk
}

// start starts n more nodes, and waits until all nodes are in sync.
func (c *nodes) start(n int) *nodes {
	c.t.Helper()
	for range n {
		c.add().launch()
	}
	c.waitInSync(len(c.procs))
	return c
}

// add prepares another node, without starting it.
func (c *nodes) add() *server {
	s := newServer(c.t)
	c.join(s)
	return s
}

// join makes a server one of the cluster from its next start on.
func (c *nodes) join(s *server) {
	s.id = fmt.Sprint("n", len(c.procs)+1)
	peer := freePort(c.t)
	s.args = append([]string{"--zookeeper", c.prefix, "--node-id", s.id, "--enable-debug-command", "yes", "--replication-port", itoa(peer)}, c.args...)
	if c.net != nil {
		s.args = append(s.args, c.net.place(s, peer)...)
	}
	c.procs = append(c.procs, s)
}

// others are all nodes but one.
func (c *nodes) others(but *server) (rest []*server) {
	for _, s := range c.procs {
		if s != but {
			rest = append(rest, s)
		}
	}
	return rest
}

// info reads a field of INFO replication; "" when the node does not answer.
func (s *server) info(field string) string { return s.infoOf("replication", field) }

func (s *server) infoOf(section, field string) string {
	c := s.impatientClient()
	defer c.Close()
	text, err := c.Info(ctx, section).Result()
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
	for end := time.Now().Add(cmp.Or(c.wait, time.Minute)); !ok(); time.Sleep(5 * time.Millisecond) {
		for _, s := range c.procs {
			if s.cmd != nil && !s.mayEnd && s.ended() && s.cmd.ProcessState.ExitCode() > 0 {
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
	pause atomic.Int64 // the longest time without an acknowledged write, nanoseconds
	last  atomic.Int64 // when one was acknowledged last, unix nanoseconds
	since atomic.Int64 // first is that of the first write which began after this moment
	first atomic.Int64
	bad   atomic.Int64 // errors which say that the outcome is unknown
	cut   atomic.Int64 // connections that ended instead of a reply

	mu    sync.Mutex
	acked map[string]string
	said  map[string]int // errors, and how often
}

// load starts writers; each begins at another node, and goes on to the next one when that refuses.
func (c *nodes) load(writers int) *clusterLoad {
	l := &clusterLoad{c: c, stop: make(chan struct{}), acked: map[string]string{}, said: map[string]int{}}
	l.last.Store(time.Now().UnixNano())
	for w := range writers {
		l.done.Go(func() { l.write(w) })
	}
	return l
}

func (l *clusterLoad) write(w int) {
	var clients []*redis.Client
	for _, s := range l.c.procs {
		c := s.impatientClient()
		defer c.Close()
		clients = append(clients, c)
	}
	at := w % len(clients)
	for i := 0; ; {
		select {
		case <-l.stop:
			return
		default:
		}
		key, value, began := fmt.Sprintf("w%d:%d", w, i%2000), fmt.Sprintf("%d:%0100d", i, i), time.Now()
		err := clients[at].Set(ctx, key, value, 0).Err()
		if err != nil && notExecuted(err) {
			l.note(err)
			at = (at + 1) % len(clients)
			select {
			case <-l.stop:
			case <-time.After(time.Millisecond): // a server that is down refuses thousands of times a second
			}
			continue
		}
		l.tell(key, value, began, err)
		i++
	}
}

// tell takes what became of a write that may have been executed.
func (l *clusterLoad) tell(key, value string, began time.Time, err error) {
	if err == nil {
		now := time.Now().UnixNano()
		old := l.last.Swap(now)
		l.pause.Store(max(l.pause.Load(), now-old))
		if since := l.since.Load(); since > 0 && began.UnixNano() > since {
			l.first.CompareAndSwap(0, now)
		}
		l.mu.Lock()
		l.acked[key] = value
		l.mu.Unlock()
		l.count.Add(1)
		return
	}
	if reply := redis.Error(nil); errors.As(err, &reply) {
		l.bad.Add(1)
	} else {
		l.cut.Add(1)
	}
	l.note(err)
	l.mu.Lock()
	delete(l.acked, key)
	l.mu.Unlock()
}

var changing = regexp.MustCompile(`[0-9.:]{2,}`)

// note counts an error.
func (l *clusterLoad) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said[changing.ReplaceAllString(err.Error(), "#")]++
}

func (l *clusterLoad) end() {
	close(l.stop)
	l.done.Wait()
}

// errors lists what was said, for people.
func (l *clusterLoad) errors() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, text := range slices.Sorted(maps.Keys(l.said)) {
		fmt.Fprintf(&b, "\n%6d  %s", l.said[text], text)
	}
	return b.String()
}

// firstAfter makes an event happen, and returns how long after its beginning the first write was acknowledged that began after its end.
func (l *clusterLoad) firstAfter(event func()) time.Duration {
	l.c.t.Helper()
	begin := time.Now()
	l.since.Store(0)
	event()
	l.first.Store(0)
	l.since.Store(time.Now().UnixNano())
	l.c.waitFor("a write after it", func() bool { return l.first.Load() > 0 })
	return time.Duration(l.first.Load() - begin.UnixNano())
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
// acknowledged is lost, and in the end all nodes have the same. With CORECACHE_SOAK it does so at least twenty times.
func TestClusterKill(t *testing.T) {
	c := startCluster(t, 3)
	l := c.load(4)
	kills := 4
	if os.Getenv("CORECACHE_SOAK") != "" {
		kills = 20
	}
	var took []time.Duration
	for end := time.Now().Add(soak(t, 0)); len(took) < kills || time.Now().Before(end); {
		l.flows(200)
		old := c.leader()
		took = append(took, l.firstAfter(old.kill))
		old.launch()
		c.waitInSync(3)
	}
	l.end()
	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	t.Logf("%d kills, %d writes, %d of unknown outcome and %d cut off; from the kill to a write: median %v, worst %v%s",
		len(took), l.count.Load(), l.bad.Load(), l.cut.Load(), median, worst, l.errors())
	if median > atMost(1500*time.Millisecond) || worst > atMost(3*time.Second) {
		t.Errorf("too long: %v", took)
	}
	c.same()
	l.check()
}

// TestClusterHandOver stops the leader with SIGTERM under load: no write is answered with an error, and the pause is short. A client of
// the node that ends may find its connection closed, once: what it sends in the instant in which the idle connection is
// closed, no server can answer. Clients do that again by themselves; these do not, to count it.
func TestClusterHandOver(t *testing.T) {
	const writers = 3
	c := startCluster(t, 3)
	var pauses []time.Duration
	for end := time.Now().Add(soak(t, 0)); len(pauses) < 3 || time.Now().Before(end); {
		l := c.load(writers)
		l.flows(200)
		old := c.leader()
		l.pause.Store(0)
		if code := old.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		l.flows(200)
		l.end()
		pauses = append(pauses, time.Duration(l.pause.Load()))
		if l.bad.Load() > 0 || l.cut.Load() > writers {
			t.Errorf("%d writes failed, %d were cut off:%s", l.bad.Load(), l.cut.Load(), l.errors())
		}
		old.launch()
		c.waitInSync(3)
		c.same()
		l.check()
	}
	t.Logf("the longest pauses were %v", pauses)
	if slices.Max(pauses) > atMost(300*time.Millisecond) {
		t.Error("too long")
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
	old.halt() // with all its threads, or it may still answer as the leader that it is
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
	old.signal(syscall.SIGCONT)
	if got := <-read; got.Val() != "new" && !redis.HasErrorPrefix(got.Err(), "TRYAGAIN") {
		t.Errorf("a leader that was deposed answers %v", got)
	}
	c.waitInSync(3)
	c.same()
}

// TestClusterWithoutZooKeeper: writes go on while ZooKeeper is gone, and a leader is replaced when it is back.
func TestClusterWithoutZooKeeper(t *testing.T) {
	c := newClusterIn(t, nil, ownZooKeeper(t, zoo.Options{})).start(3)
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
