package cache

import "sync/atomic"

// table maps the hash of a block's place to its handle: open addressing with
// linear probing, at most half full. It is changed under the shard's mutex and
// read without. A reader may miss an entry that is being moved, and may find a
// handle that is used for another block by now; it never reads outside.
type table struct {
	mask  uint64
	slots []slot
}

type slot struct {
	hash   atomic.Uint64 // 0: empty
	handle atomic.Pointer[Handle]
}

func newTable(size int) *table {
	return &table{mask: uint64(size - 1), slots: make([]slot, size)}
}

// find returns a reference to a block, or nil.
func (t *table) find(hash, file, offset uint64) *Handle {
	for i := hash & t.mask; ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		switch s.hash.Load() {
		case 0:
			return nil
		case hash:
			h := s.handle.Load()
			if h == nil || !h.acquire() {
				return nil
			}
			if h.file == file && h.offset == offset {
				return h
			}
			h.Release()
			return nil
		}
	}
}

// has reports whether a hash is there, be it that of another block.
func (t *table) has(hash uint64) bool {
	for i := hash & t.mask; ; i = (i + 1) & t.mask {
		if at := t.slots[i].hash.Load(); at == hash || at == 0 {
			return at == hash
		}
	}
}

// set puts a handle into the place of its hash, which must not be there.
func (t *table) set(hash uint64, h *Handle) {
	i := hash & t.mask
	for t.slots[i].hash.Load() != 0 {
		i = (i + 1) & t.mask
	}
	t.slots[i].handle.Store(h)
	t.slots[i].hash.Store(hash)
}

// remove takes an entry out and moves up those behind it, so that no gap lies
// between an entry and the place of its hash (Knuth, TAOCP 6.4, algorithm R).
func (t *table) remove(hash uint64) {
	gap := hash & t.mask
	for t.slots[gap].hash.Load() != hash {
		gap = (gap + 1) & t.mask
	}
	for i := (gap + 1) & t.mask; ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		at := s.hash.Load()
		if at == 0 {
			break
		}
		if home := at & t.mask; (i-home)&t.mask >= (i-gap)&t.mask {
			t.slots[gap].handle.Store(s.handle.Load())
			t.slots[gap].hash.Store(at)
			gap = i
		}
	}
	t.slots[gap].hash.Store(0)
	t.slots[gap].handle.Store(nil)
}

// grown returns a table of twice the size with the same entries.
func (t *table) grown() *table {
	g := newTable(2 * len(t.slots))
	for i := range t.slots {
		if hash := t.slots[i].hash.Load(); hash != 0 {
			g.set(hash, t.slots[i].handle.Load())
		}
	}
	return g
}
