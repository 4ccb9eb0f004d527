package keyspace

import (
	"fmt"
	"testing"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
)

// store is a keyspace under test, on a file system in memory, with a clock that stands still.
type store struct {
	testing.TB
	fs  vfs.FS
	o   engine.Options
	ko  Options
	now int64
	db  *engine.DB
	*Keyspace
}

func newStore(t testing.TB) *store {
	s := &store{TB: t, fs: vfs.NewMem(), now: 1_700_000_000_000}
	s.ko = Options{ExpireEvery: -1, Databases: 4}
	s.o.LogSegmentSize = 1 << 20
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *store) open() { s.openWith(func() int64 { return s.now }) }

func (s *store) openWith(now func() int64) {
	s.Helper()
	s.o.FS = s.fs
	s.ko.Now = now
	var err error
	if s.db, err = engine.Open("db", s.o); err != nil {
		s.Fatal(err)
	}
	if s.Keyspace, err = Open(s.db, s.ko); err != nil {
		s.Fatal(err)
	}
}

func (s *store) close() {
	s.Helper()
	if err := s.Keyspace.Close(); err != nil {
		s.Error(err)
	}
	if err := s.db.Close(); err != nil {
		s.Error(err)
	}
}

// update runs f on a locked transaction of database 0 and waits for its commit.
func (s *store) update(key string, f func(t *Txn)) {
	s.Helper()
	s.commit(s.Begin(0, s.now, []byte(key)), f)
}

func (s *store) commit(t *Txn, f func(t *Txn)) {
	s.Helper()
	f(t)
	seq, err := t.Commit()
	if err == nil {
		err = s.db.Wait(seq)
	}
	if err != nil {
		s.Fatal(err)
	}
}

func (s *store) set(key, value string, o SetOptions) {
	s.Helper()
	s.update(key, func(t *Txn) { s.must(t.Set([]byte(key), []byte(value), o)) })
}

// must fails the test on an error and returns what came with it.
func (s *store) must(ok bool, err error) bool {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
	return ok
}

// get reads a key of database 0, "(nil)" when it does not exist.
func (s *store) get(key string) string {
	s.Helper()
	t := s.View(0, s.now, false)
	defer t.Commit()
	return s.getIn(t, key)
}

func (s *store) getIn(t *Txn, key string) string {
	s.Helper()
	v, ok, err := t.String([]byte(key))
	if err != nil {
		s.Fatal(err)
	}
	if !ok {
		return "(nil)"
	}
	b, err := v.Append(nil, 0, v.Len())
	if err != nil {
		s.Fatal(err)
	}
	return string(b)
}

func (s *store) check() {
	s.Helper()
	if err := s.Check(); err != nil {
		s.Fatal(err)
	}
}

func (s *store) expect(what string, got, want any) {
	s.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
