package protocol

// follower is what a node keeps while it follows, or waits for a leader.
type follower struct {
	heard    int64  // when a beacon of this epoch arrived, or the epoch or the node began
	session  uint64 // the leader's name for our agreement that the logs agree; 0: none
	commit   uint64 // of the leader
	busy     bool   // the log is being cut or replaced
	joinAt   int64  // no Join before
	askAt    int64  // no Standing before
	progress int64  // when the log last grew
	resigned bool   // the leader asked us to claim
	claimAt  int64  // no claim before
	doubt    bool   // a claim at this version may have been applied, or will be
}

func (n *Node) tickFollower() {
	f := &n.follow
	if n.leaving && n.tickLeaving() {
		return
	}
	if n.leader == "" || n.state.Epoch < n.epoch {
		n.readState()
	}
	if n.since(f.heard, 2*n.cfg.Beacon) {
		n.readState()
		n.askStandings()
	}
	n.join()
	n.maybeClaim()
}

// tickLeaving reports whether the node is gone. Of a leader that is silent for so long that somebody else could have claimed
// twice nothing can be hoped for.
func (n *Node) tickLeaving() bool {
	m, ok := n.state.member(n.cfg.Node)
	in := ok && m.Log == n.log || n.follow.session != 0 && !n.reread // it may have been added just now
	if !in || n.now >= n.deadline || n.since(n.follow.heard, 2*n.cfg.Grace) {
		n.leave()
		return true
	}
	if n.leader != "" {
		n.send(n.leader, Message{Kind: Leave})
	}
	n.readState()
	return false
}

// fromLeader steps a message of whoever leads the node's epoch.
func (n *Node) fromLeader(from string, m Message) {
	n.adopt(m.Epoch, m.leader(from))
	acking := n.role == Follower || n.role == Claiming && n.broken.has(ackWhileClaiming)
	if n.broken.has(noFencing) && acking {
		n.leader = from
	}
	if !acking || from != n.leader {
		return
	}
	switch m.Kind {
	case Beacon:
		n.beacon(m)
	case Answer:
		n.answer(m)
	case Records:
		n.records(m)
	case Resign:
		n.follow.resigned = true
		n.maybeClaim()
	}
}

func (n *Node) beacon(m Message) {
	f := &n.follow
	f.heard, n.forced = n.now, false
	stuck := m.Seq > n.history.last && n.since(f.progress, n.cfg.Lease)
	if m.Session != f.session || stuck {
		f.session, f.progress = 0, n.now
	}
	n.leaderCommit(m.Commit)
	n.acknowledge(m.At)
	n.join()
}

// Receiving says that something of the leader's stream has come, be it a part of a record: a stream that takes long for a
// large one is not stuck.
func (n *Node) Receiving(now int64) {
	n.begin(now)
	n.follow.progress = n.now
}

// leaderCommit takes note of the leader's commit position. It says something
// about this log only once the logs are known to agree.
func (n *Node) leaderCommit(seq uint64) {
	f := &n.follow
	if f.session == 0 && !n.broken.has(commitUnmatched) {
		return
	}
	f.commit = max(f.commit, seq)
	n.followCommit()
}

func (n *Node) followCommit() {
	if n.follow.session != 0 || n.broken.has(commitUnmatched) {
		n.setCommitted(min(n.follow.commit, n.written))
	}
}

// acknowledge tells the leader how far the log is; at is of the beacon that this replies to.
func (n *Node) acknowledge(at int64) {
	m := Message{Kind: Ack, Epoch: n.epoch, Session: n.follow.session, At: at, Synced: n.cfg.AckSynced}
	if m.Session != 0 {
		m.Seq = n.acknowledged()
	}
	switch {
	case n.leader == "":
	case at != NoBeacon:
		n.send(n.leader, m)
	case m.Session != 0:
		n.do(Action{Do: Acknowledge, Node: n.leader, Message: m})
	}
}

// join asks the leader where the logs part, if that is not settled.
func (n *Node) join() {
	f := &n.follow
	if f.session != 0 || f.busy || n.leader == "" || n.now < f.joinAt || n.leaving {
		return
	}
	f.joinAt = n.after(2 * n.cfg.Beacon)
	n.send(n.leader, Message{Kind: Join, Log: n.log, Last: n.history.end()})
}

func (n *Node) answer(m Message) {
	f := &n.follow
	if f.busy || f.session != 0 || m.Last != n.history.end() || m.Log != n.log {
		return // to an earlier question
	}
	if m.Full {
		n.fullSync()
		return
	}
	if m.Session != 0 {
		f.session, f.progress = m.Session, n.now
		n.acknowledge(NoBeacon)
		return
	}
	seq, ok := n.history.keep(m.Point)
	seq = n.broken.cut(n, seq)
	if !ok || seq < n.commit && !n.broken.has(cutCommitted) {
		// What was committed here is not in the leader's log. That takes the
		// loss of every disk in sync; what is left is the leader's.
		n.fullSync()
		return
	}
	f.busy = true
	n.do(Action{Do: Truncate, Seq: seq})
}

func (n *Node) fullSync() {
	n.follow.busy, n.follow.session = true, 0
	n.log = LogID{}
	n.do(Action{Do: FullSync, Node: n.leader, Epoch: n.epoch})
}

// Truncated says that the log durably ends with seq.
func (n *Node) Truncated(now int64, seq uint64) []Action {
	n.begin(now)
	n.history.cut(seq)
	n.written, n.synced = n.history.last, n.history.last
	n.follow.busy, n.follow.joinAt = false, n.now
	if n.role == Follower {
		n.join()
	}
	return n.out
}

// FullSynced says that the log was replaced by one with the given identity
// that begins, without records, behind base, a committed position; a zero base: nothing could be had.
func (n *Node) FullSynced(now int64, id LogID, base Position) []Action {
	n.begin(now)
	n.log, n.history = id, history{base: base, last: base.Seq}
	n.written, n.synced, n.commit = base.Seq, base.Seq, base.Seq
	n.follow.busy, n.follow.joinAt = false, n.now
	if n.role == Follower {
		n.join()
	}
	return n.out
}

// records decides whether the records at hand continue this log.
func (n *Node) records(m Message) {
	f := &n.follow
	if f.busy || f.session == 0 || m.Session != f.session {
		return
	}
	switch last := n.history.last; {
	case m.Last.Seq <= m.Seq, m.Last.Epoch > n.epoch:
		return // nonsense
	case m.Seq == last && m.Last.Epoch >= n.history.end().Epoch:
		n.history.extend(m.Last.Epoch, m.Last.Seq)
		f.progress = n.now
		n.do(Action{Do: Append, Seq: m.Last.Seq})
		if n.broken.has(ackBeforeAppend) {
			n.acknowledge(NoBeacon)
		}
	case m.Last.Seq <= last:
		n.acknowledge(NoBeacon) // a repetition
	default:
		f.session = 0 // some are missing
		n.join()
		return
	}
	n.leaderCommit(m.Commit)
}
