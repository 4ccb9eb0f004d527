package replication

import (
	"math"
	"strings"
	"time"

	"github.com/gtinside/corecache/replication/protocol"
)

// Status is what operators see. It is at most a few beats old.
type Status struct {
	protocol.Status
	Now       int64               // when it was taken, on the clock of Until
	Nodes     map[string]Endpoint // by id, all that were ever seen
	Followers []Follower          // of a leader, in the order of protocol.Status.Followers
	Syncing   bool                // this node replaces its store by the leader's
	// Unequal are followers that acknowledge at another level than this leader does, see protocol.Settings.AckSynced.
	Unequal []string
	// What this node has given as a leader since it started: whole stores, and streams of the log.
	FullSyncs, Streams uint64
}

// Endpoint is where a node is reached.
type Endpoint struct{ Advertise, Peer string }

// Follower is another node as its leader sees it.
type Follower struct {
	protocol.FollowerStatus
	Behind int64 // bytes of the log that it has not acknowledged, about
}

// Lease returns for how long the lease lasts: negative if there is none, or none is needed.
func (s *Status) Lease() time.Duration {
	if !s.Serving || s.Until == math.MaxInt64 || s.Until < s.Now {
		return -time.Millisecond
	}
	return time.Duration(s.Until - s.Now)
}

// Status does not block. It must not be modified.
func (n *Node) Status() *Status {
	if s := n.status.Load(); s != nil {
		return s
	}
	return &Status{}
}

func (n *Node) showStatus() {
	now := clock()
	s := &Status{Status: n.core.Status(now), Now: now, Nodes: map[string]Endpoint{}, FullSyncs: n.fullSyncs.Load(), Streams: n.streamed.Load(), Syncing: n.syncing.Load()}
	for id, m := range n.known {
		s.Nodes[id] = Endpoint{m.Advertise, m.Peer}
	}
	for _, f := range s.Status.Followers {
		s.Followers = append(s.Followers, Follower{f, n.db.LogBehind(f.Acked)})
		if f.Heard >= 0 && f.Synced != n.o.Settings.AckSynced {
			s.Unequal = append(s.Unequal, f.Node)
		}
	}
	n.warnUnequal(s.Unequal)
	n.status.Store(s)
}

// warnUnequal says when a write is not acknowledged by all nodes at the level that clients of this one expect. Such a node is not kept out: it
// still is a copy more than there would be without it.
func (n *Node) warnUnequal(nodes []string) {
	text := strings.Join(nodes, ", ")
	if text == n.unequal {
		return
	}
	n.unequal = text
	switch {
	case text == "":
		n.o.Log.Info("replication: all nodes acknowledge alike (appendfsync)")
	case n.o.Settings.AckSynced:
		n.o.Log.Warnf("replication: this node acknowledges what is on disk, but %s do not: set appendfsync alike on all nodes", text)
	default:
		n.o.Log.Warnf("replication: %s acknowledge only what is on disk, and this node does not: set appendfsync alike on all nodes", text)
	}
}
