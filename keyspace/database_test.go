package keyspace

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine/vfs"
)

func (s *store) setIn(db int, key, value string) {
	s.Helper()
	s.commit(s.Begin(db, s.now, []byte(key)), func(t *Txn) {
		s.must(t.Set([]byte(key), []byte(value), SetOptions{}))
	})
}

func (s *store) latest(db int, key string) string {
	s.Helper()
	t := s.View(db, s.now, true)
	defer t.Commit()
	return s.getIn(t, key)
}

func TestSwapSurvivesReopening(t *testing.T) {
	s := newStore(t)
	s.setIn(0, "k", "zero")
	s.setIn(1, "k", "one")
	s.all(func(t *Txn) error { return t.Swap(0, 1) })
	s.all(func(t *Txn) error { return t.Swap(1, 3) })
	check := func() {
		t.Helper()
		got := fmt.Sprint(s.latest(0, "k"), s.latest(1, "k"), s.latest(3, "k"))
		s.expect("values", got, "one(nil)zero")
		s.check()
	}
	check()
	s.close()
	s.ko.Databases = 200 // more of them are new and empty
	s.open()
	check()
	s.expect("key of a new database", s.latest(199, "k"), "(nil)")
	s.setIn(199, "k", "v")
	s.check()
	s.close()
	s.ko.Databases = 4
	s.open()
	check()
}

// A view of the committed state does not see a SWAPDB that is not committed.
func TestSwapIsSeenWhenCommitted(t *testing.T) {
	s := newStore(t)
	s.close()
	s.o.ExternalCommit = true
	s.open()
	s.db.SetCommitted(s.db.Last())
	write := func(db int, value string) {
		x := s.Begin(db, s.now, []byte("k"))
		s.must(x.Set([]byte("k"), []byte(value), SetOptions{}))
		if _, err := x.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	write(0, "zero")
	write(1, "one")
	s.db.SetCommitted(s.db.Last())
	var seqs []uint64
	for i := range 3 {
		x := s.BeginAll(0, s.now)
		s.must(true, x.Swap(0, 1))
		seq, err := x.Commit()
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, seq)
		s.expect("applied", s.latest(0, "k"), []string{"one", "zero"}[i%2])
		s.expect("committed", s.get("k"), "zero")
	}
	for i, seq := range seqs {
		s.db.SetCommitted(seq)
		s.expect("committed", s.get("k"), []string{"one", "zero"}[i%2])
	}
	s.check()
}

func TestReload(t *testing.T) {
	s := newStore(t)
	s.setIn(0, "k", "v")
	b := s.db.NewBatch()
	defer b.Release()
	b.Set(keyDatabases, encodeDatabases([]uint16{2, 1, 0, 3}))
	if err := s.db.Commit(b); err != nil {
		t.Fatal(err)
	}
	s.expect("before", s.latest(0, "k"), "v")
	s.must(true, s.Reload())
	s.expect("after", s.latest(2, "k"), "v")
}

// TestFollows: a store that another node may write gets nothing of its own before Found, and what has come is noticed.
func TestFollows(t *testing.T) {
	leader := newStore(t)
	leader.setIn(0, "k", "v")
	s := &store{TB: t, fs: vfs.NewMem(), now: leader.now}
	s.ko, s.o = leader.ko, leader.o
	s.ko.Follows = true
	s.open()
	t.Cleanup(s.close)
	if n := s.db.Last(); n != 0 {
		t.Fatalf("the log of a follower has %d records", n)
	}
	r, err := leader.db.NewLogReader(1)
	s.must(true, err)
	for leader.db.Last() > s.db.Last() {
		rec, err := r.Next(t.Context())
		s.must(true, err)
		s.must(true, s.db.ApplyRecord(rec))
	}
	s.must(true, errors.Join(r.Close(), s.db.Wait(s.db.Last()), s.refresh(), s.Found()))
	s.expect("after", s.latest(0, "k"), "v")
	s.expect("records", s.db.Last(), leader.db.Last())
}

func TestOptions(t *testing.T) {
	s := newStore(t)
	for _, n := range []int{-1, maxDatabases + 1} {
		if _, err := Open(s.db, Options{Databases: n}); err == nil {
			t.Errorf("%d databases are accepted", n)
		}
	}
	if err := s.Keyspace.Close(); err != nil {
		t.Error(err)
	}
}

