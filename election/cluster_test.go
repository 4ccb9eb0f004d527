package election

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gtinside/corecache/integration/zoo"
)

var ctx = context.Background()

func TestThreeNodesFoundOneCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.chroot += "/deep/down"
	ids := []string{"n1", "n2", "n3"}
	nodes := make([]*Cluster, len(ids))
	var starting sync.WaitGroup
	for i, id := range ids {
		o := w.options(id)
		o.Advertise, o.Peer = fmt.Sprintf("10.0.0.%d:6379", i), fmt.Sprintf("10.0.0.%d:7379", i)
		starting.Go(func() {
			within, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			c, err := Open(within, o)
			if err != nil {
				t.Errorf("%s: %v", id, err)
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			nodes[i] = c
		})
	}
	starting.Wait()
	if t.Failed() {
		return
	}
	first := nodes[0].View().State
	founder, ok := first.Member(first.ISR[0].ID)
	if !ok || len(first.ISR) != 1 || first.Epoch != 0 || first.Leader != "" {
		t.Errorf("the first state is %+v", first)
	}
	for _, c := range nodes {
		eventually(t, "all to see all", func() bool { return slices.Equal(nodeIDs(c.View()), ids) })
		v := c.View()
		if !v.State.Equal(first) || c.Identity().Cluster != first.Cluster || !c.Status().Registered {
			t.Errorf("%s sees %+v, status %+v", c.Self().ID, v, c.Status())
		}
		if n, _ := v.Node(c.Self().ID); n != c.Self() {
			t.Errorf("registered is %+v, not %+v", n, c.Self())
		}
		if c.Self().ID == founder.ID && c.Identity().Data != founder.Data {
			t.Errorf("the founder's data is %s, in the state it is %s", c.Identity().Data, founder.Data)
		}
		if _, ok := v.Leader(); ok {
			t.Error("there is a leader")
		}
	}

	// Leaving is seen at once, long before a session could time out.
	drain(nodes[1])
	err := nodes[0].Close()
	if err == nil && w.exists(w.chroot+"/nodes/n1") {
		t.Error("the entry outlived Close")
	}
	if err != nil {
		t.Log(err) // on a very busy machine; then the entry goes a little later
	}
	eventually(t, "the others to see it", func() bool { return slices.Equal(nodeIDs(nodes[1].View()), ids[1:]) })
	select {
	case <-nodes[1].Changed():
	case <-time.After(patience):
		t.Error("nothing was said of it")
	}
}

func drain(c *Cluster) {
	select {
	case <-c.Changed():
	default:
	}
}

func TestCompareAndSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.open(w.options("a")), w.open(w.options("b"))
	s, v := read(t, a)
	next := grown(s, "b")
	v1, err := a.CompareAndSet(ctx, v, next)
	if err != nil || v1 != v+1 {
		t.Fatalf("version %d, %v", v1, err)
	}
	if seen := a.View(); seen.Version != v1 || !seen.State.Equal(next) {
		t.Errorf("own change is not seen: %+v", seen)
	}
	eventually(t, "the other to see it", func() bool { return b.View().Version == v1 })
	if !b.View().State.Equal(next) {
		t.Errorf("it sees %+v", b.View().State)
	}
	if _, err := b.CompareAndSet(ctx, v, s); !errors.Is(err, ErrConflict) {
		t.Errorf("with an old version: %v", err)
	}
	if got, version := read(t, b); version != v1 || !got.Equal(next) {
		t.Errorf("a conflict has changed something: %d %+v", version, got)
	}
	for name, bad := range map[string]State{"other cluster": {Cluster: "x", ISR: s.ISR}, "nobody in sync": {Cluster: s.Cluster}} {
		if _, err := a.CompareAndSet(ctx, v1, bad); err == nil || temporary(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.CompareAndSet(ctx, -1, next); err == nil || temporary(err) {
		t.Errorf("version -1: %v", err)
	}
}

// TestNewerVersionsFieldsAreKept: a node of this version changes a state that a newer one has written.
func TestNewerVersionsFieldsAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(w.options("n1"))
	_, v := read(t, c)
	data := bytes.Replace(w.get(c.paths.state), []byte(`{"cluster"`), []byte(`{"a":{"b":[1]},"cluster"`), 1)
	data = bytes.Replace(data, []byte(`"id":"n1"`), []byte(`"id":"n1","rack":"r7"`), 1)
	must(w, "writing", func() (*zk.Stat, error) { return w.raw.Set(c.paths.state, data, v) })
	s, v := read(t, c)
	if _, err := c.Claim(ctx, v, claimed(c, s)); err != nil {
		t.Fatal(err)
	}
	if data := w.get(c.paths.state); !bytes.Contains(data, []byte(`"a":{"b":[1]}`)) || !bytes.Contains(data, []byte(`"rack":"r7"`)) || !bytes.Contains(data, []byte(`"epoch":1`)) {
		t.Errorf("the state is now %s", data)
	}
}

func TestOneOfManyClaimsWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*Cluster{w.open(w.options("a")), w.open(w.options("b")), w.open(w.options("c"))}
	for round := range 20 {
		s, v := read(t, nodes[0])
		results := make([]error, len(nodes))
		var claims sync.WaitGroup
		for i, c := range nodes {
			claims.Go(func() { _, results[i] = c.Claim(ctx, v, claimed(c, s)) })
		}
		claims.Wait()
		after, version := read(t, nodes[1])
		for i, err := range results {
			won := after.Leader == nodes[i].Self().ID && after.Incarnation == nodes[i].Self().Incarnation
			switch {
			case won && err != nil && !errors.Is(err, ErrUnknown), !won && err == nil:
				t.Errorf("round %d: %s: %v, leader is %s", round, nodes[i].Self().ID, err, after.Leader)
			case !won && !errors.Is(err, ErrConflict):
				t.Errorf("round %d: %s lost with %v", round, nodes[i].Self().ID, err)
			}
		}
		if version != v+1 || after.Epoch != s.Epoch+1 {
			t.Errorf("round %d: version %d to %d, epoch %d to %d", round, v, version, s.Epoch, after.Epoch)
		}
		if leader, ok := nodes[1].View().Leader(); !ok || leader.ID != after.Leader {
			t.Errorf("round %d: the view has leader %+v", round, leader)
		}
	}
	s, v := read(t, nodes[0])
	if _, err := nodes[0].Claim(ctx, v, claimed(nodes[1], s)); err == nil || temporary(err) {
		t.Errorf("a claim for another: %v", err)
	}
}

// TestUnknownOutcomes cuts the connection before and after a request has reached the server. Read tells what became of it, for good.
func TestUnknownOutcomes(t *testing.T) {
	t.Parallel()
	type write func(*Cluster, context.Context, int32, State) (int32, error)
	writes := map[string]write{"compare-and-set": (*Cluster).CompareAndSet, "claim": (*Cluster).Claim}
	faults := map[string]struct {
		fault    zoo.Fault
		executed bool
	}{
		"sent":  {zoo.Fault{HoldReplies: true}, true},
		"stuck": {zoo.Fault{HoldRequests: true}, false},
	}
	for wname, write := range writes {
		for fname, f := range faults {
			t.Run(wname+" "+fname, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.chroot = strings.ReplaceAll(w.chroot, " ", "-")
				p := w.proxy(w.zk.Server(0))
				c := w.open(w.options("n1", p))
				s, v := read(t, c)
				p.Set(f.fault)
				next := claimed(c, s)
				result := make(chan error, 1)
				go func() {
					_, err := write(c, ctx, v, next)
					result <- err
				}()
				if f.executed {
					eventually(t, "the request to be executed", func() bool { return bytes.Equal(w.get(c.paths.state), next.encode()) })
				} else {
					eventually(t, "the request to be under way", p.Held)
				}
				p.Break()
				if err := <-result; !errors.Is(err, ErrUnknown) {
					t.Errorf("result: %v", err)
				}
				p.Set(zoo.Fault{})
				got, version := read(t, c)
				if f.executed && (version != v+1 || !got.Equal(next)) || !f.executed && (version != v || !got.Equal(s)) {
					t.Errorf("version %d, then %d: %+v", v, version, got)
				}
			})
		}
	}
}

