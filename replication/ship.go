package replication

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/protocol"
	"github.com/gtinside/corecache/replication/stream"
)

// shipment is a stream to one follower.
type shipment struct {
	session   uint64
	cancel    context.CancelFunc
	sender    atomic.Pointer[stream.Sender] // nil until it is connected
	committed atomic.Uint64
}

func (s *shipment) setCommitted(seq uint64) {
	s.committed.Store(seq)
	if sender := s.sender.Load(); sender != nil {
		sender.SetCommitted(seq)
	}
}

// shares are the streams as others see them.
type shares struct {
	mu   sync.Mutex
	list []*shipment
}

// share publishes the streams.
func (n *Node) share() {
	n.shares.mu.Lock()
	defer n.shares.mu.Unlock()
	n.shares.list = n.shares.list[:0]
	for _, s := range n.streams {
		n.shares.list = append(n.shares.list, s)
	}
}

// Acknowledged returns how many followers have everything up to seq: in their logs as far as the death of a process goes, or on disk.
func (n *Node) Acknowledged(seq uint64) (written, synced int) {
	n.shares.mu.Lock()
	defer n.shares.mu.Unlock()
	for _, s := range n.shares.list {
		sender := s.sender.Load()
		if sender == nil {
			continue
		}
		a := sender.Progress().Acked
		if a.Written >= seq {
			written++
		}
		if a.Synced >= seq {
			synced++
		}
	}
	return written, synced
}

// Moved returns a channel that is closed when Acknowledged may say more.
func (n *Node) Moved() <-chan struct{} { return n.acked.wait() }

// startStream ships the log behind seq to a follower, in place of an earlier stream.
func (n *Node) startStream(node string, epoch, session, seq uint64) {
	n.endStream(node)
	ctx, cancel := context.WithCancel(n.life)
	s := &shipment{session: session, cancel: cancel}
	s.committed.Store(n.db.Committed())
	n.streams[node] = s
	n.share()
	pin, err := n.db.PinLog(seq + 1)
	if err == nil {
		n.pin(node, pin)
	}
	addr := n.known[node].Peer
	n.tasks.Go(func() {
		defer cancel()
		if err == nil {
			err = n.ship(ctx, s, node, addr, epoch, seq, pin)
		}
		n.streamEnded(node, s, err)
	})
}

func (n *Node) ship(ctx context.Context, s *shipment, node, addr string, epoch, seq uint64, pin *wal.Pin) error {
	conn, err := link.Dial(ctx, "tcp", addr, node, streamPurpose(epoch, s.session), n.o.Link)
	if err != nil {
		return err
	}
	var accepted sync.Once // by the follower, who may have gone on to something else
	sender, err := stream.NewSender(n.db, conn, epoch, seq+1, stream.SenderOptions{
		Window: n.o.Window, Batch: n.o.Batch, Pin: pin,
		Acked: func(a stream.Ack) {
			accepted.Do(func() { n.streamed.Add(1) })
			n.acked.fire()
			m := message{Kind: protocol.Ack, Epoch: epoch, Session: s.session, Seq: a.Counts, At: protocol.NoBeacon}
			n.enter(func() { n.step(func(now int64) []action { return n.core.Received(now, node, m) }) })
		},
	})
	if err != nil {
		return errors.Join(err, conn.Close(err.Error()))
	}
	s.sender.Store(sender)
	sender.SetCommitted(s.committed.Load())
	return sender.Run(ctx)
}

// streamEnded tells the core, unless the stream was replaced or ended on purpose.
func (n *Node) streamEnded(node string, s *shipment, err error) {
	n.enter(func() {
		if n.streams[node] != s {
			return
		}
		delete(n.streams, node)
		n.share()
		n.o.Log.Infof("replication: the stream to %s ends: %v", node, err)
		if errors.Is(err, wal.ErrGone) {
			n.step(func(now int64) []action { return n.core.Released(now, n.db.LogFirst()-1) })
		}
		n.step(func(now int64) []action { return n.core.Disconnected(now, node) })
	})
}

func (n *Node) endStream(node string) {
	if s := n.streams[node]; s != nil {
		s.cancel()
		delete(n.streams, node)
		n.share()
	}
}

func (n *Node) endStreams() {
	for node := range n.streams {
		n.endStream(node)
	}
	for node, p := range n.pins {
		n.unpin(p)
		delete(n.pins, node)
	}
}

// pin keeps the log for a node in place of what was kept for it before. It stays when the stream ends, so that a follower
// that was away can go on: until the budget of pins is exceeded, the node is forgotten, or this one does not lead any more.
func (n *Node) pin(node string, p *wal.Pin) {
	if old := n.pins[node]; old != nil && old != p {
		n.unpin(old)
	}
	n.pins[node] = p
}

// unpin lets a pin go. That may remove files, for which nobody must wait who has entered.
func (n *Node) unpin(p *wal.Pin) { n.tasks.Go(p.Close) }

// pinForAll keeps the log for all who may follow soon. Whoever is in sync has what is committed.
func (n *Node) pinForAll() {
	for node := range n.known {
		if node == n.id {
			continue
		}
		if p, err := n.db.PinLog(n.db.Committed() + 1); err == nil {
			n.pin(node, p)
		}
	}
}
