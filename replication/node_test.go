package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gtinside/corecache/replication/protocol"
)

// TestReplicates: what is acknowledged is in the logs of all in sync.
func TestReplicates(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start("a", "b", "c")
	c.leader()
	c.inSync("a", "b", "c")
	l := c.leader()
	for i := range 200 {
		if err := l.set(fmt.Sprint("k", i), strings.Repeat("v", i*20)); err != nil {
			t.Fatal(err)
		}
		for id, n := range c.nodes {
			if n.db.LogPositions().Written < l.db.Committed() {
				t.Fatalf("%s has %d of %d", id, n.db.LogPositions().Written, l.db.Committed())
			}
		}
	}
	c.eventually("both followers have acknowledged", func() bool {
		written, _ := l.node.Acknowledged(l.db.Committed())
		return written == 2
	})
	c.same("a", "b", "c")
	for id, n := range c.nodes {
		c.eventually("all know the leader", func() bool {
			leader, addr := n.node.Leader()
			return leader == l.id && addr == "client:"+l.id
		})
		if n != l && (n.node.Leads() != 0 || !errors.Is(n.set("x", "y"), errNot)) {
			t.Errorf("%s takes writes", id)
		}
	}
}

// writers write distinct keys to whoever leads, and know which were acknowledged.
type writers struct {
	stop  chan struct{}
	done  sync.WaitGroup
	acked sync.Map
	count atomic.Int64
}

func (c *cluster) write(n int, size int) *writers {
	w := &writers{stop: make(chan struct{})}
	for i := range n {
		w.done.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-w.stop:
					return
				default:
				}
				key, value := fmt.Sprintf("w%d-%d", i, k%3000), fmt.Sprintf("%d %s", k, strings.Repeat("x", size))
				switch err := c.tryWrite(key, value); {
				case err == nil:
					w.acked.Store(key, value)
					w.count.Add(1)
				case errors.Is(err, errNot):
					time.Sleep(time.Millisecond) // nobody leads
				default:
					w.acked.Delete(key) // unknown
				}
			}
		})
	}
	return w
}

func (c *cluster) tryWrite(key, value string) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, n := range c.nodes {
		if n.node != nil && n.node.Leads() != 0 {
			return n.set(key, value)
		}
	}
	return errNot
}

func (w *writers) end() {
	close(w.stop)
	w.done.Wait()
}

// check demands every acknowledged write.
func (w *writers) check(t *testing.T, n *testNode) {
	t.Helper()
	got := dump(t, n.db)
	lost, all := 0, 0
	w.acked.Range(func(k, v any) bool {
		all++
		if got[k.(string)] != v.(string) {
			lost++
			if lost < 5 {
				t.Errorf("%s is %.20q, acknowledged was %.20q", k, got[k.(string)], v)
			}
		}
		return true
	})
	if lost > 0 || all == 0 {
		t.Fatalf("%d of %d acknowledged writes are lost", lost, all)
	}
}

// TestLeaderDies kills the leader under load, again and again: another one takes over and nothing is lost, and who was killed
// comes back and has the same.
func TestLeaderDies(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start("a", "b", "c")
	c.inSync("a", "b", "c")
	w := c.write(4, 100)
	rounds := 5
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		before := w.count.Load()
		c.eventually("writes flow", func() bool { return w.count.Load() > before+100 })
		l := c.leader()
		start := time.Now()
		l.kill()
		at := w.count.Load()
		c.eventually("writes flow again", func() bool { return w.count.Load() > at })
		t.Logf("round %d: %s died, writes again after %v", round, l.id, time.Since(start))
		l.start()
		c.inSync("a", "b", "c")
	}
	w.end()
	c.must("last", "1")
	c.same("a", "b", "c")
	w.check(t, c.nodes["a"])
	t.Logf("%d writes", w.count.Load())
}

// TestDivergence cuts a leader off while it appends: it acknowledges nothing, stops serving before another one leads, and drops
// what it had alone when it comes back.
func TestDivergence(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start("a", "b", "c")
	c.inSync("a", "b", "c")
	c.must("k", "before")
	l := c.leader()
	term := l.node.Leads()
	c.r.setCut(l.id, true)
	for _, n := range c.nodes {
		if n != l {
			n.gate.freeze()
		}
	}
	var lonely sync.WaitGroup
	for i := range 20 {
		lonely.Go(func() {
			if err := l.set(fmt.Sprint("lonely", i), "x"); err == nil {
				t.Error("a leader that was cut off has acknowledged a write")
			}
		})
	}
	c.eventually("another node leads", func() bool {
		for _, n := range c.nodes {
			if n != l && n.node.Leads() != 0 {
				if l.node.Leads() != 0 || l.node.Holds(term) {
					t.Fatal("two nodes lead")
				}
				return true
			}
		}
		return false
	})
	for _, n := range c.nodes {
		n.gate.thaw()
	}
	c.must("k", "after")
	c.r.setCut(l.id, false)
	lonely.Wait()
	c.inSync("a", "b", "c")
	c.must("k", "last")
	c.same("a", "b", "c")
	if got := dump(t, l.db); got["k"] != "last" || len(got) != 1 {
		t.Errorf("%v", got)
	}
	if l.db.Truncations() == 0 {
		t.Error("nothing was truncated")
	}
}

