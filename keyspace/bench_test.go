package keyspace

import (
	"fmt"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
)

const benchKeys = 100_000

func newBenchStore(b *testing.B) *store {
	s := &store{TB: b, fs: vfs.NewMem(), now: 1_700_000_000_000, ko: Options{ExpireEvery: -1}}
	s.open()
	b.Cleanup(s.close)
	for i := range benchKeys {
		key := benchKey(i)
		x := s.Begin(0, s.now, key)
		s.must(x.Set(key, benchValue, SetOptions{}))
		if _, err := x.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.db.Wait(s.db.Last()); err != nil {
		b.Fatal(err)
	}
	return s
}

var benchValue = make([]byte, 64)

func benchKey(i int) []byte { return fmt.Appendf(nil, "key:%012d", i*7919%benchKeys) }

func BenchmarkGet(b *testing.B) {
	s := newBenchStore(b)
	key, dst := benchKey(0), make([]byte, 0, 256)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		setDigits(key, i*7919%benchKeys)
		x := s.View(0, s.now, false)
		v, ok, err := x.String(key)
		if !ok || err != nil {
			b.Fatal(ok, err)
		}
		dst, _ = v.Append(dst[:0], 0, v.Len())
		x.Commit()
	}
}

func BenchmarkGetMissing(b *testing.B) {
	s := newBenchStore(b)
	key := benchKey(0)
	key[0] = 'x'
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		setDigits(key, i%benchKeys)
		x := s.View(0, s.now, false)
		if _, ok, _ := x.String(key); ok {
			b.Fatal("found")
		}
		x.Commit()
	}
}

func BenchmarkSet(b *testing.B) {
	s := newBenchStore(b)
	key := benchKey(0)
	b.ReportAllocs()
	var last uint64
	for i := 0; b.Loop(); i++ {
		setDigits(key, i*7919%benchKeys)
		x := s.Begin(0, s.now, key)
		if _, err := x.Set(key, benchValue, SetOptions{}); err != nil {
			b.Fatal(err)
		}
		seq, err := x.Commit()
		if err != nil {
			b.Fatal(err)
		}
		if last = seq; i%64 == 0 {
			s.db.Wait(last)
		}
	}
}

func BenchmarkIncrement(b *testing.B) {
	s := newBenchStore(b)
	key := []byte("n")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x := s.Begin(0, s.now, key)
		if _, err := x.Increment(key, 1); err != nil {
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
}

// setDigits writes n over the digits of a benchKey.
func setDigits(key []byte, n int) {
	for i := len(key) - 1; i >= 4; i-- {
		key[i] = byte('0' + n%10)
		n /= 10
	}
}
