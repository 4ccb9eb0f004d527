package protocol

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// The simulator runs whole clusters in virtual time: cores with simulated
// disks, clocks, links, a simulated ZooKeeper and clients. One seed is one
// schedule; nothing else decides anything, so a seed replays exactly.
//
//	sim_world_test.go      time, events, the run of a schedule
//	sim_node_test.go       a node: what the runtime does around the core, its disk
//	sim_network_test.go    links between nodes
//	sim_zookeeper_test.go  /state, sessions, ephemeral nodes
//	sim_client_test.go     reads and writes
//	sim_fault_test.go      what goes wrong
//	sim_check_test.go      what must hold after each step

const (
	simMaxNodes = 5
	simKeys     = 3
	simEpochKey = 255 // of an epoch's first record
)

// record is a log record with its content.
type record struct {
	epoch uint32
	id    uint32 // no two records have the same
	key   uint8
}

type eventKind uint8

const (
	evTick eventKind = iota
	evStart
	evDeliver
	evIO
	evSync
	evSwapApply
	evSwapReply
	evStateRead
	evMembers
	evSessions
	evFullSync
	evStreamLost
	evDisconnected
	evWrite
	evRead
	evReadView
	evReadReply
	evFault
	evHouse // flush, release
	evLinkUp
)

// event happens at a moment of true time.
type event struct {
	kind    eventKind
	unknown bool
	node    int
	from    int
	gen     uint32 // of the node; an event of an earlier life is void
	a, b    int64
	msg     Message
	state   State
	version int32
	result  Result
	recs    []record
}

// queue is a heap of events by time, then by order of creation.
type queue struct {
	heap []queued
	pool []event
	free []int32
}

type queued struct {
	at  int64
	ord uint64
	idx int32
}

func (a queued) before(b queued) bool { return a.at < b.at || a.at == b.at && a.ord < b.ord }

func (q *queue) push(x queued) {
	q.heap = append(q.heap, x)
	i := len(q.heap) - 1
	for i > 0 {
		p := (i - 1) / 2
		if !x.before(q.heap[p]) {
			break
		}
		q.heap[i] = q.heap[p]
		i = p
	}
	q.heap[i] = x
}

func (q *queue) pop() queued {
	top := q.heap[0]
	x := q.heap[len(q.heap)-1]
	q.heap = q.heap[:len(q.heap)-1]
	n := len(q.heap)
	if n == 0 {
		return top
	}
	i := 0
	for {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && q.heap[c+1].before(q.heap[c]) {
			c++
		}
		if !q.heap[c].before(x) {
			break
		}
		q.heap[i] = q.heap[c]
		i = c
	}
	q.heap[i] = x
	return top
}

func (q *queue) alloc() int32 {
	if k := len(q.free); k > 0 {
		i := q.free[k-1]
		q.free = q.free[:k-1]
		return i
	}
	q.pool = append(q.pool, event{})
	return int32(len(q.pool) - 1)
}

func (q *queue) reset() {
	q.heap, q.free, q.pool = q.heap[:0], q.free[:0], q.pool[:0]
}

// simRule is a rule that the runtime around the core has to keep, switched off.
type simRule uint

const (
	noRecheck        simRule = 1 << iota // the lease is not checked when a reply leaves
	flushUncommitted                     // tables may hold what is not committed
	wipedTrusted                         // a wiped disk comes back under its old identity
	tornTrusted                          // so does a log that lost its tail
	versionIgnored                       // a compare-and-set does not compare
	claimUnchecked                       // a claim does not check its ephemeral node
)

// world is one schedule.
type world struct {
	seed   uint64
	rng    *rand.Rand
	pcg    *rand.PCG
	broken rule
	sim    simRule

	now   int64
	ord   uint64
	queue queue
	nodes []*simNode
	spare []*simNode
	zk    zookeeper
	net   network
	set   scenario
	check checker

	nextID  uint32
	nextLin uint64
	arena   []record
	steps   int
	healed  bool
	healAt  int64
	wrote   bool // a write that began after healing was acknowledged
	fail    error

	custom func(*scenario) // changes what was drawn
	trace  func(format string, args ...any)
}

