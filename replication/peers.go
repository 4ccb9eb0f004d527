package replication

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/election"
	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/protocol"
)

// peer is another node, to which this one has a control link. Messages the other way come on a link that the other
// one has dialed.
type peer struct {
	addr   string
	cancel context.CancelFunc
	conn   atomic.Pointer[link.Conn] // nil: there is none at the moment
}

// meet takes note of the nodes that are registered, and returns their ids.
func (n *Node) meet(nodes []election.Node) (ids []string) {
	for _, m := range nodes {
		ids = append(ids, m.ID)
		n.known[m.ID] = m
		delete(n.absent, m.ID)
	}
	for id := range n.known {
		if _, gone := n.absent[id]; !gone && !slices.Contains(ids, id) {
			n.absent[id] = clock()
		}
	}
	return ids
}

// forget takes nodes for removed that are not in sync and were not registered for long: nothing is kept for them.
func (n *Node) forget() {
	for id, since := range n.absent {
		if _, member := n.base.Member(id); member || id == n.id || clock()-since < int64(n.o.Forget) {
			continue
		}
		n.o.Log.WithField("node", id).Info("replication: a node that has gone is forgotten")
		if p := n.peers[id]; p != nil {
			p.cancel()
			delete(n.peers, id)
		}
		if p := n.pins[id]; p != nil {
			n.unpin(p)
			delete(n.pins, id)
		}
		delete(n.known, id)
		delete(n.absent, id)
	}
}

// connect has a control link to each node that is known, at its newest address.
func (n *Node) connect() {
	for id, m := range n.known {
		if id == n.id || m.Peer == "" {
			continue
		}
		if p := n.peers[id]; p != nil {
			if p.addr == m.Peer {
				continue
			}
			p.cancel()
		}
		ctx, cancel := context.WithCancel(n.life)
		p := &peer{addr: m.Peer, cancel: cancel}
		n.peers[id] = p
		n.tasks.Go(func() {
			defer cancel()
			n.keepConnected(ctx, p, id)
		})
	}
}

const (
	firstRedial = 20 * time.Millisecond
	maxRedial   = time.Second
)

// keepConnected dials until ctx ends.
func (n *Node) keepConnected(ctx context.Context, p *peer, id string) {
	for pause := firstRedial; ; pause = min(2*pause, maxRedial) {
		if conn, err := link.Dial(ctx, "tcp", p.addr, id, purposeControl, n.links); err == nil {
			pause = firstRedial
			n.hold(ctx, p, conn)
			n.lost(id)
		} else if errors.Is(err, link.ErrSecret) || errors.Is(err, link.ErrCluster) {
			n.o.Log.WithError(err).Errorf("replication: %s", id)
		} else {
			n.o.Log.WithError(err).Debugf("replication: %s", id)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// hold sends over a link until it ends.
func (n *Node) hold(ctx context.Context, p *peer, conn *link.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close("the node stops") })
	p.conn.Store(conn)
	for {
		if _, _, err := conn.Receive(); err != nil { // only heartbeats come here
			break
		}
	}
	p.conn.Store(nil)
	stop()
	_ = conn.Close("")
}

// lost tells the core that messages to or from a node may be missing.
func (n *Node) lost(node string) {
	n.enter(func() { n.step(func(now int64) []action { return n.core.Disconnected(now, node) }) })
}

// send does not wait; what can not be sent is lost.
func (n *Node) send(to string, m *message) {
	p := n.peers[to]
	if p == nil {
		return
	}
	conn := p.conn.Load()
	if conn == nil {
		return
	}
	var b [messageHeader + maxIncarnation]byte
	if taken, err := conn.TrySend(frameMessage, appendMessage(b[:0], m)); err == nil && !taken && m.Kind != protocol.Beacon {
		n.o.Log.Debugf("replication: a %v for %s is lost: the link is full", m.Kind, to)
	}
}

// listen takes links from other nodes.
func (n *Node) listen(nl net.Listener) error {
	refused := func(from net.Addr, err error) {
		if n.life.Err() == nil {
			n.o.Log.WithError(err).Debugf("replication: a connection from %v", from)
		}
	}
	l, err := link.NewListener(nl, n.links, refused)
	if err != nil {
		return err
	}
	n.tasks.Go(func() {
		defer l.Close()
		for {
			conn, err := l.Accept(n.life)
			if err != nil {
				return
			}
			n.tasks.Go(func() { n.take(conn) })
		}
	})
	return nil
}

// take serves a link that another node has made, until it ends.
func (n *Node) take(conn *link.Conn) {
	stop := context.AfterFunc(n.life, func() { _ = conn.Close("the node stops") })
	defer stop()
	switch kind, epoch, session := parsePurpose(conn.Peer().Purpose); kind {
	case purposeControl:
		n.receiveMessages(conn)
	case purposeStream:
		n.receive(conn, epoch, session)
	case purposeFullSync:
		n.serveSync(conn)
	default:
		_ = conn.Close("an unknown purpose")
	}
}

func (n *Node) receiveMessages(conn *link.Conn) {
	from := conn.Peer().Node
	for {
		typ, b, err := conn.Receive()
		var m message
		if err == nil && typ == frameMessage {
			m, err = decodeMessage(b)
		} else if err == nil {
			err = errMessage
		}
		if err != nil {
			_ = conn.Close(err.Error())
			break
		}
		n.enter(func() { n.step(func(now int64) []action { return n.core.Received(now, from, m) }) })
	}
	n.lost(from)
}
