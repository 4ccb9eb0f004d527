package replication

import (
	"context"
	"errors"
	"sync"

	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/protocol"
	"github.com/gtinside/corecache/replication/stream"
)

// tail is where records of the leader come into the log of a follower. A record is appended only while the core
// has agreed to the session of its stream; and before the core sees anything else it is told of what was appended. The loop therefore
// holds mu whenever it calls the core.
type tail struct {
	news chan struct{} // spans is not empty

	mu        sync.Mutex
	session   uint64 // under which records are appended; 0: none are
	epoch     uint64 // of the session
	leader    string
	committed uint64 // by the leader, as it says
	spans     []span // appended and not known to the core, in order
	moved     chan struct{}
	accepted  bool // the core wants what it was told of
}

// span is a row of records of one epoch.
type span struct {
	before uint64 // sequence number
	last   protocol.Position
}

var errSession = errors.New("the stream is not, or not any more, the one that was agreed on")

// apply appends a record of a stream.
func (n *Node) apply(epoch, session uint64, r wal.Record) error {
	t := &n.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.session != session || t.epoch != epoch {
		return errSession
	}
	if err := n.db.ApplyRecord(r); err != nil {
		return err
	}
	if k := len(t.spans); k > 0 && t.spans[k-1].last.Epoch == r.Epoch {
		t.spans[k-1].last.Seq = r.Last()
	} else {
		t.spans = append(t.spans, span{r.Seq - 1, protocol.Position{Epoch: r.Epoch, Seq: r.Last()}})
	}
	t.wake()
	return nil
}

func (t *tail) wake() {
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// absorbLocked tells the core what was appended.
func (n *Node) absorbLocked() {
	t := &n.tail
	for _, s := range t.spans {
		t.accepted = false
		m := message{Kind: protocol.Records, Epoch: t.epoch, Session: t.session, Seq: s.before, Last: s.last, Commit: t.committed}
		n.perform(n.core.Received(clock(), t.leader, m))
		if !t.accepted && !n.broken {
			n.broken = true
			n.o.Log.WithError(errBroken).Errorf("replication: records up to %v were appended, and are not wanted", s.last)
			n.o.Failed(errBroken)
		}
	}
	t.spans = t.spans[:0]
}

// settleLocked lets records in, or not, as the core has decided.
func (n *Node) settleLocked() {
	t := &n.tail
	_, epoch, leader := n.core.Role()
	session := n.core.Session()
	if session != t.session || epoch != t.epoch {
		t.session, t.epoch, t.leader, t.committed = session, epoch, leader, 0
		close(t.moved)
		t.moved = make(chan struct{})
	}
	n.showLeader()
}

// agreed waits until the core has agreed to a session, as its leader's stream may be here before the message that says so.
func (n *Node) agreed(ctx context.Context, epoch, session uint64) bool {
	t := &n.tail
	for {
		t.mu.Lock()
		yes, moved := t.session == session && t.epoch == epoch, t.moved
		t.mu.Unlock()
		if yes {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

// receive is the follower's end of a stream.
func (n *Node) receive(conn *link.Conn, epoch, session uint64) {
	ctx, cancel := context.WithCancelCause(n.life)
	defer cancel(nil)
	wait, done := context.WithTimeout(ctx, n.o.Lease)
	ok := n.agreed(wait, epoch, session)
	done()
	if !ok {
		_ = conn.Close(errSession.Error())
		return
	}
	n.tasks.Go(func() { n.untilOver(ctx, cancel, epoch, session) })
	r := stream.NewReceiver(n.db, conn, epoch, stream.ReceiverOptions{
		Apply: func(r wal.Record) error { return n.apply(epoch, session, r) },
		Committed: func(seq uint64) {
			n.tail.mu.Lock()
			defer n.tail.mu.Unlock()
			if n.tail.session == session && n.tail.epoch == epoch {
				n.tail.committed = max(n.tail.committed, seq)
			}
		},
	})
	n.o.Log.WithField("epoch", epoch).WithField("session", session).Info("replication: following " + conn.Peer().Node)
	err := r.Run(ctx)
	n.o.Log.WithField("epoch", epoch).WithField("session", session).Infof("replication: the stream of %s ends: %v", conn.Peer().Node, err)
	n.disconnected(conn.Peer().Node, epoch, session)
}

// untilOver ends a stream when the core does not want it any more.
func (n *Node) untilOver(ctx context.Context, cancel context.CancelCauseFunc, epoch, session uint64) {
	for {
		n.tail.mu.Lock()
		same, moved := n.tail.session == session && n.tail.epoch == epoch, n.tail.moved
		n.tail.mu.Unlock()
		if !same {
			cancel(errSession)
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// disconnected tells the core that the stream of a session has ended, if that is the present one.
func (n *Node) disconnected(node string, epoch, session uint64) {
	n.post(func() {
		n.step(func(now int64) []action {
			if n.tail.session != session || n.tail.epoch != epoch {
				return nil
			}
			return n.core.Disconnected(now, node)
		})
	})
}