// scenario is what a schedule draws first.
type scenario struct {
	nodes    int
	late     int // so many of them join later
	cfg      Config
	seeded   int // records that the first node has from a life without a cluster
	length   int64
	faults   [numFaults]int // weights
	total    int
	gap      int64 // mean time between faults
	drop     int   // messages lost, per mille
	dup      int
	slow     int // messages delayed a lot, per mille
	mixed    int // messages that do not wait for those before them, per mille
	unknown  int // compare-and-sets with unknown outcome, per mille
	stale    int // reads of /state that are old, per mille
	writeGap int64
	readGap  int64
	skip     map[int]bool // faults left out, to minimise a trace
}

const ms = int64(time.Millisecond)

func (w *world) chance(perMille int) bool { return perMille > 0 && int(w.rng.Uint32N(1000)) < perMille }

func (w *world) between(lo, hi int64) int64 {
	if hi <= lo {
		return lo
	}
	return lo + w.rng.Int64N(hi-lo)
}

func (w *world) draw() {
	s := &w.set
	skip := s.skip
	*s = scenario{skip: skip}
	s.nodes = 2 + w.rng.IntN(3)
	if w.chance(50) {
		s.nodes = 1
	}
	if s.nodes > 1 && w.chance(200) {
		s.late = 1
	}
	s.cfg = Config{
		Beacon: 10 * time.Millisecond, Silence: 30 * time.Millisecond, Lag: 50 * time.Millisecond,
		Lease: 45 * time.Millisecond, Grace: 50 * time.Millisecond,
	}
	s.cfg.AckSynced = w.chance(350)
	if w.chance(300) {
		s.cfg.MinReplicas = w.rng.IntN(min(s.nodes, 3))
	}
	if w.chance(100) {
		s.seeded = 1 + w.rng.IntN(5)
	}
	s.length = w.between(150, 600) * ms
	if w.chance(100) {
		s.length *= 4
	}
	s.gap = w.between(8, 80) * ms
	for i := range s.faults {
		often := 450
		if i == faultWipe {
			often = 150
		}
		if w.chance(often) {
			s.faults[i] = 1 + w.rng.IntN(4)
		}
		s.total += s.faults[i]
	}
	if w.chance(500) {
		s.drop, s.dup = w.rng.IntN(60), w.rng.IntN(60)
	}
	if w.chance(500) {
		s.slow, s.mixed = w.rng.IntN(60), w.rng.IntN(200)
	}
	if w.chance(600) {
		s.unknown = w.rng.IntN(400)
	}
	if w.chance(500) {
		s.stale = w.rng.IntN(300)
	}
	s.writeGap, s.readGap = w.between(1, 12)*ms, w.between(2, 12)*ms
}

func newWorld() *world {
	pcg := rand.NewPCG(0, 0)
	w := &world{pcg: pcg, rng: rand.New(pcg)}
	for i := range simMaxNodes {
		w.spare = append(w.spare, &simNode{w: w, id: i, name: fmt.Sprintf("n%d", i)})
	}
	return w
}

func (w *world) post(delay int64, e event) {
	i := w.queue.alloc()
	w.queue.pool[i] = e
	w.ord++
	w.queue.push(queued{w.now + max(delay, 0), w.ord, i})
}

// run runs one schedule and returns what was wrong.
func (w *world) run(seed uint64) error {
	w.begin(seed)
	for w.fail == nil && len(w.queue.heap) > 0 && !w.done() {
		w.step()
	}
	return w.fail
}

