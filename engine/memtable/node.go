package memtable

import (
	"runtime"
	"sync/atomic"
)

// latch is the state of a node: a version that changes when the node is split,
// and two flags. Readers take no lock: they read the version, then the node, and
// start again if the version has changed meanwhile or the node is being split.
type latch struct{ state atomic.Uint32 }

const (
	locked    = 1 // somebody adds to the leaf
	splitting = 2 // what readers see makes no sense
	version   = 4 // one step of the version
)

// pause waits a moment for the holder of a latch, the longer it has taken.
func pause(tries int) {
	if tries > 30 {
		runtime.Gosched()
	}
}

// stable waits until the node is not being split and returns its version.
func (l *latch) stable() uint32 {
	for tries := 0; ; tries++ {
		if s := l.state.Load(); s&splitting == 0 {
			return s &^ locked
		}
		pause(tries)
	}
}

// still reports whether what was read since stable returned v is true.
func (l *latch) still(v uint32) bool { return l.state.Load()&^locked == v }

// lock locks a leaf that still has the version v.
func (l *latch) lock(v uint32) bool {
	for tries := 0; ; tries++ {
		s := l.state.Load()
		if s&^locked != v {
			return false
		}
		if s == v && l.state.CompareAndSwap(v, v|locked) {
			return true
		}
		pause(tries)
	}
}

func (l *latch) unlock(v uint32) { l.state.Store(v) }

// beginSplit and endSplit enclose changes that readers must not see half done.
func (l *latch) beginSplit() { l.state.Store(l.state.Load() | locked | splitting) }
func (l *latch) endSplit()   { l.state.Store(l.state.Load()&^(locked|splitting) + version) }

const (
	leafSize  = 14 // records of a leaf
	innerSize = 63 // separators of an inner node
)

// leaf holds records in slots, in the order in which they came, and the order of
// their keys in one word that changes at once. A slot that is in the order does
// not change but by a split. It has three cache lines.
type leaf struct {
	latch
	next     atomic.Uint32 // leaf, 0 for none
	order    atomic.Uint64
	prefixes [leafSize]atomic.Uint64
	records  [leafSize]atomic.Uint32
	_        [8]byte
}

// order is a sequence of slots: their number in the lowest 4 bits, then 4 bits
// per slot (Mao, Kohler, Morris, "Cache Craftiness for Fast Multicore Key-Value
// Storage", EuroSys 2012, there called permutation). The slots of an order of n
// are those below n.
type order uint64

func (o order) len() int       { return int(o & 15) }
func (o order) slot(i int) int { return int(o>>(4+4*i)) & 15 }

// with returns the order with the next slot inserted at a position.
func (o order) with(at int) order {
	shift := 4 + 4*at
	below := o & (1<<shift - 1)
	return (o>>shift)<<(shift+4) | order(o.len())<<shift | below + 1
}

// ascending is the order of n slots one after the other.
func ascending(n int) order { return 0xdcba9876543210<<4&(1<<(4+4*n)-1) | order(n) }

// before reports whether the record in a slot sorts before the target.
func (l *leaf) before(t *Table, slot int, to *target) bool {
	if p := l.prefixes[slot].Load(); p != to.prefix {
		return p < to.prefix
	}
	return t.record(l.records[slot].Load()).compare(to) < 0
}

// position returns how many records of the order sort before the target.
func (l *leaf) position(t *Table, o order, to *target) int {
	low, high := 0, o.len()
	for low < high {
		if m := (low + high) / 2; l.before(t, o.slot(m), to) {
			low = m + 1
		} else {
			high = m
		}
	}
	return low
}

// add inserts a record at a position of the order. The leaf is locked and has room.
func (l *leaf) add(o order, at int, e entry) {
	l.prefixes[o.len()].Store(e.prefix)
	l.records[o.len()].Store(e.record)
	l.order.Store(uint64(o.with(at)))
}

// fill replaces what is in the leaf.
func (l *leaf) fill(entries []entry) {
	for i, e := range entries {
		l.prefixes[i].Store(e.prefix)
		l.records[i].Store(e.record)
	}
	l.order.Store(uint64(ascending(len(entries))))
}

// entry is a record in a leaf, or the separator of a node: the first record of
// what is right of it.
type entry struct {
	prefix uint64
	record uint32
}

// inner holds children and, between them, separators: all records below
// children[i] sort before separator i, all below children[i+1] do not.
type inner struct {
	latch
	count    atomic.Uint32 // separators
	prefixes [innerSize]atomic.Uint64
	records  [innerSize]atomic.Uint32
	children [innerSize + 1]atomic.Uint32
}

// search returns the index of the child in which the target belongs. Where the
// target is a separator itself, that is the child right of it, or with strict
// the one left of it.
func (n *inner) search(t *Table, to *target, strict bool) int {
	low, high := 0, int(n.count.Load())
	for low < high {
		if m := (low + high) / 2; n.reaches(t, m, to, strict) {
			low = m + 1
		} else {
			high = m
		}
	}
	return low
}

// reaches reports whether the target lies right of a separator.
func (n *inner) reaches(t *Table, i int, to *target, strict bool) bool {
	if p := n.prefixes[i].Load(); p != to.prefix {
		return p < to.prefix
	}
	c := t.record(n.records[i].Load()).compare(to)
	return c < 0 || c == 0 && !strict
}

// add inserts a separator and the child right of it. Slots that readers may look
// at always hold something that was valid once.
func (n *inner) add(at int, separator entry, child uint32) {
	count := int(n.count.Load())
	for i := count; i > at; i-- {
		n.prefixes[i].Store(n.prefixes[i-1].Load())
		n.records[i].Store(n.records[i-1].Load())
		n.children[i+1].Store(n.children[i].Load())
	}
	n.prefixes[at].Store(separator.prefix)
	n.records[at].Store(separator.record)
	n.children[at+1].Store(child)
	n.count.Store(uint32(count + 1))
}

// moveTo moves separators and children behind a separator, which stays with
// nobody, to an empty node.
func (n *inner) moveTo(right *inner, at int) (separator entry) {
	count := int(n.count.Load())
	right.children[0].Store(n.children[at+1].Load())
	for i := at + 1; i < count; i++ {
		right.prefixes[i-at-1].Store(n.prefixes[i].Load())
		right.records[i-at-1].Store(n.records[i].Load())
		right.children[i-at].Store(n.children[i+1].Load())
	}
	right.count.Store(uint32(count - at - 1))
	n.count.Store(uint32(at))
	return entry{n.prefixes[at].Load(), n.records[at].Load()}
}
