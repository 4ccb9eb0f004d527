package engine

import (
	"bytes"
	"cmp"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/rowcache"
)

// HeadSize is the largest n for which GetHead is cheaper than Get when values are long, in bytes.
const HeadSize = rowcache.HeadSize

// Reader reads one view of the store. DB, the result of DB.Latest, *Snapshot
// and *Txn are Readers.
type Reader interface {
	// Get appends the value of key to dst and returns the result, or
	// ErrNotFound and dst as it was.
	Get(dst, key []byte) ([]byte, error)
	NewIter(o IterOptions) *Iterator
}

// Get reads at the committed position. It allocates nothing if dst has room.
func (db *DB) Get(dst, key []byte) ([]byte, error) { return db.GetHead(dst, key, base.Whole) }

// GetHead is Get for who wants to know the first n bytes of the value only. It appends them, or more, and always all of
// a value that is no longer or was written by SetExpiring. Up to HeadSize, the beginning of a long value may be
// in memory when its end is not.
func (db *DB) GetHead(dst, key []byte, n int) ([]byte, error) {
	rs := db.acquire()
	if rs == nil {
		return dst, ErrClosed
	}
	dst, err := db.get(rs, dst, key, db.Committed(), n)
	db.release(rs)
	return dst, err
}

// GetLatest reads everything that is applied, committed or not: for a
// read-modify-write that holds the key's lock, and for a session's own writes.
func (db *DB) GetLatest(dst, key []byte) ([]byte, error) {
	return db.GetHeadLatest(dst, key, base.Whole)
}

// GetHeadLatest is GetHead of everything that is applied.
func (db *DB) GetHeadLatest(dst, key []byte, n int) ([]byte, error) {
	rs := db.acquire()
	if rs == nil {
		return dst, ErrClosed
	}
	dst, err := db.get(rs, dst, key, db.commit.applied.Load(), n)
	db.release(rs)
	return dst, err
}

// Latest returns a Reader of everything that is applied. Each of its reads
// looks anew.
func (db *DB) Latest() Reader { return latest{db} }

type latest struct{ db *DB }

func (l latest) Get(dst, key []byte) ([]byte, error) { return l.db.GetLatest(dst, key) }
func (l latest) NewIter(o IterOptions) *Iterator {
	o.Latest = true
	return l.db.NewIter(o)
}

// get finds the newest record of key that a reader at seq sees: in the first
// place that has one, see invariant 2 of DB. It appends at least the first n bytes of the value.
func (db *DB) get(rs *readState, dst, key []byte, seq uint64, n int) ([]byte, error) {
	hash := base.Hash(key)
	var cover uint64 // newest range tombstone over key so far
	for _, m := range rs.mems {
		if !m.ranges.empty() {
			cover = max(cover, m.ranges.cover(key, seq))
		}
		if m.Table.MayContain(hash) {
			if v, tr, ok := m.Table.Get(key, seq); ok {
				return found(dst, base.Head(v, tr.Kind(), n), tr, cover)
			}
		}
		if cover > m.before {
			return dst, ErrNotFound // it hides all that follows
		}
	}
	cover = rs.version.ranges.cover(key, seq)
	if out, tr, ok := db.rows.Get(dst, key, hash, seq, n); ok {
		return foundInTable(dst, out, tr, cover, nil)
	}
	out, tr, ok, err := db.searchTables(rs.version, dst, key, hash, seq)
	if !ok || err != nil {
		return dst, cmp.Or(err, ErrNotFound)
	}
	if seq >= rs.flushed() && tr.Seq() >= cover {
		db.rows.Add(rs.version.generation, key, hash, tr, out[len(dst):], n)
	}
	return foundInTable(dst, out, tr, cover, nil)
}

// searchTables finds the newest record of key in the tables of a version that a reader at seq
// sees, and appends its value to dst.
func (db *DB) searchTables(v *version, dst, key []byte, hash, seq uint64) (value []byte, tr base.Trailer, ok bool, err error) {
	for _, f := range v.levels[0].files {
		if bytes.Compare(f.largest, key) < 0 || bytes.Compare(f.smallest, key) > 0 {
			continue
		}
		if value, tr, ok, err = db.probe(f, dst, key, hash, seq); ok || err != nil {
			return value, tr, ok, err
		}
	}
	for n := 1; n < NumLevels; n++ {
		l := &v.levels[n]
		if len(l.files) == 0 {
			continue
		}
		f := l.find(key)
		if f == nil {
			continue
		}
		if value, tr, ok, err = db.probe(f, dst, key, hash, seq); ok || err != nil {
			return value, tr, ok, err
		}
	}
	return dst, 0, false, nil
}

func (db *DB) probe(f *fileMeta, dst, key []byte, hash, seq uint64) ([]byte, base.Trailer, bool, error) {
	r, err := db.tables.reader(f)
	if err != nil {
		return dst, 0, false, err
	}
	return r.Get(dst, key, hash, seq)
}

func found(dst, value []byte, tr base.Trailer, cover uint64) ([]byte, error) {
	if tr.Kind() == base.KindDelete || tr.Seq() < cover {
		return dst, ErrNotFound
	}
	return append(dst, value...), nil
}

func foundInTable(dst, out []byte, tr base.Trailer, cover uint64, err error) ([]byte, error) {
	if err != nil {
		return dst, err
	}
	if tr.Kind() == base.KindDelete || tr.Seq() < cover {
		return dst, ErrNotFound
	}
	return out, nil
}
