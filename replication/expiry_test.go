package replication

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/keyspace"
)

// keyed is the keyspace of a node, by the clock of that node.
type keyed struct {
	*keyspace.Keyspace
	n    *testNode
	now  func() int64
	quit chan struct{}
	done sync.WaitGroup
}

func newKeyed(n *testNode) *keyed {
	k := &keyed{n: n, now: func() int64 { return n.c.clock(n.id) }, quit: make(chan struct{})}
	var err error
	k.Keyspace, err = keyspace.Open(n.db, keyspace.Options{
		Databases: 1, Now: k.now, ExpireEvery: 2 * time.Millisecond, Follows: true,
		Failed: func(err error) {
			if !errors.Is(err, engine.ErrRefused) && !errors.Is(err, engine.ErrClosed) {
				n.c.t.Error(err)
			}
		},
	})
	if err != nil {
		n.c.t.Fatal(err)
	}
	k.SetReadOnly(true)
	node := n.node
	k.done.Go(func() { // as a server does it
		for {
			changed := node.Changed()
			leader, _ := node.Leader()
			k.SetReadOnly(leader != n.id)
			select {
			case <-changed:
			case <-k.quit:
				return
			}
		}
	})
	return k
}

func (k *keyed) close() error {
	close(k.quit)
	k.done.Wait()
	return k.Close()
}

// do runs f as a client's command does, and returns without an error if its result may be told.
func (k *keyed) do(begin func() *keyspace.Txn, f func(t *keyspace.Txn) error) error {
	n := k.n
	n.open.Add(1)
	defer n.open.Add(-1)
	term := n.node.Leads()
	if term == 0 || !n.node.Writable() {
		return errNot
	}
	t := begin()
	if err := f(t); err != nil {
		t.Discard()
		return err
	}
	seq, err := t.Commit()
	if err == nil {
		err = n.db.Wait(seq)
	}
	if err == nil && !n.node.Holds(term) {
		err = errDeposed
	}
	return err
}

// put gives a key a deadline, by the clock of the node; 0: none.
func (k *keyed) put(key string, ttl int64) error {
	now := k.now()
	o := keyspace.SetOptions{}
	if ttl > 0 {
		o.Deadline = now + ttl
	}
	return k.do(func() *keyspace.Txn { return k.Begin(0, now, []byte(key)) }, func(t *keyspace.Txn) error {
		_, err := t.Set([]byte(key), fmt.Appendf(nil, "%s of %s at %d", key, k.n.id, now), o)
		return err
	})
}

// there reports whether a key is there.
func (k *keyed) there(key string) (found bool, err error) {
	err = k.do(func() *keyspace.Txn { return k.View(0, k.now(), false) }, func(t *keyspace.Txn) error {
		found, err = t.Exists([]byte(key))
		return err
	})
	return found, err
}

// clocks are those of nodes, which the test sets: one time for all, and how far each is off.
type clocks struct {
	time   atomic.Int64
	offset map[string]int64
}

func newClocks(offset map[string]int64) *clocks {
	c := &clocks{offset: offset}
	c.time.Store(1_700_000_000_000)
	return c
}

func (c *clocks) of(id string) int64 { return c.time.Load() + c.offset[id] }

