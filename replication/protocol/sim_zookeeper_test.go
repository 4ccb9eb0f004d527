package protocol

// zookeeper is the simulated configuration manager: /state with its version
// and the ephemeral node of each incarnation.
type zookeeper struct {
	w       *world
	state   State
	version int32
	past    []State // by version
	gens    [simMaxNodes]uint32
	missing [simMaxNodes]int64 // since when a session is not heard, 0: it is
	down    [simMaxNodes]int64 // until when a node is cut off
	names   []string
}

const sessionTimeout = 80 * ms

func (z *zookeeper) reset(w *world) {
	*z = zookeeper{w: w, version: -1, past: z.past[:0], names: z.names[:0]}
}

func (z *zookeeper) reachable(n *simNode) bool { return z.down[n.id] <= z.w.now }

// members returns the registered nodes.
func (z *zookeeper) members() []string {
	z.names = z.names[:0]
	for i, g := range z.gens {
		if g != 0 {
			z.names = append(z.names, z.w.nodes[i].name)
		}
	}
	return z.names
}

// sessions lets sessions expire, and nodes register.
func (z *zookeeper) sessions() {
	w := z.w
	changed := false
	for _, n := range w.nodes {
		alive := n.up && z.reachable(n) && n.pausedUntil <= w.now
		switch {
		case alive && z.gens[n.id] == n.gen:
			z.missing[n.id] = 0
		case alive && (z.gens[n.id] == 0 || w.chance(300)):
			z.gens[n.id], z.missing[n.id], changed = n.gen, 0, true
		case z.gens[n.id] != 0 && z.missing[n.id] == 0:
			z.missing[n.id] = w.now
		case z.gens[n.id] != 0 && w.now-z.missing[n.id] > sessionTimeout:
			z.gens[n.id], z.missing[n.id], changed = 0, 0, true
		}
		if alive && w.chance(40) {
			z.read(n) // the slow poll behind the watches
		}
	}
	if changed {
		for _, n := range w.nodes {
			if n.up && z.reachable(n) {
				w.post(w.between(0, 3*ms), event{kind: evMembers, node: n.id, gen: n.gen})
			}
		}
	}
	w.post(5*ms, event{kind: evSessions})
}

// read answers with /state, sometimes an old one.
func (z *zookeeper) read(n *simNode) {
	w := z.w
	if !z.reachable(n) {
		return
	}
	s, v := z.state, z.version
	if v > 0 && !w.healed && w.chance(w.set.stale) {
		v -= int32(w.rng.IntN(min(int(v), 3) + 1))
		s = z.past[v]
	}
	w.post(w.between(ms/5, 4*ms), event{kind: evStateRead, node: n.id, gen: n.gen, state: s, version: v})
}

// request takes a CompareAndSet or a Claim (b = 1).
func (z *zookeeper) request(n *simNode, a *Action) {
	w := z.w
	claim := int64(0)
	if a.Do == Claim {
		claim = 1
	}
	e := event{kind: evSwapApply, node: n.id, a: int64(n.gen), b: claim, state: a.State, version: a.Version}
	reply := event{kind: evSwapReply, node: n.id, gen: n.gen, result: Unknown}
	switch {
	case !z.reachable(n):
		if w.chance(500) {
			reply.result = Refused
		}
		w.post(w.between(0, 30*ms), reply)
	case !w.healed && w.chance(w.set.unknown):
		if w.chance(650) {
			e.unknown = true
			w.post(w.between(0, w.between(2*ms, 150*ms)), e)
		}
		w.post(w.between(0, 15*ms), reply)
	default:
		w.post(w.between(ms/5, 3*ms), e)
	}
}

func (z *zookeeper) apply(e *event) {
	w := z.w
	n := w.nodes[e.node]
	r := z.swap(n, e)
	if e.unknown {
		return
	}
	reply := event{kind: evSwapReply, node: n.id, gen: uint32(e.a), result: r, version: z.version}
	if !z.reachable(n) {
		reply.result = Unknown
	}
	w.post(w.between(ms/5, 2*ms), reply)
}

func (z *zookeeper) swap(n *simNode, e *event) Result {
	w := z.w
	if e.version != z.version && w.sim&versionIgnored == 0 {
		return Conflict
	}
	if e.b == 1 && z.gens[n.id] != uint32(e.a) && w.sim&claimUnchecked == 0 {
		return Refused
	}
	old := z.state
	z.state = e.state
	z.version++
	z.past = append(z.past, z.state)
	w.tracef("zookeeper: version %d by %s: %+v", z.version, n.name, z.state)
	w.check.stateChanged(&old, n)
	w.recall()
	for _, m := range w.nodes {
		if _, member := z.state.member(m.name); member && m.removed && w.healed {
			// Removed while it was being added: the cluster needs it, and its operator sees that.
			m.removed = false
			w.post(0, event{kind: evStart, node: m.id})
		}
		if m.up && z.reachable(m) && !w.chance(100) {
			w.post(w.between(ms/5, 4*ms), event{kind: evStateRead, node: m.id, gen: m.gen, state: z.state, version: z.version})
		}
	}
	return Applied
}
