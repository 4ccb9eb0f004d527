package keyspace

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine"
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

// compact lets the engine know what has expired, and drop it.
func (s *store) compact() {
	s.Helper()
	s.expireDue()
	s.now += horizonEvery
	s.expireDue()
	if err := s.db.Wait(s.db.Last()); err != nil {
		s.Fatal(err)
	}
	before := s.db.ExpiryHorizon().Seq
	if err := s.learnHorizon(); err != nil {
		s.Fatal(err)
	}
	if h := s.db.ExpiryHorizon(); h.Seq <= before {
		s.Fatalf("the horizon stays at %v", h)
	}
	if err := s.db.Compact(nil, nil); err != nil {
		s.Fatal(err)
	}
}

// A leader whose clock is behind writes deadlines that were over for the leader before. Its keys live until its own clock says
// otherwise, also on the disks of those that knew the clock before.
func TestHorizonLeavesKeysOfAnotherClock(t *testing.T) {
	s := newStore(t)
	s.set("gone", "v", SetOptions{Deadline: s.now + 5})
	s.compact()
	s.now -= 3 * horizonEvery
	s.set("k", "v", SetOptions{Deadline: s.now + 10})
	s.set("l", "v", SetOptions{})
	s.update("l", func(t *Txn) { s.must(t.Expire([]byte("l"), s.now+20, 0)) })
	for range 2 { // also when their records have come to rest at the bottom
		if err := s.db.Compact(nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.check()
	s.expect("after the compactions", s.get("k")+s.get("l")+s.get("gone"), "vv(nil)")
	s.now += 15
	s.expect("when one has expired", s.get("k")+s.get("l"), "(nil)v")
	s.compact()
	s.check()
	s.expect("when the other has", s.get("l"), "(nil)")
}

// What has expired leaves the disk, and then nothing is written any more.
func TestHorizonOfAnIdleStore(t *testing.T) {
	s := newStore(t)
	last := s.db.Last()
	s.set("k", "v", SetOptions{})
	s.now += 2 * horizonEvery
	s.expireDue()
	s.expect("written without deadlines", s.db.Last(), last+2)
	for i := range 100 {
		s.set(fmt.Sprint("k", i), "v", SetOptions{Deadline: s.now + int64(i)})
	}
	s.compact()
	if m := s.db.Metrics(); m.TableBytes > 2<<10 {
		t.Errorf("%d bytes are left in tables", m.TableBytes)
	}
	last = s.db.Last()
	for range 5 {
		s.now += 2 * horizonEvery
		s.expireDue()
	}
	s.expect("written while idle", s.db.Last(), last)
	s.check()
}

// A node that follows learns what has expired from the log, when that is committed.
func TestHorizonOfAFollower(t *testing.T) {
	leader := newStore(t)
	f := &store{TB: t, fs: vfs.NewMem(), now: leader.now - 1_000_000}
	f.ko = Options{ExpireEvery: -1, Databases: 4, Follows: true}
	f.o.LogSegmentSize, f.o.ExternalCommit = 1<<20, true
	f.open()
	t.Cleanup(f.close)
	leader.set("k", "v", SetOptions{Deadline: leader.now + 5})
	leader.compact()
	f.follow(leader)
	for _, committed := range []uint64{f.db.Last() - 1, f.db.Last()} {
		f.db.SetCommitted(committed)
		if err := f.learnHorizon(); err != nil {
			t.Fatal(err)
		}
		f.expect("known", f.db.ExpiryHorizon().Seq != 0, committed == f.db.Last())
	}
	f.expect("horizon", f.db.ExpiryHorizon(), leader.db.ExpiryHorizon())
}

// newFollowedStore is the store of a leader, whose followers are the test: nothing is committed before it says so.
func newFollowedStore(t *testing.T) *store {
	s := &store{TB: t, fs: vfs.NewMem(), now: 1_700_000_000_000}
	s.ko = Options{ExpireEvery: -1, Databases: 4, Follows: true}
	s.o.LogSegmentSize, s.o.ExternalCommit = 1<<20, true
	s.open()
	t.Cleanup(s.close)
	s.SetReadOnly(false)
	go func() { s.db.SetCommitted(1) }()
	if err := s.Found(); err != nil {
		t.Fatal(err)
	}
	return s
}

// Whoever is told that a key has expired has waited until that is in the logs of the others, so that the next leader, with another clock, does not
// show it again. That goes for all ways to notice.
func TestExpiryIsCommittedBeforeItIsTold(t *testing.T) {
	missing := func(t *Txn) error {
		if _, ok, err := t.String([]byte("k")); ok || err != nil {
			return fmt.Errorf("found: %v, %w", ok, err)
		}
		return nil
	}
	nobody := func(key []byte) bool { panic("found " + string(key)) }
	for name, read := range map[string]func(*Txn) error{
		"lookup": missing,
		"pinned": func(t *Txn) error {
			t.Pin()
			return missing(t)
		},
		"object": func(t *Txn) error {
			_, ok, err := t.Object([]byte("k"))
			if ok {
				return errors.New("found")
			}
			return err
		},
		"keys": func(t *Txn) error { return t.Keys(nobody) },
		"scan": func(t *Txn) error {
			_, err := t.Scan(0, 10, func(key []byte, _ Type) { nobody(key) })
			return err
		},
		"random": func(t *Txn) error {
			_, ok, err := t.RandomKey()
			if ok {
				return errors.New("found")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range []string{"view", "paused", "again", "failing", "multi"} {
				s := newFollowedStore(t)
				x := s.Begin(0, s.now, []byte("k"))
				s.must(x.Set([]byte("k"), []byte("v"), SetOptions{Deadline: s.now + 5}))
				seq, err := x.Commit()
				if err != nil {
					t.Fatal(err)
				}
				s.db.SetCommitted(seq)
				s.now += 6
				x = s.View(0, s.now, false)
				deleted := uint64(0)
				switch kind {
				case "paused":
					s.SetReadOnly(true)
				case "again": // somebody else has been told, who still waits
					if err := read(x); err != nil {
						t.Fatal(err)
					}
					x.Commit()
					deleted = s.db.Last()
					x = s.View(0, s.now, false)
				case "multi":
					x.Discard()
					x = s.BeginMulti(0, s.now, nil, true)
				case "failing":
					s.db.RefuseWrites(errors.New("no more"))
				}
				err = read(x)
				if kind == "failing" {
					x.Discard()
					if !errors.Is(err, ErrUndecided) || !errors.Is(err, engine.ErrRefused) {
						t.Fatalf("%s: %v", kind, err)
					}
					continue
				}
				after, e := x.Commit()
				if err := errors.Join(err, e); err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				if deleted == 0 {
					deleted = s.db.Last()
				}
				if keys, _ := s.Size(0); keys != 0 || deleted <= seq || after < deleted || after > s.db.Last() {
					t.Errorf("%s: %d keys are left; to be committed is %d, the key was written at %d and deleted at %d, the log ends at %d", kind, keys, after, seq, deleted, s.db.Last())
				}
			}
		})
	}
}

// A replica hides what has expired by its own clock, and writes nothing. So does a node on its own while it must not write.
func TestReplicaDeletesNothing(t *testing.T) {
	s := newFollowedStore(t)
	x := s.Begin(0, s.now, []byte("k"))
	s.must(x.Set([]byte("k"), []byte("v"), SetOptions{Deadline: s.now + 5}))
	seq, err := x.Commit()
	if err != nil {
		t.Fatal(err)
	}
	s.db.SetCommitted(seq)
	s.now += 6
	x = s.View(0, s.now, false)
	x.Replica()
	s.expect("value", s.getIn(x, "k"), "(nil)")
	if err := x.Keys(func(key []byte) bool { panic(key) }); err != nil {
		t.Fatal(err)
	}
	after, err := x.Commit()
	s.expect("to be committed", fmt.Sprint(after, err), "0 <nil>")
	s.expect("last write", s.db.Last(), seq)
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
		s.expireDue()
		if err := s.db.Wait(s.db.Last()); err != nil {
			t.Fatal(err)
		}
		if err := s.learnHorizon(); err != nil {
			t.Fatal(err)
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
