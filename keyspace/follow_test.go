package keyspace

import (
	"testing"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
)

// follow hands records of a leader's log to a follower.
func (s *store) follow(leader *store) {
	s.Helper()
	r, err := leader.db.NewLogReader(s.db.Last() + 1)
	if err != nil {
		s.Fatal(err)
	}
	defer r.Close()
	for s.db.Last() < leader.db.Last() {
		record, err := r.Next(s.Context())
		if err == nil {
			err = s.db.ApplyRecord(record)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
}

// A node that follows sees what the leader has committed, and notices when that is of another store.
func TestRefresh(t *testing.T) {
	leader, other := newStore(t), newStore(t)
	fs := vfs.NewMem()
	other.close()
	other.fs = fs
	other.open()
	f := &store{TB: t, fs: fs, now: leader.now}
	f.ko = Options{ExpireEvery: -1, Databases: 4, Follows: true}
	f.o.LogSegmentSize, f.o.ExternalCommit = 1<<20, true
	var err error
	f.o.FS, f.ko.Now = fs, func() int64 { return f.now }
	if f.db, err = engine.Open("follower", f.o); err != nil {
		t.Fatal(err)
	}
	if f.Keyspace, err = Open(f.db, f.ko); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	refresh := func() {
		t.Helper()
		if err := f.refresh(); err != nil {
			t.Fatal(err)
		}
	}

	leader.set("k", "v", SetOptions{})
	f.follow(leader)
	refresh()
	f.expect("not committed", f.get("k"), "(nil)")
	f.db.SetCommitted(f.db.Last())
	refresh()
	f.expect("committed", f.get("k"), "v")

	leader.commit(leader.BeginAll(0, leader.now), func(x *Txn) {
		if err := x.Swap(0, 1); err != nil {
			t.Fatal(err)
		}
	})
	f.follow(leader)
	refresh()
	f.expect("a swap that is not committed", f.get("k"), "v")
	f.db.SetCommitted(f.db.Last())
	refresh()
	f.expect("a swap", f.get("k"), "(nil)")

	other.set("l", "w", SetOptions{})
	if err := other.db.Checkpoint("checkpoint"); err != nil {
		t.Fatal(err)
	}
	before, ok := f.Generation()
	f.expect("whole", ok, true)
	if err := f.db.Install("checkpoint"); err != nil {
		t.Fatal(err)
	}
	if n, ok := f.Generation(); ok || n == before {
		t.Errorf("generation %d, %v after a replacement of %d", n, ok, before)
	}
	f.db.SetCommitted(f.db.Last()) // its log is part of this checkpoint
	refresh()
	_, ok = f.Generation()
	f.expect("whole again", ok, true)
	f.expect("the other store", f.get("l"), "w")
}
