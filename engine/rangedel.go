package engine

import (
	"bytes"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// tombstone hides all records in [start, end) that are older than seq.
type tombstone struct {
	start, end []byte
	seq        uint64
}

func rangeDelMemory(start, end []byte) int64 { return int64(len(start)+len(end)) + 128 }

// fragments are range tombstones cut at each other's bounds, so that a lookup
// is one binary search: in [bounds[i], bounds[i+1]) the tombstones seqs[i]
// hold, newest first. Immutable. A nil *fragments is empty.
type fragments struct {
	bounds [][]byte
	seqs   [][]uint64
	newest uint64
}

// fragment cuts a list of tombstones, in O(n log n + the size of the result).
func fragment(list []tombstone) *fragments {
	f := &fragments{}
	var starts []tombstone
	for _, t := range list {
		if bytes.Compare(t.start, t.end) < 0 {
			starts = append(starts, t)
			f.bounds = append(f.bounds, t.start, t.end)
			f.newest = max(f.newest, t.seq)
		}
	}
	if len(starts) == 0 {
		return nil
	}
	slices.SortFunc(f.bounds, bytes.Compare)
	f.bounds = slices.CompactFunc(f.bounds, bytes.Equal)
	slices.SortFunc(starts, func(a, b tombstone) int { return bytes.Compare(a.start, b.start) })
	f.seqs = make([][]uint64, len(f.bounds))
	var open []tombstone
	for i, bound := range f.bounds {
		open = slices.DeleteFunc(open, func(t tombstone) bool { return bytes.Compare(t.end, bound) <= 0 })
		for len(starts) > 0 && bytes.Equal(starts[0].start, bound) {
			open, starts = append(open, starts[0]), starts[1:]
		}
		for _, t := range open {
			f.seqs[i] = append(f.seqs[i], t.seq)
		}
		slices.SortFunc(f.seqs[i], func(a, b uint64) int { return compareUint(b, a) })
	}
	return f
}

// at returns the index of the fragment that holds key, or -1.
func (f *fragments) at(key []byte) int {
	return sort.Search(len(f.bounds), func(i int) bool { return bytes.Compare(f.bounds[i], key) > 0 }) - 1
}

// newestAt returns the newest sequence number <= seq at a fragment, or 0.
func (f *fragments) newestAt(i int, seq uint64) uint64 {
	if i < 0 {
		return 0
	}
	for _, s := range f.seqs[i] {
		if s <= seq {
			return s
		}
	}
	return 0
}

// cover returns the sequence number of the newest tombstone over key that a
// reader at seq sees, or 0.
func (f *fragments) cover(key []byte, seq uint64) uint64 {
	if f == nil {
		return 0
	}
	return f.newestAt(f.at(key), seq)
}

// span returns the fragment around key: its bounds and the newest sequence
// number a reader at seq sees in it, 0 for none.
func (f *fragments) span(key []byte, seq uint64) (start, end []byte, cover uint64) {
	if f == nil {
		return nil, nil, 0
	}
	i := f.at(key)
	if cover = f.newestAt(i, seq); cover == 0 {
		return nil, nil, 0
	}
	return f.bounds[i], f.bounds[i+1], cover
}

// recentRanges is how many tombstones of a memtable are looked at one by one
// before they are cut into fragments.
const recentRanges = 32

// rangeBuffer collects the range tombstones of a memtable. Readers load one
// pointer; writers copy.
type rangeBuffer struct {
	view atomic.Pointer[rangeView]
	mu   struct {
		sync.Mutex
		list []tombstone
	}
}

type rangeView struct {
	cut    *fragments
	recent []tombstone
}

// add takes ownership of the slices. An empty range hides nothing and is ignored.
func (b *rangeBuffer) add(t tombstone) {
	if bytes.Compare(t.start, t.end) >= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.list = append(b.mu.list, t)
	next := &rangeView{}
	if old := b.view.Load(); old != nil {
		*next = *old
	}
	next.recent = append(slices.Clip(next.recent), t)
	if len(next.recent) >= max(recentRanges, len(b.mu.list)/8) {
		next.cut, next.recent = fragment(b.mu.list), nil
	}
	b.view.Store(next)
}

func (b *rangeBuffer) empty() bool { return b.view.Load() == nil }

func (b *rangeBuffer) cover(key []byte, seq uint64) uint64 {
	v := b.view.Load()
	if v == nil {
		return 0
	}
	cover := v.cut.cover(key, seq)
	for i := range v.recent {
		t := &v.recent[i]
		if t.seq <= seq && t.seq > cover && bytes.Compare(t.start, key) <= 0 && bytes.Compare(key, t.end) < 0 {
			cover = t.seq
		}
	}
	return cover
}

// all returns the tombstones so far. The result must not be modified.
func (b *rangeBuffer) all() []tombstone {
	if b.empty() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clip(b.mu.list)
}

func (b *rangeBuffer) reset() {
	b.view.Store(nil)
	b.mu.Lock()
	b.mu.list = nil
	b.mu.Unlock()
}
