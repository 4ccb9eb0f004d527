package memtable

import "sync/atomic"

// filter is a blocked Bloom filter (Putze, Sanders, Singler, "Cache-, Hash- and
// Space-Efficient Bloom Filters", 2007) whose blocks are single words, so that
// it can grow without locks. Each key sets four bits of one word.
type filter struct {
	words []atomic.Uint64
}

// newFilter gives a table of capacity bytes one bit of filter per 8 bytes: about
// 20 per record of 150 bytes.
func newFilter(capacity int64) filter {
	return filter{make([]atomic.Uint64, capacity/512+1)}
}

func (f *filter) reset() {
	for i := range f.words {
		f.words[i].Store(0)
	}
}

func (f *filter) size() int { return len(f.words) * 8 }

// place returns the word of a hash and its bits in it. The upper half of the
// hash chooses the word, the lower the bits.
func (f *filter) place(hash uint64) (*atomic.Uint64, uint64) {
	i := (hash >> 32) * uint64(len(f.words)) >> 32
	mask := uint64(1)<<(hash&63) | uint64(1)<<(hash>>6&63) | uint64(1)<<(hash>>12&63) | uint64(1)<<(hash>>18&63)
	return &f.words[i], mask
}

func (f *filter) add(hash uint64) {
	if w, mask := f.place(hash); w.Load()&mask != mask {
		w.Or(mask)
	}
}

func (f *filter) mayContain(hash uint64) bool {
	w, mask := f.place(hash)
	return w.Load()&mask == mask
}
