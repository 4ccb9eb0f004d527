package engine

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

// faultOps are the operations that TestFault lets fail.
var faultOps = []vfs.Op{vfs.OpCreate, vfs.OpOpen, vfs.OpRemove, vfs.OpRename, vfs.OpLink, vfs.OpMkdir, vfs.OpList,
	vfs.OpStat, vfs.OpSyncDir, vfs.OpRead, vfs.OpWrite, vfs.OpWrite, vfs.OpSync, vfs.OpSync, vfs.OpTruncate,
	vfs.OpPreallocate, vfs.OpClose}

// failOnce makes one random call of one kind fail.
func (s *crashStore) failOnce() vfs.Op {
	op := faultOps[s.rnd.IntN(len(faultOps))]
	err := vfs.ErrInjected
	if op == vfs.OpWrite && s.rnd.IntN(2) == 0 {
		err = &vfs.ShortWrite{N: s.rnd.IntN(3000), Err: vfs.ErrInjected}
	}
	policy := vfs.FailNth(1+s.rnd.Int64N(pick(s.rnd, int64(3), 30, 300)), err, op)
	s.stopOp.Store(-1)
	s.fault.SetPolicy(func(c vfs.Call) error {
		err := policy(c)
		if err != nil {
			s.stopOp.Store(int32(c.Op))
		}
		return err
	})
	return op
}

// TestFault lets one file operation fail, anywhere. The store reports that or
// copes with it; it never loses, invents or damages anything; and it goes on, or
// refuses writes until it is opened again.
func TestFault(t *testing.T) {
	var failed, seen, refused int
	crashSeeds(t, func(t *testing.T, seed uint64) {
		s := newCrashStore(t, seed)
		if err := s.open(); err != nil {
			s.fatalf("%v", err)
		}
		for range 4 {
			op := s.failOnce()
			for range 150 {
				if err := s.step(); err != nil {
					s.tolerate(op, err)
					seen++
				}
				if s.db == nil || s.halfCut() {
					break
				}
			}
			s.goesOn()
			if s.stopOp.Load() >= 0 {
				failed++
			}
			if s.maybe != nil {
				refused++
			}
			s.crash(s.rnd.IntN(2) == 0)
			s.lastStep = "recovery"
			s.checkCopies()
			if err := s.open(); err != nil {
				s.fatalf("open: %v", err)
			}
		}
		if err := s.db.Close(); err != nil {
			s.fatalf("%v", err)
		}
		s.check("db")
	})
	t.Logf("%d operations of the disk failed; %d calls reported that, %d times writes were refused then", failed, seen, refused)
}

// tolerate accepts the errors that the failure of op explains.
func (s *crashStore) tolerate(op vfs.Op, err error) {
	s.t.Helper()
	if s.stopOp.Load() < 0 || !errors.Is(err, vfs.ErrInjected) && !errors.Is(err, ErrReadOnly) {
		s.fatalf("%v failed: unexpected error %v", op, err)
	}
}

// halfCut tells whether TruncateAfter failed after it had begun. What is
// behind the cut then shows when the store is opened.
func (s *crashStore) halfCut() bool { return s.db.log.Load().Last() < s.last() }

