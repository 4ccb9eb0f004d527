package protocol

import "math"

// leader is what a node keeps while it leads.
type leader struct {
	began    int64
	inherits uint64 // where the log ended when it began
	first    uint64 // end of the epoch's own first record; 0: not appended yet
	serving  bool
	writable bool
	until    int64 // the lease
	beaconAt int64 // no beacon before
	reviewAt int64 // no proposal before
	sessions uint64
	doubt    bool // an attempt to change the ISR at this version may have been applied, or will be
	asked    bool // /state is being read because of it
	drained  bool // nothing of clients is being appended any more
}

// startLeading begins the epoch that this incarnation has claimed.
func (n *Node) startLeading() {
	n.role, n.epoch, n.leader = Leader, n.state.Epoch, n.cfg.Node
	n.ledEpoch = n.epoch
	n.lead = leader{began: n.now, inherits: n.history.last, until: never, beaconAt: n.now}
	n.follow = follower{heard: n.now}
	for _, p := range n.peers {
		if !n.broken.has(keepSessions) {
			p.follow = newSession()
		}
	}
	n.updatePeers()
	n.takeISR()
	n.do(Action{Do: AppendEpoch, Epoch: n.epoch})
	n.beacons()
	if n.leaving {
		n.do(Action{Do: Drain})
	}
}

func (n *Node) tickLeader() {
	if n.leaving && n.tickDraining() {
		return
	}
	n.beacons()
	if n.state.Epoch == n.epoch && n.lead.asked {
		n.readState()
	}
	n.review()
	n.announce()
}

// beacons tells everybody who leads, once per Beacon.
func (n *Node) beacons() {
	l := &n.lead
	if n.now < l.beaconAt {
		return
	}
	l.beaconAt = n.after(n.cfg.Beacon)
	for _, p := range n.peers {
		n.send(p.node, Message{Kind: Beacon, Session: p.follow.id, At: n.now, Seq: n.history.last, Commit: n.commit})
	}
}

// ownAppended is Appended in a log that this node appends to itself.
func (n *Node) ownAppended(seq uint64) {
	n.history.extend(n.ledEpoch, seq)
	if n.lead.first == 0 && seq > n.lead.inherits {
		n.lead.first = seq
	}
}

// advance moves the commit position to where all of the ISR has acknowledged. It is
// on the path of every write.
func (n *Node) advance() {
	l := &n.lead
	if l.first == 0 {
		return
	}
	seq, sure := n.acknowledged(), 0
	for _, p := range n.peers {
		s := &p.follow
		if s.counts() || s.entering {
			seq = min(seq, s.acked)
		}
		if s.member && !s.removing {
			sure++
		}
	}
	if sure < n.cfg.MinReplicas && !n.broken.has(noMinReplicas) {
		// Nobody waits for what was there before: it may be decided.
		seq = min(seq, max(l.first, n.commit))
	}
	n.setCommitted(seq)
	n.announce()
}

// announce tells the runtime what may be served, if that has changed.
func (n *Node) announce() {
	l := &n.lead
	ready := l.first != 0 && (n.commit >= l.first || n.broken.has(serveUncommitted))
	if n.role == Leader && !n.leaving && ready {
		if w := n.writable(); !l.serving || w != l.writable {
			l.serving, l.writable = true, w
			n.do(Action{Do: Serve, Epoch: n.epoch, Writable: w})
		}
	}
	n.renewLease()
}

func (n *Node) writable() bool {
	sure := 0
	for _, p := range n.peers {
		if p.follow.member && !p.follow.removing {
			sure++
		}
	}
	return sure >= n.cfg.MinReplicas
}

// renewLease computes how long no member of the ISR, and nobody who may have become
// one, can claim.
func (n *Node) renewLease() {
	l := &n.lead
	if !l.serving {
		return
	}
	until := int64(math.MaxInt64)
	for _, p := range n.peers {
		if p.follow.counts() && !n.broken.has(noLease) && !(n.broken.has(addingNeedsNoLease) && !p.follow.member) {
			until = min(until, p.follow.beaconAt+int64(n.cfg.Lease))
		}
	}
	if until != l.until {
		l.until = until
		n.do(Action{Do: Lease, Until: until})
	}
}

// stopLeading gives way to a later epoch.
func (n *Node) stopLeading() {
	n.role = Stopping
	n.lead.serving = false
	n.do(Action{Do: StopLeading})
}

// Stopped says that nothing of clients is being appended any more, and that the
// log ends with seq.
func (n *Node) Stopped(now int64, seq uint64) []Action {
	n.begin(now)
	switch n.role {
	case Stopping:
		n.ownAppended(seq)
		n.role = Follower
		n.follow.heard, n.follow.joinAt = n.now, n.now
		n.join()
	case Leader:
		if n.leaving {
			n.ownAppended(seq)
			n.lead.drained = true
			n.tickDraining()
		}
	}
	return n.out
}
