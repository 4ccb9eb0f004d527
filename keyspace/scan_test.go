package keyspace

import (
	"fmt"
	"slices"
	"testing"
)

// Keys that share a position are visited by the same call.
func TestScanOfEqualPositions(t *testing.T) {
	s := newStore(t)
	p := position{5, 6}
	b := s.db.NewBatch()
	defer b.Release()
	for i := range 5 {
		b.Set(appendMetaKey(nil, 0, p, fmt.Append(nil, "same", i)), appendMeta(nil, &meta{kind: byte(TypeString)}))
	}
	b.Set(appendMetaKey(nil, 0, position{0, 0}, []byte("first")), appendMeta(nil, &meta{kind: byte(TypeString)}))
	b.Set(appendMetaKey(nil, 0, position{slots - 1, 1<<32 - 1}, []byte("last")), appendMeta(nil, &meta{kind: byte(TypeString)}))
	if err := s.db.Commit(b); err != nil {
		t.Fatal(err)
	}
	x := s.View(0, s.now, false)
	defer x.Commit()
	var calls [][]string
	for cursor := uint64(0); ; {
		var keys []string
		var err error
		cursor, err = x.Scan(cursor, 1, func(key []byte, _ Type) { keys = append(keys, string(key)) })
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(keys)
		if calls = append(calls, keys); cursor == 0 {
			break
		}
	}
	s.expect("keys of each call", calls, [][]string{{"first"}, {"same0", "same1", "same2", "same3", "same4"}, {"last"}})
	for _, cursor := range []uint64{1 << 48, 1<<64 - 1, slots << 32} {
		next, err := x.Scan(cursor, 1, func(key []byte, _ Type) { t.Errorf("key %q behind the end", key) })
		s.expect("cursor", next, 0)
		s.must(true, err)
	}
}

// A call costs no more than its count, whatever is deleted, expired or of another type.
func TestScanIsBounded(t *testing.T) {
	s := newStore(t)
	const n = 1000
	for i := range n {
		s.set(fmt.Sprint("k", i), "v", SetOptions{Deadline: s.now + 5})
	}
	s.now += 10
	calls, found := 0, 0
	for cursor := uint64(0); ; calls++ {
		x := s.View(0, s.now, false)
		var err error
		cursor, err = x.Scan(cursor, 10, func([]byte, Type) { found++ })
		s.must(true, err)
		x.Commit()
		if cursor == 0 {
			break
		}
	}
	s.expect("calls", calls, n/10-1)
	s.expect("expired keys found", found, 0)
}
