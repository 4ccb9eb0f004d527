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

// fragments are range tombstones cut at each other's bounds, [bounds[i], bounds[i+1]), so that a lookup is
// one binary search for the fragment and then a walk over the few nodes above it. Immutable. A nil *fragments is
// empty.
//
// A list of the tombstones over each fragment would take n*n entries for n ranges within each other. Instead the
// fragments are the leaves of a segment tree (Bentley, "Solutions to Klee's rectangle problems", 1977): a tombstone
// stands at the at most 2*log n nodes that together span its range, and what holds in a fragment is what stands at
// its leaf and at the nodes above.
type fragments struct {
	bounds [][]byte
	nodes  [][]uint64 // node i has the children 2i and 2i+1; fragment i is node len(bounds)+i; sequence numbers, oldest first
}

// fragment cuts a list of tombstones, in O(n log n) time and space.
func fragment(list []tombstone) *fragments {
	if len(list) == 0 {
		return nil
	}
	f := &fragments{bounds: make([][]byte, 0, 2*len(list))}
	for _, t := range list {
		f.bounds = append(f.bounds, t.start, t.end)
	}
	slices.SortFunc(f.bounds, bytes.Compare)
	f.bounds = slices.CompactFunc(f.bounds, bytes.Equal)
	f.nodes = make([][]uint64, 2*len(f.bounds))
	for _, t := range list {
		f.put(f.at(t.start), f.at(t.end), t.seq)
	}
	for _, seqs := range f.nodes {
		slices.Sort(seqs)
	}
	return f
}

// put adds a tombstone over the fragments [from, to); if that is nothing, it does nothing.
func (f *fragments) put(from, to int, seq uint64) {
	for l, r := from+len(f.bounds), to+len(f.bounds); l < r; l, r = l/2, r/2 {
		if l%2 == 1 {
			f.nodes[l] = append(f.nodes[l], seq)
			l++
		}
		if r%2 == 1 {
			r--
			f.nodes[r] = append(f.nodes[r], seq)
		}
	}
}

// at returns the index of the fragment that holds key, or -1.
func (f *fragments) at(key []byte) int {
	return sort.Search(len(f.bounds), func(i int) bool { return bytes.Compare(f.bounds[i], key) > 0 }) - 1
}

// newestAt returns the newest sequence number <= seq at a fragment, or 0.
func (f *fragments) newestAt(i int, seq uint64) (newest uint64) {
	if i < 0 {
		return 0
	}
	for n := i + len(f.bounds); n > 0; n /= 2 {
		seqs := f.nodes[n]
		if j := sort.Search(len(seqs), func(j int) bool { return seqs[j] > seq }); j > 0 {
			newest = max(newest, seqs[j-1])
		}
	}
	return newest
}

// oldestAfter returns the oldest sequence number > seq at a fragment, or 0.
func (f *fragments) oldestAfter(i int, seq uint64) (oldest uint64) {
	if i < 0 {
		return 0
	}
	for n := i + len(f.bounds); n > 0; n /= 2 {
		seqs := f.nodes[n]
		if j := sort.Search(len(seqs), func(j int) bool { return seqs[j] > seq }); j < len(seqs) && (oldest == 0 || seqs[j] < oldest) {
			oldest = seqs[j]
		}
	}
	return oldest
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

// recentRanges is how many tombstones of a memtable are looked at one by one before they are cut into fragments.
const recentRanges = 32

// rangeBuffer collects the range tombstones of a memtable. Readers load one
// pointer; writers make a new view.
type rangeBuffer struct {
	view atomic.Pointer[rangeView]
	mu   struct {
		sync.Mutex
		list []tombstone // only ever appended to, so that views may share it
	}
}

// rangeView are the tombstones of a memtable at a moment. Cuts of about the same size are joined (the logarithmic
// method: Bentley and Saxe, "Decomposable searching problems I", 1980), so each tombstone is cut O(log n) times
// and there are O(log n) cuts to look at.
type rangeView struct {
	cuts   []cut // of older tombstones, in order; each has more of them than the next
	recent []tombstone
}

// cut has the tombstones of list[from:], up to the next cut.
type cut struct {
	from   int
	ranges *fragments
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
	size := len(b.mu.list)
	next.recent = b.mu.list[size-len(next.recent)-1 : size : size]
	if len(next.recent) == recentRanges {
		from, n := size-recentRanges, len(next.cuts)
		for n > 0 && size-from >= from-next.cuts[n-1].from {
			n--
			from = next.cuts[n].from
		}
		next.cuts = append(next.cuts[:n:n], cut{from, fragment(b.mu.list[from:])})
		next.recent = nil
	}
	b.view.Store(next)
}

func (b *rangeBuffer) empty() bool { return b.view.Load() == nil }

func (b *rangeBuffer) cover(key []byte, seq uint64) uint64 {
	v := b.view.Load()
	if v == nil {
		return 0
	}
	cover := uint64(0)
	for i := range v.cuts {
		cover = max(cover, v.cuts[i].ranges.cover(key, seq))
	}
	for i := range v.recent {
		t := &v.recent[i]
		if t.seq <= seq && t.seq > cover && bytes.Compare(t.start, key) <= 0 && bytes.Compare(key, t.end) < 0 {
			cover = t.seq
		}
	}
	return cover
}

// appendCuts appends all tombstones so far to dst, as fragments.
func (b *rangeBuffer) appendCuts(dst []*fragments) []*fragments {
	v := b.view.Load()
	if v == nil {
		return dst
	}
	for i := range v.cuts {
		dst = append(dst, v.cuts[i].ranges)
	}
	if len(v.recent) > 0 {
		dst = append(dst, fragment(v.recent))
	}
	return dst
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
