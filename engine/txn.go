package engine

import (
	"bytes"
	"sync"

	"github.com/gtinside/corecache/engine/base"
)

// Txn is a batch that can be read: its reads see its own operations over all
// that is applied. It isolates nothing by itself; whoever uses it holds the
// locks of the keys concerned, and gives Batch to Apply at the end. It is
// used by one goroutine at a time.
type Txn struct {
	db     *DB
	batch  Batch
	index  txnIndex
	ranges rangeBuffer
	deltas map[uint32]int64
}

// txnSeq is where the sequence numbers start that operations have within their
// transaction: above everything in the log.
const txnSeq = uint64(1) << 55

var txnPool = sync.Pool{New: func() any { return new(Txn) }}

// NewTxn returns an empty transaction.
func (db *DB) NewTxn() *Txn {
	t := txnPool.Get().(*Txn)
	t.db = db
	return t
}

// Reset forgets all operations.
func (t *Txn) Reset() {
	t.batch.Reset()
	t.index.reset()
	t.ranges.reset()
	clear(t.deltas)
}

// Release gives the transaction back; it must not be used afterwards.
func (t *Txn) Release() {
	if cap(t.batch.data) > maxPooledBatch {
		return
	}
	t.Reset()
	t.db = nil
	txnPool.Put(t)
}

// Batch returns the operations so far, valid until the next change.
func (t *Txn) Batch() *Batch { return &t.batch }

// Grow is Batch.Grow.
func (t *Txn) Grow(n int) { t.batch.Grow(n) }

// Set is Batch.Set.
func (t *Txn) Set(key, value []byte) {
	t.batch.Set(key, value)
	t.enter(base.KindSet, len(key), len(value))
}

// SetExpiring is Batch.SetExpiring.
func (t *Txn) SetExpiring(key, value []byte) {
	t.batch.SetExpiring(key, value)
	t.enter(base.KindSetExpiring, len(key), len(value))
}

// Delete is Batch.Delete.
func (t *Txn) Delete(key []byte) {
	t.batch.Delete(key)
	t.enter(base.KindDelete, len(key), 0)
}

// enter indexes the operation that was appended last.
func (t *Txn) enter(kind base.Kind, key, value int) {
	if t.batch.err != nil {
		return
	}
	n := &txnNode{tr: base.MakeTrailer(t.nextSeq(), kind), valueLen: value, keyLen: key}
	n.value = len(t.batch.data) - value
	n.key = n.value - key
	if kind != base.KindDelete {
		n.key -= uvarintLen(uint64(value))
	}
	t.index.insert(t.batch.data, n)
}

func (t *Txn) nextSeq() uint64 { return txnSeq + uint64(t.batch.count) }

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// DeleteRange is Batch.DeleteRange.
func (t *Txn) DeleteRange(start, end []byte) {
	t.batch.DeleteRange(start, end)
	if t.batch.err == nil {
		t.ranges.add(tombstone{start: bytes.Clone(start), end: bytes.Clone(end), seq: t.nextSeq()})
	}
}

// Add is Batch.Add.
func (t *Txn) Add(counter uint32, delta int64) {
	t.batch.Add(counter, delta)
	if t.deltas == nil {
		t.deltas = map[uint32]int64{}
	}
	t.deltas[counter] += delta
}

// Counter returns the counter as if the transaction had been applied.
func (t *Txn) Counter(id uint32) int64 { return t.db.Counter(id) + t.deltas[id] }

// Get reads the transaction's own operations, then what is applied.
func (t *Txn) Get(dst, key []byte) ([]byte, error) {
	cover := t.ranges.cover(key, base.MaxSeq)
	if n := t.index.find(key); n != nil && n.tr.Seq() > cover {
		if n.tr.Kind() == base.KindDelete {
			return dst, ErrNotFound
		}
		return append(dst, t.index.valueOf(n)...), nil
	}
	if cover > 0 {
		return dst, ErrNotFound
	}
	return t.db.GetLatest(dst, key)
}

// NewIter walks the transaction's own operations so far over what is applied.
// The transaction must not change until the iterator is closed.
func (t *Txn) NewIter(o IterOptions) *Iterator {
	rs := t.db.acquire()
	if rs == nil {
		return &Iterator{err: ErrClosed}
	}
	return t.db.newIter(rs, t.db.commit.applied.Load(), o, t)
}