// goesOn proves that a store which has not refused writes recovers by itself.
func (s *crashStore) goesOn() {
	if s.db == nil {
		return
	}
	if s.halfCut() {
		if err := s.write(); !errors.Is(err, ErrReadOnly) {
			s.fatalf("write after a failed cut: %v", err)
		}
		return
	}
	s.lastStep = "goes on"
	s.fault.SetPolicy(nil)
	deadline := time.Now().Add(20 * time.Second)
	for err := s.flush(); err != nil; err = s.flush() {
		if errors.Is(err, ErrReadOnly) || errors.Is(err, wal.ErrFailed) {
			break
		}
		if time.Now().After(deadline) {
			s.fatalf("flush still fails: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	refused := s.maybe != nil
	for range 10 {
		err := s.write()
		if errors.Is(err, ErrReadOnly) || errors.Is(err, wal.ErrFailed) {
			refused = true
		} else if err != nil || refused {
			s.fatalf("write: %v, writes were refused: %v", err, refused)
		}
	}
	if err := s.compare(s.db, s.last()); err != nil {
		s.fatalf("compare: %v", err)
	}
}

// TestDiskFull fills the disk at a random moment, writes on, and makes space.
func TestDiskFull(t *testing.T) {
	crashSeeds(t, func(t *testing.T, seed uint64) {
		s := newCrashStore(t, seed)
		if err := s.open(); err != nil {
			s.fatalf("%v", err)
		}
		var disk vfs.DiskFull
		for range 3 {
			s.fault.SetPolicy(disk.Policy)
			for range s.rnd.IntN(100) {
				if err := s.step(); err != nil {
					s.fatalf("%v", err)
				}
			}
			disk.Fill(s.rnd.Int64N(pick(s.rnd, int64(1), 1000, 100000)))
			s.stopOp.Store(int32(vfs.OpWrite))
			for range 200 {
				err := s.fullStep()
				if err != nil && !vfs.IsNoSpace(err) {
					s.fatalf("disk full: %v", err)
				}
			}
			disk.Relieve()
			s.stopOp.Store(-1)
			s.goesOn()
			if s.maybe != nil {
				s.fatalf("a full disk made the store refuse writes")
			}
			s.lastStep = "space again"
			if err := s.db.log.Load().Sync(); err != nil {
				s.fatalf("sync: %v", err)
			}
			s.crash(s.rnd.IntN(2) == 0)
			s.checkCopies()
			if err := s.open(); err != nil {
				s.fatalf("open: %v", err)
			}
		}
		if err := s.db.Close(); err != nil {
			s.fatalf("%v", err)
		}
		s.check("db")
	})
}

// fullStep does what can be done on a full disk and says why it can not.
func (s *crashStore) fullStep() (err error) {
	s.n++
	switch x := s.rnd.IntN(100); {
	case x < 90:
		s.lastStep = "write on a full disk"
		err = s.write()
	case x < 93:
		s.lastStep = "flush on a full disk"
		err = s.flush()
	case x < 94:
		s.lastStep = "compact on a full disk"
		err = s.db.Compact(nil, nil)
	case x < 95:
		s.lastStep = "checkpoint on a full disk"
		err = s.checkpoint()
	default:
		s.lastStep = "compare on a full disk"
		err = s.compare(s.db, s.last())
	}
	s.watch()
	return err
}

// TestFailedLogRefusesWrites: when memory is full because the log has failed,
// the reason is not one that goes away.
func TestFailedLogRefusesWrites(t *testing.T) {
	var broken atomic.Bool
	o := smallOptions(vfs.NewFault(vfs.NewMem(), func(c vfs.Call) error {
		if broken.Load() && c.Op == vfs.OpSync && strings.HasSuffix(c.Name, ".wal") {
			return vfs.ErrInjected
		}
		return nil
	}))
	o.Logger, o.LogSegmentSize = quietLogger{}, 64*mib // synced by flushes only
	db := open(t, o)
	broken.Store(true)
	b := db.NewBatch()
	b.Set([]byte("key"), make([]byte, 1000))
	var err error
	for i := 0; err == nil && i < 10_000; i++ {
		_, err = db.Apply(b)
	}
	if !errors.Is(err, ErrReadOnly) || errors.Is(err, ErrStalled) {
		t.Errorf("write: %v", err)
	}
	broken.Store(false)
	if err := db.Close(); !errors.Is(err, wal.ErrFailed) {
		t.Errorf("close: %v", err)
	}
}

// TestFailedEditsLeaveNothing: on a disk that is too full for the manifest, each try
// of a flush takes back its tables and its manifest.
func TestFailedEditsLeaveNothing(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		var disk vfs.DiskFull
		var unsynced atomic.Bool
		fault := vfs.NewFault(vfs.NewMem(), func(c vfs.Call) error {
			switch {
			case !strings.HasPrefix(c.Name, "db/MANIFEST"):
				return nil
			case c.Op == vfs.OpSync && unsynced.Swap(false):
				return vfs.ErrInjected
			}
			return disk.Policy(c)
		})
		o := smallOptions(fault)
		o.Logger = quietLogger{}
		db := open(t, o)
		set(t, db, "a", "1")
		tries, kept := uint64(3), 0
		if !trusted { // the present manifest can not be trusted: another one is needed
			unsynced.Store(true)
			if err := db.Flush(); !errors.Is(err, vfs.ErrInjected) {
				t.Fatalf("flush: %v", err)
			}
			tries, kept = tries+1, 1
		}
		disk.Fill(20)
		if err := db.Flush(); trusted && !vfs.IsNoSpace(err) {
			t.Fatalf("flush: %v", err)
		}
		eventually(t, func() bool { return db.stats.backgroundErrors.Load() >= tries })
		db.flushing.Lock()
		if tables, manifests := count(t, fault, ".sst"), count(t, fault, "MANIFEST"); tables != kept || manifests != 1 {
			t.Errorf("%d tables and %d manifests are left", tables, manifests)
		}
		db.flushing.Unlock()
		disk.Relieve()
		eventually(t, func() bool { return db.Flush() == nil })
		if tables := count(t, fault, ".sst"); tables != 1 {
			t.Errorf("%d tables after a flush", tables)
		}
		must(t, db.Close())
		db = open(t, o)
		if v, err := db.Get(nil, []byte("a")); string(v) != "1" {
			t.Errorf("a is %q, %v", v, err)
		}
		must(t, db.Close())
	}
}

// TestFailedEditIsTakenBack: a write to the manifest fails although all of it has arrived. The tables of the edit are
// removed then, so the edit itself must not be there either when the process dies before the next one.
func TestFailedEditIsTakenBack(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem, nil)
	o := smallOptions(fault)
	o.Logger = quietLogger{}
	db := open(t, o)
	set(t, db, "a", "1")
	var failed atomic.Bool
	fault.SetPolicy(func(c vfs.Call) error {
		switch {
		case c.Op == vfs.OpWrite && strings.HasPrefix(c.Name, "db/MANIFEST") && !failed.Swap(true):
			return &vfs.ShortWrite{N: int(c.Size), Err: vfs.ErrInjected}
		case c.Op == vfs.OpCreate && failed.Load(): // no other edit follows
			return vfs.ErrInjected
		}
		return nil
	})
	if err := db.Flush(); !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("flush: %v", err)
	}
	o.FS = mem.Clone()
	again := open(t, o)
	if v, err := again.Get(nil, []byte("a")); string(v) != "1" {
		t.Errorf("a is %q, %v", v, err)
	}
	fault.SetPolicy(nil)
}

