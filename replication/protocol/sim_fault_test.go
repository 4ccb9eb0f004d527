package protocol

import "math/rand/v2"

const (
	faultKill = iota
	faultPower
	faultKillAll
	faultPowerAll
	faultPause
	faultPauseAll
	faultIsolate
	faultOneWay
	faultPair
	faultKeeper     // one node from ZooKeeper
	faultKeeperDown // all nodes from ZooKeeper
	faultCutOff     // from nodes and ZooKeeper
	faultRift       // from ZooKeeper and one other node
	faultWipe
	faultShutdown
	faultRemove
	faultStall  // the disk hangs
	faultBroken // it hangs, and the runtime notices
	numFaults
)

// fault makes something go wrong. What it does depends only on the seed and on the fault's
// number, so that faults can be left out without changing the others.
func (w *world) fault() {
	if w.healed {
		return
	}
	k := w.check.faults
	w.check.faults++
	rng := rand.New(rand.NewPCG(w.seed, uint64(k)+1))
	w.post(1+rng.Int64N(2*w.set.gap), event{kind: evFault})
	if w.set.total == 0 {
		return
	}
	pick := rng.IntN(w.set.total)
	kind := 0
	for ; pick >= w.set.faults[kind]; kind++ {
		pick -= w.set.faults[kind]
	}
	n := w.nodes[rng.IntN(len(w.nodes))]
	if rng.IntN(2) == 0 && w.zk.state.Leader != "" {
		n = w.nodes[w.index(w.zk.state.Leader)]
	}
	m := w.nodes[rng.IntN(len(w.nodes))]
	d := 1 + rng.Int64N(10*ms)
	if rng.IntN(3) > 0 {
		d = 20*ms + rng.Int64N(130*ms)
	}
	if w.set.skip[k] {
		return
	}
	w.tracef("fault %d: kind %d, %s, %s, for %dms", k, kind, n.name, m.name, d/ms)
	w.inflict(kind, n, m, d, rng)
}

func (w *world) inflict(kind int, n, m *simNode, d int64, rng *rand.Rand) {
	switch kind {
	case faultKill, faultPower, faultWipe:
		w.crash(kind, n, d)
	case faultKillAll, faultPowerAll:
		for _, x := range w.nodes {
			w.crash(kind, x, 1+rng.Int64N(d))
		}
	case faultPause:
		n.pausedUntil = max(n.pausedUntil, w.now+d)
	case faultPauseAll:
		for _, x := range w.nodes {
			x.pausedUntil = max(x.pausedUntil, w.now+1+rng.Int64N(d))
		}
	case faultIsolate, faultCutOff:
		for _, x := range w.nodes {
			w.cut(n.id, x.id, d)
			w.cut(x.id, n.id, d)
		}
		if kind == faultCutOff {
			w.zk.down[n.id] = w.now + d
		}
	case faultOneWay:
		w.cut(n.id, m.id, d)
	case faultPair:
		w.cut(n.id, m.id, d)
		w.cut(m.id, n.id, d)
	case faultRift:
		w.cut(n.id, m.id, d)
		w.cut(m.id, n.id, d)
		w.zk.down[n.id] = w.now + d
	case faultKeeper:
		w.zk.down[n.id] = w.now + d
	case faultKeeperDown:
		for i := range w.zk.down {
			w.zk.down[i] = w.now + d
		}
	case faultStall:
		n.stalledUntil = max(n.stalledUntil, w.now+d)
	case faultBroken:
		if n.up && n.pausedUntil <= w.now {
			n.stalledUntil = w.now + 10*d
			w.tracef("%s: its disk is broken", n.name)
			n.run(n.core.Shutdown(n.clock(), 0))
		}
	case faultShutdown, faultRemove:
		if n.up && n.pausedUntil <= w.now {
			n.removed = n.removed || kind == faultRemove
			n.shutdown()
		}
	}
}

func (w *world) crash(kind int, n *simNode, d int64) {
	if !n.up || kind == faultWipe && w.zk.state.Epoch == 0 {
		return
	}
	switch kind {
	case faultPower, faultPowerAll:
		n.losePower()
	case faultWipe:
		n.kill()
		n.replaceDisk()
	default:
		n.kill()
	}
	w.check.logChanged(n)
	w.post(d, event{kind: evStart, node: n.id})
}

// housekeeping flushes committed data to tables, and releases log.
func (w *world) housekeeping() {
	w.post(w.between(1, 40*ms), event{kind: evHouse})
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	if !n.up || n.pausedUntil > w.now || len(n.log) < n.commit {
		return
	}
	n.flushed = max(n.flushed, n.commit)
	if w.sim&flushUncommitted != 0 {
		n.flushed = len(n.log)
	}
	if w.chance(250) {
		n.base = int(w.between(int64(n.base), int64(min(n.flushed, n.commit))+1))
		n.run(n.core.Released(n.clock(), uint64(n.base)))
	}
}

// heal ends all faults. From now on the cluster has to recover.
func (w *world) heal() {
	w.healed, w.healAt = true, w.now
	w.tracef("all faults end")
	w.net.heal()
	clear(w.zk.down[:])
	present := 0
	for _, n := range w.nodes {
		if !n.removed {
			present++
		}
	}
	for _, n := range w.nodes {
		n.pausedUntil, n.stalledUntil = min(n.pausedUntil, w.now), min(n.stalledUntil, w.now)
		if n.removed && (w.zk.state.Epoch == 0 || n.up || present <= w.set.cfg.MinReplicas) {
			n.removed = false
		}
		if !n.up && !n.removed {
			w.post(0, event{kind: evStart, node: n.id})
		}
	}
	w.recall()
}

// recall brings back removed nodes that are in sync after all, once the faults are over: the others may need them.
func (w *world) recall() {
	for _, n := range w.nodes {
		if _, member := w.zk.state.member(n.name); w.healed && n.removed && member {
			n.removed = false
			if !n.up {
				w.post(0, event{kind: evStart, node: n.id})
			}
		}
	}
}
