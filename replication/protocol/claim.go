package protocol

import "time"

// askStandings asks all others for their logs, because no leader is heard.
func (n *Node) askStandings() {
	if n.now < n.follow.askAt {
		return
	}
	n.follow.askAt = n.after(n.cfg.Beacon)
	for _, p := range n.peers {
		n.send(p.node, n.ownStanding(n.now, n.cfg.Incarnation, false))
	}
}

func (n *Node) ownStanding(at int64, incarnation string, reply bool) Message {
	m := Message{Kind: Standing, Log: n.log, At: at, Incarnation: incarnation, Reply: reply}
	if n.log != (LogID{}) {
		m.Last = n.history.end()
	}
	return m
}

// standing steps a Standing, of whatever epoch.
func (n *Node) standing(from string, m Message) {
	p := n.peer(from)
	if !m.Reply {
		n.send(from, n.ownStanding(m.At, m.Incarnation, true))
		return
	}
	if m.Incarnation == n.cfg.Incarnation && m.At > p.askedAt {
		p.askedAt, p.log, p.last = m.At, m.Log, m.Last
	}
}

// maybeClaim claims leadership if this node may have it.
func (n *Node) maybeClaim() {
	f := &n.follow
	if n.role != Follower || n.state.Epoch != n.epoch && !n.forced || n.call.open || f.busy || n.leaving || n.now < f.claimAt {
		return
	}
	if !f.resigned && !n.since(f.heard, n.grace()) {
		return
	}
	switch m, member := n.state.member(n.cfg.Node); {
	case n.forced:
	case n.state.Epoch == 0:
		if !n.mayBegin() {
			return
		}
	case member && m.Log == n.log, n.broken.has(claimFromOutside):
	case member && n.mayClaimTorn():
	default:
		return
	}
	n.claim()
}

// Force makes this node claim whether or not it may, if it has heard no leader for
// Grace. It is for a human who has decided that no node which may claim will come
// back; committed records that this node does not have are lost.
func (n *Node) Force(now int64) []Action {
	n.begin(now)
	n.forced = n.role == Follower && n.since(n.follow.heard, n.cfg.Grace)
	n.maybeClaim()
	return n.out
}

// grace is Grace, and a little more for those who are not the first in the ISR, so that
// they do not all claim at once.
func (n *Node) grace() (d time.Duration) {
	d = n.cfg.Grace
	if n.broken.has(shortGrace) {
		d = n.cfg.Lease / 2
	}
	for _, m := range n.state.ISR {
		if m.Node == n.cfg.Node {
			break
		}
		if m.Node != n.state.Leader {
			d += n.cfg.Beacon
		}
	}
	return d
}

// mayBegin reports whether this node may be the first leader of a cluster. A
// log that once had a leader belongs to a cluster whose /state was
// lost; that is for a human to decide. Of several nodes the one that has data leads; whoever founded the cluster
// may have some, and must have been heard.
func (n *Node) mayBegin() bool {
	end := n.history.end()
	if end.Epoch > 0 {
		return false
	}
	for _, m := range n.state.ISR {
		if p := n.peer(m.Node); p != nil && p.askedAt == never {
			return false
		}
	}
	for _, p := range n.peers {
		if p.askedAt > never && end.Less(p.last) {
			return false
		}
	}
	return true
}

// mayClaimTorn reports whether this node may claim although its log is not the
// one that was in sync: if no log in sync is left anywhere, at least one
// has lost nothing but what was not synced, and this one has no less than any other.
func (n *Node) mayClaimTorn() bool {
	torn, end := false, n.history.end()
	if n.log == (LogID{}) {
		return false
	}
	for _, m := range n.state.ISR {
		log := n.log
		if m.Node != n.cfg.Node {
			p := n.peer(m.Node)
			// An answer from before this state says nothing: its log may have come into the ISR since.
			if n.broken.has(tornAlone) {
				torn = true
				continue
			}
			if p == nil || p.askedAt < n.stateAt && !n.broken.has(tornStale) || end.Less(p.last) {
				return false
			}
			log = p.log
		}
		if log == m.Log {
			return false // it has lost nothing, and will claim
		}
		torn = torn || log.Lineage == m.Log.Lineage
	}
	return torn
}

// claim stops acknowledging the present epoch and claims the next one.
func (n *Node) claim() {
	if !n.broken.has(ackWhileClaiming) {
		n.follow.session = 0
	}
	n.role = Claiming
	n.claimEpoch, n.forced = max(n.state.Epoch, n.epoch)+1, false
	s := State{Epoch: n.claimEpoch, Leader: n.cfg.Node, Incarnation: n.cfg.Incarnation, ISR: n.heirs()}
	n.call = call{open: true, claim: true, state: s, version: n.version}
	n.do(Action{Do: Claim, State: s, Version: n.version})
}

// heirs returns the next ISR: this node, and of the present ISR those who are
// alive with the log that is named there, but not the old leader.
func (n *Node) heirs() []Member {
	isr := []Member{{n.cfg.Node, n.log}}
	if m, ok := n.state.member(n.cfg.Node); !ok || m.Log != n.log {
		return isr // begins, or is torn
	}
	for _, m := range n.state.ISR {
		if m.Node == n.cfg.Node || m.Node == n.state.Leader {
			continue
		}
		p := n.peer(m.Node)
		if p == nil {
			continue
		}
		alive := !n.since(p.askedAt, n.cfg.Silence)
		if alive && p.log == m.Log || !alive && n.follow.resigned {
			isr = append(isr, m)
		}
	}
	return isr
}

func (n *Node) tickClaim() {
	if n.leaving && n.now >= n.deadline {
		n.leave()
		return
	}
	if !n.call.open {
		n.readState()
	}
	n.askStandings()
}

// claimed is the outcome of a claim.
func (n *Node) claimed(c call, r Result) {
	switch {
	case r == Applied && c.state.Epoch >= n.epoch && n.isMine(c.state):
		n.startLeading()
	case n.role != Claiming:
	case r == Refused && !n.follow.doubt:
		n.backToFollower()
	default:
		n.follow.doubt = n.follow.doubt || r == Unknown
		n.readAt = never
		n.readState()
	}
}

// claimRead is /state read while claiming. Only when the version has moved, an
// attempt is over: before, one whose outcome is unknown may still be applied.
func (n *Node) claimRead(moved bool) {
	switch {
	case moved, n.broken.has(claimForgotten):
		n.backToFollower()
	case !n.call.open:
		n.claim()
	}
}

func (n *Node) backToFollower() {
	f := &n.follow
	n.role, n.leader = Follower, n.livingLeader()
	f.session, f.doubt, f.joinAt, f.claimAt = 0, false, n.now, n.after(n.cfg.Beacon)
}
