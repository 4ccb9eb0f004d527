package protocol

import (
	"math"
	"time"
)

// simNode is a node: the runtime around a core, and a disk.
type simNode struct {
	w    *world
	id   int
	name string

	// The disk.
	log     []record // whole, also what was released or came by full sync
	base    int      // the log can be shipped from here on
	synced  int
	flushed int
	lineage uint64
	tears   uint32

	// The machine.
	offset      int64
	rate        int64 // parts per million that the clock is fast
	pausedUntil int64
	removed     bool

	stalledUntil int64 // the disk does nothing

	// The process.
	up       bool
	gen      uint32
	core     *Node
	io       []ioOp
	end      int // of the log, with what is queued
	epoch    uint64
	leads    bool
	serving  bool
	open     bool // clients may append
	writable bool
	until    int64
	commit   int
	streams  [simMaxNodes]stream
	pending  []pendingWrite
}

type ioKind uint8

const (
	ioAppend ioKind = iota
	ioTruncate
	ioStop
	ioWipe
)

type ioOp struct {
	kind ioKind
	recs []record
	seq  int
	node int
}

type stream struct {
	on      bool
	epoch   uint64
	session uint64
	sent    int
}

func (n *simNode) reset() {
	w := n.w
	*n = simNode{w: w, id: n.id, name: n.name, gen: 0, log: n.log[:0], io: n.io[:0], pending: n.pending[:0]}
	n.offset, n.rate = w.between(0, 1000*ms), w.between(-40000, 40000)
	w.nextLin++
	n.lineage = w.nextLin
}

// clock is the monotonic clock of the machine.
func (n *simNode) clock() int64 { return n.offset + n.w.now + n.w.now/1000*n.rate/1000 }

func (n *simNode) identity() LogID { return LogID{n.lineage, n.tears} }

func (n *simNode) position(seq int) Position {
	if seq == 0 {
		return Position{}
	}
	return Position{uint64(n.log[seq-1].epoch), uint64(seq)}
}

// start begins a new incarnation.
func (n *simNode) start() {
	w := n.w
	if n.up {
		return
	}
	if w.set.seeded > 0 && w.zk.state.Epoch == 0 && n.id != 0 {
		w.post(10*ms, event{kind: evStart, node: n.id}) // whoever has data has to lead first
		return
	}
	n.gen++
	n.up = true
	n.pausedUntil = 0
	n.io, n.pending = n.io[:0], n.pending[:0]
	n.end, n.synced = len(n.log), len(n.log)
	n.leads, n.serving, n.open, n.until, n.epoch, n.commit = false, false, false, math.MinInt64, 0, n.flushed
	n.streams = [simMaxNodes]stream{}
	l := Log{ID: n.identity(), Base: n.position(n.base), Last: uint64(len(n.log)), Committed: uint64(n.flushed)}
	for s := n.base; s < len(n.log); s++ {
		e := uint64(n.log[s].epoch)
		if k := len(l.Epochs); k == 0 || l.Epochs[k-1].Epoch != e {
			l.Epochs = append(l.Epochs, EpochStart{e, uint64(s) + 1})
		}
	}
	cfg := w.set.cfg
	cfg.Node, cfg.Incarnation = n.name, n.name+"."+string(rune('A'+n.gen))
	core, err := newNode(n.clock(), cfg, l, w.broken)
	if err != nil {
		w.failf("%s: %v", n.name, err)
		return
	}
	n.core = core
	w.tracef("%s: starts, incarnation %s, log %v ends at %v, committed %d", n.name, cfg.Incarnation, l.ID, n.position(len(n.log)), n.flushed)
	w.post(0, event{kind: evTick, node: n.id, gen: n.gen})
	w.post(w.between(0, 20*ms), event{kind: evSync, node: n.id, gen: n.gen})
}

func (n *simNode) tick() {
	w := n.w
	n.run(n.core.Tick(n.clock()))
	w.post(w.between(4*ms, 5*ms), event{kind: evTick, node: n.id, gen: n.gen})
}

// deliver hands a message to the core, and its records to the log if the core says so.
func (n *simNode) deliver(e *event) {
	if !n.up {
		return
	}
	actions := n.core.Received(n.clock(), n.w.nodes[e.from].name, e.msg)
	if n.w.trace != nil && (e.msg.Kind != Beacon && e.msg.Kind != Ack || len(actions) > 1) {
		n.w.tracef("%s: from n%d %s", n.name, e.from, describeMessage(&e.msg))
	}
	n.runWith(actions, e.recs)
}