// TestCheckpointByCopying makes a checkpoint where no file can be linked, as on another file system, and loses power
// right after it.
func TestCheckpointByCopying(t *testing.T) {
	for seed := range uint64(10) {
		disk := vfs.NewCrash(seed)
		fault := vfs.NewFault(disk, func(c vfs.Call) error {
			if c.Op == vfs.OpLink {
				return syscall.EXDEV
			}
			return nil
		})
		o := smallOptions(fault)
		o.Logger = quietLogger{}
		db, err := Open("db", o)
		must(t, err)
		fill(t, db, 50, 100)
		must(t, db.Flush())
		set(t, db, "in the log", "1")
		must(t, db.Checkpoint("copy"))
		after := disk.Crash()
		fault.SetPolicy(func(vfs.Call) error { return vfs.ErrInjected })
		_ = db.Close() // fails: its disk is gone
		report, err := Check(after, "copy")
		must(t, err)
		for _, p := range report.Problems {
			t.Errorf("seed %d: %v", seed, p)
		}
		o.FS = after
		again, err := Open("copy", o)
		must(t, err)
		if v, err := again.Get(nil, []byte("in the log")); string(v) != "1" {
			t.Errorf("seed %d: %q, %v", seed, v, err)
		}
		must(t, again.Close())
	}
}

// count returns how many files of the store have part in their name.
func count(t *testing.T, fs vfs.FS, part string) (n int) {
	t.Helper()
	names, err := fs.List("db")
	must(t, err)
	for _, name := range names {
		if strings.Contains(name, part) {
			n++
		}
	}
	return n
}
