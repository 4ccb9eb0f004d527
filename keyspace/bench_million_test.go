package keyspace

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

// million is a store on disk that holds what a server holds after two million SETs of a million
// keys in random order: records in the memtables and on several levels, all in the cache.
func million(b *testing.B) *store {
	const keys, sets, unit = 1_000_000, 2_000_000, 64
	s := &store{TB: b, fs: vfs.OS, now: 1_700_000_000_000, ko: Options{ExpireEvery: -1}}
	s.o.Live = engine.Live{CacheSize: 512 << 20, MemTableSize: 64 << 20, Ack: wal.AckWritten}
	s.o.FS = s.fs
	var err error
	if s.db, err = engine.Open(b.TempDir(), s.o); err != nil {
		b.Fatal(err)
	}
	if s.Keyspace, err = Open(s.db, s.ko); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.close)
	rng := rand.New(rand.NewPCG(1, 2))
	key := benchKey(0)
	for i := range sets {
		if i < keys {
			setDigits(key, i*7919%keys)
		} else {
			setDigits(key, rng.IntN(keys))
		}
		x := s.Begin(0, s.now, key)
		s.must(x.Set(key, benchValue, SetOptions{}))
		seq, err := x.Commit()
		if err != nil {
			b.Fatal(err)
		}
		if i%unit == 0 {
			if err := s.db.Wait(seq); err != nil {
				b.Fatal(err)
			}
		}
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if m := s.db.Metrics(); m.Running == 0 && m.MemTables == 1 && time.Since(m.LastProgress) > 2*time.Second {
			break // also with what it tidies when nothing is written
		}
	}
	return s
}

func BenchmarkMillion(b *testing.B) {
	s := million(b)
	key, dst := benchKey(0), make([]byte, 0, 256)
	get := func(b *testing.B, n int) {
		setDigits(key, n)
		x := s.View(0, s.now, false)
		v, ok, err := x.String(key)
		if !ok || err != nil {
			b.Fatal(ok, err)
		}
		dst, _ = v.Append(dst[:0], 0, v.Len())
		x.Commit()
	}
	for i := range 1_000_000 {
		get(b, i)
	}
	for _, keys := range []int{1_000_000, 1000} {
		b.Run(fmt.Sprintf("Get/%d", keys), func(b *testing.B) {
			defer cpu(b)()
			rng := rand.New(rand.NewPCG(3, 4))
			for b.Loop() {
				get(b, rng.IntN(keys))
			}
		})
	}
	b.Run("GetMissing", func(b *testing.B) {
		defer cpu(b)()
		rng := rand.New(rand.NewPCG(5, 6))
		for b.Loop() {
			setDigits(key, 2_000_000+rng.IntN(1_000_000))
			x := s.View(0, s.now, false)
			if _, ok, _ := x.String(key); ok {
				b.Fatal("found")
			}
			x.Commit()
		}
	})
	b.Run("Set", func(b *testing.B) {
		defer cpu(b)()
		rng := rand.New(rand.NewPCG(7, 8))
		for i := 0; b.Loop(); i++ {
			setDigits(key, rng.IntN(1_000_000))
			x := s.Begin(0, s.now, key)
			if _, err := x.Set(key, benchValue, SetOptions{}); err != nil {
				b.Fatal(err)
			}
			seq, err := x.Commit()
			if err != nil {
				b.Fatal(err)
			}
			if i%64 == 0 {
				s.db.Wait(seq)
			}
		}
	})
}

// cpu reports the CPU time of the calling thread per iteration: what others do on the machine
// counts less than in the wall time.
func cpu(b *testing.B) (report func()) {
	runtime.LockOSThread()
	start := threadTime()
	return func() {
		b.ReportMetric(float64(threadTime()-start)/float64(b.N), "cpu-ns/op")
		runtime.UnlockOSThread()
	}
}

func threadTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(1, &u) // RUSAGE_THREAD
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