// TestReadWaitsForWhatHangs: the caller of a write has left, and the write is executed later. A Read in between must not say
// that it was not.
func TestReadWaitsForWhatHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proxy(w.zk.Server(1))
	c := w.open(w.options("n1", p))
	s, v := read(t, c)
	p.Set(zoo.Fault{HoldRequests: true})
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	next := grown(s, "x")
	if _, err := c.CompareAndSet(short, v, next); !errors.Is(err, ErrUnknown) {
		t.Fatalf("a caller that has left: %v", err)
	}
	type answer struct {
		s State
		v int32
	}
	answered := make(chan answer, 1)
	go func() {
		s, v := read(t, c)
		answered <- answer{s, v}
	}()
	select {
	case a := <-answered:
		t.Fatalf("an answer while the write hangs: %+v", a)
	case <-time.After(200 * time.Millisecond): // the wrong answer would have come by now
	}
	p.Set(zoo.Fault{})
	if a := <-answered; a.v != v+1 || !a.s.Equal(next) {
		t.Errorf("version %d, then %d: %+v", v, a.v, a.s)
	}
}

// TestGivenUpBeforeItBegan: what waits behind a request that hangs, and is given up, is never executed, and says so.
func TestGivenUpBeforeItBegan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proxy(w.zk.Server(2))
	c := w.open(w.options("n1", p))
	s, v := read(t, c)
	p.Set(zoo.Fault{HoldRequests: true})
	hung := make(chan error, 1)
	go func() {
		_, err := c.CompareAndSet(ctx, v, grown(s, "x"))
		hung <- err
	}()
	eventually(t, "the first to be under way", p.Held)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := c.CompareAndSet(short, v+1, grown(s, "y")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("behind it: %v", err)
	}
	p.Set(zoo.Fault{})
	if err := <-hung; err != nil {
		t.Errorf("the first: %v", err)
	}
	if got, version := read(t, c); version != v+1 || !got.Equal(grown(s, "x")) {
		t.Errorf("version %d, then %d: %+v", v, version, got)
	}
}

func TestReconnectsToAnotherServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, q := w.proxy(w.zk.Server(0)), w.proxy(w.zk.Server(1))
	c := w.open(w.options("n1", p, q))
	session, czxid := c.session.id(), w.created(c.paths.node("n1"))
	for range 3 {
		first, second := p, q
		if c.Status().Server == q.Addr() {
			first, second = q, p
		}
		first.Cut()
		eventually(t, "the other server", func() bool { s := c.Status(); return s.Link == Connected && s.Server == second.Addr() })
		read(t, c)
		first.Set(zoo.Fault{})
	}
	if c.session.id() != session || w.created(c.paths.node("n1")) != czxid || !c.Status().Registered {
		t.Errorf("the session or the entry was lost on the way: %+v", c.Status())
	}
}

// created is the number of the transaction that made a node.
func (w *world) created(path string) int64 {
	w.t.Helper()
	return must(w, "a look at "+path, func() (int64, error) {
		_, stat, err := w.raw.Get(path)
		return stat.Czxid, err
	})
}

// TestExpiry: the connection stalls for longer than the session lasts. The entry goes, and comes back with the connection, though
// the library says nothing but that it has a session.
func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proxy(w.zk.Server(0))
	o := w.options("n1", p)
	o.Timeout = time.Second
	c := w.open(o)
	other := w.open(w.options("n2"))
	session := c.session.id()
	s, v := read(t, c)
	p.Set(zoo.Stall)
	p.Break() // or the server would go on seeing a client that is merely silent
	eventually(t, "the loss of the connection", func() bool { return c.Status().Link != Connected })
	eventually(t, "the entry to go", func() bool { return slices.Equal(nodeIDs(other.View()), []string{"n2"}) })
	eventually(t, "the node to know", isLinked(c, Expired))
	if _, err := c.Claim(ctx, v, claimed(c, s)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a claim meanwhile: %v", err)
	}
	p.Set(zoo.Fault{})
	p.Break()
	eventually(t, "the entry to come back", func() bool { return slices.Equal(nodeIDs(other.View()), []string{"n1", "n2"}) })
	eventually(t, "the node to know", isRegistered(c))
	if n, _ := other.View().Node("n1"); n != c.Self() {
		t.Errorf("back as %+v", n)
	}
	if c.session.id() == session {
		t.Error("the session did not expire")
	}
	if _, err := c.Claim(ctx, v, claimed(c, s)); err != nil {
		t.Errorf("a claim afterwards: %v", err)
	}
	if !strings.Contains(w.logs.String(), "expired") {
		t.Error("the log says nothing of it")
	}
}

