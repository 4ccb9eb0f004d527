package cache

// queue is a FIFO of handles, linked through them.
type queue struct {
	newest, oldest *Handle
	bytes          int64
}

func (q *queue) push(h *Handle) {
	h.queue, h.older, h.newer = q, q.newest, nil
	if q.newest == nil {
		q.oldest = h
	} else {
		q.newest.newer = h
	}
	q.newest = h
	q.bytes += h.charge()
}

func (q *queue) remove(h *Handle) {
	if h.newer == nil {
		q.newest = h.older
	} else {
		h.newer.older = h.older
	}
	if h.older == nil {
		q.oldest = h.newer
	} else {
		h.older.newer = h.newer
	}
	h.queue, h.older, h.newer = nil, nil, nil
	q.bytes -= h.charge()
}

// ghosts remembers the hashes of blocks that left the small queue lately. Each
// hash has one place, which it shares; what is there is overwritten.
type ghosts []uint32

func newGhosts(capacity int64) ghosts {
	n := 1
	for int64(n)*4096 < capacity {
		n *= 2
	}
	return make(ghosts, n)
}

func (g ghosts) place(hash uint64) (*uint32, uint32) {
	return &g[hash&uint64(len(g)-1)], uint32(hash >> 24)
}

func (g ghosts) add(hash uint64) {
	p, mark := g.place(hash)
	*p = mark
}

// take reports whether the hash is there and forgets it.
func (g ghosts) take(hash uint64) bool {
	p, mark := g.place(hash)
	if *p != mark || mark == 0 {
		return false
	}
	*p = 0
	return true
}
