package keyspace

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
)

// newBusyStore is a store whose clock runs and whose background is at work.
func newBusyStore(t testing.TB) *store {
	s := &store{TB: t, fs: vfs.NewMem(), ko: Options{ExpireEvery: time.Millisecond}}
	s.o = engine.Options{L0Tables: 2, LogSegmentSize: 1 << 20}
	s.o.MemTableSize = 256 << 10
	s.openWith(func() int64 { return time.Now().UnixMilli() })
	t.Cleanup(s.close)
	return s
}

// parallel runs f on n goroutines until all have returned.
func parallel(n int, f func(worker int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func apply(t testing.TB, x *Txn) {
	if _, err := x.Commit(); err != nil {
		t.Error(err)
	}
}

func TestConcurrentIncrements(t *testing.T) {
	s := newBusyStore(t)
	const workers, rounds = 8, 400
	keys := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	parallel(workers, func(worker int) {
		for i := range rounds {
			now := s.Now()
			if i%4 == 0 { // all three at once
				x := s.BeginMulti(0, now, nil, false, keys...)
				for _, key := range keys {
					s.must(one(x.Increment(key, 1)))
				}
				apply(t, x)
				continue
			}
			key := keys[(worker+i)%3]
			x := s.Begin(0, now, key)
			s.must(one(x.Increment(key, 1)))
			apply(t, x)
		}
	})
	sum := 0
	x := s.View(0, s.Now(), true)
	for _, key := range keys {
		n, _ := strconv.Atoi(s.getIn(x, string(key)))
		sum += n
	}
	x.Commit()
	s.expect("sum", sum, workers*rounds/4*3*2)
	s.check()
}

func one[T any](_ T, err error) (bool, error) { return true, err }

// Optimistic increments with WATCH lose nothing.
func TestConcurrentWatches(t *testing.T) {
	s := newBusyStore(t)
	const workers, rounds = 6, 100
	var done atomic.Int64
	parallel(workers, func(int) {
		for range rounds {
			for !s.optimisticIncrement(t, "n") {
			}
			done.Add(1)
		}
	})
	s.expect("n", s.getLatest("n"), done.Load())
	s.check()
}

func (s *store) getLatest(key string) string {
	x := s.View(0, s.Now(), true)
	defer x.Commit()
	return s.getIn(x, key)
}

func (s *store) optimisticIncrement(t *testing.T, key string) bool {
	var w Watcher
	s.watch(&w, 0, s.Now(), []byte(key))
	n, _ := strconv.Atoi(strings.TrimPrefix(s.getLatest(key), "(nil)"))
	x := s.BeginMulti(0, s.Now(), &w, false, []byte(key))
	if x.Changed(&w) {
		x.Discard()
		s.Unwatch(&w)
		return false
	}
	x.Unwatch(&w)
	s.must(x.Set([]byte(key), strconv.AppendInt(nil, int64(n+1), 10), SetOptions{}))
	apply(t, x)
	return true
}

// Pairs of keys that are always written together are never read apart; long strings are never torn.
func TestReadersSeeWholeWrites(t *testing.T) {
	s := newBusyStore(t)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stop.Store(true)
		for i := range 60 {
			value := []byte(strings.Repeat(strconv.Itoa(i%10), inlineMax+i*97))
			x := s.Begin(0, s.Now(), []byte("a"), []byte("b"), []byte("long"))
			s.must(x.Set([]byte("a"), fmt.Append(nil, i), SetOptions{}))
			s.must(x.Set([]byte("b"), fmt.Append(nil, i), SetOptions{}))
			s.must(x.Set([]byte("long"), value, SetOptions{}))
			seq, err := x.Commit()
			if err != nil || s.db.Wait(seq) != nil {
				t.Error("write failed", err)
				return
			}
		}
	})
	for latest := range 2 {
		wg.Go(func() {
			for !stop.Load() {
				x := s.View(0, s.Now(), latest == 1)
				x.Pin()
				a, b := s.getIn(x, "a"), s.getIn(x, "b")
				x.Commit()
				x = s.View(0, s.Now(), latest == 1)
				long := s.getIn(x, "long")
				x.Commit()
				if a != b {
					t.Errorf("a is %s, b is %s", a, b)
					return
				}
				if strings.Trim(long, long[:1]) != "" && long != "(nil)" {
					t.Error("a string is torn")
					return
				}
			}
		})
	}
	wg.Wait()
	s.check()
}

// Everything at once: the invariants hold, and a scan finds each key that stays.
func TestConcurrentChaos(t *testing.T) {
	s := newBusyStore(t)
	const stays = 300
	for i := range stays {
		s.update(fmt.Sprint("stays", i), func(x *Txn) {
			s.must(x.Set(fmt.Append(nil, "stays", i), []byte("v"), SetOptions{}))
		})
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			s.chaosScan(t, stays)
		}
	})
	parallel(5, func(worker int) {
		rnd := rand.New(rand.NewPCG(uint64(worker), 7))
		for i := range 250 {
			if worker == 0 && i%10 == 0 {
				s.chaosSwap(t, rnd)
			}
			s.chaosWrite(t, rnd)
		}
	})
	stop.Store(true)
	wg.Wait()
	s.check()
	for _, phys := range []uint16{0, 1, 2, 3} {
		if n := s.db.Counter(keysCounter(phys)); n < 0 {
			t.Errorf("database %d has %d keys", phys, n)
		}
	}
}

// chaosWrite changes keys of database 0 and exchanges databases 2 and 3.
func (s *store) chaosWrite(t *testing.T, rnd *rand.Rand) {
	key, other := fmt.Append(nil, "k", rnd.IntN(20)), fmt.Append(nil, "k", rnd.IntN(20))
	now := s.Now()
	x := s.Begin(rnd.IntN(2)*2, now, key, other)
	switch rnd.IntN(7) {
	case 0:
		s.must(x.Delete(key))
	case 1:
		s.must(x.Expire(key, now+int64(rnd.IntN(10)), 0))
	case 2:
		if _, err := x.Rename(key, other, false); err != nil && err != ErrNoKey {
			t.Error(err)
		}
	case 3:
		if string(key) != string(other) {
			s.must(x.Copy(key, other, x.DB(), true))
		}
	case 4:
		s.must(one(x.SetRange(key, int64(rnd.IntN(100_000)), []byte("xyz"), 1<<30)))
	case 5:
		s.must(one(x.Append(key, make([]byte, rnd.IntN(9000)), 1<<30)))
	default:
		s.must(x.Set(key, make([]byte, rnd.IntN(80_000)), SetOptions{Deadline: now + 1 + int64(rnd.IntN(10))}))
	}
	if rnd.IntN(10) == 0 {
		x.Discard()
		return
	}
	apply(t, x)
}

func (s *store) chaosSwap(t *testing.T, rnd *rand.Rand) {
	x := s.BeginAll(2, s.Now())
	if rnd.IntN(3) == 0 {
		s.must(true, x.Flush())
	} else {
		s.must(true, x.Swap(2, 3))
	}
	apply(t, x)
}

func (s *store) chaosScan(t *testing.T, stays int) {
	seen := map[string]int{}
	for cursor := uint64(0); ; {
		x := s.View(0, s.Now(), false)
		next, err := x.Scan(cursor, 7, func(key []byte, _ Type) { seen[string(key)]++ })
		x.Commit()
		if err != nil {
			t.Error(err)
			return
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	for i := range stays {
		if n := seen[fmt.Sprint("stays", i)]; n != 1 {
			t.Errorf("a scan has found a key %d times", n)
			return
		}
	}
}
