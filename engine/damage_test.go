package engine

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gtinside/corecache/engine/sstable"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

var damageStride = flag.Int("damage.stride", 41, "every how many bytes the damage test flips one; 1: each")

// damageOptions make small files of all kinds.
func damageOptions(fs vfs.FS) Options {
	return Options{
		Live: Live{CacheSize: mib, MemTableSize: 8 * kib, Ack: wal.AckSynced},
		FS:   fs, Logger: quietLogger{}, LogSegmentSize: 8 * kib, BlockSize: 512, TableSize: 8 * kib,
		BaseLevelSize: 16 * kib, Compression: []sstable.Compression{sstable.None, sstable.LZ4, sstable.Zstd},
	}
}

// closedStore makes a store with tables in several levels, range tombstones,
// counters and a log that was not flushed, and closes it.
func closedStore(t *testing.T, seed uint64) (*vfs.Mem, *state) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 3))
	mem, want := vfs.NewMem(), &state{map[string]string{}, map[uint32]int64{}}
	db, err := Open("db", damageOptions(mem))
	if err != nil {
		t.Fatal(err)
	}
	write := func(ops ...modelOp) {
		b := db.NewBatch()
		defer b.Release()
		for _, o := range ops {
			put(b, o)
		}
		if err := db.Commit(b); err != nil {
			t.Fatal(err)
		}
		want.apply(ops)
	}
	for i := range 700 {
		key := fmt.Sprintf("key%03d", rnd.IntN(500))
		value := fmt.Sprintf("%d-%0*d", i, rnd.IntN(100), i)
		write(modelOp{kind: 's', key: key, value: value},
			modelOp{kind: 'd', key: fmt.Sprintf("key%03d", rnd.IntN(500))},
			modelOp{kind: 'e', key: "expiring" + key, value: string(binary.BigEndian.AppendUint64(nil, 1<<60))},
			modelOp{kind: 'c', counter: 1, delta: int64(i)})
		if i%150 == 50 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
			write(modelOp{kind: 'r', key: "key050", value: "key060"})
		}
		if i == 500 {
			if err := db.Compact(nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return mem, want
}

// storeFiles returns the paths of all files of a store.
func storeFiles(t *testing.T, fsys vfs.FS, dir string) (paths []string) {
	t.Helper()
	names, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := fsys.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Dir {
			paths = append(paths, storeFiles(t, fsys, path)...)
		} else {
			paths = append(paths, path)
		}
	}
	return paths
}

// reports tells whether an error is about damage in a file. Damage to a version number
// looks like a newer format.
func reports(err error, path string) bool {
	return errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), filepath.Base(path))
}

// TestEveryByteFlipped damages the files of a closed store, one byte at a
// time. Either nobody is hurt: the store opens and holds what it should. Or Open, a
// read or Check reports the damage, and reads return no wrong value.
func TestEveryByteFlipped(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 4))
	mem, want := closedStore(t, seed)
	outcomes := map[string]int{}
	for _, path := range storeFiles(t, mem, "db") {
		content, err := vfs.ReadFile(mem, path, 0)
		if err != nil {
			t.Fatal(err)
		}
		stride := *damageStride
		if testing.Short() { // with the race detector, which finds no races here
			stride *= 5
		}
		for off := rnd.IntN(stride); off < len(content); off += stride {
			damaged := mem.Clone()
			f, err := damaged.OpenReadWrite(path)
			if err == nil {
				_, err = f.WriteAt([]byte{content[off] ^ byte(1+rnd.IntN(255))}, int64(off))
			}
			if err == nil {
				err = f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			where := fmt.Sprintf("%s at %d", path, off)
			kind := filepath.Base(path)
			outcomes[kind+": "+flipOutcome(t, damaged, where, path, want)]++
			if t.Failed() {
				return
			}
		}
	}
	for what, n := range outcomes {
		t.Logf("%6d %s", n, what)
	}
}

