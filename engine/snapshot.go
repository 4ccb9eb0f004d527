package engine

import (
	"github.com/gtinside/corecache/engine/base"
	"slices"
	"sync"
)

// Snapshot reads the store as it was committed at one moment, until it is
// closed. What it sees stays on disk for so long. Its methods may be called
// concurrently.
type Snapshot struct {
	db      *DB
	seq     uint64
	horizon Horizon // when it was taken
}

// snapshots are the open ones, in the order in which they were taken, which is
// the order of their sequence numbers.
type snapshots struct {
	mu      sync.Mutex
	list    []*Snapshot
	horizon Horizon // for those to come
}

// view is what a flush or compaction must respect: the sequence numbers of the
// snapshots, ascending, and the horizon behind which records are dead for all of them.
type snapshotView struct {
	seqs    []uint64
	horizon Horizon
}

func (s *snapshots) view() snapshotView {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := snapshotView{horizon: s.horizon}
	for _, o := range s.list {
		v.seqs = append(v.seqs, o.seq)
		if o.horizon.Seq < v.horizon.Seq {
			v.horizon = o.horizon
		}
	}
	v.seqs = slices.Compact(v.seqs)
	return v
}

// between reports whether a snapshot sees what was written at from and does not
// yet see what was written at to.
func (v *snapshotView) between(from, to uint64) bool {
	return v.stripe(from) != v.stripe(to)
}

// stripe is the number of snapshots older than seq. Two versions of a key in the
// same stripe look the same to every snapshot: the older one is seen by nobody.
func (v *snapshotView) stripe(seq uint64) int {
	n, _ := slices.BinarySearch(v.seqs, seq)
	return n
}

func (s *snapshots) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

// NewSnapshot returns a snapshot at the committed position.
func (db *DB) NewSnapshot() *Snapshot {
	db.snaps.mu.Lock()
	defer db.snaps.mu.Unlock()
	s := &Snapshot{db: db, horizon: db.snaps.horizon, seq: db.Committed()}
	if n := len(db.snaps.list); n > 0 {
		s.seq = max(s.seq, db.snaps.list[n-1].seq)
	}
	db.snaps.list = append(db.snaps.list, s)
	return s
}

// Seq is the position that it reads at.
func (s *Snapshot) Seq() uint64 { return s.seq }

func (s *Snapshot) Get(dst, key []byte) ([]byte, error) {
	rs := s.db.acquire()
	if rs == nil {
		return dst, ErrClosed
	}
	dst, err := s.db.get(rs, dst, key, s.seq, base.Whole)
	s.db.release(rs)
	return dst, err
}

func (s *Snapshot) NewIter(o IterOptions) *Iterator {
	rs := s.db.acquire()
	if rs == nil {
		return &Iterator{err: ErrClosed}
	}
	return s.db.newIter(rs, s.seq, o, nil)
}

// Close lets the snapshot go. A second Close does nothing.
func (s *Snapshot) Close() error {
	db := s.db
	db.snaps.mu.Lock()
	i := slices.Index(db.snaps.list, s)
	if i >= 0 {
		db.snaps.list = slices.Delete(db.snaps.list, i, i+1)
	}
	db.snaps.mu.Unlock()
	if i >= 0 {
		db.schedule()
	}
	return nil
}
