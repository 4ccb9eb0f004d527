package engine

import (
	"testing"

	"github.com/gtinside/corecache/engine/base"
)

// What a snapshot keeps from one range tombstone must not make the table look
// as if an older tombstone still hid something: it would be compacted again
// and again for as long as the snapshot is open.
func TestSieveSaysWhichTombstonesAreDone(t *testing.T) {
	s := &sieve{
		snaps:   snapshotView{seqs: []uint64{30}},
		ranges:  fragment([]tombstone{{[]byte("b"), []byte("c"), 20}, {[]byte("d"), []byte("e"), 40}}),
		deeper:  newDeeperOverlap(&version{}, NumLevels),
		applied: 40,
	}
	for key, want := range map[string]bool{"a": true, "b": false, "d": true} {
		r := &run{key: []byte(key), tr: base.MakeTrailer(10, base.KindSet)}
		if _, _, keep := s.next(r); keep != want {
			t.Errorf("key %s: kept is %v", key, keep)
		}
	}
	if got := s.cleanSeq(); got != 39 {
		t.Errorf("clean up to %d, want 39: the tombstone at 20 hides nothing any more, the one at 40 does", got)
	}
}
