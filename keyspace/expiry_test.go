package keyspace

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

func TestExpiredKeyIsGoneAtOnce(t *testing.T) {
	s := newStore(t)
	s.set("k", "v", SetOptions{Deadline: s.now + 10})
	s.now += 10
	s.expect("in the last millisecond", s.get("k"), "v")
	s.now++
	s.expect("afterwards", s.get("k"), "(nil)")
	keys, expires := s.Size(0)
	s.expect("keys counted once one was looked up", fmt.Sprint(keys, expires), "0 0")
	s.expect("expired", s.Stats().Expired, 1)
	s.check()
}

func TestReadOnlyDeletesNothing(t *testing.T) {
	s := newStore(t)
	s.set("k", "v", SetOptions{Deadline: s.now + 10})
	s.SetReadOnly(true)
	s.now += 11
	last := s.db.Last()
	s.expect("value", s.get("k"), "(nil)")
	s.expireDue()
	s.expect("last write", s.db.Last(), last)
	s.SetReadOnly(false)
	s.expireDue()
	keys, _ := s.Size(0)
	s.expect("keys", keys, 0)
}

func TestExpireDueWorksInSteps(t *testing.T) {
	s := newStore(t)
	const n = 3*expireStep*expireSteps/2 + 7 // more than one iterator serves
	var told []string
	s.Keyspace.options.Expired = func(db int, key []byte) { told = append(told, fmt.Sprint(db, string(key))) }
	for i := 0; i < n; i += 500 {
		keys := [][]byte{}
		for j := i; j < min(i+500, n); j++ {
			keys = append(keys, fmt.Appendf(nil, "k%05d", j))
		}
		x := s.Begin(1, s.now, keys...)
		for _, key := range keys {
			s.must(x.Set(key, []byte("v"), SetOptions{Deadline: s.now + 1 + int64(i%7)}))
		}
		if _, err := x.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	s.set("stays", "v", SetOptions{Deadline: s.now + 100})
	s.expireDue()
	s.expect("expired too early", len(told), 0)
	s.now += 50
	s.expireDue()
	slices.Sort(told)
	s.expect("expired", len(slices.Compact(told)), n)
	s.expect("first", told[0], "1k00000")
	keys, expires := s.Size(1)
	s.expect("left in database 1", fmt.Sprint(keys, expires), "0 0")
	s.expect("due in database 0", s.due[0].Load(), s.now+50)
	s.check()
}

// An old clock must not write what the engine may drop unseen.
func TestHorizon(t *testing.T) {
	s := newStore(t)
	s.set("k", "v", SetOptions{Deadline: s.now + 5})
	old := s.now
	s.now += 60_000
	for range 2 {
		s.expireDue()
	}
	if h := s.horizon.Load(); h != s.now-horizonLag {
		t.Fatalf("horizon is %d, want %d", h, s.now-horizonLag)
	}
	for _, deadline := range []int64{old + 10, s.now - horizonLag, s.now - horizonLag + 1} {
		x := s.Begin(0, old, []byte("k"))
		s.must(x.Set([]byte("k"), []byte("v"), SetOptions{Deadline: deadline}))
		if _, err := x.Commit(); err != nil {
			t.Fatal(err)
		}
		s.check()
		x = s.Begin(0, old, []byte("k"))
		written, ok, err := x.Deadline([]byte("k"))
		x.Discard()
		s.must(ok, err)
		s.expect("deadline written", written, max(deadline, s.horizon.Load()+1))
	}
	x := s.Begin(0, old, []byte("k"))
	s.must(x.Expire([]byte("k"), old+10, 0))
	if _, err := x.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(nil, nil); err != nil {
		t.Fatal(err)
	}
	s.check()
	s.now = old
	s.expect("after compaction", s.get("k"), "v")
}

// The index heals when it holds a record of no key.
func TestStrayExpiryRecord(t *testing.T) {
	s := newStore(t)
	key := []byte("k")
	b := s.db.NewBatch()
	b.Set(appendExpiryKey(nil, 0, s.now-5, s.locate(key), key), nil)
	if err := s.db.Commit(b); err != nil {
		t.Fatal(err)
	}
	b.Release()
	if s.Check() == nil {
		t.Fatal("the stray record is not found")
	}
	s.expireDue()
	s.check()
}

func TestExpireLoop(t *testing.T) {
	s := newStore(t)
	s.set("k", "v", SetOptions{Deadline: s.now + 1})
	s.set("l", "v", SetOptions{Deadline: s.now + 2})
	s.close()
	gone := make(chan string, 2)
	s.ko = Options{ExpireEvery: time.Millisecond, Expired: func(_ int, key []byte) { gone <- string(key) }}
	s.now += 100
	s.open()
	for _, want := range []string{"k", "l"} {
		select {
		case key := <-gone:
			s.expect("expired", key, want)
		case <-time.After(10 * time.Second):
			t.Fatal("no key has expired")
		}
	}
	s.check()
}

// Commands such as GETSET look the same key up twice.
func TestExpiredKeyGoesOnce(t *testing.T) {
	s := newStore(t)
	s.set("k", "v", SetOptions{Deadline: s.now + 10})
	s.now += 11
	s.update("k", func(t *Txn) {
		for range 2 {
			if ok, err := t.Delete([]byte("k")); ok || err != nil {
				s.Fatalf("Delete of an expired key: %v, %v", ok, err)
			}
		}
		s.must(t.Set([]byte("k"), []byte("w"), SetOptions{}))
	})
	keys, expires := s.Size(0)
	s.expect("keys counted", fmt.Sprint(keys, expires), "1 0")
	s.expect("expired", s.Stats().Expired, 1)
	s.check()
}

func incompressible(seed uint64, size int) string {
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return string(b)
}

// A compaction drops records that have expired, durably. So it may only learn of the horizon once the
// deletions are durable as well: after a loss of power nobody else would count the keys out.
func TestDeletionsAreDurableBeforeTheHorizon(t *testing.T) {
	for seed := range uint64(4) {
		disk := vfs.NewCrash(seed)
		s := &store{TB: t, fs: disk, now: 1_700_000_000_000}
		s.ko = Options{ExpireEvery: -1, Databases: 4}
		s.o.Ack, s.o.TableSize, s.o.BlockSize, s.o.MemTableSize, s.o.LogSegmentSize = wal.AckWritten, 4<<10, 512, 256<<10, 1<<20
		s.open()
		for i := range 100 {
			s.set(fmt.Sprint("k", i), incompressible(uint64(i), 200), SetOptions{Deadline: s.now + 5})
		}
		if err := s.db.Compact(nil, nil); err != nil { // into tables of nothing but expiring records
			t.Fatal(err)
		}
		before := s.db.Metrics().Compactions
		s.now += 60_000
		for range 2 { // delete and choose the horizon; tell the engine
			s.expireDue()
			if err := s.db.Wait(s.db.Last()); err != nil {
				t.Fatal(err)
			}
		}
		for deadline := time.Now().Add(10 * time.Second); s.db.Metrics().Compactions == before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no table was rewritten: nothing is tested")
			}
		}
		after := disk.Crash()
		_ = s.Keyspace.Close() // both fail: their disk is gone
		_ = s.db.Close()
		s.fs = after
		s.open()
		s.check()
		s.close()
	}
}
