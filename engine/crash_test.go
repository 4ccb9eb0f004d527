package engine

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/gtinside/corecache/engine/sstable"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

var (
	crashRuns = flag.Int("crash.runs", 30, "runs of the crash and of the fault tests")
	crashSeed = flag.Uint64("crash.seed", 0, "seed of the first run; 0: a random one")
)

// crashSeeds calls run for each of crash.runs seeds.
func crashSeeds(t *testing.T, run func(t *testing.T, seed uint64)) {
	first, n := rand.Uint64()>>1, *crashRuns
	if testing.Short() { // with the race detector, after all of them without it
		n = (n + 1) / 2
	}
	if *crashSeed != 0 {
		first, n = *crashSeed, 1
	}
	for seed := first; seed != first+uint64(n) && !t.Failed(); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("go test ./engine -run '%s$' -crash.seed=%d", t.Name()[:len(t.Name())-len(fmt.Sprintf("/seed=%d", seed))], seed)
				}
			}()
			run(t, seed)
		})
	}
}

// crashStore is a store on a disk that can fail and lose power, beside a
// model: each batch that was handed to the store, in order.
type crashStore struct {
	t     *testing.T
	rnd   *rand.Rand
	disk  *vfs.Crash
	fault *vfs.Fault
	opts  Options
	db    *DB

	base     *state // at the position where batches begin
	baseSeq  uint64
	batches  []pendingBatch
	epochs   []Epoch
	durable  uint64        // what must be there when the store is opened
	synced   uint64        // and that even after a loss of power
	maybe    *pendingBatch // met ErrReadOnly: it may be there after the next Open
	begins   uint64        // the epoch that maybe begins, or 0
	stop     atomic.Int64
	stopOp   atomic.Int32 // the operation that was the first to fail
	n        int
	made     int
	copies   []storeCopy
	lastStep string
}

// storeCopy is a finished checkpoint.
type storeCopy struct {
	dir      string
	from, to uint64 // it ends at one of these positions or between them
}

type quietLogger struct{}

func (quietLogger) Infof(string, ...any)  {}
func (quietLogger) Errorf(string, ...any) {}

func newCrashStore(t *testing.T, seed uint64) *crashStore {
	rnd := rand.New(rand.NewPCG(seed, 2))
	s := &crashStore{t: t, rnd: rnd, disk: vfs.NewCrash(seed), base: &state{map[string]string{}, map[uint32]int64{}}, epochs: []Epoch{firstEpoch}}
	s.opts = Options{
		Live: Live{CacheSize: mib, MemTableSize: pick(rnd, 8*kib, 16*kib, 64*kib),
			Ack: pick(rnd, wal.AckSynced, wal.AckSynced, wal.AckWritten, wal.AckBuffered), MaxCompactions: 1 + rnd.IntN(2),
			LogKeepBytes: pick(rnd, 0, 64*kib), LogPinBytes: pick(rnd, 0, 128*kib)},
		Logger: quietLogger{}, LogSegmentSize: pick(rnd, 8*kib, 32*kib),
		BlockSize: pick(rnd, 256, 4096), TableSize: pick(rnd, 8*kib, 32*kib), L0Tables: 1 + rnd.IntN(3),
		BaseLevelSize: pick(rnd, 8*kib, 32*kib), LevelMultiplier: 2, MaxOpenFiles: pick(rnd, 2, 100),
		Compression:    pick(rnd, nil, []sstable.Compression{sstable.None}),
		ExternalCommit: rnd.IntN(3) == 0,
	}
	s.fault = vfs.NewFault(s.disk, nil)
	s.opts.FS = s.fault
	return s
}

// stopAfter makes everything fail from the n-th file operation on.
func (s *crashStore) stopAfter(n int64) {
	s.stop.Store(n)
	s.stopOp.Store(-1)
	s.fault.SetPolicy(func(c vfs.Call) error {
		switch left := s.stop.Add(-1); {
		case left == 0:
			s.stopOp.Store(int32(c.Op))
			fallthrough
		case left < 0:
			return vfs.ErrInjected
		}
		return nil
	})
}

