package engine

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
)

// TestRows reads keys so that they are in the row cache, and then changes them in every way that a flush can
// bring about: what is read must be right before and after it, by new readers and by a snapshot.
func TestRows(t *testing.T) {
	const n = 1000
	db := open(t, Options{FS: vfs.NewMem(), Live: Live{CacheSize: 4 * mib}})
	key := func(i int) []byte { return fmt.Appendf(nil, "key-%06d", i) }
	value := func(round, i int) string { return fmt.Sprintf("%d-%d", round, i) }
	expect := func(r Reader, want func(i int) (string, bool)) {
		t.Helper()
		for range 2 { // the second time from rows
			for i := range n {
				got, err := r.Get([]byte("+"), key(i))
				v, there := want(i)
				if there && (err != nil || string(got) != "+"+v) || !there && !errors.Is(err, ErrNotFound) {
					t.Fatalf("key %d: got %q, %v, want %q, %v", i, got, err, v, there)
				}
			}
		}
	}
	all := func(round int) func(int) (string, bool) {
		return func(i int) (string, bool) { return value(round, i), true }
	}
	write := func(round int) {
		t.Helper()
		commit(t, db, func(b *Batch) {
			for i := range n {
				b.Set(key(i), []byte(value(round, i)))
			}
		})
	}
	write(1)
	must(t, db.Flush())
	expect(db, all(1))
	if m := db.Metrics().Rows; m.Hits < n {
		t.Fatalf("%d hits of %d lookups", m.Hits, m.Lookups)
	}

	snap := db.NewSnapshot()
	defer snap.Close()
	write(22) // of another length
	expect(db, all(22))
	expect(snap, all(1))
	must(t, db.Flush())
	expect(db, all(22))
	expect(snap, all(1))
	must(t, db.Compact(nil, nil))
	expect(db, all(22))
	expect(snap, all(1))

	commit(t, db, func(b *Batch) {
		for i := 0; i < n; i += 3 {
			b.Delete(key(i))
		}
		b.DeleteRange(key(500), key(600))
		b.Set(key(550), []byte("again"))
	})
	left := func(i int) (string, bool) {
		if i == 550 {
			return "again", true
		}
		return value(22, i), i%3 != 0 && (i < 500 || i >= 600)
	}
	expect(db, left)
	must(t, db.Flush())
	expect(db, left)
	expect(snap, all(1))
	snap.Close()
	must(t, db.Compact(nil, nil)) // the tombstones go, and what they hid must not come back
	expect(db, left)

	// A record that a snapshot needs, and a range tombstone over it, in one flush.
	write(4)
	again := db.NewSnapshot()
	commit(t, db, func(b *Batch) { b.DeleteRange(key(0), key(n)) })
	must(t, db.Flush())
	none := func(int) (string, bool) { return "", false }
	expect(again, all(4))
	expect(db, none)
	again.Close()
	must(t, db.Compact(nil, nil))
	expect(db, none)
	left = none

	l := db.Live()
	l.CacheSize = 2 * mib
	must(t, db.SetOptions(l))
	expect(db, left)
	if m := db.Metrics(); m.Rows.Used > m.Rows.Capacity || m.Cache.Capacity+m.Rows.Used != l.CacheSize {
		t.Errorf("rows use %d of %d bytes, blocks may use %d of %d in all", m.Rows.Used, m.Rows.Capacity, m.Cache.Capacity, l.CacheSize)
	}
}
