package memtable

import (
	"math"
	"unsafe"

	"github.com/gtinside/corecache/engine/base"
)

// iter walks a table. It takes the records of a leaf at once, so it does not see
// what is added to that leaf afterwards; what was there when it was positioned, it
// sees. Keys and values point into the arena and stay until Reset.
type iter struct {
	table   *Table
	records [leafSize]uint32
	n, at   int
	next    uint32  // leaf
	record  *record // nil when the iterator stands nowhere
}

// NewIter returns an iterator over all records. It may be used until Reset.
func (t *Table) NewIter() base.Iterator { return &iter{table: t} }

// load takes the records of a leaf and reports whether they make sense.
func (i *iter) load(l *leaf, v uint32, o order) bool {
	i.n = o.len()
	for k := range i.n {
		i.records[k] = l.records[o.slot(k)].Load()
	}
	i.next = l.next.Load()
	return l.still(v)
}

// seek loads the leaf to which the target belongs and returns how many of its
// records sort before the target.
func (i *iter) seek(to *target, strict bool) int {
	for {
		l, v := i.table.find(to, strict)
		o := order(l.order.Load())
		at := l.position(i.table, o, to)
		if i.load(l, v, o) {
			return at
		}
	}
}

// stand goes to a record of the loaded leaf.
func (i *iter) stand(at int) bool {
	i.at = at
	i.record = i.table.record(i.records[at])
	return true
}

func (i *iter) end() bool {
	i.record = nil
	return false
}

// standOrNext goes to a record of the leaf, or to the first of the next leaf.
func (i *iter) standOrNext(at int) bool {
	if at < i.n {
		return i.stand(at)
	}
	if i.next == 0 {
		return i.end()
	}
	for l := i.table.leaf(i.next); ; {
		v := l.stable()
		if i.load(l, v, order(l.order.Load())) {
			i.prefetch()
			return i.stand(0)
		}
	}
}

// prefetch asks for the records of the leaf, and for the next leaf: they lie anywhere.
func (i *iter) prefetch() {
	for _, r := range i.records[:i.n] {
		p := uintptr(unsafe.Pointer(i.table.record(r)))
		base.Prefetch(p)
		base.Prefetch(p + 64)
	}
	if i.next != 0 {
		base.Prefetch(uintptr(unsafe.Pointer(i.table.leaf(i.next))))
	}
}

func (i *iter) First() bool { return i.SeekGE(nil, math.MaxUint64) }

func (i *iter) Last() bool { return i.seekLT(&target{prefix: math.MaxUint64, end: true}) }

func (i *iter) SeekGE(key []byte, trailer base.Trailer) bool {
	return i.standOrNext(i.seek(&target{prefix: prefixOf(key), key: key, trailer: trailer}, false))
}

func (i *iter) SeekLT(key []byte, trailer base.Trailer) bool {
	return i.seekLT(&target{prefix: prefixOf(key), key: key, trailer: trailer})
}

func (i *iter) seekLT(to *target) bool {
	at := i.seek(to, true)
	if at == 0 { // each leaf but the first has its separator, which is less
		return i.end()
	}
	return i.stand(at - 1)
}

func (i *iter) Next() bool { return i.standOrNext(i.at + 1) }

func (i *iter) Prev() bool {
	if i.at > 0 {
		return i.stand(i.at - 1)
	}
	return i.SeekLT(i.record.key(), i.record.trailer)
}

func (i *iter) Valid() bool           { return i.record != nil }
func (i *iter) Key() []byte           { return i.record.key() }
func (i *iter) Trailer() base.Trailer { return i.record.trailer }
func (i *iter) Value() []byte         { return i.record.value() }
func (i *iter) Error() error          { return nil }
func (i *iter) Close() error          { return nil }
