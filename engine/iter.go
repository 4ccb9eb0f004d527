package engine

import (
	"bytes"
	"sync"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/sstable"
)

// IterOptions bound an iterator. The zero value walks everything.
type IterOptions struct {
	Lower, Upper []byte // Lower inclusive, Upper exclusive; nil: none. Copied.
	// Latest: see all that is applied, not only what is committed. Ignored by
	// snapshots and transactions.
	Latest bool
	// NoFillCache keeps blocks that are read from disk out of the cache.
	NoFillCache bool
}

// An Iterator walks the keys of one view in order. It sees the store as it was when
// the iterator was made. It keeps that state alive, memtables and files:
// close it soon. It is used by one goroutine at a time.
//
// Forwards, the merge stands on the record that is shown; backwards, it
// stands before all records of the key that is shown, which is copied.
type Iterator struct {
	db           *DB
	rs           *readState
	txn          *Txn
	seq          uint64
	lower, upper []byte
	hasBounds    [2]bool
	ranges       []*fragments

	merge   merge
	levels  [NumLevels]levelIter
	valid   bool
	reverse bool
	key     []byte
	value   []byte
	keyBuf  []byte
	valBuf  []byte
	scratch []byte
	err     error
}

// versionSteps is how many records of one key are passed one by one before the
// iterator seeks behind them.
const versionSteps = 8

var iterPool = sync.Pool{New: func() any { return new(Iterator) }}

// NewIter returns an iterator over the committed records, or over all that is
// applied with o.Latest. It stands nowhere until it is positioned.
func (db *DB) NewIter(o IterOptions) *Iterator {
	rs := db.acquire()
	if rs == nil {
		return &Iterator{err: ErrClosed}
	}
	seq := db.commit.applied.Load()
	if !o.Latest {
		seq = db.Committed()
	}
	return db.newIter(rs, seq, o, nil)
}

// newIter takes over the reference to rs.
func (db *DB) newIter(rs *readState, seq uint64, o IterOptions, txn *Txn) *Iterator {
	it := iterPool.Get().(*Iterator)
	it.db, it.rs, it.seq, it.txn = db, rs, seq, txn
	it.lower = append(it.lower[:0], o.Lower...)
	it.upper = append(it.upper[:0], o.Upper...)
	it.hasBounds = [2]bool{o.Lower != nil, o.Upper != nil}
	it.valid, it.err = false, nil
	it.addRanges(rs, txn)
	if txn != nil {
		it.add(run{it: txn.index.iter(), newest: base.MaxSeq})
	}
	for _, m := range rs.mems {
		newest := m.last.Load()
		if newest == 0 {
			newest = base.MaxSeq
		}
		it.add(run{it: m.Table.NewIter(), newest: newest})
	}
	it.addTables(o)
	return it
}

func (it *Iterator) add(r run) { it.merge.runs = append(it.merge.runs, r) }

func (it *Iterator) addTables(o IterOptions) {
	v := it.rs.version
	opts := sstable.IterOptions{Lower: it.lowerBound(), Upper: it.upperBound(), FillCache: !o.NoFillCache}
	for _, f := range v.levels[0].files {
		if it.outside(f) {
			continue
		}
		r, err := it.db.tables.reader(f)
		if err != nil {
			it.err = err
			return
		}
		it.add(run{it: r.NewIter(opts), newest: f.largestSeq})
	}
	for n := 1; n < NumLevels; n++ {
		if len(v.levels[n].files) > 0 {
			l := &it.levels[n]
			*l = levelIter{tables: it.db.tables, level: &v.levels[n], opts: opts}
			it.add(run{it: l, level: l})
		}
	}
}

func (it *Iterator) outside(f *fileMeta) bool {
	return it.hasBounds[0] && bytes.Compare(f.largest, it.lower) < 0 ||
		it.hasBounds[1] && bytes.Compare(f.smallest, it.upper) >= 0
}

func (it *Iterator) lowerBound() []byte {
	if it.hasBounds[0] {
		return it.lower
	}
	return nil
}

func (it *Iterator) upperBound() []byte {
	if it.hasBounds[1] {
		return it.upper
	}
	return nil
}

