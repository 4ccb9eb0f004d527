package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/election"
	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/protocol"
)

// registry is the state that the nodes of a test agree on, as ZooKeeper would hold it.
type registry struct {
	mu      sync.Mutex
	state   election.State
	version int32
	nodes   map[string]election.Node
	members map[*member]struct{}
	cut     map[string]bool // nodes that do not reach it
	unknown int             // so many of the next writes have an unknown outcome, every other one being made
}

// member is one node's view of it.
type member struct {
	r       *registry
	self    election.Node
	changed chan struct{}
}

func newRegistry(founder string) *registry {
	return &registry{
		state: election.State{Cluster: "c", ISR: []election.Member{{ID: founder, Data: "x"}}},
		nodes: map[string]election.Node{}, members: map[*member]struct{}{}, cut: map[string]bool{},
	}
}

func (r *registry) join(n election.Node) *member {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &member{r: r, self: n, changed: make(chan struct{}, 1)}
	r.nodes[n.ID] = n
	r.members[m] = struct{}{}
	r.tellLocked()
	return m
}

// leave is the end of a session.
func (r *registry) leave(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, m)
	if r.nodes[m.self.ID] == m.self {
		delete(r.nodes, m.self.ID)
	}
	r.tellLocked()
}

func (r *registry) setCut(id string, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut[id] = cut
	r.tellLocked()
}

func (r *registry) tellLocked() {
	for m := range r.members {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
}

func (m *member) Self() election.Node      { return m.self }
func (m *member) Changed() <-chan struct{} { return m.changed }

func (m *member) View() election.View {
	r := m.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut[m.self.ID] {
		return election.View{}
	}
	v := election.View{State: r.state, Version: r.version}
	for _, id := range slices.Sorted(maps.Keys(r.nodes)) {
		v.Nodes = append(v.Nodes, r.nodes[id])
	}
	return v
}

func (m *member) Read(context.Context) (election.State, int32, error) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	if m.r.cut[m.self.ID] {
		return election.State{}, 0, election.ErrUnavailable
	}
	return m.r.state, m.r.version, nil
}

func (m *member) CompareAndSet(_ context.Context, version int32, next election.State) (int32, error) {
	return m.write(version, next, false)
}

func (m *member) Claim(_ context.Context, version int32, next election.State) (int32, error) {
	return m.write(version, next, true)
}

func (m *member) write(version int32, next election.State, claim bool) (int32, error) {
	r := m.r
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.cut[m.self.ID]:
		return 0, election.ErrUnavailable
	case claim && r.nodes[m.self.ID] != m.self:
		return 0, election.ErrNotRegistered
	case r.unknown > 0 && r.unknown%2 == 0:
		r.unknown--
		return 0, election.ErrUnknown
	case version != r.version:
		return 0, election.ErrConflict
	}
	r.state = next.Clone()
	r.version++
	r.tellLocked()
	if r.unknown > 0 {
		r.unknown--
		return 0, election.ErrUnknown
	}
	return r.version, nil
}

// cluster is a few nodes in this process, with disks in memory and links over loopback.
type cluster struct {
	t   *testing.T
	r   *registry
	min int
	// clock, if set, is that of a node, in unix milliseconds: the stores hold keyspaces.
	clock func(id string) int64

	mu    sync.RWMutex // held by clients while they use a node
	nodes map[string]*testNode
}

// testNode is one node after the other on the same disk.
type testNode struct {
	c      *cluster
	id     string
	disk   *vfs.Fault
	member *member
	db     *engine.DB
	node   *Node
	gate   *gate // in front of its listener
	runs   int
	open   atomic.Int64 // commands that have begun
	failed chan error
	forget time.Duration
	stall  time.Duration
	pin    int64 // engine.Live.LogPinBytes
	broken bool  // its disk is: it can not be closed in order
	keys   *keyed
}

func newCluster(t *testing.T, ids ...string) *cluster {
	c := &cluster{t: t, r: newRegistry(ids[0]), nodes: map[string]*testNode{}}
	for _, id := range ids {
		c.add(id)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.kill()
		}
	})
	return c
}