func (n *simNode) run(actions []Action) { n.runWith(actions, nil) }

// runWith carries out what the core wants.
func (n *simNode) runWith(actions []Action, recs []record) {
	w := n.w
	for i := range actions {
		a := &actions[i]
		if w.trace != nil && (a.Do != Send && a.Do != Acknowledge || a.Message.Kind != Beacon && a.Message.Kind != Ack) && a.Do != Lease {
			w.tracef("%s: %s %s", n.name, a.Do, describe(a))
		}
		switch a.Do {
		case Send, Acknowledge:
			w.transmit(n.id, w.index(a.Node), a.Message, nil)
		case Append:
			n.queueIO(ioOp{kind: ioAppend, recs: recs})
		case AppendEpoch:
			n.epoch, n.leads = a.Epoch, true
			n.queueIO(ioOp{kind: ioAppend, recs: w.keep(w.newRecord(a.Epoch, simEpochKey))})
		case Truncate:
			n.queueIO(ioOp{kind: ioTruncate, seq: int(a.Seq)})
		case FullSync:
			n.queueIO(ioOp{kind: ioWipe, node: w.index(a.Node)})
		case Stream:
			n.streams[w.index(a.Node)] = stream{on: true, epoch: a.Epoch, session: a.Session, sent: int(a.Seq)}
			n.ship(w.index(a.Node))
		case StopStream:
			n.streams[w.index(a.Node)].on = false
		case SetCommitted:
			n.setCommitted(int(a.Seq))
		case Serve:
			n.serving, n.open, n.writable = true, true, a.Writable
		case Lease:
			n.until = a.Until
		case Drain:
			n.open = false
			n.queueIO(ioOp{kind: ioStop})
		case StopLeading:
			n.leads, n.serving, n.open, n.until = false, false, false, math.MinInt64
			n.streams = [simMaxNodes]stream{}
			n.pending = n.pending[:0]
			n.queueIO(ioOp{kind: ioStop})
		case ReadState:
			w.zk.read(n)
		case CompareAndSet, Claim:
			w.zk.request(n, a)
		case Left:
			n.left()
			return
		}
		if w.fail != nil {
			return
		}
	}
}

// queueIO puts work for the disk at the end of the queue.
func (n *simNode) queueIO(op ioOp) {
	switch op.kind {
	case ioAppend:
		n.end += len(op.recs)
	case ioTruncate:
		n.end = op.seq
	case ioWipe:
		n.end = 0
	}
	n.io = append(n.io, op)
	if len(n.io) == 1 {
		n.w.post(n.ioDelay(), event{kind: evIO, node: n.id, gen: n.gen})
	}
}

func (n *simNode) ioDelay() int64 {
	if n.w.chance(20) && !n.w.healed {
		return n.w.between(0, 30*ms)
	}
	return n.w.between(0, ms)
}

// ioDone finishes the oldest work.
func (n *simNode) ioDone() {
	w := n.w
	if n.stalledUntil > w.now {
		w.post(min(n.stalledUntil-w.now, 5*ms), event{kind: evIO, node: n.id, gen: n.gen})
		return
	}
	op := n.io[0]
	n.io = n.io[:copy(n.io, n.io[1:])]
	if len(n.io) > 0 {
		w.post(n.ioDelay(), event{kind: evIO, node: n.id, gen: n.gen})
	}
	switch op.kind {
	case ioAppend:
		n.log = append(n.log, op.recs...)
		for j := range w.nodes {
			n.ship(j)
		}
		n.run(n.core.Appended(n.clock(), uint64(len(n.log))))
	case ioTruncate:
		w.check.truncating(n, op.seq)
		n.log = n.log[:op.seq]
		n.base = min(n.base, op.seq)
		n.synced = op.seq
		n.run(n.core.Truncated(n.clock(), uint64(op.seq)))
	case ioStop:
		n.run(n.core.Stopped(n.clock(), uint64(len(n.log))))
	case ioWipe: // what is there stays until there is something else, under another name
		w.nextLin++
		n.lineage, n.tears = w.nextLin, 0
		w.post(w.between(ms, 20*ms), event{kind: evFullSync, node: n.id, gen: n.gen, a: int64(op.node)})
	}
	w.check.logChanged(n)
}

func (n *simNode) clearDisk(keepIdentity bool) {
	if !keepIdentity {
		n.w.nextLin++
		n.lineage, n.tears = n.w.nextLin, 0
	}
	n.log, n.base, n.synced, n.flushed, n.commit = n.log[:0], 0, 0, 0, 0
}

