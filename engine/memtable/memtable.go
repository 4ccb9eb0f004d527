package memtable

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/gtinside/corecache/engine/base"
)

// Table is a memtable. Add, Get and iterators may run concurrently; Reset needs
// the table to itself.
type Table struct {
	arena    []byte
	start    unsafe.Pointer // &arena[0]
	capacity int64          // bytes that Reserve gives away
	filter   filter

	reserved atomic.Int64  // bytes
	records  atomic.Uint64 // number<<32 | units in use, from the arena's start
	nodes    atomic.Uint32 // units in use, from the arena's end
	root     atomicRoot
	last     atomic.Uint32 // the last leaf
	splits   sync.Mutex
}

const (
	unit       = 8 // bytes per unit of an offset
	line       = 64
	leafBytes  = uint32(unsafe.Sizeof(leaf{}))
	innerBytes = uint32(unsafe.Sizeof(inner{}))

	// nodeShare is what the nodes of the tree take per record at most: each
	// leaf but the last has at least half of leafSize records, each inner node
	// but the last of a level half of innerSize children.
	nodeShare = int(leafBytes)/(leafSize/2) + int(innerBytes)/(innerSize/2)/(leafSize/2) + 3
	// lastNodes is what the last nodes of all levels take, and what is lost to
	// alignment.
	lastNodes = int(leafBytes) + maxHeight*int(innerBytes) + 2*line
)

func align(n int64) int64 { return (n + unit - 1) &^ (unit - 1) }

// New returns an empty table which can take records of size bytes (as NodeSize
// counts them, at most about 31 GiB). It holds about 2 percent more memory.
func New(size int) *Table {
	capacity := int64(max(size, 0))
	words := make([]uint64, align(capacity+int64(lastNodes))/unit)
	t := &Table{
		start:    unsafe.Pointer(unsafe.SliceData(words)),
		arena:    unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(words)*unit),
		capacity: capacity,
		filter:   newFilter(capacity),
	}
	base.AdviseHugePages(t.arena)
	t.Reset()
	return t
}

// Reset empties the table. Nothing that it returned may be used any more.
func (t *Table) Reset() {
	t.filter.reset()
	t.reserved.Store(0)
	t.records.Store(1) // offset 0 is none
	end := uintptr(t.start) + uintptr(len(t.arena))
	t.nodes.Store(uint32(end%line) / unit)
	root := t.newNode(leafBytes)
	l := t.leaf(root)
	l.state.Store(0)
	l.next.Store(0)
	l.order.Store(0)
	t.root.Store(makeRoot(root, 0))
	t.last.Store(root)
}

// NodeSize returns the bytes to reserve for a record.
func NodeSize(keyLen, valueLen int) int64 {
	return align(int64(recordHeader+keyLen+valueLen)) + int64(nodeShare)
}

// Reserve sets n bytes aside for records to come and reports whether there was
// room. Records may be added up to what was reserved.
func (t *Table) Reserve(n int64) bool {
	if t.reserved.Add(n) <= t.capacity {
		return true
	}
	t.reserved.Add(-n)
	return false
}

// Used returns the bytes in use.
func (t *Table) Used() int64 {
	return (int64(uint32(t.records.Load())) + int64(t.nodes.Load())) * unit
}

// Len returns the number of records.
func (t *Table) Len() int { return int(t.records.Load() >> 32) }

// Size returns the bytes of memory that the table holds, used or not.
func (t *Table) Size() int64 { return int64(len(t.arena) + t.filter.size()) }

// Capacity returns the bytes that Reserve can give in all.
func (t *Table) Capacity() int64 { return t.capacity }

// MayContain reports whether the table may hold a record of the user key with
// this base.Hash. A false is certain.
func (t *Table) MayContain(hash uint64) bool { return t.filter.mayContain(hash) }

// Get returns the newest record of key with a sequence number <= seq. The value
// points into the table: it stays until Reset and must not be modified.
func (t *Table) Get(key []byte, seq uint64) (value []byte, tr base.Trailer, ok bool) {
	r := t.seekGE(&target{prefix: prefixOf(key), key: key, trailer: base.SeekTrailer(seq)})
	if r == nil || string(r.key()) != string(key) {
		return nil, 0, false
	}
	return r.value(), r.trailer, true
}

// Add inserts a record, for which space must have been reserved. No record with
// the same key and trailer may be there. It copies key and value.
func (t *Table) Add(key []byte, trailer base.Trailer, value []byte) {
	t.filter.add(base.Hash(key))
	to := target{prefix: prefixOf(key), key: key, trailer: trailer}
	t.insert(&to, entry{to.prefix, t.newRecord(&to, value)})
}

// newRecord places a record in the arena.
func (t *Table) newRecord(to *target, value []byte) uint32 {
	units := uint64(align(int64(recordHeader+len(to.key)+len(value)))) / unit
	offset := uint32(t.records.Add(1<<32|units)) - uint32(units)
	r := t.record(offset)
	r.trailer, r.keyLen, r.valueLen = to.trailer, uint32(len(to.key)), uint32(len(value))
	copy(r.key(), to.key)
	copy(r.value(), value)
	return offset
}

// newNode returns the offset of a new node, with undefined content, which starts a
// cache line. Nodes grow from the end of the arena towards the records.
func (t *Table) newNode(size uint32) uint32 {
	return uint32(len(t.arena)/unit) - t.nodes.Add(size/unit)
}

func (t *Table) at(offset uint32) unsafe.Pointer {
	return unsafe.Add(t.start, uintptr(offset)*unit)
}

func (t *Table) record(offset uint32) *record { return (*record)(t.at(offset)) }
func (t *Table) leaf(offset uint32) *leaf     { return (*leaf)(t.at(offset)) }
func (t *Table) inner(offset uint32) *inner   { return (*inner)(t.at(offset)) }

// latchAt returns the latch of a node of either kind.
func latchAt(t *Table, offset uint32) *latch { return (*latch)(t.at(offset)) }

// root names the root node and how many levels of inner nodes there are.
type root uint64

func makeRoot(node uint32, height int) root { return root(height)<<32 | root(node) }

func (r root) node() uint32 { return uint32(r) }
func (r root) height() int  { return int(r >> 32) }

type atomicRoot struct{ v atomic.Uint64 }

func (a *atomicRoot) Load() root   { return root(a.v.Load()) }
func (a *atomicRoot) Store(r root) { a.v.Store(uint64(r)) }
