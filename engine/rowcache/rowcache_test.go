package rowcache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gtinside/corecache/engine/base"
)

// tables stands for what the tables hold: the newest record of each key.
type tables map[string]newest

type newest struct {
	seq   uint64
	kind  base.Kind
	value []byte
}

func (n newest) trailer() base.Trailer { return base.MakeTrailer(n.seq, n.kind) }

// shows reports whether a row may have given this to a reader who wanted n bytes.
func (r newest) shows(tr base.Trailer, got string, n int) bool {
	least := base.Head(r.value, r.kind, n)
	return tr == r.trailer() && strings.HasPrefix(string(r.value), got) && len(got) >= len(least)
}

func reserved(n *int64) func(int64) { return func(d int64) { *n += d } }

func value(rng *rand.Rand, seq uint64, most int) []byte {
	v := binary.BigEndian.AppendUint64(nil, seq)
	return append(v, bytes.Repeat([]byte{byte(seq)}, rng.IntN(most))...)
}

// TestModel makes random flushes and reads, and checks that a row that is visible is always the newest record.
func TestModel(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { model(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func model(t *testing.T, rng *rand.Rand) {
	var taken int64
	capacity := int64(minCapacity + rng.IntN(256<<10))
	c := New(capacity, reserved(&taken))
	keys := 1 + rng.IntN(4000)
	most := 1 + rng.IntN(300)
	now, generation, have, hits := uint64(1), c.Generation(), tables{}, 0
	key := func() []byte { return fmt.Appendf(nil, "key%d", rng.IntN(keys)) }
	for range 300 {
		if rng.IntN(4) == 0 {
			generation = c.Begin()
			if rng.IntN(5) == 0 {
				now++
				start, end := key(), key()
				hides := func(k []byte, seq uint64) bool {
					return bytes.Compare(k, start) >= 0 && bytes.Compare(k, end) < 0 && seq < now
				}
				c.Cover(hides)
				for k, r := range have {
					if hides([]byte(k), r.seq) {
						delete(have, k)
					}
				}
			}
			flushed := map[string]bool{}
			for range rng.IntN(200) {
				k := key()
				if flushed[string(k)] {
					continue
				}
				flushed[string(k)] = true
				now++
				if rng.IntN(5) == 0 {
					flush(c, k, base.MakeTrailer(now, base.KindDelete), nil, false)
					delete(have, string(k))
					continue
				}
				r := newest{now, base.KindSet, value(rng, now, most)}
				if rng.IntN(4) == 0 {
					r.kind = base.KindSetExpiring
				}
				flush(c, k, r.trailer(), r.value, true)
				have[string(k)] = r
			}
		}
		if rng.IntN(100) == 0 {
			capacity = int64(rng.IntN(512 << 10))
			c.SetCapacity(capacity)
		}
		for range 100 {
			k := key()
			seq := now - uint64(rng.IntN(2))*uint64(rng.IntN(int(now)))
			n := base.Whole
			if rng.IntN(2) == 0 {
				n = 1 + rng.IntN(HeadSize)
			}
			got, tr, ok := c.Get([]byte("dst"), k, base.Hash(k), seq, n)
			want, exists := have[string(k)]
			if ok && string(got[:3]) != "dst" {
				t.Fatalf("key %q: %q", k, got)
			}
			switch {
			case ok && (!exists || !want.shows(tr, string(got[3:]), n)):
				t.Fatalf("key %q: got %q %s, want %q #%d (%v)", k, got, tr, want.value, want.seq, exists)
			case ok && want.seq > seq:
				t.Fatalf("key %q: a reader at %d sees %s", k, seq, tr)
			case ok:
				hits++
			case exists:
				old := c.Generation() - uint64(rng.IntN(2))
				if old == generation {
					c.Add(old, k, base.Hash(k), want.trailer(), want.value, n)
				} else {
					c.Add(old, k, base.Hash(k), base.MakeTrailer(0, base.KindSet), []byte("too old"), n)
				}
			}
		}
		if m := c.Metrics(); m.Used > m.Capacity || m.Used != taken {
			t.Fatalf("%d bytes used of %d, %d reserved", m.Used, m.Capacity, taken)
		}
	}
	if keys < 100 && capacity > 2*minCapacity && hits == 0 {
		t.Fatal("no hits")
	}
}

// TestHotRowsStay reads some keys again and again between many others that are read twice.
func TestHotRowsStay(t *testing.T) {
	c := New(256<<10, func(int64) {})
	v := make([]byte, 100)
	read := func(i int) bool {
		k := fmt.Appendf(nil, "key%07d", i)
		_, _, ok := c.Get(nil, k, base.Hash(k), base.MaxSeq, base.Whole)
		if !ok {
			c.Add(c.Generation(), k, base.Hash(k), base.MakeTrailer(1, base.KindSet), v, base.Whole)
		}
		return ok
	}
	misses := 0
	for i := range 20_000 {
		read(1000 + i/2)
		if !read(i%100) && i > 1000 {
			misses++
		}
	}
	if misses > 500 {
		t.Errorf("%d misses of 19000 reads of hot keys", misses)
	}
}

// TestScanStaysOut reads many keys once when the cache is full: the rows that are there must survive.
func TestScanStaysOut(t *testing.T) {
	c := New(256<<10, func(int64) {})
	key := func(i int) []byte { return fmt.Appendf(nil, "key%07d", i) }
	add := func(i int) {
		k := key(i)
		c.Add(c.Generation(), k, base.Hash(k), base.MakeTrailer(1, base.KindSet), make([]byte, 100), base.Whole)
	}
	for i := range 2000 {
		add(i)
		add(i)
	}
	count := func() (n int) {
		for i := range 2000 {
			if _, _, ok := c.Get(nil, key(i), base.Hash(key(i)), base.MaxSeq, base.Whole); ok {
				n++
			}
		}
		return n
	}
	before := count()
	for i := 10_000; i < 40_000; i++ {
		add(i)
	}
	if after := count(); before < 1000 || after < before*9/10 {
		t.Errorf("%d rows before, %d after a scan", before, after)
	}
}

// TestConcurrent lets readers race with flushes. versions[k] is what a version published since shows
// at least; no reader may get less.
func TestConcurrent(t *testing.T) {
	const keys = 512
	c := New(minCapacity, func(int64) {})
	type version struct {
		generation uint64
		seq        [keys]uint64
	}
	var current atomic.Pointer[version]
	current.Store(&version{generation: c.Generation()})
	key := func(i int) []byte { return fmt.Appendf(nil, "key%d", i) }
	var stop atomic.Bool
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 9))
			for !stop.Load() {
				v := current.Load()
				i := rng.IntN(keys)
				k := key(i)
				got, tr, ok := c.Get(nil, k, base.Hash(k), base.MaxSeq, base.Whole)
				if ok && (tr.Seq() < v.seq[i] || binary.BigEndian.Uint64(got) != tr.Seq()) {
					t.Errorf("key %d: got %s with %x, the version has #%d", i, tr, got, v.seq[i])
					return
				}
				if !ok && v.seq[i] > 0 {
					c.Add(v.generation, k, base.Hash(k), base.MakeTrailer(v.seq[i], base.KindSet), value(rng, v.seq[i], 200), base.Whole)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for seq := uint64(1); seq < 20_000; {
		next := *current.Load()
		next.generation = c.Begin()
		for range 50 {
			i := rng.IntN(keys)
			if next.seq[i] = seq; rng.IntN(10) == 0 {
				next.seq[i] = 0
			}
			flush(c, key(i), base.MakeTrailer(seq, base.KindSet), value(rng, seq, 200), next.seq[i] > 0)
			seq++
		}
		current.Store(&next)
		if rng.IntN(50) == 0 {
			c.SetCapacity(minCapacity + int64(rng.IntN(64<<10)))
		}
	}
	stop.Store(true)
	readers.Wait()
}

func BenchmarkGet(b *testing.B) {
	const keys = 1_000_000
	c := New(256<<20, func(int64) {})
	k, v := make([]byte, 25), make([]byte, 71)
	for i := range keys {
		binary.BigEndian.PutUint64(k[3:], uint64(i)*0x9e3779b97f4a7c15)
		c.Add(c.Generation(), k, base.Hash(k), base.MakeTrailer(1, base.KindSet), v, base.Whole)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	dst := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		binary.BigEndian.PutUint64(k[3:], uint64(rng.IntN(keys))*0x9e3779b97f4a7c15)
		dst, _, _ = c.Get(dst[:0], k, base.Hash(k), base.MaxSeq, base.Whole)
	}
}

// TestHeads asks for the beginnings of many long values: there is room for them, though not for the values.
func TestHeads(t *testing.T) {
	const keys = 2000
	c := New(512<<10, func(int64) {})
	key := func(i int) []byte { return fmt.Appendf(nil, "key%07d", i) }
	long := bytes.Repeat([]byte("0123456789"), 100)
	for i := range keys {
		c.Add(c.Generation(), key(i), base.Hash(key(i)), base.MakeTrailer(1, base.KindSet), long, HeadSize)
	}
	hits := func(n int) (hits int) {
		for i := range keys {
			got, _, ok := c.Get(nil, key(i), base.Hash(key(i)), base.MaxSeq, n)
			if ok {
				hits++
			}
			if ok && !bytes.HasPrefix(long, got) {
				t.Fatalf("got %q", got)
			}
		}
		return hits
	}
	if n := hits(HeadSize); n < keys*95/100 {
		t.Errorf("%d beginnings of %d are there", n, keys)
	}
	if n := hits(HeadSize + 1); n != 0 {
		t.Errorf("%d beginnings were taken for whole values", n)
	}
	// A flush keeps them, with what is new, and makes some of them whole while there is room.
	c.Begin()
	long = bytes.Repeat([]byte("abcdefghij"), 90)
	for i := range keys {
		flush(c, key(i), base.MakeTrailer(2, base.KindSet), long, true)
	}
	if n := hits(HeadSize); n < keys*95/100 {
		t.Errorf("%d beginnings of %d are there after a flush", n, keys)
	}
	whole := hits(base.Whole)
	if whole < 100 || whole > keys/2 {
		t.Errorf("%d whole values", whole)
	}
	// A read of the whole takes the place of the beginning, the second time.
	last := key(keys - 1)
	for range 2 {
		c.Add(c.Generation(), last, base.Hash(last), base.MakeTrailer(2, base.KindSet), long, base.Whole)
	}
	if got, _, ok := c.Get(nil, last, base.Hash(last), base.MaxSeq, base.Whole); !ok || !bytes.Equal(got, long) {
		t.Errorf("got %q, %v", got, ok)
	}
}

func flush(c *Cache, key []byte, tr base.Trailer, value []byte, kept bool) {
	c.Flushed([]Row{{Key: key, Trailer: tr, Value: value, Kept: kept}})
}