func (c *cluster) add(id string) *testNode {
	n := &testNode{c: c, id: id, disk: vfs.NewFault(vfs.NewMem(), nil), gate: newGate(c.t), failed: make(chan error, 4)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id] = n
	return n
}

func (c *cluster) start(ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		c.nodes[id].start()
	}
}

const testLease = 400 * time.Millisecond

func (n *testNode) start() {
	t := n.c.t
	t.Helper()
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.runs++
	o := engine.Options{FS: n.disk, ExternalCommit: true, LogSegmentSize: 256 << 10}
	o.MemTableSize, o.Ack, o.SyncInterval, o.LogPinBytes = 256<<10, wal.AckWritten, 50*time.Millisecond, cmp.Or(n.pin, 64<<20)
	var err error
	if n.db, err = engine.Open("db", o); err != nil {
		t.Fatal(err)
	}
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	if testing.Verbose() {
		log.SetOutput(testLog{t, n.id})
		log.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: true})
	}
	n.node, err = New(Options{
		Lease: testLease, Dir: "db", FS: n.disk, Log: log, Forget: n.forget, Stall: n.stall,
		Settings: protocol.Settings{MinReplicas: n.c.min},
		Failed:   func(err error) { n.failed <- err },
		Quiet: func(ctx context.Context) {
			for n.open.Load() > 0 && ctx.Err() == nil {
				time.Sleep(100 * time.Microsecond)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	n.gate.open(nl.Addr().String())
	n.member = n.c.r.join(election.Node{ID: n.id, Advertise: "client:" + n.id, Peer: n.gate.addr, Incarnation: fmt.Sprint(n.id, "-", n.runs)})
	store := Store{DB: n.db}
	if n.c.clock != nil {
		n.keys = newKeyed(n)
		store.Reload, store.Found = n.keys.Reload, n.keys.Found
	}
	if err := n.node.Start(Membership{store, n.member, "c", []net.Listener{nl}}); err != nil {
		t.Fatal(err)
	}
}

// testLog prints the log of a node.
type testLog struct {
	t  *testing.T
	id string
}

func (l testLog) Write(p []byte) (int, error) {
	fmt.Printf("%s %s: %s", time.Now().Format("05.000"), l.id, p)
	return len(p), nil
}

// kill ends a node without a hand-over; its session with the registry stays.
func (n *testNode) kill() {
	if n.node == nil {
		return
	}
	n.gate.close()
	n.node.end(ErrClosed) // from here on it does nothing
	n.node.mu.Lock()      // nobody enters any more
	n.node.serving.held.Store(0)
	n.node.mu.Unlock()
	n.db.RefuseWaits(errDeposed)() // so that clients let go
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	err := n.node.Close()
	if n.keys != nil {
		err = errors.Join(err, n.keys.close())
	}
	if err = errors.Join(err, n.db.Close()); err != nil && !n.broken {
		n.c.t.Error(err)
	}
	n.node = nil
}

// eventually polls a condition.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			for id, n := range c.nodes {
				if n.node != nil {
					c.t.Logf("%s: %+v", id, *n.node.Status())
				}
			}
			c.t.Logf("state %+v", c.r.state)
			c.t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// leader waits for a node that leads.
func (c *cluster) leader() (found *testNode) {
	c.t.Helper()
	c.eventually("a node leads", func() bool {
		found = nil
		for _, n := range c.nodes {
			if n.node != nil && n.node.Leads() != 0 {
				found = n
			}
		}
		return found != nil
	})
	return found
}

// inSync waits until exactly these nodes are in the ISR.
func (c *cluster) inSync(ids ...string) {
	c.t.Helper()
	slices.Sort(ids)
	c.eventually(fmt.Sprint("in sync are ", ids), func() bool {
		c.r.mu.Lock()
		defer c.r.mu.Unlock()
		var isr []string
		for _, m := range c.r.state.ISR {
			isr = append(isr, m.ID)
		}
		slices.Sort(isr)
		return slices.Equal(isr, ids)
	})
}

var errNot = errors.New("not executed")

// set writes as a client's command does: the term is looked at before and after.
func (n *testNode) set(key, value string) error {
	n.open.Add(1)
	defer n.open.Add(-1)
	term := n.node.Leads()
	if term == 0 || !n.node.Writable() {
		return errNot
	}
	b := n.db.NewBatch()
	defer b.Release()
	b.Set([]byte(key), []byte(value))
	b.Add(7, 1)
	seq, err := n.db.Apply(b)
	if errors.Is(err, engine.ErrRefused) {
		return errNot
	}
	if err == nil {
		err = n.db.Wait(seq)
	}
	if err == nil && !n.node.Holds(term) {
		err = errDeposed
	}
	return err
}

// must writes until it succeeds, at whichever node leads.
func (c *cluster) must(key, value string) {
	c.t.Helper()
	c.eventually("a write succeeds", func() bool { return c.leader().set(key, value) == nil })
}

// same waits until the nodes have the same log and the same data, all committed.
func (c *cluster) same(ids ...string) {
	c.t.Helper()
	c.eventually("all have the same", func() bool {
		first := c.nodes[ids[0]].db
		for _, id := range ids {
			db := c.nodes[id].db
			if db.Last() != first.Last() || db.Committed() != first.Last() || db.Epoch() != first.Epoch() {
				return false
			}
		}
		return true
	})
	want := dump(c.t, c.nodes[ids[0]].db)
	for _, id := range ids[1:] {
		db := c.nodes[id].db
		if got := dump(c.t, db); !maps.Equal(got, want) {
			c.t.Fatalf("%s has %d keys, %s %d, and they differ", ids[0], len(want), id, len(got))
		}
		if a, b := db.Counter(7), c.nodes[ids[0]].db.Counter(7); a != b {
			c.t.Fatalf("the counter of %s is %d, that of %s %d", id, a, ids[0], b)
		}
	}
}

func dump(t *testing.T, db *engine.DB) map[string]string {
	t.Helper()
	it := db.NewIter(engine.IterOptions{})
	out := map[string]string{}
	for ok := it.First(); ok; ok = it.Next() {
		out[string(it.Key())] = string(it.Value())
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		t.Fatal(err)
	}
	return out
}

// gate passes connections on to a node, or none, or holds what they carry.
type gate struct {
	addr string
	nl   net.Listener

	mu     sync.Mutex
	to     string // "" = closed
	conns  map[net.Conn]struct{}
	frozen chan struct{} // not nil: closed when it ends
	rate   int64         // bytes per second of each connection; 0: no bound
}

func newGate(t *testing.T) *gate {
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{addr: nl.Addr().String(), nl: nl, conns: map[net.Conn]struct{}{}}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			in, err := nl.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() { g.pass(in) })
		}
	})
	t.Cleanup(func() {
		_ = nl.Close()
		g.thaw()
		g.close()
		tasks.Wait()
	})
	return g
}

