package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

func open(t testing.TB, o Options) *DB {
	t.Helper()
	db, err := Open("db", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return db
}

func commit(t testing.TB, db *DB, fill func(b *Batch)) {
	t.Helper()
	b := db.NewBatch()
	defer b.Release()
	fill(b)
	if err := db.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func set(t testing.TB, db *DB, key, value string) {
	t.Helper()
	commit(t, db, func(b *Batch) { b.Set([]byte(key), []byte(value)) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill writes n keys with values of size bytes.
func fill(t testing.TB, db *DB, n, size int) {
	t.Helper()
	for i := range n {
		set(t, db, fmt.Sprintf("key-%06d", i), string(bytes.Repeat([]byte{byte(i)}, size)))
	}
}

func TestOptionsReportAllProblems(t *testing.T) {
	err := Options{MaxMemTables: 1, BlockSize: 1, Live: Live{CacheSize: -1}}.Validate()
	if !errors.Is(err, ErrInvalidOptions) {
		t.Fatal(err)
	}
	for _, name := range []string{"MaxMemTables", "BlockSize", "CacheSize"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	must(t, Options{}.Validate())
}

func TestGetDoesNotAllocate(t *testing.T) {
	db := open(t, smallOptions(vfs.NewMem()))
	fill(t, db, 1000, 100)
	must(t, db.Compact(nil, nil))
	set(t, db, "memory", "value")
	dst := make([]byte, 0, 256)
	for _, key := range []string{"key-000500", "memory", "missing"} {
		key := []byte(key)
		if n := testing.AllocsPerRun(100, func() { dst, _ = db.Get(dst[:0], key) }); n > 0 {
			t.Errorf("get %s allocates %v times", key, n)
		}
	}
}

func TestApplyDoesNotAllocate(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	o.MemTableSize = 16 * mib
	db := open(t, o)
	key, value := []byte("key"), []byte("value")
	n := testing.AllocsPerRun(200, func() {
		b := db.NewBatch()
		b.Set(key, value)
		b.Add(1, 1)
		if _, err := db.Apply(b); err != nil {
			t.Fatal(err)
		}
		b.Release()
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFlushAllFreesTheDisk: a range tombstone over everything gives the
// disk back without being asked.
func TestFlushAllFreesTheDisk(t *testing.T) {
	db := open(t, smallOptions(vfs.NewMem()))
	fill(t, db, 5000, 300)
	must(t, db.Flush())
	commit(t, db, func(b *Batch) { b.DeleteRange([]byte("k"), []byte("l")) })
	eventually(t, func() bool { m := db.Metrics(); return m.Tables == 0 && m.RangeTombstones == 0 })
	if _, err := db.Get(nil, []byte("key-000001")); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func eventually(t testing.TB, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never became true")
		}
	}
}

func TestExpiredRecordsLeaveTheDisk(t *testing.T) {
	db := open(t, smallOptions(vfs.NewMem()))
	for i := range 2000 {
		commit(t, db, func(b *Batch) {
			v := binary.BigEndian.AppendUint64(bytes.Repeat([]byte{1}, 200), 1000)
			b.SetExpiring(fmt.Appendf(nil, "key-%06d", i), v)
		})
	}
	must(t, db.Compact(nil, nil))
	if db.Metrics().Tables == 0 {
		t.Fatal("records are gone before their time")
	}
	eventually(t, func() bool { // nothing else is going to start a compaction
		db.mu.Lock()
		defer db.mu.Unlock()
		return db.mu.quiet && db.mu.compactions == 0
	})
	db.SetExpiryHorizon(Horizon{1000, db.Committed()}, db.Truncations())
	eventually(t, func() bool { return db.Metrics().TableBytes < 10_000 })
}

// TestHorizonEndsAtItsPosition: what was written behind the position of a horizon stays, whatever its deadline, through compactions that
// forget other sequence numbers, and also once the horizon has moved on to an earlier time.
func TestHorizonEndsAtItsPosition(t *testing.T) {
	db := open(t, smallOptions(vfs.NewMem()))
	value := func(deadline uint64) []byte { return binary.BigEndian.AppendUint64([]byte("v"), deadline) }
	put := func(key string, deadline uint64) {
		commit(t, db, func(b *Batch) { b.SetExpiring([]byte(key), value(deadline)) })
	}
	want := func(when string, keys ...string) {
		t.Helper()
		must(t, db.Compact(nil, nil))
		it := db.NewIter(IterOptions{})
		defer it.Close()
		var got []string
		for ok := it.First(); ok; ok = it.Next() {
			got = append(got, string(it.Key()))
		}
		if !slices.Equal(got, keys) {
			t.Errorf("%s: there are %v, want %v", when, got, keys)
		}
	}
	put("before", 900)
	put("later", 1100)
	h := Horizon{1000, db.Committed()}
	put("behind", 900)
	want("without a horizon", "before", "behind", "later")
	db.SetExpiryHorizon(h, db.Truncations())
	want("with a horizon", "behind", "later")
	put("behind2", 800)
	want("all at the bottom", "behind", "behind2", "later")
	db.SetExpiryHorizon(Horizon{850, db.Committed()}, db.Truncations()) // of a leader whose clock is behind
	want("with another horizon", "behind", "later")
	db.SetExpiryHorizon(h, db.Truncations())
	if got := db.ExpiryHorizon(); got.Deadline != 850 {
		t.Errorf("the horizon has gone back to %v", got)
	}
}

// TestOrphansAreRemoved: what a crash between writing a table and its edit leaves goes at the next open.
func TestOrphansAreRemoved(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	db := open(t, o)
	fill(t, db, 100, 100)
	must(t, db.Flush())
	must(t, db.Close())
	for _, name := range []string{"db/000900.sst", "db/CURRENT.tmp", "db/MANIFEST-000901"} {
		must(t, vfs.WriteFile(o.FS, name, []byte("half")))
	}
	db = open(t, o)
	names, err := o.FS.List("db")
	must(t, err)
	for _, name := range names {
		if name == "000900.sst" || name == "MANIFEST-000901" || strings.HasSuffix(name, ".tmp") {
			t.Errorf("%s is still there", name)
		}
	}
	set(t, db, "x", "y")
}

func TestMissingFilesAreReported(t *testing.T) {
	for _, gone := range []string{".sst", "CURRENT", "MANIFEST"} {
		o := smallOptions(vfs.NewMem())
		db := open(t, o)
		fill(t, db, 100, 100)
		must(t, db.Flush())
		must(t, db.Close())
		names, err := o.FS.List("db")
		must(t, err)
		for _, name := range names {
			if strings.Contains(name, gone) {
				must(t, o.FS.Remove("db/"+name))
			}
		}
		if db, err := Open("db", o); err == nil {
			t.Errorf("opened without %s", gone)
			must(t, db.Close())
		}
	}
}

// TestManifestDamage flips each byte of a manifest with several edits: it is
// an error or, in the last edit, a shorter history.
func TestManifestDamage(t *testing.T) {
	fs := vfs.NewMem()
	s := &manifestState{version: &version{}, nextFile: 2}
	m, err := createManifest(fs, ".", 1, s)
	must(t, err)
	var ends []int64
	for i := range uint64(3) {
		ends = append(ends, m.offset)
		must(t, m.append(&versionEdit{flushedSeq: 10 + i, tombstones: []tombstone{{[]byte("a"), []byte("b"), i + 1}}}))
	}
	data, err := vfs.ReadFile(fs, manifestName(1), 0)
	must(t, err)
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x10
		must(t, vfs.WriteFile(fs, manifestName(1), bad))
		s, torn, err := readManifest(fs, ".", 1)
		if int64(i) < ends[2] {
			if err == nil {
				t.Fatalf("byte %d: no error", i)
			}
		} else if err != nil || torn != ends[2] || s.flushedSeq != 11 {
			t.Fatalf("byte %d of the last edit: %v %d", i, err, torn)
		}
	}
	for n := range data {
		must(t, vfs.WriteFile(fs, manifestName(1), data[:n]))
		if s, _, err := readManifest(fs, ".", 1); err == nil && int64(n) >= ends[1] && s.flushedSeq < 10 {
			t.Fatalf("cut to %d bytes: flushed %d", n, s.flushedSeq)
		}
	}
}

// recorder notes what makes things durable, in order.
type recorder struct {
	vfs.FS
	mu  sync.Mutex
	log []string
}

type recordedFile struct {
	vfs.File
	r *recorder
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := fmt.Sprintf(format, args...); !strings.Contains(s, ".wal") && !strings.Contains(s, "db/log") {
		r.log = append(r.log, s)
	}
}

func (r *recorder) Create(name string) (vfs.File, error) {
	r.note("create %s", name)
	f, err := r.FS.Create(name)
	return recordedFile{f, r}, err
}

func (r *recorder) Remove(name string) error {
	r.note("remove %s", name)
	return r.FS.Remove(name)
}

func (r *recorder) Rename(from, to string) error {
	r.note("rename %s %s", from, to)
	return r.FS.Rename(from, to)
}

func (r *recorder) SyncDir(dir string) error {
	r.note("syncdir %s", dir)
	return r.FS.SyncDir(dir)
}

func (f recordedFile) Sync() error {
	f.r.note("sync %s", f.Name())
	return f.File.Sync()
}

func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := strings.Join(r.log, "\n")
	r.log = nil
	return s
}

// TestOrderOfDurability is the order in which a store becomes durable, for review.
func TestOrderOfDurability(t *testing.T) {
	r := &recorder{FS: vfs.NewMem()}
	o := smallOptions(r)
	o.L0Tables = 2
	expect := func(what, want string) {
		t.Helper()
		if got := r.take(); got != strings.TrimSpace(want) {
			t.Errorf("%s:\n%s\nwant:%s", what, got, want)
		}
	}
	db := open(t, o)
	expect("create", `
create db/MANIFEST-000001
sync db/MANIFEST-000001
syncdir db
create db/CURRENT.tmp
sync db/CURRENT.tmp
rename db/CURRENT.tmp db/CURRENT
syncdir db`)
	set(t, db, "a", "1")
	set(t, db, "b", "1")
	must(t, db.Flush())
	expect("flush", `
create db/000002.sst
sync db/000002.sst
syncdir db
sync db/MANIFEST-000001`)
	set(t, db, "a", "2")
	must(t, db.Flush())
	eventually(t, func() bool { m := db.Metrics(); return m.Levels[0].Tables == 0 && m.Running == 0 })
	must(t, db.Close())
	expect("flush and compaction", `
create db/000003.sst
sync db/000003.sst
syncdir db
sync db/MANIFEST-000001
create db/000004.sst
sync db/000004.sst
syncdir db
sync db/MANIFEST-000001
remove db/000003.sst
remove db/000002.sst`)
	db = open(t, o)
	expect("open", `
create db/MANIFEST-000005
sync db/MANIFEST-000005
syncdir db
create db/CURRENT.tmp
sync db/CURRENT.tmp
rename db/CURRENT.tmp db/CURRENT
syncdir db
remove db/MANIFEST-000001`)
}

// TestFullDisk: flushes fail, writes are refused once memory is full, and all goes on
// when there is space again.
func TestFullDisk(t *testing.T) {
	fs := &fullFS{FS: vfs.NewMem()}
	o := smallOptions(fs)
	db := open(t, o)
	set(t, db, "before", "1")
	fs.set(true)
	var stalled error
	for i := 0; stalled == nil && i < 100_000; i++ {
		b := db.NewBatch()
		b.Set(fmt.Appendf(nil, "key-%06d", i), make([]byte, 100))
		stalled = db.Commit(b)
		b.Release()
	}
	if !errors.Is(stalled, ErrStalled) || !vfs.IsNoSpace(stalled) {
		t.Fatalf("a full disk gives %v", stalled)
	}
	if _, err := db.Get(nil, []byte("key-000000")); err != nil {
		t.Errorf("a read while the disk is full: %v", err)
	}
	if db.Metrics().BackgroundError == nil {
		t.Error("metrics do not tell")
	}
	fs.set(false)
	eventually(t, func() bool {
		b := db.NewBatch()
		defer b.Release()
		b.Set([]byte("after"), []byte("1"))
		return db.Commit(b) == nil
	})
	eventually(t, func() bool { return db.Flush() == nil })
	must(t, db.Close())
	report, err := Check(fs, "db")
	if err != nil || len(report.Problems) > 0 {
		t.Fatal(err, report.Problems)
	}
}

// fullFS has no space for new tables while it is full.
type fullFS struct {
	vfs.FS
	mu   sync.Mutex
	full bool
}

func (f *fullFS) set(full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full = full
}

func (f *fullFS) Create(name string) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full && strings.HasSuffix(name, ".sst") {
		return nil, fmt.Errorf("create %s: %w", name, syscall.ENOSPC)
	}
	return f.FS.Create(name)
}

// TestHugeBatch: a batch larger than a memtable gets one of its own.
func TestHugeBatch(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	db := open(t, o)
	value := bytes.Repeat([]byte("x"), 5<<20)
	commit(t, db, func(b *Batch) {
		b.Set([]byte("big"), value)
		b.Set([]byte("small"), []byte("1"))
	})
	set(t, db, "next", "2")
	for range 2 {
		if got, err := db.Get(nil, []byte("big")); err != nil || !bytes.Equal(got, value) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		must(t, db.Flush())
		must(t, db.Close())
		db = open(t, o)
	}
}

// TestLogReader: what is applied can be read as records and applied elsewhere.
func TestLogReader(t *testing.T) {
	db := open(t, smallOptions(vfs.NewMem()))
	o := smallOptions(vfs.NewMem())
	o.ExternalCommit = true
	follower := open(t, o)
	r, err := db.NewLogReader(1)
	must(t, err)
	defer r.Close()
	for i := range 500 {
		set(t, db, fmt.Sprint("key-", i%50), fmt.Sprint(i))
		rec, err := r.Next(t.Context())
		must(t, err)
		must(t, follower.ApplyRecord(rec))
		follower.SetCommitted(rec.Last())
	}
	if err := follower.ApplyRecord(wal.Record{Seq: 7, Count: 1, Payload: []byte{0, 1, 'a'}}); !errors.Is(err, wal.ErrNotNext) {
		t.Errorf("a record that was there already: %v", err)
	}
	for i := range 50 {
		key := []byte(fmt.Sprint("key-", i))
		a, errA := db.Get(nil, key)
		b, errB := follower.Get(nil, key)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: %q %v, %q %v", key, a, errA, b, errB)
		}
	}
}

// TestKeysHaveRoom: a key of 512 MiB fits with what a user of the engine puts around it.
func TestKeysHaveRoom(t *testing.T) {
	key := make([]byte, MaxKeySize+1) // never touched
	var b Batch
	if !b.fits(key[:1<<29+64], nil) || b.fits(key, nil) {
		t.Error(b.err)
	}
}
