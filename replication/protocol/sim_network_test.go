package protocol

// network is the links between nodes, each direction on its own.
type network struct {
	down [simMaxNodes][simMaxNodes]int   // how many faults block it
	last [simMaxNodes][simMaxNodes]int64 // when the newest message arrives that is in order
	back [simMaxNodes][simMaxNodes]int64 // the same, of acknowledgements that come back on streams
}

func (n *network) reset() { *n = network{} }

func (n *network) heal() { n.down = [simMaxNodes][simMaxNodes]int{} }

// cut blocks a direction for a while.
func (w *world) cut(from, to int, d int64) {
	w.net.down[from][to]++
	w.post(d, event{kind: evLinkUp, from: from, a: int64(to)})
}

func (n *network) up(e *event) {
	if d := &n.down[e.from][e.a]; *d > 0 {
		*d--
	}
}

// transmit sends a message: it may be lost, repeated, overtaken.
func (w *world) transmit(from, to int, m Message, recs []record) {
	if w.net.down[from][to] > 0 || !w.healed && w.chance(w.set.drop) {
		if w.chance(300) {
			w.post(w.between(0, 5*ms), event{kind: evDisconnected, node: to, from: from, gen: w.nodes[to].gen})
		}
		return
	}
	copies := 1
	if !w.healed && w.chance(w.set.dup) {
		copies = 2
	}
	for range copies {
		delay := w.between(ms/10, 2*ms)
		last := &w.net.last[from][to]
		if m.Kind == Ack && m.At == NoBeacon {
			last = &w.net.back[from][to]
		}
		switch {
		case !w.healed && w.chance(w.set.slow):
			delay = w.between(0, 120*ms)
		case !w.healed && w.chance(w.set.mixed):
		default:
			*last = max(*last, w.now+delay)
			delay = *last - w.now
		}
		gen := w.nodes[to].gen
		if w.chance(100) {
			gen = 0 // reaches whatever incarnation is there then
		}
		w.post(delay, event{kind: evDeliver, node: to, from: from, gen: gen, msg: m, recs: recs})
	}
}