// txnIndex orders the operations of a transaction: a skiplist whose keys and
// values are places in the batch.
type txnIndex struct {
	data []byte
	head [txnHeight]*txnNode
	seed uint32
	n    int
}

const txnHeight = 12

type txnNode struct {
	key, keyLen     int
	value, valueLen int
	tr              base.Trailer
	next            []*txnNode
}

func (x *txnIndex) reset() { *x = txnIndex{} }

func (x *txnIndex) keyOf(n *txnNode) []byte   { return x.data[n.key : n.key+n.keyLen] }
func (x *txnIndex) valueOf(n *txnNode) []byte { return x.data[n.value : n.value+n.valueLen] }

// height is 1 with 3/4, 2 with 3/16, ...
func (x *txnIndex) height() int {
	x.seed = x.seed*1664525 + 1013904223
	h := 1
	for r := x.seed >> 8; h < txnHeight && r&3 == 0; r >>= 2 {
		h++
	}
	return h
}

// before fills prev with the last node < (key, tr) of each height; nil means the head.
func (x *txnIndex) before(key []byte, tr base.Trailer, prev *[txnHeight]*txnNode) {
	var at *txnNode
	for h := txnHeight - 1; h >= 0; h-- {
		for {
			next := x.after(at, h)
			if next == nil || base.Compare(x.keyOf(next), next.tr, key, tr) >= 0 {
				break
			}
			at = next
		}
		prev[h] = at
	}
}

func (x *txnIndex) after(n *txnNode, h int) *txnNode {
	if n == nil {
		return x.head[h]
	}
	return n.next[h]
}

func (x *txnIndex) insert(data []byte, n *txnNode) {
	x.data = data
	x.n++
	var prev [txnHeight]*txnNode
	x.before(x.keyOf(n), n.tr, &prev)
	n.next = make([]*txnNode, x.height())
	for h := range n.next {
		n.next[h] = x.after(prev[h], h)
		if prev[h] == nil {
			x.head[h] = n
		} else {
			prev[h].next[h] = n
		}
	}
}

// seek returns the first node >= (key, tr) and the node before it.
func (x *txnIndex) seek(key []byte, tr base.Trailer) (n, before *txnNode) {
	var prev [txnHeight]*txnNode
	x.before(key, tr, &prev)
	return x.after(prev[0], 0), prev[0]
}

// find returns the newest operation on key, or nil.
func (x *txnIndex) find(key []byte) *txnNode {
	if x.n == 0 {
		return nil
	}
	if n, _ := x.seek(key, maxTrailer); n != nil && bytes.Equal(x.keyOf(n), key) {
		return n
	}
	return nil
}

func (x *txnIndex) has(key []byte) bool { return x.find(key) != nil }

func (x *txnIndex) iter() base.Iterator { return &txnIter{index: x} }

// txnIter walks a txnIndex.
type txnIter struct {
	index *txnIndex
	at    *txnNode
}

func (i *txnIter) set(n *txnNode) bool {
	i.at = n
	return n != nil
}

func (i *txnIter) First() bool { return i.set(i.index.head[0]) }

func (i *txnIter) Last() bool {
	var at *txnNode
	for h := txnHeight - 1; h >= 0; h-- {
		for next := i.index.after(at, h); next != nil; next = i.index.after(at, h) {
			at = next
		}
	}
	return i.set(at)
}

func (i *txnIter) SeekGE(key []byte, tr base.Trailer) bool {
	n, _ := i.index.seek(key, tr)
	return i.set(n)
}

func (i *txnIter) SeekLT(key []byte, tr base.Trailer) bool {
	_, n := i.index.seek(key, tr)
	return i.set(n)
}

func (i *txnIter) Next() bool {
	return i.at != nil && i.set(i.at.next[0])
}

func (i *txnIter) Prev() bool {
	return i.at != nil && i.SeekLT(i.Key(), i.at.tr)
}

func (i *txnIter) Valid() bool           { return i.at != nil }
func (i *txnIter) Key() []byte           { return i.index.keyOf(i.at) }
func (i *txnIter) Trailer() base.Trailer { return i.at.tr }
func (i *txnIter) Value() []byte         { return i.index.valueOf(i.at) }
func (i *txnIter) Error() error          { return nil }
func (i *txnIter) Close() error          { return nil }
