package protocol

// checker knows what was committed and acknowledged, and looks after each step
// whether it still is.
type checker struct {
	w         *world
	committed []record     // by sequence number - 1
	floor     [simKeys]int // the newest record that a completed operation has seen
	losses    int          // of unsynced records, by power failures of all who were in sync
	blocked   bool         // every disk in sync was replaced: nobody may lead

	// Statistics.
	faults, acknowledged, reads, epochs int
}

func (c *checker) reset(w *world) { *c = checker{w: w, committed: c.committed[:0]} }

// step checks that at most one node would answer a read.
func (c *checker) step() {
	w := c.w
	var one *simNode
	for _, n := range w.nodes {
		if !n.serves() {
			continue
		}
		if one != nil {
			w.failf("%s and %s both serve reads", one.name, n.name)
		}
		one = n
	}
}

// completed takes note of an operation that has ended.
func (c *checker) completed(key uint8, seq int) {
	if key < simKeys {
		c.floor[key] = max(c.floor[key], seq)
	}
}

// committing checks that a node may take everything up to seq as decided.
func (c *checker) committing(n *simNode, seq int) {
	w := c.w
	if seq < n.commit || seq > len(n.log) {
		w.failf("%s: commit position goes from %d to %d, the log ends at %d", n.name, n.commit, seq, len(n.log))
		return
	}
	for s := n.commit; s < seq; s++ {
		if s < len(c.committed) {
			if c.committed[s] != n.log[s] {
				w.failf("%s: commits record %d as %v, but %v was committed", n.name, s+1, n.log[s], c.committed[s])
				return
			}
			continue
		}
		if !n.leads {
			if c.losses == 0 || n.core.epoch >= w.zk.state.Epoch {
				w.failf("%s: commits record %d as a follower, the leader did not", n.name, s+1)
			}
			return
		}
		c.replicas(n, n.log[s])
		c.committed = append(c.committed, n.log[s])
	}
	c.members()
}

// replicas checks that a record that a client waits for has the replicas it needs.
func (c *checker) replicas(n *simNode, r record) {
	s := &c.w.zk.state
	if s.Epoch == n.core.epoch && uint64(r.epoch) == s.Epoch && r.key != simEpochKey && len(s.ISR)-1 < c.w.set.cfg.MinReplicas {
		c.w.failf("%s: commits %v with %d in sync", n.name, r, len(s.ISR))
	}
}

// holds returns how many of the committed records a node has.
func (c *checker) holds(n *simNode) int {
	k := min(len(c.committed), len(n.log))
	if k == 0 || k == len(c.committed) && n.log[k-1] == c.committed[k-1] {
		return k
	}
	for i := range k {
		if n.log[i] != c.committed[i] {
			return i
		}
	}
	return k
}

// members checks that everybody in the in-sync set whose log is the one named there has
// all that is committed.
func (c *checker) members() {
	w := c.w
	for _, m := range w.zk.state.ISR {
		n := w.nodes[w.index(m.Node)]
		if n.identity() == m.Log && c.holds(n) < len(c.committed) {
			w.failf("%s is in sync, but has %d of %d committed records", n.name, c.holds(n), len(c.committed))
		}
	}
}

// stateChanged checks a claim, or a change of the in-sync set.
func (c *checker) stateChanged(old *State, n *simNode) {
	w := c.w
	if w.zk.state.Epoch > old.Epoch {
		c.epochs++
		if m, _ := w.zk.state.member(n.name); m.Log != n.identity() {
			return // it has lost its log meanwhile, and will not lead
		}
		if has := c.holds(n); has < len(c.committed) {
			c.lose(old, n, has)
		}
		if has := len(c.committed); c.losses > 0 && n.commit > has && w.fail == nil {
			c.committed = append(c.committed, n.log[has:n.commit]...) // what was lost before comes back
		}
	}
	c.members()
}

