package protocol

// Clients write and read registers, one per key. Since the log orders all writes, a
// register is linearizable if each operation that begins after another one has
// ended is ordered behind it: a read returns no older record than the newest one
// that was acknowledged, or returned by a read, before it began.

type pendingWrite struct {
	seq    int
	id     uint32
	key    uint8
	healed bool
}

// serves reports whether the node takes commands of clients.
func (n *simNode) serves() bool {
	return n.up && n.serving && n.clock() < n.until
}

// server picks a node that would take a command.
func (w *world) server() *simNode {
	at := w.rng.IntN(len(w.nodes))
	for i := range w.nodes {
		if n := w.nodes[(at+i)%len(w.nodes)]; n.pausedUntil <= w.now && n.open && n.serves() {
			return n
		}
	}
	return nil
}

func (w *world) write() {
	w.post(w.between(1, 2*w.set.writeGap), event{kind: evWrite})
	n := w.server()
	if n == nil || !n.writable {
		return
	}
	r := w.newRecord(n.epoch, uint8(w.rng.IntN(simKeys)))
	n.queueIO(ioOp{kind: ioAppend, recs: w.keep(r)})
	n.pending = append(n.pending, pendingWrite{n.end, r.id, r.key, w.healed})
}

// acknowledgeWrites replies to the writes that are committed.
func (n *simNode) acknowledgeWrites() {
	k := 0
	for ; k < len(n.pending) && n.pending[k].seq <= n.commit; k++ {
		p := n.pending[k]
		if n.log[p.seq-1].id != p.id {
			n.w.failf("%s: acknowledges a write that is not in its log", n.name)
		}
		n.w.check.completed(p.key, p.seq)
		n.w.check.acknowledged++
		n.w.wrote = n.w.wrote || p.healed
	}
	n.pending = n.pending[:copy(n.pending, n.pending[k:])]
}

// read begins a read: the lease is looked at, then the view is taken, then the reply leaves.
func (w *world) read() {
	w.post(w.between(1, 2*w.set.readGap), event{kind: evRead})
	n := w.server()
	if n == nil {
		return
	}
	key := w.rng.IntN(simKeys)
	e := event{kind: evReadView, node: n.id, gen: n.gen, a: int64(key), b: int64(w.check.floor[key])}
	e.msg.Epoch, e.msg.Seq = n.epoch, uint64(w.check.losses)
	w.post(w.between(0, ms), e)
}

func (n *simNode) readView(e *event) {
	seq := n.commit
	for seq > 0 && int64(n.log[seq-1].key) != e.a {
		seq--
	}
	next := *e
	next.kind, next.msg.Last.Seq = evReadReply, uint64(seq)
	n.w.post(n.w.between(0, ms), next)
}

func (n *simNode) readReply(e *event) {
	w := n.w
	if w.sim&noRecheck == 0 && (!n.serves() || n.epoch != e.msg.Epoch) {
		return // the client gets an error
	}
	for _, m := range w.nodes {
		if m != n && m.serves() {
			w.failf("%s answers a read while %s serves", n.name, m.name)
			return
		}
	}
	if int(e.msg.Seq) != w.check.losses {
		return
	}
	seq := int(e.msg.Last.Seq)
	if seq < int(e.b) {
		w.failf("%s: a read of key %d returns record %d, but %d was acknowledged before it began", n.name, e.a, seq, e.b)
	}
	w.check.completed(uint8(e.a), seq)
	w.check.reads++
}
