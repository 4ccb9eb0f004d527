package engine

import (
	"bytes"

	"github.com/gtinside/corecache/engine/base"
)

// run is one input of a merge: an iterator and the record it stands on, kept
// here so that ordering calls nothing.
type run struct {
	it     base.Iterator
	key    []byte
	prefix uint64 // first 8 bytes of the key behind merge.skip
	tr     base.Trailer
	newest uint64     // no record of the run has a greater sequence number
	level  *levelIter // if not nil, it says so instead, for the current table
}

func (r *run) newestSeq() uint64 {
	if r.level != nil {
		return r.level.newest()
	}
	return r.newest
}

// merge joins sorted runs into one, forwards or backwards. Its heap holds the
// runs that stand on a record; the first is next in the present direction.
type merge struct {
	runs    []run
	heap    []*run
	skip    int // all keys share so many first bytes
	reverse bool
	err     error
}

func (m *merge) top() *run { return m.heap[0] }

// load reads the record that r stands on.
func (m *merge) load(r *run) {
	r.key, r.tr = r.it.Key(), r.it.Trailer()
	r.prefix = prefix8(r.key[m.skip:])
}

// less reports whether a comes before b in the present direction.
func (m *merge) less(a, b *run) bool {
	if m.reverse {
		a, b = b, a
	}
	if a.prefix != b.prefix {
		return a.prefix < b.prefix
	}
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c < 0
	}
	return a.tr > b.tr
}

func (m *merge) first() bool {
	m.start(false)
	for i := range m.runs {
		m.enter(&m.runs[i], m.runs[i].it.First())
	}
	return m.build()
}

func (m *merge) last() bool {
	m.start(true)
	for i := range m.runs {
		m.enter(&m.runs[i], m.runs[i].it.Last())
	}
	return m.build()
}

func (m *merge) seekGE(key []byte, tr base.Trailer) bool {
	m.start(false)
	for i := range m.runs {
		m.enter(&m.runs[i], m.runs[i].it.SeekGE(key, tr))
	}
	return m.build()
}

func (m *merge) seekLT(key []byte, tr base.Trailer) bool {
	m.start(true)
	for i := range m.runs {
		m.enter(&m.runs[i], m.runs[i].it.SeekLT(key, tr))
	}
	return m.build()
}

func (m *merge) start(reverse bool) {
	m.reverse, m.heap = reverse, m.heap[:0]
}

func (m *merge) enter(r *run, ok bool) {
	if !ok {
		m.fail(r)
		return
	}
	m.load(r)
	m.heap = append(m.heap, r)
}

func (m *merge) fail(r *run) {
	if err := r.it.Error(); err != nil && m.err == nil {
		m.err = err
	}
}

func (m *merge) build() bool {
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	return m.ok()
}

func (m *merge) ok() bool { return len(m.heap) > 0 && m.err == nil }

// step moves the first run in the present direction.
func (m *merge) step() bool {
	r := m.heap[0]
	if m.reverse {
		return m.moved(r, r.it.Prev())
	}
	return m.moved(r, r.it.Next())
}

// skipTo moves the first run, forwards to key or backwards below it; but not
// further than to the next table of a level.
func (m *merge) skipTo(key []byte) bool {
	r := m.heap[0]
	if r.level != nil {
		return m.moved(r, r.level.skipTo(key, m.reverse))
	}
	if m.reverse {
		return m.moved(r, r.it.SeekLT(key, base.SeekTrailer(base.MaxSeq)))
	}
	return m.moved(r, r.it.SeekGE(key, base.SeekTrailer(base.MaxSeq)))
}

// moved restores the heap after its first run moved.
func (m *merge) moved(r *run, ok bool) bool {
	if ok {
		m.load(r)
		if len(m.heap) > 1 {
			m.down(0)
		}
		return m.err == nil
	}
	m.fail(r)
	n := len(m.heap) - 1
	m.heap[0] = m.heap[n]
	m.heap = m.heap[:n]
	if n > 1 {
		m.down(0)
	}
	return m.ok()
}

func (m *merge) down(i int) {
	h := m.heap
	r := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && m.less(h[c+1], h[c]) {
			c++
		}
		if !m.less(h[c], r) {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = r
}

func (m *merge) close() error {
	var err error
	for i := range m.runs {
		if e := m.runs[i].it.Close(); e != nil && err == nil {
			err = e
		}
	}
	clear(m.runs)
	clear(m.heap)
	*m = merge{runs: m.runs[:0], heap: m.heap[:0]}
	return err
}