// TestPaused lets nobody enter the leader, as a process that is stopped does not run: it leads no more when its lease is over.
func TestPaused(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start("a", "b", "c")
	c.inSync("a", "b", "c")
	c.must("k", "v")
	l := c.leader()
	term := l.node.Leads()
	l.node.mu.Lock()
	c.eventually("another node leads", func() bool {
		for _, n := range c.nodes {
			if n != l && n.node.Leads() != 0 {
				return true
			}
		}
		return false
	})
	if l.node.Leads() != 0 || l.node.Holds(term) {
		t.Error("a paused leader goes on")
	}
	l.node.mu.Unlock()
	c.eventually("it follows", func() bool { id, _ := l.node.Leader(); return id != "" && id != l.id })
	c.must("k", "w")
	c.inSync("a", "b", "c")
	c.same("a", "b", "c")
}

// TestFullSync adds empty nodes while writes run, when the log does not reach back any more.
func TestFullSync(t *testing.T) {
	c := newCluster(t, "a", "b")
	c.start("a")
	for i := range 3000 {
		c.must(fmt.Sprint("old", i%1000), strings.Repeat("o", 500))
	}
	if err := c.nodes["a"].db.Flush(); err != nil {
		t.Fatal(err)
	}
	c.eventually("the log is released", func() bool { return c.nodes["a"].db.LogFirst() > 1 })
	w := c.write(2, 200)
	c.start("b")
	c.inSync("a", "b")
	c.add("c")
	c.start("c")
	c.inSync("a", "b", "c")
	for _, id := range []string{"b", "c"} {
		if c.nodes[id].db.LogFirst() == 1 {
			t.Errorf("%s came without a full sync", id)
		}
	}
	// A disk is replaced: the node comes back empty.
	b := c.nodes["b"]
	if c.leader() != b {
		b.kill()
		c.add("b")
		c.start("b")
		c.inSync("a", "b", "c")
	}
	w.end()
	c.must("last", "1")
	c.same("a", "b", "c")
	w.check(t, c.nodes["b"])
}

