package protocol

// session is what a leader keeps of another node.
type session struct {
	// In the ISR of /state, as far as is known.
	member   bool
	entry    LogID // the log it is, or may be, a member with
	adding   bool  // may have been added at this version
	removing bool  // may have been removed at this version
	wanted   bool  // in the ISR that is being proposed
	entering bool  // keeps up: commits wait for it, so that it can enter

	// The agreement that its log is a prefix of ours.
	id    uint64 // 0: none
	log   LogID  // of its newest Join
	acked uint64 // in that log; in entry while there was no Join

	beaconAt int64 // our clock when the newest beacon was sent that it has acknowledged
	markAt   int64 // our clock when our log was written up to markSeq
	markSeq  uint64
	caughtUp int64 // it has all that our log had then
	synced   bool  // it acknowledges what is on its disk
	outUntil int64 // must not be in the ISR until then: it leaves, or cannot be served from our log
}

func newSession() session { return session{beaconAt: never, caughtUp: never, outUntil: never} }

// counts reports whether its acknowledgements are needed: it is in the ISR, or may be.
func (s *session) counts() bool { return s.member || s.adding }

// fromFollower steps a message of a node that takes us for the leader.
func (n *Node) fromFollower(from string, m Message) {
	if n.role != Leader && n.role != Resigned {
		return
	}
	p := n.peer(from)
	switch m.Kind {
	case Ack:
		n.ack(p, m)
	case Join:
		n.joined(p, m)
	case Leave:
		if n.role == Resigned {
			n.role = Leader // whoever was to claim leaves too. Without a lease this is still the leader of the epoch
		}
		n.exclude(&p.follow)
	}
}

func (n *Node) ack(p *peer, m Message) {
	s := &p.follow
	if m.At != NoBeacon {
		s.synced = m.Synced
	}
	renewed := m.At > s.beaconAt && m.At <= n.now
	if renewed {
		s.beaconAt = m.At
		if n.broken.has(countFromReply) {
			s.beaconAt = n.now
		}
	}
	if m.Session == s.id && s.id != 0 {
		s.acked = max(s.acked, m.Seq)
		if s.acked >= s.markSeq {
			s.caughtUp = s.markAt
			s.markSeq, s.markAt = n.written, n.now
		}
		n.advance()
		if s.entering {
			n.review()
		}
	}
	if renewed && n.role == Leader {
		n.renewLease()
	}
	if n.lead.drained && n.role == Leader {
		n.tickDraining()
	}
}

// joined answers where the logs part. If they do not, a session begins.
func (n *Node) joined(p *peer, m Message) {
	s := &p.follow
	if s.log != m.Log {
		s.log = m.Log
		if !n.broken.has(keepAcked) {
			s.acked = 0
		}
	}
	s.id = 0
	point, ok := n.history.divergence(m.Last)
	if n.broken.has(cutBySequence) {
		point, ok = Position{m.Last.Epoch, min(m.Last.Seq, n.history.last)}, true
	}
	a := Message{Kind: Answer, Log: m.Log, Last: m.Last, Point: point, Full: !ok, Seq: n.history.last}
	switch {
	case !ok && s.counts():
		n.exclude(s) // before its log is given up it must be out of the ISR
		return
	case ok && point == m.Last:
		n.lead.sessions++
		s.id, a.Session = n.lead.sessions, n.lead.sessions
		s.markSeq, s.markAt = n.written, n.now
		if !s.counts() {
			s.caughtUp = never
		}
	}
	n.send(p.node, a)
	if s.id != 0 {
		n.do(Action{Do: Stream, Node: p.node, Epoch: n.epoch, Session: s.id, Seq: m.Last.Seq})
	}
	n.review()
}

// exclude keeps a node out of the ISR for a while. It asks again if that is not enough, and
// a message from before it came back does no lasting harm.
func (n *Node) exclude(s *session) {
	s.outUntil = n.after(n.cfg.Silence)
	n.review()
}
