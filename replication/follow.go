package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/protocol"
	"github.com/gtinside/corecache/replication/stream"
)

// tail is where records of the leader come into the log of a follower. A record is taken only while the core
// has agreed to the session of its stream; and before the core sees anything else it is told of what was taken. The loop therefore
// holds mu whenever it calls the core.
//
// To append may take as long as a disk takes, and the loop must not wait for that: the leader would take this
// node for dead. So a record is appended after it was taken, without mu, one at a time. What else is to be done to the log waits
// until that has ended (rest), and only what is in the log is acknowledged.
type tail struct {
	news chan struct{} // spans is not empty

	mu        sync.Mutex
	session   uint64 // under which records are taken; 0: none are
	epoch     uint64 // of the session
	leader    string
	committed uint64            // by the leader, as it says
	last      protocol.Position // where the log ends with what was taken, while there is a session
	spans     []span            // taken and not known to the core, in order
	arriving  bool              // something of the stream has come since the core was told so
	moved     chan struct{}
	accepted  bool      // the core wants what it was told of
	appending bool      // what was taken last is not in the log yet
	stalled   error     // why that takes long
	rested    sync.Cond // appending or stalled has changed
}

// span is a row of records of one epoch.
type span struct {
	before uint64 // sequence number
	last   protocol.Position
}

var (
	errSession = errors.New("the stream is not, or not any more, the one that was agreed on")
	errRecord  = errors.New("not the next record")
)

// apply appends a record of a stream.
func (n *Node) apply(epoch, session uint64, r wal.Record) error {
	if err := n.tail.take(epoch, session, r); err != nil {
		return err
	}
	defer n.tail.appended()
	return n.appendRecord(r)
}

// take takes a record, once the one before is in the log.
func (t *tail) take(epoch, session uint64, r wal.Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.appending {
		t.rested.Wait()
	}
	if t.session != session || t.epoch != epoch {
		return errSession
	}
	if r.Seq != t.last.Seq+1 || r.Epoch < t.last.Epoch || r.Epoch > epoch {
		return fmt.Errorf("%w: %d of epoch %d behind %v in epoch %d", errRecord, r.Seq, r.Epoch, t.last, epoch)
	}
	t.last = protocol.Position{Epoch: r.Epoch, Seq: r.Last()}
	if k := len(t.spans); k > 0 && t.spans[k-1].last.Epoch == r.Epoch {
		t.spans[k-1].last = t.last
	} else {
		t.spans = append(t.spans, span{r.Seq - 1, t.last})
	}
	t.appending = true
	t.wake()
	return nil
}

// appendPause is how soon an append is tried again for which there was no room.
const appendPause = 50 * time.Millisecond

// appendRecord appends what was taken, as the core relies on. A full disk is waited for; if it fails otherwise this node can not go on.
func (n *Node) appendRecord(r wal.Record) error {
	for {
		err := n.db.ApplyRecord(r)
		if err == nil {
			return nil
		}
		if errors.Is(err, engine.ErrReadOnly) || !errors.Is(err, engine.ErrStalled) && !vfs.IsNoSpace(err) {
			n.post(func() { n.fail(fmt.Errorf("appending record %d: %w", r.Seq, err)) })
			return err
		}
		n.tail.stall(err)
		t := time.NewTimer(appendPause)
		select {
		case <-t.C:
		case <-n.life.Done():
			t.Stop()
			return context.Cause(n.life)
		}
	}
}

func (t *tail) stall(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stalled = err
	t.rested.Broadcast()
}

func (t *tail) appended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.appending, t.stalled = false, nil
	t.rested.Broadcast()
}

// rest returns when all that was taken is in the log; or why it does not get there. Nothing more is taken meanwhile: there is no session
// any more, or nobody yet who takes.
func (t *tail) rest() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.appending && t.stalled == nil {
		t.rested.Wait()
	}
	return t.stalled
}

func (t *tail) wake() {
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// absorbLocked tells the core what was taken.
func (n *Node) absorbLocked() {
	t := &n.tail
	if t.arriving || t.appending {
		n.core.Receiving(clock())
		t.arriving = false
	}
	for _, s := range t.spans {
		t.accepted = false
		m := message{Kind: protocol.Records, Epoch: t.epoch, Session: t.session, Seq: s.before, Last: s.last, Commit: t.committed}
		n.perform(n.core.Received(clock(), t.leader, m))
		if !t.accepted && !n.broken {
			n.broken = true
			n.o.Log.WithError(errBroken).Errorf("replication: records up to %v were taken, and are not wanted", s.last)
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
		t.session, t.epoch, t.leader, t.committed, t.last = session, epoch, leader, 0, n.core.Last()
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
	_ = n.tail.rest() // the receiver begins where the log ends. If there is no room, its first record waits
	n.tasks.Go(func() { n.untilOver(ctx, cancel, epoch, session) })
	r := stream.NewReceiver(n.db, conn, epoch, stream.ReceiverOptions{
		Apply:     func(r wal.Record) error { return n.apply(epoch, session, r) },
		Arriving:  func() { n.tail.heard(epoch, session, 0) },
		Committed: func(seq uint64) { n.tail.heard(epoch, session, seq) },
	})
	n.o.Log.WithField("epoch", epoch).WithField("session", session).Info("replication: following " + conn.Peer().Node)
	err := r.Run(ctx)
	n.o.Log.WithField("epoch", epoch).WithField("session", session).Infof("replication: the stream of %s ends: %v", conn.Peer().Node, err)
	n.disconnected(conn.Peer().Node, epoch, session)
}

// heard notes that something of a stream has come, and what the leader has committed, as it says.
func (t *tail) heard(epoch, session, committed uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.session == session && t.epoch == epoch {
		t.arriving, t.committed = true, max(t.committed, committed)
	}
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