// fullSynced ends a full sync: the committed data of the source, or nothing.
func (n *simNode) fullSynced(e *event) {
	w := n.w
	src := w.nodes[e.a]
	n.clearDisk(true)
	if src.up && w.net.down[src.id][n.id] == 0 && src.pausedUntil <= w.now && src != n && src.commit > 0 {
		n.log = append(n.log[:0], src.log[:src.commit]...)
		n.base, n.synced, n.flushed, n.commit = src.commit, src.commit, src.commit, src.commit
	}
	n.end = len(n.log)
	w.tracef("%s: full sync from %s, now %v ends at %v", n.name, src.name, n.identity(), n.position(n.base))
	n.run(n.core.FullSynced(n.clock(), n.identity(), n.position(n.base)))
	w.check.logChanged(n)
}

func (n *simNode) fsync() {
	if n.synced < len(n.log) && n.stalledUntil <= n.w.now {
		n.synced = len(n.log)
		n.run(n.core.Synced(n.clock(), uint64(n.synced)))
	}
	n.w.post(n.w.between(0, 12*ms), event{kind: evSync, node: n.id, gen: n.gen})
}

// ship sends what a stream has not sent yet.
func (n *simNode) ship(to int) {
	s := &n.streams[to]
	for s.on && s.sent < len(n.log) {
		if s.sent < n.base {
			s.on = false
			n.w.post(0, event{kind: evStreamLost, node: n.id, gen: n.gen, a: int64(to)})
			return
		}
		k := s.sent + 1
		for k < len(n.log) && k < s.sent+8 && n.log[k].epoch == n.log[s.sent].epoch {
			k++
		}
		m := Message{Kind: Records, Epoch: s.epoch, Session: s.session, Seq: uint64(s.sent), Last: n.position(k), Commit: uint64(n.commit)}
		n.w.transmit(n.id, to, m, n.w.keep(n.log[s.sent:k]...))
		s.sent = k
	}
}

func (n *simNode) streamLost(to int) {
	n.run(n.core.Released(n.clock(), uint64(n.base)))
	n.run(n.core.Disconnected(n.clock(), n.w.nodes[to].name))
}

func (n *simNode) setCommitted(seq int) {
	n.w.check.committing(n, seq)
	if n.w.fail != nil {
		return
	}
	n.commit = seq
	n.acknowledgeWrites()
}

// stop ends the process. What the disk keeps depends on how.
func (n *simNode) stop() {
	n.up = false
	n.gen++
	n.io, n.pending = n.io[:0], n.pending[:0]
	n.serving, n.open = false, false
	n.pausedUntil, n.stalledUntil = 0, 0
}

func (n *simNode) kill() {
	n.stop()
	n.w.tracef("%s: killed", n.name)
}

// losePower loses a part of what was not synced.
func (n *simNode) losePower() {
	w := n.w
	n.stop()
	cut := int(w.between(int64(max(n.synced, n.flushed)), int64(len(n.log)+1)))
	w.tracef("%s: loses power, %d of %d records left", n.name, cut, len(n.log))
	n.log = n.log[:cut]
	n.base = min(n.base, cut)
	if !w.set.cfg.AckSynced && w.sim&tornTrusted == 0 {
		n.tears++
	}
}

func (n *simNode) replaceDisk() {
	n.w.tracef("%s: gets an empty disk", n.name)
	n.clearDisk(n.w.sim&wipedTrusted != 0)
}

// left is the end of an orderly shutdown.
func (n *simNode) left() {
	n.w.tracef("%s: left", n.name)
	n.stop()
	if !n.removed {
		n.w.post(n.w.between(5*ms, 60*ms), event{kind: evStart, node: n.id})
	}
}

func (n *simNode) shutdown() {
	n.w.tracef("%s: shuts down", n.name)
	n.run(n.core.Shutdown(n.clock(), 60*time.Millisecond))
}

// index returns the number of a node.
func (w *world) index(name string) int { return int(name[1] - '0') }

// keep copies records to where nobody changes them.
func (w *world) keep(recs ...record) []record {
	if cap(w.arena)-len(w.arena) < len(recs) {
		w.arena = make([]record, 0, 1<<14)
	}
	at := len(w.arena)
	w.arena = append(w.arena, recs...)
	return w.arena[at:len(w.arena):len(w.arena)]
}