// TestHandOver shuts leaders down under load: no write fails with an unknown outcome.
func TestHandOver(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start("a", "b", "c")
	c.inSync("a", "b", "c")
	for round := range 3 {
		var failed atomic.Int64
		stop := make(chan struct{})
		var clients sync.WaitGroup
		var last, pause atomic.Int64
		last.Store(time.Now().UnixNano())
		for i := range 3 {
			clients.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
					}
					err := c.tryWrite(fmt.Sprint("h", i, k%100), "v")
					if err != nil && !errors.Is(err, errNot) {
						failed.Add(1)
						t.Logf("a write failed: %v", err)
					}
					if err == nil {
						now := time.Now().UnixNano()
						pause.Store(max(pause.Load(), now-last.Swap(now)))
					} else {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		l := c.leader()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := l.node.Shutdown(ctx, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		cancel()
		c.eventually("another node leads", func() bool { return c.leader() != l })
		c.eventually("it is known to who has left", func() bool { id, _ := l.node.Leader(); return id != "" && id != l.id })
		before := last.Load()
		c.eventually("writes flow", func() bool { return last.Load() > before })
		close(stop)
		clients.Wait()
		t.Logf("round %d: pause %v", round, time.Duration(pause.Load()))
		if failed.Load() > 0 {
			t.Errorf("%d writes failed", failed.Load())
		}
		l.kill()
		c.r.leave(l.member)
		l.start()
		c.inSync("a", "b", "c")
	}
	c.must("last", "1")
	c.same("a", "b", "c")
}

// TestUnknownOutcomes lets writes of the state have unknown outcomes while nodes come and go.
func TestUnknownOutcomes(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.r.unknown = 3
	c.start("a", "b", "c")
	c.inSync("a", "b", "c")
	w := c.write(2, 50)
	for range 3 {
		l := c.leader()
		c.r.mu.Lock()
		c.r.unknown = 4
		c.r.mu.Unlock()
		l.kill()
		at := w.count.Load()
		c.eventually("writes flow", func() bool { return w.count.Load() > at })
		l.start()
		c.inSync("a", "b", "c")
	}
	w.end()
	c.must("last", "1")
	c.same("a", "b", "c")
	w.check(t, c.nodes["c"])
}

// TestMinReplicas: writes need followers, reads do not.
func TestMinReplicas(t *testing.T) {
	c := newCluster(t, "a", "b")
	c.min = 1
	c.start("a")
	a := c.leader()
	if a.node.Writable() || !errors.Is(a.set("k", "v"), errNot) {
		t.Fatal("a write without a replica")
	}
	c.start("b")
	c.eventually("writes are taken", a.node.Writable)
	if err := a.set("k", "v"); err != nil {
		t.Fatal(err)
	}
	b := c.nodes["b"]
	b.kill()
	c.eventually("writes are refused", func() bool { return a.node.Leads() != 0 && !a.node.Writable() })
	if err := a.node.SetSettings(protocol.Settings{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("writes are taken", a.node.Writable)
	if err := a.set("k", "w"); err != nil {
		t.Fatal(err)
	}
}

// TestAllDie: after the death of all at once, and of the process only, nothing is lost and no full sync is needed.
func TestAllDie(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start("a", "b", "c")
	c.inSync("a", "b", "c")
	w := c.write(3, 100)
	c.eventually("writes flow", func() bool { return w.count.Load() > 300 })
	for _, n := range c.nodes {
		n.kill()
	}
	w.end()
	c.start("c", "b", "a")
	c.inSync("a", "b", "c")
	c.must("last", "1")
	c.same("a", "b", "c")
	w.check(t, c.nodes["b"])
	for id, n := range c.nodes {
		if n.db.LogFirst() != 1 {
			t.Errorf("the log of %s begins with %d", id, n.db.LogFirst())
		}
	}
}

// TestLargeRecord ships a record that takes longer than a lease, and than a follower may lag.
func TestLargeRecord(t *testing.T) {
	c := newCluster(t, "a", "b")
	c.start("a")
	a := c.leader()
	c.start("b")
	c.inSync("a", "b")
	c.nodes["b"].gate.slow(2 << 20)
	c.must("large", strings.Repeat("x", 3<<20))
	at := a.db.Last()
	c.eventually("it has come", func() bool { return c.nodes["b"].db.Last() >= at })
	c.inSync("a", "b")
	c.nodes["b"].gate.slow(0)
	c.must("last", "1")
	c.same("a", "b")
}

// TestForgotten: for a node that has gone for good nothing is kept, and nobody is asked.
func TestForgotten(t *testing.T) {
	c := newCluster(t, "a", "b")
	c.nodes["a"].forget = testLease
	c.start("a")
	a := c.leader()
	c.start("b")
	c.inSync("a", "b")
	kept := func() (n int) {
		a.node.enter(func() { n = len(a.node.pins) + len(a.node.peers) })
		return n
	}
	if n := kept(); n != 2 {
		t.Fatalf("%d things are kept for the follower", n)
	}
	b := c.nodes["b"]
	b.kill()
	c.inSync("a")
	c.must("k", "v")
	if n := kept(); n != 2 {
		t.Fatalf("%d things are kept for a node that is registered", n)
	}
	c.r.leave(b.member)
	c.eventually("it is forgotten", func() bool { return kept() == 0 })
	b.start()
	c.inSync("a", "b")
	c.same("a", "b")
}

// TestLag: a follower that does not get the log is behind by what it has not got.
func TestLag(t *testing.T) {
	c := newCluster(t, "a", "b")
	c.start("a")
	a := c.leader()
	c.start("b")
	c.inSync("a", "b")
	c.must("k", "v")
	behind := func() int64 { return a.node.Status().Followers[0].Behind }
	c.eventually("it is not behind", func() bool { return behind() == 0 })
	c.r.setCut("b", true) // it could claim
	c.nodes["b"].gate.freeze()
	c.inSync("a")
	for i := range 100 {
		c.must(fmt.Sprint("k", i), strings.Repeat("x", 10_000))
	}
	c.eventually("it is behind", func() bool { return behind() > 900_000 && behind() < 1_200_000 })
	c.r.setCut("b", false)
	c.nodes["b"].gate.thaw()
	c.inSync("a", "b")
	c.eventually("it is not behind", func() bool { return behind() == 0 })
}

// TestServingDoesNotAllocate: what clients' goroutines call for each command.
func TestServingDoesNotAllocate(t *testing.T) {
	c := newCluster(t, "a")
	c.start("a")
	n := c.leader().node
	term := n.Leads()
	if got := testing.AllocsPerRun(100, func() {
		n.Self()
		n.Leader()
		if n.Leads() != term || !n.Holds(term) {
			t.Error("it does not lead")
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
