package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
)

// fillStore makes a store whose data is in tables, memtables and log, and says whose it is.
func fillStore(t *testing.T, db *DB, owner string, n int) {
	t.Helper()
	for i := range n {
		set(t, db, fmt.Sprintf("%s-%03d", owner, i), fmt.Sprintf("%0200d", i))
		if i == n/2 {
			must(t, db.Flush())
		}
	}
	must(t, db.Sync())
}

// ownerOf returns whose store it is; it must be all there.
func ownerOf(t *testing.T, db *DB, want map[string]int) string {
	t.Helper()
	it := db.NewIter(IterOptions{})
	got := map[string]int{}
	for ok := it.First(); ok; ok = it.Next() {
		got[string(it.Key()[:3])]++
	}
	must(t, it.Error())
	must(t, it.Close())
	for owner, n := range got {
		if len(got) == 1 && n == want[owner] {
			return owner
		}
	}
	if len(got) == 0 && want[""] == 0 {
		return ""
	}
	t.Fatalf("a mixture: %v", got)
	return ""
}

// TestInstallCrash stops Install at each of its file operations, by a crash with and without loss of
// power, over a store with other data and over none.
func TestInstallCrash(t *testing.T) {
	for _, old := range []string{"", "old"} {
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprintf("old=%q,log=%v", old, whole), func(t *testing.T) { testInstallCrash(t, old, whole) })
		}
	}
}

func testInstallCrash(t *testing.T, old string, whole bool) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	outcomes := map[string]int{}
	for n := int64(1); ; n++ {
		disk := vfs.NewCrash(seed + uint64(n))
		o := smallOptions(disk)
		source := must1(Open("source", o))(t)
		fillStore(t, source, "new", 40)
		want := map[string]int{"old": 30, "new": 40, "": 0}
		if whole {
			must(t, source.Checkpoint("from"))
		} else {
			must(t, source.Flush())
			_, pin, err := source.CheckpointTables("from")
			must(t, err)
			pin.Close()
		}
		must(t, source.Close())
		if old != "" {
			db := must1(Open("db", o))(t)
			fillStore(t, db, old, 30)
			must(t, db.Close())
		}
		fault := vfs.NewFault(disk, vfs.FailFrom(n, vfs.ErrInjected))
		err := Install(fault, "db", "from")
		if err != nil && !errors.Is(err, vfs.ErrInjected) {
			t.Fatal(err)
		}
		if n%3 != 0 {
			disk = disk.Crash()
		}
		o.FS = disk
		db := must1(Open("db", o))(t)
		got := ownerOf(t, db, want)
		if err == nil && got != "new" || got != old && got != "new" {
			t.Fatalf("operation %d (%v): the store is %q", n, err, got)
		}
		outcomes[got]++
		set(t, db, got+"-000", "goes on")
		must(t, db.Close())
		must(t, Install(disk, "db", "from"))
		report, checkErr := Check(disk, "db")
		must(t, checkErr)
		must(t, errors.Join(report.Problems...))
		db = must1(Open("db", o))(t)
		if got := ownerOf(t, db, want); got != "new" {
			t.Fatalf("operation %d: after the second try it is %q", n, got)
		}
		names, listErr := disk.List("db")
		must(t, listErr)
		if logs := countLogs(names); logs != 1 {
			t.Fatalf("%d logs: %v", logs, names)
		}
		must(t, db.Close())
		if err == nil {
			break
		}
	}
	t.Logf("outcomes: %v", outcomes)
	if outcomes["new"] < 1 || outcomes[old] < 5 {
		t.Errorf("outcomes: %v", outcomes)
	}
}

func countLogs(names []string) (n int) {
	for _, name := range names {
		if isLogDir(name) {
			n++
		}
	}
	return n
}