func (g *gate) open(to string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.to = to
}

// close breaks all connections and lets none pass.
func (g *gate) close() {
	g.open("")
	g.drop()
}

// drop breaks all connections.
func (g *gate) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		_ = c.Close()
	}
}

// freeze holds everything that is sent to the node, without breaking anything.
func (g *gate) freeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = make(chan struct{})
}

func (g *gate) thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen != nil {
		close(g.frozen)
		g.frozen = nil
	}
}

func (g *gate) slow(rate int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rate = rate
}

func (g *gate) pass(in net.Conn) {
	defer in.Close()
	g.mu.Lock()
	to := g.to
	g.conns[in] = struct{}{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, in)
	}()
	if to == "" {
		return
	}
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	var both sync.WaitGroup
	both.Go(func() { defer in.Close(); defer out.Close(); g.copy(out, in) })
	both.Go(func() { defer in.Close(); defer out.Close(); g.copy(in, out) })
	both.Wait()
}

func (g *gate) copy(to, from net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		g.mu.Lock()
		frozen, rate := g.frozen, g.rate
		g.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		if rate > 0 {
			time.Sleep(time.Duration(int64(n) * int64(time.Second) / rate))
		}
		if _, e := to.Write(b[:n]); e != nil || err != nil {
			return
		}
	}
}
