package engine

import (
	"bytes"
	"encoding/binary"

	"github.com/gtinside/corecache/engine/base"
)

// sieve decides, for the records of a flush or compaction in order, what is
// still needed. Snapshots cut the sequence numbers into stripes; within a
// stripe only the newest record of a key can be seen by anybody.
type sieve struct {
	snaps   snapshotView
	ranges  *fragments     // range tombstones that stay in the version
	deeper  *deeperOverlap // where records may be that are older than all of these
	filter  Filter         // may be nil
	zeroSeq bool           // the output may forget sequence numbers that nobody can tell apart, but for those that a horizon may ask for
	applied uint64         // ranges has all range tombstones up to here
	kept    uint64         // the oldest of them that hides a record which stays for a snapshot; 0: none

	key    []byte
	any    bool
	stripe int // of the record of key before
}

// next returns the trailer under which the record stays, and whether it does.
// newKey says that it is the first record of its key, where tables may be cut. A record
// that stays under KindDelete has no value any more.
func (s *sieve) next(r *run) (tr base.Trailer, newKey, keep bool) {
	key, tr := r.key, r.tr
	stripe := s.snaps.stripe(tr.Seq())
	if newKey = !s.any || !bytes.Equal(key, s.key); newKey {
		s.key, s.any = append(s.key[:0], key...), true
	} else if stripe == s.stripe {
		return 0, false, false
	}
	s.stripe = stripe
	if s.ranges != nil && s.covered(key, tr.Seq(), stripe) {
		return 0, newKey, false
	}
	if tr.Kind() != base.KindDelete && s.dead(r, newKey) {
		tr = base.MakeTrailer(tr.Seq(), base.KindDelete)
	}
	last := stripe == 0 && (s.zeroSeq || tr.Kind() == base.KindDelete) && !s.deeper.has(key)
	if last && tr.Kind() == base.KindDelete {
		return 0, newKey, false
	}
	if last && s.zeroSeq && tr.Kind() != base.KindSetExpiring && s.ranges.cover(key, base.MaxSeq) == 0 {
		tr = base.MakeTrailer(0, tr.Kind())
	}
	return tr, newKey, true
}

// cleanSeq is what the tables of the output may claim so far.
func (s *sieve) cleanSeq() uint64 {
	if s.kept > 0 {
		return min(s.applied, s.kept-1)
	}
	return s.applied
}

// covered reports whether a range tombstone of the same stripe hides the record.
func (s *sieve) covered(key []byte, seq uint64, stripe int) bool {
	hider := s.ranges.oldestAfter(s.ranges.at(key), seq)
	if hider == 0 {
		return false
	}
	if s.snaps.stripe(hider) == stripe {
		return true
	}
	if s.kept == 0 || hider < s.kept {
		s.kept = hider
	}
	return false
}

// dead reports whether the record has expired for everybody, or its owner does not need it.
func (s *sieve) dead(r *run, newest bool) bool {
	if r.tr.Kind() == base.KindSetExpiring && r.tr.Seq() <= s.snaps.horizon.Seq {
		v := r.it.Value()
		if len(v) >= 8 && s.snaps.horizon.covers(int64(binary.BigEndian.Uint64(v[len(v)-8:])), r.tr.Seq()) {
			return true
		}
	}
	unseen := s.snaps.stripe(r.tr.Seq()) == len(s.snaps.seqs)
	return s.filter != nil && newest && unseen && s.filter.Drop(r.key, r.it.Value())
}
