package protocol

// A leader that leaves takes no more commands, waits until all it has appended
// is committed, and asks the best follower to claim at once: the grace that a
// claim otherwise waits for protects a lease that this leader has given up by then.
// A follower that leaves too does not claim but says Leave: then the leader takes it out of the ISR and asks
// another one. The last one left simply goes.

// tickDraining reports whether the node leads no more.
func (n *Node) tickDraining() bool {
	late := n.now >= n.deadline
	if !late && !(n.lead.drained && n.lead.first != 0 && n.commit >= n.history.last) {
		return false
	}
	heir := n.bestFollower(late)
	if heir == nil && !late && n.hasFollowers() {
		return false
	}
	if !n.broken.has(resignServing) {
		n.endLease()
	}
	if heir != nil {
		n.role = Resigned
		n.send(heir.node, Message{Kind: Resign})
	}
	if heir == nil || late {
		n.leave()
	}
	return true
}

// endLease promises to serve nothing any more.
func (n *Node) endLease() {
	n.lead.serving = false
	n.lead.until = never
	n.do(Action{Do: Lease, Until: never})
}

// bestFollower returns the member that was heard last, of those who have the whole
// log, or, when it is late, of all.
func (n *Node) bestFollower(late bool) (best *peer) {
	for _, p := range n.peers {
		s := &p.follow
		if !s.member || s.removing || n.now < s.outUntil || s.log != s.entry || s.acked < n.history.last && !late ||
			n.since(s.beaconAt, n.cfg.Silence) {
			continue
		}
		if best == nil || s.beaconAt > best.follow.beaconAt {
			best = p
		}
	}
	return best
}

func (n *Node) hasFollowers() bool {
	for _, p := range n.peers {
		if p.follow.member {
			return true
		}
	}
	return false
}

// tickResigned waits until the successor's epoch shows that it has taken over.
func (n *Node) tickResigned() {
	if n.now >= n.deadline {
		n.leave()
		return
	}
	if heir := n.bestFollower(true); heir != nil {
		n.send(heir.node, Message{Kind: Resign}) // the first one may be lost
	}
	n.readState()
}