// flipOutcome checks one damaged store and says what became of the damage.
func flipOutcome(t *testing.T, fs vfs.FS, where, path string, want *state) string {
	t.Helper()
	report, err := Check(fs, "db")
	if err != nil {
		t.Fatalf("%s: check: %v", where, err)
	}
	for _, p := range report.Problems {
		if !reports(p, path) {
			t.Fatalf("%s: check: %v", where, p)
		}
	}
	found := len(report.Problems) > 0
	db, err := Open("db", damageOptions(fs))
	if err != nil {
		if !found {
			t.Fatalf("%s: check found nothing, open says: %v", where, err)
		}
		if !reports(err, path) {
			t.Fatalf("%s: open: %v", where, err)
		}
		return "open refuses"
	}
	defer db.Close()
	err = readAll(t, db, where, want)
	switch {
	case err == nil && found:
		return "check finds it, nobody else is hurt"
	case err == nil:
		return "harmless"
	case !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), filepath.Base(path)):
		t.Fatalf("%s: read: %v", where, err)
	case !found:
		t.Fatalf("%s: check found nothing, a read says: %v", where, err)
	}
	return "reads refuse"
}

// readAll reads every key in two ways and returns the first error. A wrong answer fails the test.
func readAll(t *testing.T, db *DB, where string, want *state) (failure error) {
	t.Helper()
	for key, value := range want.data {
		got, err := db.Get(nil, []byte(key))
		if err != nil && !errors.Is(err, ErrNotFound) {
			failure = err
		} else if err != nil || string(got) != value[1:] {
			t.Fatalf("%s: key %s has %.40q (%v), want %.40q", where, key, got, err, value[1:])
		}
	}
	for i := range 500 {
		key := fmt.Sprintf("key%03d", i)
		if _, ok := want.data[key]; ok {
			continue
		}
		if got, err := db.Get(nil, []byte(key)); err == nil {
			t.Fatalf("%s: key %s has %.40q, want none", where, key, got)
		} else if !errors.Is(err, ErrNotFound) {
			failure = err
		}
	}
	if got := db.Counter(1); got != want.counters[1] {
		t.Fatalf("%s: counter is %d, want %d", where, got, want.counters[1])
	}
	it := db.NewIter(IterOptions{})
	defer it.Close()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if v := want.data[string(it.Key())]; v == "" || v[1:] != string(it.Value()) {
			t.Fatalf("%s: iterator has %s = %.40q, want %.40q", where, it.Key(), it.Value(), v)
		}
		n++
	}
	if it.Error() != nil {
		return it.Error()
	}
	if n != len(want.data) && failure == nil {
		t.Fatalf("%s: iterator has %d keys, want %d", where, n, len(want.data))
	}
	return failure
}

// TestMissingFiles removes each file of a closed store: that is found, or
// harmless. Segments of the log are another matter, see the tests of package wal: without
// the last one a log looks as if its last records had never been synced.
func TestMissingFiles(t *testing.T) {
	mem, want := closedStore(t, 1)
	for _, path := range storeFiles(t, mem, "db") {
		if strings.HasSuffix(path, ".wal") {
			continue
		}
		damaged := mem.Clone()
		if err := damaged.Remove(path); err != nil {
			t.Fatal(err)
		}
		db, err := Open("db", damageOptions(damaged))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is missing: %v", path, err)
			}
			continue
		}
		if err := readAll(t, db, path+" is missing", want); err != nil {
			t.Errorf("%s is missing: %v", path, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCompactReportsDamage: each call of Compact says that a damaged table is in
// the way, also when a compaction has met it before.
func TestCompactReportsDamage(t *testing.T) {
	mem := vfs.NewMem()
	o := damageOptions(mem)
	o.CacheSize = 4 * kib
	db := open(t, o)
	fill(t, db, 300, 100)
	must(t, db.Compact(nil, nil))
	for _, path := range storeFiles(t, mem, "db") {
		if !strings.HasSuffix(path, ".sst") {
			continue
		}
		f, err := mem.OpenReadWrite(path)
		must(t, err)
		_, err = f.WriteAt([]byte("damage"), 100)
		must(t, errors.Join(err, f.Close()))
	}
	set(t, db, "key-000100", "new")
	for range 3 {
		if err := db.Compact(nil, nil); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("compact: %v", err)
		}
	}
}
