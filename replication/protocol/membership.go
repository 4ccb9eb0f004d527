package protocol

// The in-sync set changes only by a compare-and-set on /state. Until its
// outcome is certain, everybody counts who is a member before or after:
// whoever may claim has all that is committed. So an unknown outcome needs no
// pause. It becomes certain when the version of /state moves; to read the same version
// again proves nothing, since a delayed attempt can still be applied. Therefore, while in doubt, the
// leader tries again, even if nothing is to be changed any more: at
// most one attempt at a version is ever applied.

// takeISR takes over the ISR of the state just seen.
func (n *Node) takeISR() {
	for _, p := range n.peers {
		s := &p.follow
		m, ok := n.state.member(p.node)
		s.member, s.entry = ok, m.Log
		s.adding, s.removing = false, false
	}
	n.lead.doubt, n.lead.asked = false, false
}

// review proposes another ISR, if it is not as it should be.
func (n *Node) review() {
	l := &n.lead
	if n.role != Leader || n.call.open || l.asked || n.now < l.reviewAt || n.state.Epoch != n.epoch {
		return
	}
	changed := l.doubt
	for _, p := range n.peers {
		s := &p.follow
		if s.counts() {
			s.wanted = !n.mustLeave(s) // whoever only may be a member is confirmed, or dropped
			s.entering = false
		} else {
			s.entering = n.keepsUp(s)
			s.wanted = s.entering && n.mayEnter(s)
		}
		changed = changed || s.wanted != s.member
	}
	if changed {
		n.propose()
	}
}

// mustLeave reports whether a member is silent, behind, or not itself any more.
func (n *Node) mustLeave(s *session) bool {
	switch {
	case n.now < s.outUntil, s.log != LogID{} && s.log != s.entry:
		return true
	case n.since(max(s.beaconAt, n.lead.began), n.cfg.Silence):
		return true
	}
	// What this node has not written itself nobody else can have: if its disk is broken, that is no reason to send them away.
	return s.acked < n.written && n.since(max(s.caughtUp, n.lead.began), n.cfg.Lag)
}

// keepsUp reports whether a node that is not in the ISR should be.
func (n *Node) keepsUp(s *session) bool {
	if n.broken.has(enterBehindEpoch) {
		return s.id != 0 && n.lead.first != 0
	}
	return s.id != 0 && s.log != LogID{} && n.now >= s.outUntil && !n.leaving &&
		!n.since(s.beaconAt, n.cfg.Silence) && !n.since(s.caughtUp, n.cfg.Silence)
}

// mayEnter reports whether a node has all that is or may be committed. What the leader
// inherited may be committed though the leader does not know it yet. Under
// a stream of writes a node is never quite there, unless commits
// wait for it: therefore entering.
func (n *Node) mayEnter(s *session) bool {
	needs := max(n.commit, n.lead.first)
	if n.broken.has(enterBehindEpoch) {
		needs = n.commit
	}
	return n.lead.first != 0 && s.acked >= needs
}

func (n *Node) propose() {
	next := State{Epoch: n.epoch, Leader: n.cfg.Node, Incarnation: n.cfg.Incarnation, ISR: []Member{{n.cfg.Node, n.log}}}
	for _, p := range n.peers {
		s := &p.follow
		if s.wanted {
			if !s.counts() {
				s.entry = s.log
			}
			next.ISR = append(next.ISR, Member{p.node, s.entry})
		}
		s.adding = s.adding || s.wanted && !s.member && !n.broken.has(countAddedLate)
		s.removing = s.removing || s.member && !s.wanted
		if n.broken.has(countRemovedEarly) && s.removing {
			s.member = false
		}
	}
	n.announce() // the lease shrinks before anybody can have become a member
	n.call = call{open: true, state: next, version: n.version}
	n.do(Action{Do: CompareAndSet, State: next, Version: n.version})
	n.advance()
}

// membershipSet is the outcome of a proposal.
func (n *Node) membershipSet(c call, r Result) {
	l := &n.lead
	switch {
	case c.state.Epoch != n.epoch, n.version > c.version && n.state.Epoch == n.epoch && r != Applied:
		return // what was read since says more
	case r == Applied:
		n.takeISR()
	case r == Refused && !l.doubt:
		n.takeISR()
		l.reviewAt = n.after(n.cfg.Beacon)
	default:
		l.doubt, l.asked = true, true
		n.readAt = never
		n.readState()
	}
	n.advance()
	n.announce()
}

// membershipRead is /state read while leading.
func (n *Node) membershipRead(moved bool) {
	if moved || n.broken.has(rereadSettles) {
		n.updatePeers()
		n.takeISR()
	}
	n.lead.asked = false
	n.advance()
	n.announce()
	n.review()
}