// addRanges collects the range tombstones of a view. Normally there are none.
func (it *Iterator) addRanges(rs *readState, txn *Txn) {
	for _, m := range rs.mems {
		it.ranges = m.ranges.appendCuts(it.ranges)
	}
	if txn != nil {
		it.ranges = txn.ranges.appendCuts(it.ranges)
	}
	if rs.version.ranges != nil {
		it.ranges = append(it.ranges, rs.version.ranges)
	}
}

// visible reports whether the view holds a record: a committed one up to its
// sequence number, or one of the transaction's own.
func (it *Iterator) visible(seq uint64) bool { return seq <= it.seq || seq >= txnSeq }

// cover returns the newest tombstone of the view over key, and a range around key which it covers.
func (it *Iterator) cover(key []byte) (start, end []byte, seq uint64) {
	for _, f := range it.ranges {
		from, to, newest := f.span(key, it.seq)
		if it.txn != nil {
			if a, b, own := f.span(key, base.MaxSeq); own >= txnSeq {
				from, to, newest = a, b, own
			}
		}
		if newest > seq {
			start, end, seq = from, to, newest
		}
	}
	return start, end, seq
}

const maxTrailer = ^base.Trailer(0)

// First moves to the first key.
func (it *Iterator) First() bool {
	if it.hasBounds[0] {
		return it.SeekGE(it.lower)
	}
	return it.start(false) && it.forward(it.merge.first(), false)
}

// Last moves to the last key.
func (it *Iterator) Last() bool {
	if it.hasBounds[1] {
		return it.SeekLT(it.upper)
	}
	return it.start(true) && it.backward(it.merge.last())
}

// SeekGE moves to the first key >= key.
func (it *Iterator) SeekGE(key []byte) bool {
	if it.hasBounds[0] && bytes.Compare(key, it.lower) < 0 {
		key = it.lower
	}
	return it.start(false) && it.forward(it.merge.seekGE(key, maxTrailer), false)
}

// SeekLT moves to the last key < key.
func (it *Iterator) SeekLT(key []byte) bool {
	if it.hasBounds[1] && bytes.Compare(key, it.upper) > 0 {
		key = it.upper
	}
	return it.start(true) && it.backward(it.merge.seekLT(key, maxTrailer))
}

func (it *Iterator) start(reverse bool) bool {
	it.valid, it.reverse = false, reverse
	return it.err == nil
}

// Next moves to the next key. It needs a valid position.
func (it *Iterator) Next() bool {
	if !it.valid {
		return false
	}
	it.valid = false
	if it.reverse {
		it.reverse = false
		return it.forward(it.merge.seekGE(it.keyBuf, 0), true)
	}
	it.keyBuf = append(it.keyBuf[:0], it.key...)
	return it.forward(it.merge.step(), true)
}

// Prev moves to the key before. It needs a valid position.
func (it *Iterator) Prev() bool {
	if !it.valid {
		return false
	}
	it.valid = false
	if it.reverse {
		return it.backward(it.merge.ok())
	}
	it.reverse = true
	it.keyBuf = append(it.keyBuf[:0], it.key...)
	return it.backward(it.merge.seekLT(it.keyBuf, maxTrailer))
}

// forward finds the next record to show. With skip, records of the key in
// keyBuf are passed over.
func (it *Iterator) forward(ok, skip bool) bool {
	for steps := 0; ok; {
		top := it.merge.top()
		if skip && bytes.Equal(top.key, it.keyBuf) {
			if steps++; steps < versionSteps {
				ok = it.merge.step()
			} else {
				steps = 0
				ok = it.merge.seekGE(it.keyBuf, 0)
			}
			continue
		}
		if it.hasBounds[1] && bytes.Compare(top.key, it.upper) >= 0 {
			return false
		}
		skip = false
		if seq := top.tr.Seq(); !it.visible(seq) {
			if steps++; steps < versionSteps {
				ok = it.merge.step()
			} else {
				steps = 0
				it.scratch = append(it.scratch[:0], top.key...)
				ok = it.merge.seekGE(it.scratch, base.SeekTrailer(it.seq))
			}
			continue
		}
		if len(it.ranges) > 0 {
			if _, end, cover := it.cover(top.key); top.tr.Seq() < cover {
				ok = it.passCovered(top, end, cover)
				continue
			}
		}
		if top.tr.Kind() == base.KindDelete {
			it.keyBuf = append(it.keyBuf[:0], top.key...)
			skip, steps = true, 0
			ok = it.merge.step()
			continue
		}
		it.key, it.value = top.key, top.it.Value()
		it.valid = true
		return true
	}
	return it.end()
}