// A sparse string takes the space of what was written only.
func TestSparseString(t *testing.T) {
	s := newStore(t)
	const far = 400 << 20
	s.update("k", func(t *Txn) {
		n, err := t.SetRange([]byte("k"), far, []byte("end"), 1<<30)
		s.must(true, err)
		s.expect("length", n, far+3)
	})
	x := s.View(0, s.now, false)
	v, _, err := x.String([]byte("k"))
	s.must(true, err)
	b, err := v.Append(nil, far-100_000, far+3)
	s.must(true, err)
	s.expect("contents", string(b) == strings.Repeat("\x00", 100_000)+"end", true)
	x.Commit()
	if bytes := s.db.Metrics().Ingested; bytes > 10_000 {
		t.Errorf("%d bytes were written", bytes)
	}
	s.check()
	s.del("k")
	s.check()
}

// Deleting and creating the same key in one transaction leaves no chunk of the former value.
func TestRecreationInOneTransaction(t *testing.T) {
	s := newStore(t)
	key := []byte("k")
	values := []string{strings.Repeat("a", 300_000), strings.Repeat("b", 200_000), strings.Repeat("c", 2_000_000), strings.Repeat("d", 100_000)}
	for range 2 {
		x := s.BeginMulti(0, s.now, nil, false, key, []byte("l"))
		for _, value := range values {
			s.must(x.Set(key, []byte(value), SetOptions{}))
			s.expect("value", s.getIn(x, "k") == value, true)
			s.must(x.Rename(key, []byte("l"), false))
			s.must(x.Copy([]byte("l"), key, 0, true))
			s.must(x.Delete(key))
			s.must(one(x.Append(key, []byte(strings.Repeat("e", 70_000)), 1<<30)))
		}
		apply(t, x)
		s.check()
		s.expect("k", s.latest(0, "k") == strings.Repeat("e", 70_000), true)
		s.expect("l", s.latest(0, "l") == values[3], true)
	}
}

// A reader of database 0 never sees what only database 1 has held, however the two are exchanged meanwhile.
func TestReadersAndSwaps(t *testing.T) {
	s := newBusyStore(t)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for latest := range 2 {
		wg.Go(func() {
			for !stop.Load() {
				x := s.View(0, s.now, latest == 1)
				got := s.getIn(x, "k")
				x.Commit()
				if got == "bad" {
					t.Error("a value of the other database was read")
					return
				}
			}
		})
	}
	for range 3000 {
		x := s.BeginAll(0, s.now)
		s.must(true, x.Swap(0, 1))
		apply(t, x)
		for _, value := range []string{"bad", "good"} {
			x := s.Begin(1, s.now, []byte("k"))
			s.must(x.Set([]byte("k"), []byte(value), SetOptions{}))
			apply(t, x)
		}
	}
	stop.Store(true)
	wg.Wait()
}

// FLUSHALL gives the disk space back without a compaction.
func TestFlushAllGivesSpaceBack(t *testing.T) {
	s := newStore(t)
	for i := range 200 {
		s.set(fmt.Sprint("k", i), strings.Repeat("v", 10_000), SetOptions{})
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := s.db.Metrics().TableBytes; n < 100_000 {
		t.Fatalf("tables of %d bytes", n)
	}
	s.all((*Txn).FlushAll)
	if err := s.Keyspace.Close(); err != nil { // waits for the flush that FlushAll has asked for
		t.Fatal(err)
	}
	// The engine drops the tables behind the flush.
	deadline := time.Now().Add(20 * time.Second)
	for s.db.Metrics().TableBytes > 10_000 {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are left", s.db.Metrics().TableBytes)
		}
		runtime.Gosched()
	}
}

// Views keep the map of databases that belongs to what they see.
func TestPinnedViewKeepsItsDatabases(t *testing.T) {
	for _, latest := range []bool{false, true} {
		s := newStore(t)
		s.set("k", "v", SetOptions{})
		x := s.View(0, s.now, latest)
		x.Pin()
		for range 3 {
			s.all(func(t *Txn) error { return t.Swap(0, 1) })
		}
		s.expect("in the pinned view", s.getIn(x, "k"), "v")
		x.Discard()
		s.expect("afterwards", s.get("k"), "(nil)")
	}
}