func must1[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// TestInstallOpen replaces an open store under readers, also one after the other: it is the new one in all that it
// answers, takes records behind it, and is the same after it was opened anew.
func TestInstallOpen(t *testing.T) {
	disk := vfs.NewMem()
	o := smallOptions(disk)
	source := must1(Open("source", o))(t)
	fillStore(t, source, "new", 40)
	must1(source.BeginEpoch(7))(t)
	must(t, source.Flush())
	o.ExternalCommit = true
	db := must1(Open("db", o))(t)
	for i := range 300 {
		b := db.NewBatch()
		b.Set(fmt.Appendf(nil, "old-%03d", i), fmt.Appendf(nil, "%0500d", i))
		b.Add(3, 1)
		seq := must1(db.Apply(b))(t)
		db.SetCommitted(max(seq, 5) - 5)
		b.Release()
	}
	before := db.NewIter(IterOptions{})
	for round := range 3 {
		from := fmt.Sprint("from", round)
		seq, pin, err := source.CheckpointTables(from)
		must(t, err)
		pin.Close()
		h, cuts := Horizon{1000, db.Committed()}, db.Truncations()
		db.SetExpiryHorizon(h, cuts)
		if got := db.ExpiryHorizon(); got != h {
			t.Fatalf("round %d: the horizon is %v, want %v", round, got, h)
		}
		must(t, db.Install(from))
		db.SetExpiryHorizon(h, cuts) // was found out before
		if got := db.ExpiryHorizon(); got != (Horizon{}) {
			t.Fatalf("round %d: a horizon of the old store, %v, is in force in the new one", round, got)
		}
		if got := ownerOf(t, db, map[string]int{"new": 40}); got != "new" {
			t.Fatalf("round %d: the store is %q", round, got)
		}
		if db.Last() != seq || db.Committed() != seq || db.Epoch() != 7 || db.Counter(3) != 0 || db.LogFirst() != seq+1 {
			t.Fatalf("last %d, committed %d, epoch %d, counter %d, log from %d; want %d", db.Last(), db.Committed(), db.Epoch(), db.Counter(3), db.LogFirst(), seq)
		}
		for range 100 { // of a history of its own
			b := db.NewBatch()
			b.Set([]byte("new-000"), make([]byte, 1000))
			db.SetCommitted(must1(db.Apply(b))(t))
			b.Release()
		}
		must(t, db.Flush())
	}
	n := 0
	for ok := before.First(); ok; ok = before.Next() {
		n++
	}
	if err := errors.Join(before.Error(), before.Close()); err != nil || n != 298 {
		t.Fatalf("the old iterator has %d keys, %v", n, err)
	}
	must(t, errors.Join(source.Close(), db.Close()))
	report := must1(Check(disk, "db"))(t)
	must(t, errors.Join(report.Problems...))
	db = must1(Open("db", o))(t)
	if got := ownerOf(t, db, map[string]int{"new": 40}); got != "new" {
		t.Fatalf("opened anew it is %q", got)
	}
	must(t, db.Close())
}

// TestInstallOpenFaults fails each file operation of an Install into an open store: it says so and refuses writes, and the next
// Open finds one store or the other, with and without a loss of power.
func TestInstallOpenFaults(t *testing.T) {
	want := map[string]int{"old": 30, "new": 40}
	outcomes := map[string]int{}
	for n := int64(1); ; n++ {
		disk := vfs.NewCrash(uint64(n))
		source := must1(Open("source", smallOptions(disk)))(t)
		fillStore(t, source, "new", 40)
		must(t, source.Flush())
		_, pin, err := source.CheckpointTables("from")
		must(t, err)
		pin.Close()
		must(t, source.Close())
		fault := vfs.NewFault(disk, nil)
		o := smallOptions(fault)
		db := must1(Open("db", o))(t)
		fillStore(t, db, "old", 30)
		before := fault.Calls()
		fault.SetPolicy(vfs.FailNth(n, vfs.ErrInjected))
		err = db.Install("from")
		all := fault.Calls()-before < n
		fault.SetPolicy(nil)
		if err != nil {
			b := db.NewBatch()
			b.Set([]byte("k"), []byte("v"))
			if _, e := db.Apply(b); !errors.Is(err, vfs.ErrInjected) || !errors.Is(err, ErrReadOnly) || !errors.Is(e, ErrReadOnly) && !errors.Is(e, ErrClosed) {
				t.Fatalf("operation %d: %v; a write then gives %v", n, err, e)
			}
		}
		if e := db.Close(); err == nil {
			must(t, e)
		}
		if n%2 == 0 {
			disk = disk.Crash()
		}
		o.FS = disk
		db = must1(Open("db", o))(t)
		got := ownerOf(t, db, want)
		if err == nil && got != "new" {
			t.Fatalf("operation %d: the store is %q", n, got)
		}
		outcomes[got]++
		set(t, db, got+"-000", "goes on")
		must(t, db.Close())
		report := must1(Check(disk, "db"))(t)
		must(t, errors.Join(report.Problems...))
		if all {
			break
		}
	}
	t.Logf("outcomes: %v", outcomes)
	if outcomes["old"] < 5 || outcomes["new"] < 5 {
		t.Error("too few")
	}
}

// TestRefuseWrites: after the refusal nothing is appended any more, and writers learn that nothing happened.
func TestRefuseWrites(t *testing.T) {
	db := must1(Open("db", smallOptions(vfs.NewMem())))(t)
	refused := errors.New("refused")
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				b := db.NewBatch()
				b.Set([]byte("k"), []byte("v"))
				_, err := db.Apply(b)
				b.Release()
				if errors.Is(err, refused) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	db.RefuseWrites(refused)
	last := db.Last()
	writers.Wait()
	if db.Last() != last {
		t.Errorf("the log went on from %d to %d", last, db.Last())
	}
	db.RefuseWrites(nil)
	set(t, db, "k", "v")
	must(t, db.Close())
}

// TestMaxUncommitted: what nobody commits does not fill the memory, and goes on once it is committed.
func TestMaxUncommitted(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	o.ExternalCommit, o.MaxUncommitted = true, 4
	db := must1(Open("db", o))(t)
	b := db.NewBatch()
	b.Set([]byte("k"), make([]byte, 10_000))
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = db.Apply(b)
	}
	if !errors.Is(err, ErrStalled) || n < 4*64/10 {
		t.Fatalf("after %d writes: %v", n, err)
	}
	last := db.Last()
	db.SetCommitted(last)
	if _, err := db.Apply(b); err != nil || db.Last() != last+1 {
		t.Fatal(err)
	}
	b.Release()
	must(t, db.Close())
}