// TestClocksDiffer lets nodes lead, one after the other, whose clocks are minutes apart, over keys that expire. What a client was told
// to have expired must not be seen again; all nodes must hold the same after all compactions, and count it rightly.
func TestClocksDiffer(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	ids := []string{"a", "b", "c"}
	c := newCluster(t, ids...)
	clocks := newClocks(map[string]int64{"a": 0, "b": -120_000, "c": 90_000})
	c.clock = clocks.of
	c.start(ids...)
	dead := map[string]bool{} // keys that a client was told of
	key := func() string { return fmt.Sprint("k", rnd.IntN(200)) }
	leaders := map[string]bool{}
	for round := 0; round < 4 || len(leaders) < 3 && round < 12; round++ {
		l := c.leader()
		leaders[l.id] = true
		c.inSync(ids...)
		for range 5 {
			for range 60 {
				k := key()
				if err := l.keys.put(k, int64(rnd.IntN(40_000))); err != nil {
					t.Fatal(err)
				}
				delete(dead, k)
			}
			if err := c.nodes[ids[rnd.IntN(3)]].db.Compact(nil, nil); err != nil { // by what a leader before has said
				t.Fatal(err)
			}
			clocks.time.Add(int64(rnd.IntN(12_000)))
			for range 30 {
				k := key()
				found, err := l.keys.there(k)
				switch {
				case err != nil:
					t.Fatal(err)
				case found && dead[k]:
					t.Fatalf("round %d: %s is seen again by %s, at %d", round, k, l.id, l.keys.now())
				case !found:
					dead[k] = true
				}
			}
		}
		c.expired(l, clocks)
		for _, id := range ids {
			if err := c.nodes[id].db.Compact(nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		c.rest(l, ids)
		l.kill()
		l.start()
	}
	if len(leaders) < 2 {
		t.Errorf("only %v have led", leaders)
	}
	l := c.leader()
	c.inSync(ids...)
	for _, k := range slices.Sorted(maps.Keys(dead)) {
		if found, err := l.keys.there(k); found || err != nil {
			t.Errorf("in the end %s has %s: %v", l.id, k, err)
		}
	}
	c.rest(l, ids)
}

// expired lets so much time pass that the leader says what has expired, and waits until all nodes know it.
func (c *cluster) expired(l *testNode, clocks *clocks) {
	c.t.Helper()
	before := l.db.Last()
	if err := l.keys.put("late", 1); err != nil {
		c.t.Fatal(err)
	}
	clocks.time.Add(30_000)
	c.eventually("all know what has expired", func() bool {
		for _, n := range c.nodes {
			if n.db.ExpiryHorizon().Seq <= before {
				return false
			}
		}
		return true
	})
}

// rest waits until nothing is written any more, and compares the nodes.
func (c *cluster) rest(l *testNode, ids []string) {
	c.t.Helper()
	c.same(ids...)
	want, _ := l.keys.Size(0)
	for _, id := range ids {
		if err := c.nodes[id].keys.Check(); err != nil {
			c.t.Errorf("%s, while %s leads: %v", id, l.id, err)
		}
		if got, _ := c.nodes[id].keys.Size(0); got != want {
			c.t.Errorf("%s counts %d keys, %s %d", id, got, l.id, want)
		}
	}
}

// TestExpiryIsInTheLogBeforeItIsTold: a leader whose followers do not hear it any more tells nobody that a key has expired, which the next leader,
// whose clock is behind, still shows.
func TestExpiryIsInTheLogBeforeItIsTold(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	clocks := newClocks(map[string]int64{"b": -120_000, "c": -120_000})
	c.clock = clocks.of
	c.start("a")
	a := c.leader()
	c.start("b", "c")
	c.inSync("a", "b", "c")
	a.keys.SetActiveExpire(false)
	if err := a.keys.put("k", 1000); err != nil {
		t.Fatal(err)
	}
	c.r.setCut("a", true) // so that it can not go on without them
	c.nodes["b"].gate.freeze()
	c.nodes["c"].gate.freeze()
	clocks.time.Add(1001)
	if found, err := a.keys.there("k"); err == nil { // the lease holds when it begins, so it waits
		t.Errorf("told that the key is there: %v", found)
	}
	c.eventually("another node leads", func() bool { return c.nodes["b"].node.Leads()+c.nodes["c"].node.Leads() > 0 })
	c.nodes["b"].gate.thaw()
	c.nodes["c"].gate.thaw()
	if found, err := c.leader().keys.there("k"); !found || err != nil {
		t.Errorf("the next leader, whose clock is behind, has the key: %v, %v", found, err)
	}
}