func (s *crashStore) fatalf(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("step %d (%s): %s", s.n, s.lastStep, fmt.Sprintf(format, args...))
}

func (s *crashStore) last() uint64 {
	if n := len(s.batches); n > 0 {
		return s.batches[n-1].last
	}
	return s.baseSeq
}

// at returns the state at a position, which must be the end of a batch.
func (s *crashStore) at(seq uint64) *state {
	st, pos := s.base.clone(), s.baseSeq
	for _, b := range s.batches {
		if pos >= seq {
			break
		}
		st.apply(b.ops)
		pos = b.last
	}
	if pos != seq {
		s.fatalf("position %d is not the end of a batch", seq)
	}
	return st
}

func (s *crashStore) watch() {
	if s.db != nil {
		s.synced = max(s.synced, min(s.db.log.Load().Synced(), s.last()))
	}
}

func (s *crashStore) randomOps() (ops []modelOp) {
	n := 1 + s.rnd.IntN(4)
	if s.rnd.IntN(30) == 0 {
		n = 100
	}
	for range n {
		s.made++
		key := fmt.Sprintf("key%04d", s.rnd.IntN(300))
		value := fmt.Sprintf("%d-%0*d", s.made, s.rnd.IntN(200), s.made)
		switch x := s.rnd.IntN(100); {
		case x < 60:
			ops = append(ops, modelOp{kind: 's', key: key, value: value})
		case x < 65:
			ops = append(ops, modelOp{kind: 's', key: key, value: fmt.Sprintf("%0*d", s.rnd.IntN(12000), s.made)})
		case x < 70:
			ops = append(ops, modelOp{kind: 'e', key: key, value: string(binary.BigEndian.AppendUint64([]byte(value), 1<<60))})
		case x < 85:
			ops = append(ops, modelOp{kind: 'd', key: key})
		case x < 88:
			ops = append(ops, modelOp{kind: 'r', key: key, value: fmt.Sprintf("key%04d", s.rnd.IntN(300))})
		default:
			ops = append(ops, modelOp{kind: 'c', counter: uint32(s.rnd.IntN(3)), delta: int64(s.rnd.IntN(9) - 4)})
		}
	}
	return ops
}

// write applies a batch. The first that meets ErrReadOnly may have happened;
// with other errors, and later, nothing has.
func (s *crashStore) write() error {
	b := s.db.NewBatch()
	defer b.Release()
	ops := s.randomOps()
	for _, o := range ops {
		put(b, o)
	}
	want := s.last() + uint64(len(ops))
	seq, err := s.db.Apply(b)
	if err != nil {
		if errors.Is(err, ErrReadOnly) && s.maybe == nil {
			s.maybe = &pendingBatch{want, ops}
		}
		return err
	}
	if s.maybe != nil {
		s.fatalf("a write was accepted after %v", ErrReadOnly)
	}
	if seq != want {
		s.fatalf("batch ends at %d, want %d", seq, want)
	}
	s.batches = append(s.batches, pendingBatch{seq, ops})
	switch {
	case s.opts.ExternalCommit && s.rnd.IntN(2) == 0:
		s.db.SetCommitted(s.batches[s.rnd.IntN(len(s.batches))].last)
	case !s.opts.ExternalCommit && s.rnd.IntN(3) == 0:
		if err := s.db.Wait(seq); err != nil {
			return err
		}
		if s.opts.Ack == wal.AckSynced {
			s.synced = seq
		}
	}
	return nil
}

// epoch begins one.
func (s *crashStore) epoch() error {
	number, want := s.db.Epoch()+1, s.last()+1
	seq, err := s.db.BeginEpoch(number)
	if err != nil {
		if errors.Is(err, ErrReadOnly) && s.maybe == nil {
			s.maybe, s.begins = &pendingBatch{want, nil}, number
		}
		return err
	}
	if seq != want {
		s.fatalf("epoch begins at %d, want %d", seq, want)
	}
	s.batches = append(s.batches, pendingBatch{seq, nil})
	s.epochs = append(s.epochs, Epoch{number, seq})
	return nil
}