// passCovered moves on from a record that a range tombstone hides: to the end
// of the tombstone, if nothing in the run can be newer than it.
func (it *Iterator) passCovered(top *run, bound []byte, cover uint64) bool {
	if top.newestSeq() < cover {
		return it.merge.skipTo(bound)
	}
	return it.merge.step()
}

// end notes why there is no further record.
func (it *Iterator) end() bool {
	if it.err == nil {
		it.err = it.merge.err
	}
	return false
}

// backward finds the previous key to show. The merge runs backwards, so the
// versions of a key come oldest first and the last visible one counts.
func (it *Iterator) backward(ok bool) bool {
	for ok {
		top := it.merge.top()
		if it.hasBounds[0] && bytes.Compare(top.key, it.lower) < 0 {
			return false
		}
		var cover uint64
		if len(it.ranges) > 0 {
			var start []byte
			if start, _, cover = it.cover(top.key); top.newestSeq() < cover {
				ok = it.merge.skipTo(start)
				continue
			}
		}
		it.keyBuf = append(it.keyBuf[:0], top.key...)
		if it.newestOfKey(cover) {
			it.key, it.value = it.keyBuf, it.valBuf
			it.valid = it.merge.err == nil
			return it.valid || it.end()
		}
		ok = it.merge.ok()
	}
	return it.end()
}

// newestOfKey goes backwards over all versions of the key in keyBuf, and
// reports whether the newest visible one is a value, which is then in valBuf.
func (it *Iterator) newestOfKey(cover uint64) (found bool) {
	for steps := 0; it.merge.ok(); steps++ {
		top := it.merge.top()
		if !bytes.Equal(top.key, it.keyBuf) {
			return found
		}
		if steps == versionSteps {
			return it.jumpToNewest(cover)
		}
		if it.visible(top.tr.Seq()) {
			if found = top.tr.Kind() != base.KindDelete && top.tr.Seq() >= cover; found {
				it.valBuf = append(it.valBuf[:0], top.it.Value()...)
			}
		}
		it.merge.step()
	}
	return found
}

// jumpToNewest seeks instead of walking over the versions of the key.
func (it *Iterator) jumpToNewest(cover uint64) (found bool) {
	if it.txn == nil || !it.txn.index.has(it.keyBuf) {
		found = it.merge.seekGE(it.keyBuf, base.SeekTrailer(it.seq))
	} else {
		found = it.merge.seekGE(it.keyBuf, maxTrailer)
	}
	if found {
		top := it.merge.top()
		found = bytes.Equal(top.key, it.keyBuf) && top.tr.Kind() != base.KindDelete && top.tr.Seq() >= cover
		if found {
			it.valBuf = append(it.valBuf[:0], top.it.Value()...)
		}
	}
	it.merge.seekLT(it.keyBuf, maxTrailer)
	return found
}

// Valid reports whether the iterator stands on a key.
func (it *Iterator) Valid() bool { return it.valid }

// Key returns the key, valid until the next positioning call.
func (it *Iterator) Key() []byte { return it.key }

// Value returns the value, valid until the next positioning call.
func (it *Iterator) Value() []byte { return it.value }

// Error returns what stopped the iterator, if it was not the end.
func (it *Iterator) Error() error { return it.err }

// Close lets the view go. It returns Error. It must be called exactly once.
func (it *Iterator) Close() error {
	err := it.err
	if it.db == nil {
		return err
	}
	if e := it.merge.close(); err == nil {
		err = e
	}
	db, rs := it.db, it.rs
	clear(it.ranges)
	it.db, it.rs, it.txn, it.ranges = nil, nil, nil, it.ranges[:0]
	it.key, it.value, it.valid = nil, nil, false
	it.err = ErrClosed
	if cap(it.valBuf) > 1<<20 {
		it.valBuf = nil
	}
	iterPool.Put(it)
	db.release(rs)
	return err
}
