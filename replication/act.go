package replication

import (
	"context"
	"fmt"
	"time"

	"github.com/gtinside/corecache/election"
	"github.com/gtinside/corecache/replication/protocol"
)

// perform carries out what the core wants. It must not call the core.
func (n *Node) perform(actions []action) {
	for i := range actions {
		n.act(&actions[i])
	}
}

func (n *Node) act(a *action) {
	switch a.Do {
	case protocol.Send:
		n.send(a.Node, &a.Message)
	case protocol.Acknowledge:
		n.acknowledge(a.Node, &a.Message)
	case protocol.Append:
		n.tail.accepted = true
	case protocol.AppendEpoch:
		n.beginEpoch(a.Epoch)
	case protocol.Truncate:
		n.truncate(a.Seq)
	case protocol.FullSync:
		n.fullSync()
	case protocol.Stream:
		n.startStream(a.Node, a.Epoch, a.Session, a.Seq)
	case protocol.StopStream:
		n.endStream(a.Node)
	case protocol.SetCommitted:
		n.setCommitted(a.Seq)
	case protocol.Serve:
		n.serve(a.Epoch, a.Writable)
	case protocol.Lease:
		n.serving.until.Store(a.Until)
	case protocol.Drain:
		n.drain()
	case protocol.StopLeading:
		n.stopLeading()
	case protocol.ReadState:
		n.readState()
	case protocol.CompareAndSet, protocol.Claim:
		n.propose(a)
	case protocol.Left:
		n.o.Log.Info("replication: this node has left the cluster")
		n.serving.term.Store(0)
		n.serving.held.Store(0)
		n.leading.Store(0)
		n.refuseWaits(errDeposed) // nobody will tell what becomes of it
		n.endStreams()
		n.serving.changed.fire()
		close(n.left)
	}
}

// beginEpoch makes the log one that this node writes.
func (n *Node) beginEpoch(epoch uint64) {
	n.lead = lead{epoch: epoch}
	n.leading.Store(epoch)
	n.serving.until.Store(ended)
	n.serving.held.Store(epoch)
	n.refuseWaits(nil)
	n.pinForAll()
	n.disk.do(func() {
		err := n.rest()
		var seq uint64
		if err == nil {
			seq, err = n.db.BeginEpoch(epoch)
		}
		if err == nil {
			err = n.db.WaitLogged(seq)
		}
		if err != nil {
			n.enter(func() { n.fail(fmt.Errorf("beginning epoch %d: %w", epoch, err)) })
		}
	})
}

// truncate drops what the leader does not have.
func (n *Node) truncate(seq uint64) {
	n.disk.do(func() {
		err := n.rest()
		if err == nil {
			n.o.Log.WithField("from", n.db.Last()).WithField("to", seq).Warn("replication: dropping records that the leader does not have")
			err = n.db.TruncateAfter(seq)
		}
		if err != nil {
			n.enter(func() { n.fail(err) })
			return
		}
		n.enter(func() { n.step(func(now int64) []action { return n.core.Truncated(now, seq) }) })
	})
}

// refuseWaits has those who wait told once the lock is let go.
func (n *Node) refuseWaits(err error) { n.after = append(n.after, n.db.RefuseWaits(err)) }

func (n *Node) setCommitted(seq uint64) {
	n.after = append(n.after, n.db.CommitTo(seq)) // who waits is answered when the lock is let go
	for _, s := range n.streams {
		s.setCommitted(seq)
	}
}

// stateTime bounds a request to the election; its own time-outs are shorter.
const stateTime = 30 * time.Second

// readState asks for /state, unless it is being asked for.
func (n *Node) readState() {
	if n.reading {
		return
	}
	n.reading = true
	n.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(n.life, stateTime)
		defer cancel()
		s, version, err := n.election.Read(ctx)
		n.enter(func() {
			n.reading = false
			if err == nil {
				n.stateRead(s, version)
			}
		})
	})
}

// propose is a CompareAndSet or a Claim.
func (n *Node) propose(a *action) {
	next := wantedState(n.base, a.State)
	version, write, what := a.Version, n.election.CompareAndSet, "the in-sync set"
	if a.Do == protocol.Claim {
		write, what = n.election.Claim, "a claim"
	}
	if text := fmt.Sprintf("replication: proposing %s %v in epoch %d", what, memberNames(next), next.Epoch); n.proposed.news(text) {
		n.o.Log.Info(text)
	}
	n.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(n.life, stateTime)
		defer cancel()
		v, err := write(ctx, version, next)
		n.enter(func() {
			if err != nil {
				if text := fmt.Sprintf("replication: %s: %v", what, err); n.refused.news(text) {
					n.o.Log.Warn(text)
				}
			} else if v > n.version {
				n.base, n.version = next, v
			}
			n.step(func(now int64) []action { return n.core.Swapped(now, result(err), v) })
		})
	})
}

// repeats tells what is new from what was said just now: without ZooKeeper the core tries ten times a second.
type repeats struct {
	text string
	at   int64
}

// sayAgain is after how long the same is new again.
const sayAgain = 10 * time.Second

func (r *repeats) news(text string) bool {
	now := clock()
	if text == r.text && now-r.at < int64(sayAgain) {
		return false
	}
	r.text, r.at = text, now
	return true
}

func memberNames(s election.State) (names []string) {
	for _, m := range s.ISR {
		names = append(names, m.ID)
	}
	return names
}