// TestClaimChecksTheEntry: the entry has gone, and the node does not know yet.
func TestClaimChecksTheEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proxy(w.zk.Server(0))
	o := w.options("n1", p)
	o.Poll = time.Hour
	c := w.open(o)
	s, v := read(t, c)
	p.Set(zoo.Fault{DropEvents: true})
	must(w, "removing the entries", func() ([]zk.MultiResponse, error) {
		return w.raw.Multi(&zk.DeleteRequest{Path: c.paths.node("n1"), Version: -1}, &zk.DeleteRequest{Path: c.paths.incarnation(c.self.Incarnation), Version: -1})
	})
	if _, err := c.Claim(ctx, v, claimed(c, s)); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("a claim without an entry: %v", err)
	}
	if got, version := read(t, c); version != v || !got.Equal(s) {
		t.Errorf("it has changed something: %+v", got)
	}
	// The failed claim makes the node look, and renew the registration.
	eventually(t, "a claim", func() bool {
		_, err := c.Claim(ctx, v, claimed(c, s))
		return err == nil
	})
}

// TestLostEvents: a change whose event was lost is seen by the next look, which also sets the watch again. A look by the clock is
// played by a signal, so that what is seen without one must have come by an event.
func TestLostEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proxy(w.zk.Server(0))
	o := w.options("n1", p)
	o.Poll = time.Hour
	c := w.open(o)
	s, v := read(t, c)
	eventually(t, "the watches", func() bool { return c.session.isArmed(c.paths.state) && c.session.isArmed(c.paths.nodes) })
	p.Set(zoo.Fault{DropEvents: true})
	other := w.open(w.options("n2"))
	if _, err := other.CompareAndSet(ctx, v, grown(s, "n2")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the events to be lost", func() bool { return p.DroppedEvents() >= 2 })
	p.Set(zoo.Fault{})
	if now := c.View(); now.Version != v || len(now.Nodes) != 1 {
		t.Fatalf("seen without an event: %+v", now)
	}
	signal(c.wake)
	eventually(t, "the look to see both", func() bool { return c.View().Version == v+1 && len(c.View().Nodes) == 2 })
	drain(c)
	if _, err := other.CompareAndSet(ctx, v+1, s); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event of the state", func() bool { return c.View().Version == v+2 })
	if err := other.Close(); err != nil {
		t.Log(err) // then the entry goes a little later
	}
	eventually(t, "the event of the nodes", func() bool { return len(c.View().Nodes) == 1 })
}

// TestPolls is the same with the clock.
func TestPolls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proxy(w.zk.Server(0))
	o := w.options("n1", p)
	o.Poll = 100 * time.Millisecond
	c := w.open(o)
	p.Set(zoo.Fault{DropEvents: true})
	other := w.open(w.options("n2"))
	for range 3 {
		s, v := read(t, other)
		if _, err := other.CompareAndSet(ctx, v, grown(s, fmt.Sprintf("x%d", v))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the change to be seen", func() bool { return c.View().Version == v+1 && len(c.View().Nodes) == 2 })
	}
	if p.DroppedEvents() == 0 {
		t.Error("no event was dropped")
	}
}

// TestStateIsReplaced: somebody removes the cluster under a running node, and puts another one there.
func TestStateIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options("n1")
	o.Poll = 100 * time.Millisecond
	c := w.open(o)
	before, v := read(t, c)
	must(w, "removing the state", func() (struct{}, error) { return struct{}{}, w.raw.Delete(c.paths.state, -1) })
	eventually(t, "the problem", func() bool { return errors.Is(c.Status().Problem, ErrGone) })
	if _, err := c.CompareAndSet(ctx, v, before); !errors.Is(err, ErrGone) {
		t.Errorf("compare-and-set of a state that is gone: %v", err)
	}
	if _, _, err := c.Read(ctx); !errors.Is(err, ErrGone) {
		t.Errorf("reading it: %v", err)
	}
	w.create(c.paths.state, State{Cluster: "another", ISR: []Member{{ID: "z"}}}.encode())
	eventually(t, "the problem", func() bool { return errors.Is(c.Status().Problem, ErrWrongCluster) })
	if _, err := c.CompareAndSet(ctx, 0, before); !errors.Is(err, ErrWrongCluster) {
		t.Errorf("compare-and-set of another cluster: %v", err)
	}
	if now := c.View().State; !now.Equal(before) {
		t.Errorf("the view is now %+v", now)
	}
}