// lose decides whether a claim may lose records: only if nobody who was in
// sync has them any more, because of power failures.
func (c *checker) lose(old *State, n *simNode, has int) {
	w := c.w
	torn := false
	for _, m := range old.ISR {
		x := w.nodes[w.index(m.Node)]
		if x.identity() == m.Log || c.holds(x) > has {
			w.failf("%s claims with %d of %d committed records, %s has %d", n.name, has, len(c.committed), x.name, c.holds(x))
			return
		}
		torn = torn || x.lineage == m.Log.Lineage
	}
	if _, member := old.member(n.name); !c.blocked && (!torn || !member) {
		w.failf("%s claims with %d of %d committed records", n.name, has, len(c.committed))
		return
	}
	w.tracef("records after %d are lost: all who were in sync lost power", has)
	c.losses++
	c.committed = c.committed[:has]
	for k := range c.floor {
		s := min(c.floor[k], has)
		for s > 0 && int(c.committed[s-1].key) != k {
			s--
		}
		c.floor[k] = s
	}
}

// truncating checks a cut.
func (c *checker) truncating(n *simNode, seq int) {
	if seq < n.commit || seq < n.flushed || seq > len(n.log) {
		c.w.failf("%s: log cut after %d, but %d is committed and %d flushed", n.name, seq, n.commit, n.flushed)
	}
}

// logChanged checks a disk that has lost something or gained something.
func (c *checker) logChanged(n *simNode) {
	if n.flushed > len(n.log) || n.flushed > n.commit && n.up {
		c.w.failf("%s: flushed %d, committed %d, in the log %d", n.name, n.flushed, n.commit, len(n.log))
	}
	if len(n.log) < len(c.committed) {
		c.members()
	}
}

const recovery = 600 * ms

// done reports whether the schedule is over: the cluster has recovered, or it had to and has not.
func (w *world) done() bool {
	if !w.healed {
		return false
	}
	if w.wrote && w.check.converged() {
		return true
	}
	if w.now < w.healAt+recovery || w.check.blocked && w.now < w.healAt+2*recovery {
		return false
	}
	if w.check.lost() && !w.check.blocked {
		w.check.blocked = true
		w.force()
		return false
	}
	w.failf("not recovered %d ms after the last fault: state %+v", recovery/ms, w.zk.state)
	for _, n := range w.nodes {
		if n.up {
			w.tracef("%s: %s epoch %d leader %q log %v end %v commit %d follow %+v lead %+v", n.name, n.core.role, n.core.epoch, n.core.leader,
				n.core.log, n.core.history.end(), n.core.commit, n.core.follow, n.core.lead)
		}
	}
	return true
}

// force lets the node lead that has most, as a human would.
func (w *world) force() {
	best := w.nodes[0]
	for _, n := range w.nodes {
		if n.up && (!best.up || best.position(len(best.log)).Less(n.position(len(n.log)))) {
			best = n
		}
	}
	w.tracef("%s: is forced to lead", best.name)
	best.run(best.core.Force(best.clock()))
}

// converged reports whether all nodes are in sync and have the same log.
func (c *checker) converged() bool {
	w := c.w
	in := 0
	for _, n := range w.nodes {
		if n.removed && !n.up {
			continue
		}
		m, ok := w.zk.state.member(n.name)
		if !ok || !n.up || m.Log != n.identity() || n.commit < len(c.committed)-3 {
			return false
		}
		in++
	}
	if in != len(w.zk.state.ISR) {
		return false
	}
	for _, n := range w.nodes {
		if n.up && c.holds(n) < n.commit {
			w.failf("%s: its log differs from what was committed", n.name)
		}
	}
	return true
}

// lost reports whether no node in sync has a log with which it may claim.
func (c *checker) lost() bool {
	w := c.w
	for _, m := range w.zk.state.ISR {
		if w.nodes[w.index(m.Node)].lineage == m.Log.Lineage {
			return false
		}
	}
	return true
}
