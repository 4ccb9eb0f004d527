package replication

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

// quietTime bounds how long a leader that hands over waits for commands that have begun.
const quietTime = time.Second

// serving is what clients' goroutines ask for each of their commands. Events write it; everything is atomic.
type serving struct {
	term     atomic.Uint64 // in which commands may begin, 0 = none may
	held     atomic.Uint64 // in which replies may leave, if the lease lasts
	until    atomic.Int64  // of the lease, see clock
	writable atomic.Bool   // there are enough replicas
	leader   atomic.Pointer[place]
	changed  broadcast
}

// place is where a node is reached.
type place struct{ id, addr string }

// ended is a time before all others.
const ended = math.MinInt64

func (s *serving) valid() bool {
	until := s.until.Load()
	return until == math.MaxInt64 || clock() < until
}

// Self is the id of this node, "" before Start.
func (n *Node) Self() string {
	if id := n.self.Load(); id != nil {
		return *id
	}
	return ""
}

// Leads returns the term in which this node leads and may execute commands now, its lease being valid; 0 means that
// it may not. It does not block or allocate, like the others that follow.
func (n *Node) Leads() (term uint64) {
	if term = n.serving.term.Load(); term != 0 && !n.serving.valid() {
		return 0
	}
	return term
}

// Holds reports whether this node still leads in term, with a valid lease: what it has executed in that term may be told.
func (n *Node) Holds(term uint64) bool {
	// The lease comes first: if the term is the same afterwards it was that of the lease.
	return term != 0 && n.serving.valid() && n.serving.held.Load() == term
}

// Writable reports whether there are as many followers in sync as writes need.
func (n *Node) Writable() bool { return n.serving.writable.Load() }

// Leader returns the node that leads as far as this one knows, and where it takes clients; "" when it is unknown.
func (n *Node) Leader() (id, addr string) {
	if p := n.serving.leader.Load(); p != nil {
		return p.id, p.addr
	}
	return "", ""
}

// Changed returns a channel that is closed when what Leader says may have changed, or when this node begins or ceases to
// lead. It must be called before Leader, so that no change is missed.
func (n *Node) Changed() <-chan struct{} { return n.serving.changed.wait() }

// lead is what those who have entered know of it.
type lead struct {
	epoch    uint64 // 0: does not lead
	admitted bool   // clients' commands were let in
	closed   bool   // and are not any more
}

// serve lets commands in, after what has to be done before.
func (n *Node) serve(epoch uint64, writable bool) {
	l := &n.lead
	if !writable {
		n.serving.writable.Store(false)
	}
	first := !l.admitted
	l.admitted = true
	n.disk.do(func() {
		err := n.admit(first, writable)
		n.enter(func() { n.admitted(epoch, writable, err) })
	})
}

// admit runs on the worker.
func (n *Node) admit(first, writable bool) error {
	if first && n.store.Reload != nil {
		if err := n.store.Reload(); err != nil {
			return err
		}
	}
	if !writable {
		n.db.RefuseWrites(errNoReplicas)
		return nil
	}
	n.db.RefuseWrites(nil)
	if n.store.Found != nil {
		return n.store.Found()
	}
	return nil
}

// admitted opens the gates.
func (n *Node) admitted(epoch uint64, writable bool, err error) {
	l := &n.lead
	switch {
	case l.epoch != epoch || l.closed:
	case err != nil:
		n.o.Log.WithError(err).Error("replication: this node leads, but can not serve")
		n.fail(err)
	default:
		n.serving.writable.Store(writable)
		if n.serving.term.Load() != epoch {
			n.serving.term.Store(epoch)
			n.o.Log.WithField("epoch", epoch).Info("replication: this node leads")
		}
		n.showLeader()
		n.serving.changed.fire()
	}
}

// drain takes no more commands, and reports when those that had begun have ended.
func (n *Node) drain() {
	n.lead.closed = true
	n.serving.term.Store(0) // units that have begun go on, and may write
	n.serving.changed.fire()
	n.disk.do(func() {
		quiet, cancel := context.WithTimeout(n.life, quietTime)
		n.o.Quiet(quiet)
		cancel()
		n.db.RefuseWrites(errNotLeading)
		seq := n.db.Last()
		n.enter(func() { n.step(func(now int64) []action { return n.core.Stopped(now, seq) }) })
	})
}

// stopLeading is for a leader that was deposed.
func (n *Node) stopLeading() {
	n.serving.term.Store(0)
	n.serving.held.Store(0)
	n.serving.until.Store(ended)
	n.serving.writable.Store(false)
	n.lead = lead{}
	n.leading.Store(0)
	n.endStreams()
	n.refuseWaits(errDeposed)
	n.serving.changed.fire()
	n.o.Log.Warn("replication: this node does not lead any more")
	n.disk.do(func() {
		n.db.RefuseWrites(errNotLeading)
		seq := n.db.Last()
		n.enter(func() { n.step(func(now int64) []action { return n.core.Stopped(now, seq) }) })
	})
}

// showLeader publishes who leads. This node says so of itself only while it serves.
func (n *Node) showLeader() {
	_, _, id := n.core.Role()
	if id == n.id && n.serving.term.Load() == 0 {
		id = ""
	}
	p := place{id: id}
	if id != "" {
		p.addr = n.known[id].Advertise
	}
	if old := n.serving.leader.Load(); old == nil || *old != p {
		n.serving.leader.Store(&p)
		n.serving.changed.fire()
	}
}
