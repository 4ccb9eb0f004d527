package keyspace

import (
	"strings"
	"testing"

	"github.com/gtinside/corecache/engine"
)

// Check finds each kind of damage.
func TestCheckFindsDamage(t *testing.T) {
	key := []byte("k")
	for name, c := range map[string]struct {
		spoil func(s *store, b *engine.Batch)
		want  string
	}{
		"count":   {func(_ *store, b *engine.Batch) { b.Add(keysCounter(0), 1) }, "are counted"},
		"expires": {func(_ *store, b *engine.Batch) { b.Add(expiresCounter(0), 1) }, "with a deadline"},
		"no index": {func(s *store, b *engine.Batch) {
			b.SetExpiring(appendMetaKey(nil, 0, s.locate(key), key), appendMeta(nil, &meta{kind: byte(TypeString), deadline: s.now + 9}))
		}, "is missing"},
		"stray index": {func(s *store, b *engine.Batch) {
			b.Set(appendExpiryKey(nil, 0, 9, s.locate(key), key), nil)
		}, "belongs to no key"},
		"orphan": {func(s *store, b *engine.Batch) {
			b.Set(append(appendElementPrefix(nil, 0, s.locate(key), 7), 0, 0, 0, 0), key)
		}, "belongs to no key"},
		"misplaced": {func(s *store, b *engine.Batch) {
			b.Set(appendMetaKey(nil, 0, position{1, 1}, key), appendMeta(nil, &meta{kind: byte(TypeString)}))
		}, "stands at"},
		"value": {func(s *store, b *engine.Batch) {
			b.Set(appendMetaKey(nil, 0, s.locate(key), key), []byte{1})
		}, "corrupt"},
		"chunks": {func(s *store, b *engine.Batch) {
			b.Set(appendMetaKey(nil, 0, s.locate(key), key), appendMeta(nil, &meta{kind: byte(TypeString) | kindChunked}))
		}, "corrupt"},
		"chunk too long": {func(s *store, b *engine.Batch) {
			c := chunked{home: s.locate(key), id: 1, length: 3}
			b.Set(appendMetaKey(nil, 0, c.home, key), appendMeta(nil, &meta{kind: byte(TypeString) | kindChunked, payload: c.append(nil)}))
			b.Set(append(appendElementPrefix(nil, 0, c.home, 1), 0, 0, 0, 0), []byte("four"))
		}, "beyond"},
		"space": {func(_ *store, b *engine.Batch) { b.Set([]byte{9}, nil) }, "no known space"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.check()
			b := s.db.NewBatch()
			defer b.Release()
			c.spoil(s, b)
			if err := s.db.Commit(b); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A damaged record is an error, not data and not a panic.
func TestDamagedRecord(t *testing.T) {
	s := newStore(t)
	key := []byte("k")
	b := s.db.NewBatch()
	defer b.Release()
	b.Set(appendMetaKey(nil, 0, s.locate(key), key), []byte{0xff, 1, 2})
	if err := s.db.Commit(b); err != nil {
		t.Fatal(err)
	}
	x := s.Begin(0, s.now, key)
	defer x.Discard()
	if _, _, err := x.String(key); err == nil {
		t.Error("String takes it for data")
	}
	if _, err := x.Set(key, key, SetOptions{}); err == nil {
		t.Error("Set takes it for data")
	}
	if _, err := x.Scan(0, 10, func([]byte, Type) {}); err == nil {
		t.Error("Scan takes it for data")
	}
	if _, _, err := x.RandomKey(); err == nil {
		t.Error("RandomKey takes it for data")
	}
}
