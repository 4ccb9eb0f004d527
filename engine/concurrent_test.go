package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

func smallOptions(fs vfs.FS) Options {
	return Options{
		FS: fs, Live: Live{MemTableSize: 64 * kib, CacheSize: 256 * kib, MaxCompactions: 3, Ack: wal.AckWritten},
		MaxMemTables: 3, LogSegmentSize: 64 * kib, BlockSize: 512, TableSize: 32 * kib, BaseLevelSize: 64 * kib,
		LevelMultiplier: 4, L0Tables: 2, MaxOpenFiles: 8,
	}
}

// TestConcurrent has writers, each with its own keys and a pair of keys that
// it always changes together, beside readers and compactions.
func TestConcurrent(t *testing.T) {
	const writers, rounds, keys = 4, 1500, 200
	db, err := Open("db", smallOptions(vfs.NewMem()))
	if err != nil {
		t.Fatal(err)
	}
	var acked [writers]atomic.Uint64
	var stop atomic.Bool
	var wrote, read sync.WaitGroup
	for w := range writers {
		wrote.Go(func() { writePairs(t, db, w, rounds, keys, &acked[w]) })
	}
	for r := range 3 {
		read.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 2))
			for !stop.Load() {
				readPairs(t, db, rng, keys, acked[:])
			}
		})
	}
	read.Go(func() {
		for !stop.Load() {
			scanPairs(t, db)
		}
	})
	read.Go(func() {
		for i := 0; !stop.Load(); i++ {
			checkpointPairs(t, db, fmt.Sprint("checkpoint-", i))
		}
	})
	wrote.Wait()
	stop.Store(true)
	read.Wait()
	if got := db.Counter(7); got != writers*rounds {
		t.Errorf("counter is %d, want %d", got, writers*rounds)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := Check(db.opts.FS, "db")
	if err != nil || len(report.Problems) > 0 {
		t.Fatal(err, report.Problems)
	}
}

func pairKey(w, n int, half byte) []byte { return fmt.Appendf(nil, "%c-%d-%04d", half, w, n) }

func writePairs(t *testing.T, db *DB, w, rounds, keys int, acked *atomic.Uint64) {
	b := db.NewBatch()
	defer b.Release()
	for i := 1; i <= rounds; i++ {
		b.Reset()
		v := append(binary.BigEndian.AppendUint64(nil, uint64(i)), bytes.Repeat([]byte{'x'}, i%300)...)
		b.Set(pairKey(w, i%keys, 'a'), v)
		b.Set(pairKey(w, i%keys, 'b'), v)
		if i%50 == 0 {
			b.DeleteRange(pairKey(w, 0, 'c'), pairKey(w, keys, 'c'))
		}
		b.Set(pairKey(w, i%keys, 'c'), v)
		b.Add(7, 1)
		if err := db.Commit(b); err != nil {
			t.Error(err)
			return
		}
		acked.Store(uint64(i))
	}
}

// readPairs checks that a committed write is seen, and that nothing goes back.
func readPairs(t *testing.T, db *DB, rng *rand.Rand, keys int, acked []atomic.Uint64) {
	w := rng.IntN(len(acked))
	done := acked[w].Load()
	if done == 0 {
		return
	}
	n := int(done) % keys
	got, err := db.Get(nil, pairKey(w, n, 'a'))
	if err != nil || binary.BigEndian.Uint64(got) < done {
		t.Errorf("writer %d: %x %v, acknowledged %d", w, got, err, done)
	}
	s := db.NewSnapshot()
	defer s.Close()
	a, errA := s.Get(nil, pairKey(w, n, 'a'))
	b, errB := s.Get(nil, pairKey(w, n, 'b'))
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("a batch was seen in part: %x %v, %x %v", a, errA, b, errB)
	}
}

func scanPairs(t *testing.T, db *DB) {
	it := db.NewIter(IterOptions{Lower: []byte("a"), Upper: []byte("c")})
	values := map[string][]byte{}
	var last []byte
	for ok := it.First(); ok; ok = it.Next() {
		if bytes.Compare(last, it.Key()) >= 0 {
			t.Errorf("%q after %q", it.Key(), last)
		}
		last = append(last[:0], it.Key()...)
		values[string(last)] = bytes.Clone(it.Value())
	}
	for k, v := range values {
		other := []byte(k)
		other[0] ^= 'a' ^ 'b'
		if !bytes.Equal(values[string(other)], v) {
			t.Errorf("%q and %q differ in one view", k, other)
		}
	}
	if err := it.Close(); err != nil {
		t.Error(err)
	}
}

// checkpointPairs opens a copy that was made beside the writers.
func checkpointPairs(t *testing.T, db *DB, dir string) {
	if err := db.Checkpoint(dir); err != nil {
		t.Error(err)
		return
	}
	c, err := Open(dir, db.opts)
	if err != nil {
		t.Error(err)
		return
	}
	scanPairs(t, c)
	if err := errors.Join(c.Close(), removeAll(db.opts.FS, dir)); err != nil {
		t.Error(err)
	}
}

// TestExternalCommitWaits has waiters for positions that come late, or never.
func TestExternalCommitWaits(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	o.ExternalCommit = true
	db, err := Open("db", o)
	if err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	for i := range 10 {
		b := db.NewBatch()
		b.Set(pairKey(0, i, 'a'), []byte("v"))
		seq, err := db.Apply(b)
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, seq)
		b.Release()
	}
	if _, err := db.Get(nil, pairKey(0, 0, 'a')); !errors.Is(err, ErrNotFound) {
		t.Fatalf("an uncommitted record was read: %v", err)
	}
	results := make([]chan error, len(seqs))
	for i, seq := range seqs {
		results[i] = make(chan error, 1)
		go func() { results[i] <- db.Wait(seq) }()
	}
	db.SetCommitted(seqs[4])
	for i := range 5 {
		if err := <-results[i]; err != nil {
			t.Errorf("wait %d: %v", i, err)
		}
	}
	if err := db.TruncateAfter(seqs[4]); err != nil {
		t.Fatal(err)
	}
	late := make(chan error, 1)
	go func() { late <- db.Wait(seqs[4]) }()
	if err := <-late; err != nil {
		t.Error(err)
	}
	if got := db.Last(); got != seqs[4] {
		t.Errorf("last is %d, want %d", got, seqs[4])
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for i := 5; i < len(seqs); i++ {
		if err := <-results[i]; !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrClosed) {
			t.Errorf("wait %d after truncation: %v", i, err)
		}
	}
}