func (s *crashStore) truncate() error {
	if !s.opts.ExternalCommit {
		return nil
	}
	committed := s.db.Committed()
	for i, b := range s.batches {
		if b.last < committed || s.rnd.IntN(3) != 0 {
			continue
		}
		s.watch()
		s.synced = min(s.synced, b.last)
		if err := s.db.TruncateAfter(b.last); err != nil {
			return err // the model keeps the batches: they may be there
		}
		s.batches = s.batches[:i+1]
		s.epochs = epochsUpTo(s.epochs, b.last)
		return nil
	}
	return nil
}

func (s *crashStore) checkpoint() error {
	dir := fmt.Sprintf("copy%d", s.n)
	from := s.db.Committed()
	if err := s.db.Checkpoint(dir); err != nil {
		return err
	}
	s.copies = append(s.copies, storeCopy{dir, from, s.last()})
	return nil
}

// step does something; an error means that the disk failed.
func (s *crashStore) step() (err error) {
	s.n++
	do := func(name string, run func() error) {
		s.lastStep = name
		err = run()
		if err != nil || name != "write" && name != "compare" {
			s.t.Logf("%s: last %d, synced %d, error %v", name, s.last(), s.synced, err)
		}
	}
	switch x := s.rnd.IntN(200); {
	case x < 170:
		do("write", s.write)
	case x < 178:
		do("flush", s.flush)
	case x < 182:
		do("compact", func() error { return s.db.Compact(nil, nil) })
	case x < 185:
		do("checkpoint", s.checkpoint)
	case x < 189:
		do("truncate", s.truncate)
	case x < 192:
		do("reopen", s.reopen)
	case x < 195:
		do("epoch", s.epoch)
	default:
		do("compare", func() error { return s.compare(s.db, s.last()) })
	}
	s.watch()
	return err
}

// flush may have nothing that is committed.
func (s *crashStore) flush() error {
	if s.opts.ExternalCommit {
		s.db.SetCommitted(s.last())
	}
	return s.db.Flush()
}

func (s *crashStore) reopen() error {
	s.watch()
	err := s.db.Close()
	s.db = nil
	if err != nil {
		return err
	}
	s.durable, s.synced = s.last(), s.last()
	return s.open()
}

// open opens the store and compares it with the model.
func (s *crashStore) open() error {
	db, err := Open("db", s.opts)
	if err != nil {
		return err
	}
	s.db = db
	if s.maybe != nil {
		s.batches = append(s.batches, *s.maybe)
		if s.begins > 0 {
			s.epochs = append(s.epochs, Epoch{s.begins, s.maybe.last})
		}
		s.maybe, s.begins = nil, 0
	}
	at := db.Last()
	if s.epochs = epochsUpTo(s.epochs, at); !slices.Equal(db.Epochs(), s.epochs) {
		s.fatalf("recovered up to %d with epochs %v, want %v", at, db.Epochs(), s.epochs)
	}
	if at < s.durable || at > s.last() {
		s.fatalf("recovered up to %d, %d must be there, %d is the end", at, s.durable, s.last())
	}
	s.base, s.baseSeq, s.batches = s.at(at), at, nil
	s.durable, s.synced = at, at
	return s.compare(db, at)
}

// compare compares all that a store holds with the model at a position. It
// returns the error of a read that failed because the disk did.
func (s *crashStore) compare(db *DB, seq uint64) error {
	s.t.Helper()
	want := s.at(seq)
	it := db.NewIter(IterOptions{Latest: true})
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		v := want.data[string(it.Key())]
		if v == "" || v[1:] != string(it.Value()) {
			s.fatalf("at %d, key %s has %.30q, want %.30q", seq, it.Key(), it.Value(), v)
		}
		n++
	}
	err := it.Error()
	if e := it.Close(); err == nil {
		err = e
	}
	if err != nil {
		if s.stopOp.Load() < 0 {
			s.fatalf("iterator: %v", err)
		}
		return err
	}
	if n != len(want.data) {
		s.fatalf("at %d, %d keys, want %d", seq, n, len(want.data))
	}
	for id := range uint32(3) {
		if got := db.Counter(id); got != want.counters[id] {
			s.fatalf("at %d, counter %d is %d, want %d", seq, id, got, want.counters[id])
		}
	}
	return nil
}

