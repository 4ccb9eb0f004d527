package protocol

import "time"

// Status is what operators see. It is a copy.
type Status struct {
	Role        Role
	Epoch       uint64
	Leader      string // "": unknown
	Log         LogID
	Last        Position
	Committed   uint64
	InSync      bool     // this node, with this log, is in the ISR
	ISR         []Member // as of the newest /state seen
	Serving     bool
	Writable    bool
	Until       int64 // of the lease; see action Lease
	Uncertain   bool  // a change of the ISR has an unknown outcome
	StateLost   bool  // there is no /state, but this log had leaders
	Missing     []string
	Followers   []FollowerStatus
	LeaderHeard time.Duration // since a follower heard a beacon
}

// Role returns what the node does, the newest epoch that it knows, and who leads it ("" = unknown).
func (n *Node) Role() (role Role, epoch uint64, leader string) { return n.role, n.epoch, n.leader }

// Last returns the position of the last record that the core knows of.
func (n *Node) Last() Position { return n.history.end() }

// Session returns the agreement under which the records of the leader may be appended; 0: there is none. It changes only
// within a call of another method.
func (n *Node) Session() uint64 {
	if n.role != Follower || n.follow.busy {
		return 0
	}
	return n.follow.session
}

// FollowerStatus is another node as its leader sees it.
type FollowerStatus struct {
	Node     string
	InSync   bool
	Synced   bool   // it acknowledges what is on its disk (Settings.AckSynced), as of the newest acknowledgement
	Streams  bool   // its log agrees with the leader's, records are shipped
	Acked    uint64 // sequence number; the log is needed from here on
	Heard    time.Duration
	CaughtUp time.Duration // since it had all of the log; negative: not yet
}

// Status returns the present state. Missing are, while no leader is heard, the members of the ISR
// that do not answer: one of them has to come back. If there are none, and
// still nobody leads, Force is what is left.
func (n *Node) Status(now int64) Status {
	s := Status{
		Role: n.role, Epoch: n.epoch, Leader: n.leader, Log: n.log, Last: n.history.end(), Committed: n.commit,
		ISR: append([]Member(nil), n.state.ISR...), StateLost: n.state.Epoch == 0 && n.role != Waiting && n.epoch > 0,
	}
	if m, ok := n.state.member(n.cfg.Node); ok {
		s.InSync = m.Log == n.log
	}
	switch n.role {
	case Leader, Resigned:
		l := &n.lead
		s.Serving, s.Writable, s.Until, s.Uncertain = l.serving, l.writable, l.until, l.doubt
		for _, p := range n.peers {
			s.Followers = append(s.Followers, p.status(now))
		}
	case Follower, Claiming:
		s.LeaderHeard = time.Duration(now - n.follow.heard)
		if s.LeaderHeard > n.cfg.Grace {
			s.Missing = n.missing(now)
		}
	}
	return s
}

func (p *peer) status(now int64) FollowerStatus {
	s := &p.follow
	f := FollowerStatus{Node: p.node, InSync: s.member, Synced: s.synced, Streams: s.id != 0, Acked: s.acked, Heard: -1, CaughtUp: -1}
	if s.beaconAt > never {
		f.Heard = time.Duration(now - s.beaconAt)
	}
	if s.caughtUp > never {
		f.CaughtUp = time.Duration(now - s.caughtUp)
	}
	return f
}

func (n *Node) missing(now int64) (nodes []string) {
	for _, m := range n.state.ISR {
		if p := n.peer(m.Node); p != nil && now-p.askedAt > int64(n.cfg.Silence) {
			nodes = append(nodes, m.Node)
		}
	}
	return nodes
}
