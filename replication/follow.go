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

// tail is where records of the leader come into the log of a follower. They are taken only as the core says, which from
// then on knows of them, whatever else it sees.
//
// To append may take as long as a disk takes, and nobody must wait for that under the lock: the leader would take this
// node for dead. So records are appended after they were taken, without it, by one goroutine at a time. What else is to be done
// to the log waits until that has ended (rest), and only what is in the log is acknowledged.
type tail struct {
	session   uint64 // under which records are taken; 0: none are
	epoch     uint64 // of the session
	leader    string
	committed uint64           // by the leader, as it says
	moved     chan struct{}    // closed when there is another session
	back      *stream.Receiver // acknowledges to the leader under this session; nil: none does
	counts    uint64           // up to here, as the core says
	accepted  bool             // the core wants what it was told of
	appending bool             // what was taken last is not in the log yet
	stalled   error            // why that takes long
	rested    sync.Cond        // appending or stalled has changed, or the node was closed
}

var (
	errSession = errors.New("the stream is not, or not any more, the one that was agreed on")
	errRecord  = errors.New("not the next record")
)

// apply appends records of a stream.
func (n *Node) apply(epoch, session uint64, list []wal.Record, committed uint64) error {
	if len(list) == 0 {
		n.heard(epoch, session, committed)
	}
	for len(list) > 0 {
		k := 1
		for k < len(list) && list[k].Epoch == list[0].Epoch {
			k++
		}
		if err := n.takeRecords(epoch, session, list[:k], committed); err != nil {
			return err
		}
		err := n.appendRecords(list[:k])
		n.appended()
		if err != nil {
			return err
		}
		list = list[k:]
	}
	return nil
}

// takeRecords takes records of one epoch, once those before are in the log.
func (n *Node) takeRecords(epoch, session uint64, list []wal.Record, committed uint64) error {
	first, last := list[0], list[len(list)-1]
	for i, r := range list[1:] {
		if r.Seq != list[i].Last()+1 {
			return fmt.Errorf("%w: %d behind %d", errRecord, r.Seq, list[i].Last())
		}
	}
	err := ErrClosed
	n.enter(func() {
		t := &n.tail
		for t.appending && n.life.Err() == nil {
			t.rested.Wait()
		}
		switch {
		case n.life.Err() != nil:
			return
		case t.session != session || t.epoch != epoch:
			err = errSession
			return
		}
		end := n.core.Last()
		t.committed = max(t.committed, committed)
		t.accepted = false
		n.step(func(now int64) []action {
			return n.core.Received(now, t.leader, message{
				Kind: protocol.Records, Epoch: epoch, Session: session, Seq: first.Seq - 1,
				Last: protocol.Position{Epoch: last.Epoch, Seq: last.Last()}, Commit: t.committed,
			})
		})
		if t.appending = t.accepted; t.accepted {
			err = nil
		} else {
			err = fmt.Errorf("%w: %d of epoch %d behind %v in epoch %d", errRecord, first.Seq, last.Epoch, end, epoch)
		}
	})
	return err
}

// appendPause is how soon an append is tried again for which there was no room.
const appendPause = 50 * time.Millisecond

// appendRecords appends what was taken, as the core relies on. A full disk is waited for; if it fails otherwise this node can not go on.
func (n *Node) appendRecords(list []wal.Record) error {
	for _, r := range list {
		if err := n.appendRecord(r); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) appendRecord(r wal.Record) error {
	for {
		err := n.db.ApplyRecord(r)
		if err == nil {
			return nil
		}
		if errors.Is(err, engine.ErrReadOnly) || !errors.Is(err, engine.ErrStalled) && !vfs.IsNoSpace(err) {
			n.enter(func() { n.fail(fmt.Errorf("appending record %d: %w", r.Seq, err)) })
			return err
		}
		n.stall(err)
		t := time.NewTimer(appendPause)
		select {
		case <-t.C:
		case <-n.life.Done():
			t.Stop()
			return context.Cause(n.life)
		}
	}
}

func (n *Node) stall(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tail.stalled = err
	n.tail.rested.Broadcast()
}

func (n *Node) appended() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tail.appending, n.tail.stalled = false, nil
	n.tail.rested.Broadcast()
}

// rest returns when all that was taken is in the log; or why it does not get there. Nothing more is taken meanwhile: there is no session
// any more, or nobody yet who takes.
func (n *Node) rest() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.tail.appending && n.tail.stalled == nil {
		n.tail.rested.Wait()
	}
	return n.tail.stalled
}

// settle lets records in, or not, as the core has decided.
func (n *Node) settle() {
	t := &n.tail
	_, epoch, leader := n.core.Role()
	session := n.core.Session()
	if session != t.session || epoch != t.epoch {
		t.session, t.epoch, t.leader, t.committed, t.back, t.counts = session, epoch, leader, 0, nil, 0
		close(t.moved)
		t.moved = make(chan struct{})
	}
	n.showLeader()
}

// acknowledge tells the leader what the core answers for.
func (n *Node) acknowledge(leader string, m *message) {
	t := &n.tail
	if t.back == nil || t.session != m.Session || t.epoch != m.Epoch {
		n.send(leader, m)
		return
	}
	t.counts = max(t.counts, m.Seq)
	t.acknowledge()
}

// acknowledge sends what the leader does not know of this log. While there is a session nothing is cut off it.
func (t *tail) acknowledge() {
	if t.back != nil {
		t.back.Acknowledge(t.counts)
	}
}

// agreed waits until the core has agreed to a session, as its leader's stream may be here before the message that says so.
func (n *Node) agreed(ctx context.Context, epoch, session uint64) bool {
	for {
		yes, moved := n.follows(epoch, session)
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

// follows tells whether records are taken under a session. moved is closed when that may have changed.
func (n *Node) follows(epoch, session uint64) (yes bool, moved <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tail.session == session && n.tail.epoch == epoch, n.tail.moved
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
	_ = n.rest() // the receiver begins where the log ends. If there is no room, its first record waits
	n.tasks.Go(func() { n.untilOver(ctx, cancel, epoch, session) })
	r := stream.NewReceiver(n.db, conn, epoch, stream.ReceiverOptions{
		Owned:    true,
		Apply:    func(list []wal.Record, committed uint64) error { return n.apply(epoch, session, list, committed) },
		Arriving: func() { n.heard(epoch, session, 0) },
	})
	n.enter(func() {
		if n.tail.session == session && n.tail.epoch == epoch {
			n.tail.back = r
		}
	})
	n.o.Log.WithField("epoch", epoch).WithField("session", session).Info("replication: following " + conn.Peer().Node)
	err := r.Run(ctx)
	n.o.Log.WithField("epoch", epoch).WithField("session", session).Infof("replication: the stream of %s ends: %v", conn.Peer().Node, err)
	n.disconnected(conn.Peer().Node, epoch, session)
}

// heard notes that something of a stream has come, though no record, and what the leader has committed, as it says.
func (n *Node) heard(epoch, session, committed uint64) {
	n.enter(func() {
		if t := &n.tail; t.session == session && t.epoch == epoch {
			n.core.Receiving(clock())
			t.committed = max(t.committed, committed)
		}
	})
}

// untilOver ends a stream when the core does not want it any more.
func (n *Node) untilOver(ctx context.Context, cancel context.CancelCauseFunc, epoch, session uint64) {
	for {
		same, moved := n.follows(epoch, session)
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
	n.enter(func() {
		n.step(func(now int64) []action {
			if n.tail.session != session || n.tail.epoch != epoch {
				return nil
			}
			return n.core.Disconnected(now, node)
		})
	})
}