// crash ends everything at once and looks at what is on the disk then. If the machine
// lives, the operating system still has what was written.
func (s *crashStore) crash(powerLoss bool) {
	s.watch()
	s.fault.SetPolicy(func(vfs.Call) error { return vfs.ErrInjected })
	if s.db != nil {
		s.watch()
		s.durable = max(s.synced, min(s.db.log.Load().Written(), s.last()))
	}
	s.t.Logf("crash, power loss: %v, durable %d, synced %d", powerLoss, s.durable, s.synced)
	if powerLoss {
		s.disk = s.disk.Crash()
		s.durable = s.synced
	}
	if s.db != nil {
		_ = s.db.Close()
		s.db = nil
	}
	s.fault = vfs.NewFault(s.disk, nil)
	s.opts.FS = s.fault
	s.stop.Store(0)
	s.stopOp.Store(-1)
}

// check runs Check on the directory of the store.
func (s *crashStore) check(dir string) {
	s.t.Helper()
	r, err := Check(s.fault, dir)
	if err != nil {
		s.fatalf("check %s: %v", dir, err)
	}
	for _, p := range r.Problems {
		s.fatalf("check %s: %v", dir, p)
	}
}

// checkCopies opens the checkpoints that were finished.
func (s *crashStore) checkCopies() {
	for _, c := range s.copies {
		s.check(c.dir)
		o := s.opts
		db, err := Open(c.dir, o)
		if err != nil {
			s.fatalf("open checkpoint: %v", err)
		}
		if at := db.Last(); at < c.from || at > c.to {
			s.fatalf("checkpoint ends at %d, want %d to %d", at, c.from, c.to)
		} else if at >= s.baseSeq {
			if err := s.compare(db, at); err != nil {
				s.fatalf("checkpoint: %v", err)
			}
		}
		if err := db.Close(); err != nil {
			s.fatalf("close checkpoint: %v", err)
		}
	}
	s.copies = nil
}

// TestCrash stops the world at a random file operation, and again while the
// store recovers, and compares what is left with the model.
func TestCrash(t *testing.T) {
	var stops [32]atomic.Int64
	crashSeeds(t, func(t *testing.T, seed uint64) {
		s := newCrashStore(t, seed)
		if err := s.open(); err != nil {
			s.fatalf("%v", err)
		}
		for range 6 {
			s.stopAfter(1 + s.rnd.Int64N(pick(s.rnd, int64(30), 300, 2000)))
			for i := 0; i < 400 && s.step() == nil; i++ {
			}
			if op := s.stopOp.Load(); op >= 0 {
				stops[op].Add(1)
			}
			s.crash(s.rnd.IntN(3) != 0)
			s.checkCopies()
			for s.rnd.IntN(2) == 0 { // crash during recovery
				s.lastStep = "interrupted recovery"
				s.stopAfter(1 + s.rnd.Int64N(60))
				err := s.open()
				if op := s.stopOp.Load(); err != nil && op < 0 {
					s.fatalf("open: %v", err)
				} else if op >= 0 {
					stops[op].Add(1)
				}
				s.crash(s.rnd.IntN(2) == 0)
			}
			s.lastStep = "recovery"
			if _, err := s.fault.Stat(filepath.Join("db", currentName)); err == nil {
				s.check("db")
			}
			if err := s.open(); err != nil {
				s.fatalf("open: %v", err)
			}
		}
		for range 100 {
			if err := s.step(); err != nil {
				s.fatalf("%v", err)
			}
		}
		if err := s.db.Close(); err != nil {
			s.fatalf("%v", err)
		}
		s.check("db")
	})
	for op := range stops {
		if n := stops[op].Load(); n > 0 {
			t.Logf("stopped %d times at %v", n, vfs.Op(op))
		}
	}
}