func (w *world) begin(seed uint64) {
	w.seed = seed
	w.pcg.Seed(seed, 0x9e3779b97f4a7c15)
	w.now, w.ord, w.steps, w.healed, w.wrote, w.fail = 0, 0, 0, false, false, nil
	w.nextID, w.nextLin, w.arena = 0, 0, w.arena[:0]
	w.queue.reset()
	w.draw()
	if w.custom != nil {
		w.custom(&w.set)
	}
	w.net.reset()
	w.zk.reset(w)
	w.check.reset(w)
	w.nodes = w.spare[:w.set.nodes]
	for _, n := range w.nodes {
		n.reset()
	}
	first := w.set.nodes - w.set.late
	if w.set.seeded > 0 {
		first = 1
		n := w.nodes[0]
		for range w.set.seeded {
			n.log = append(n.log, w.newRecord(0, uint8(w.rng.IntN(simKeys))))
		}
		n.synced, n.flushed = len(n.log), len(n.log)
		w.check.committed = append(w.check.committed, n.log...)
	}
	for i, n := range w.nodes {
		at := w.between(0, 5*ms)
		if i >= first {
			at = w.between(100*ms, 200*ms)
		}
		w.post(at, event{kind: evStart, node: n.id})
	}
	w.post(w.set.writeGap, event{kind: evWrite})
	w.post(w.set.readGap, event{kind: evRead})
	w.post(5*ms, event{kind: evSessions})
	w.post(w.between(40*ms, 100*ms), event{kind: evFault})
	w.post(20*ms, event{kind: evHouse})
}

func (w *world) newRecord(epoch uint64, key uint8) record {
	w.nextID++
	return record{epoch: uint32(epoch), id: w.nextID, key: key}
}

// step takes the next event.
func (w *world) step() {
	q := w.queue.pop()
	w.now = q.at
	e := w.queue.pool[q.idx]
	if n := w.target(&e); n != nil {
		if e.gen != 0 && e.gen != n.gen {
			w.queue.free = append(w.queue.free, q.idx)
			return
		}
		if n.pausedUntil > w.now {
			w.queue.push(queued{n.pausedUntil, q.ord, q.idx})
			return
		}
	}
	w.queue.pool[q.idx] = event{}
	w.queue.free = append(w.queue.free, q.idx)
	w.steps++
	w.dispatch(&e)
	w.check.step()
	if !w.healed && w.now >= w.set.length {
		w.heal()
	}
}

// target returns the node in which the event happens, nil for those outside of nodes.
func (w *world) target(e *event) *simNode {
	switch e.kind {
	case evTick, evDeliver, evIO, evSync, evSwapReply, evStateRead, evMembers, evFullSync, evStreamLost, evDisconnected, evReadView, evReadReply:
		return w.nodes[e.node]
	}
	return nil
}

func (w *world) dispatch(e *event) {
	n := w.nodes[e.node]
	switch e.kind {
	case evStart:
		n.start()
	case evTick:
		n.tick()
	case evDeliver:
		n.deliver(e)
	case evIO:
		n.ioDone()
	case evSync:
		n.fsync()
	case evSwapApply:
		w.zk.apply(e)
	case evSwapReply:
		n.run(n.core.Swapped(n.clock(), e.result, e.version))
	case evStateRead:
		n.run(n.core.StateRead(n.clock(), e.state, e.version))
	case evMembers:
		n.run(n.core.Members(n.clock(), w.zk.members()))
	case evSessions:
		w.zk.sessions()
	case evFullSync:
		n.fullSynced(e)
	case evStreamLost:
		n.streamLost(int(e.a))
	case evDisconnected:
		n.run(n.core.Disconnected(n.clock(), w.nodes[e.from].name))
	case evWrite:
		w.write()
	case evRead:
		w.read()
	case evReadView:
		n.readView(e)
	case evReadReply:
		n.readReply(e)
	case evFault:
		w.fault()
	case evHouse:
		w.housekeeping()
	case evLinkUp:
		w.net.up(e)
	}
}

func (w *world) failf(format string, args ...any) {
	if w.fail == nil {
		w.fail = fmt.Errorf("at %s: %s", time.Duration(w.now), fmt.Sprintf(format, args...))
		w.tracef("FAILED: %v", w.fail)
	}
}

func (w *world) tracef(format string, args ...any) {
	if w.trace != nil {
		w.trace(format, args...)
	}
}
