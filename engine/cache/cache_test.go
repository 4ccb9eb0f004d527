package cache

import (
	"encoding/binary"
	"math/rand"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

// fill makes the content of a block tell its place.
func fill(b []byte, file, offset uint64) {
	binary.LittleEndian.PutUint64(b, file)
	binary.LittleEndian.PutUint64(b[8:], offset)
	b[len(b)-1] = byte(offset)
}

func checkContent(t testing.TB, b []byte, file, offset uint64) {
	t.Helper()
	if f, o := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]); f != file || o != offset || b[len(b)-1] != byte(offset) {
		t.Errorf("block of %d:%d at %d:%d", f, o, file, offset)
	}
}

func put(t testing.TB, c *Cache, file, offset uint64, n int, class Class) *Handle {
	t.Helper()
	h := c.Alloc(n)
	fill(h.Bytes(), file, offset)
	h = c.Insert(file, offset, h, class)
	checkContent(t, h.Bytes(), file, offset)
	return h
}

// check verifies what must hold when nobody works on the cache.
func check(t testing.TB, c *Cache, inUse int64) {
	t.Helper()
	var cached int64
	for i := range c.shards {
		s := &c.shards[i]
		n := 0
		for _, q := range []*queue{&s.mu.small, &s.mu.main} {
			var bytes int64
			for h := q.oldest; h != nil; h = h.newer {
				if f := s.table.Load().find(hashOf(h.file, h.offset), h.file, h.offset); f != h {
					t.Fatalf("%d:%d is queued and not found", h.file, h.offset)
				} else {
					f.Release()
				}
				bytes += h.charge()
				n++
			}
			if bytes != q.bytes {
				t.Fatalf("queue of %d bytes says %d", bytes, q.bytes)
			}
			cached += bytes
		}
		if n != s.mu.count {
			t.Fatalf("%d blocks, counted %d", n, s.mu.count)
		}
		inFiles := 0
		for _, h := range s.mu.files {
			for ; h != nil; h = h.nextFile {
				inFiles++
			}
		}
		if inFiles != n {
			t.Fatalf("%d blocks, %d in file lists", n, inFiles)
		}
	}
	m := c.Metrics()
	if cached+inUse != c.budget.live.Load() {
		t.Fatalf("%d bytes cached, %d in use, %d counted", cached, inUse, c.budget.live.Load())
	}
	if m.Used-inUse > m.Capacity {
		t.Fatalf("%d bytes used of %d", m.Used, m.Capacity)
	}
	var idle int64
	for class := range c.free {
		for _, h := range c.free[class].mu.handles {
			idle += h.charge()
		}
	}
	if idle != m.Idle {
		t.Fatalf("%d bytes idle, counted %d", idle, m.Idle)
	}
}

func TestBasics(t *testing.T) {
	c := New(1 << 20)
	if c.Get(1, 0) != nil {
		t.Fatal("found in an empty cache")
	}
	put(t, c, 1, 0, 4096, Data).Release()
	h := c.Get(1, 0)
	if h == nil {
		t.Fatal("lost")
	}
	checkContent(t, h.Bytes(), 1, 0)

	again := c.Alloc(100)
	if there := c.Insert(1, 0, again, Data); there != h {
		t.Fatal("inserted twice")
	} else {
		there.Release()
	}

	c.EvictFile(1)
	if c.Get(1, 0) != nil {
		t.Fatal("found after EvictFile")
	}
	checkContent(t, h.Bytes(), 1, 0)
	check(t, c, h.charge())
	h.Release()
	check(t, c, 0)
}

func TestRandom(t *testing.T) {
	for seed := int64(1); seed <= 10; seed++ {
		r := rand.New(rand.NewSource(seed))
		c := New(int64(r.Intn(4 << 20)))
		held := map[*Handle]int{}
		var inUse int64
		for range 20000 {
			file, offset := uint64(r.Intn(5)), uint64(r.Intn(1000))
			switch r.Intn(20) {
			case 0:
				c.EvictFile(file)
			case 1:
				if r.Intn(50) == 0 {
					c.SetCapacity(int64(r.Intn(4 << 20)))
				}
			case 2:
				h := c.Alloc(16 + r.Intn(100000))
				h.Release()
			default:
				h := c.Get(file, offset)
				if h == nil {
					h = put(t, c, file, offset, 17+r.Intn(5000), Class(r.Intn(2)))
				}
				checkContent(t, h.Bytes(), file, offset)
				if r.Intn(10) == 0 && len(held) < 50 {
					held[h]++
				} else {
					h.Release()
				}
			}
		}
		for h, n := range held {
			for range n {
				h.Release()
			}
		}
		check(t, c, inUse)
		c.SetCapacity(0)
		check(t, c, 0)
		if used := c.Metrics().Used; used != 0 {
			t.Fatalf("seed %d: %d bytes used without capacity", seed, used)
		}
	}
}

func TestConcurrent(t *testing.T) {
	c := New(1 << 20)
	var remembered [3][300]atomic.Pointer[Handle]
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewSource(int64(w)))
			for range 5000 {
				file, offset := uint64(r.Intn(3)), uint64(r.Intn(300))
				h := remembered[file][offset].Load()
				if h == nil || !c.Revive(h, file, offset) {
					if h = c.Get(file, offset); h == nil {
						h = put(t, c, file, offset, 3000+r.Intn(1000), Class(offset%2))
					}
					remembered[file][offset].Store(h)
				}
				checkContent(t, h.Bytes(), file, offset)
				h.Release()
				if r.Intn(1000) == 0 {
					c.EvictFile(file)
				}
				if r.Intn(2000) == 0 {
					c.SetCapacity(int64(r.Intn(1 << 20)))
				}
			}
		})
	}
	wg.Wait()
	check(t, c, 0)
}

// TestScan reads blocks once that are many times what fits, while some blocks
// are wanted all the time: these stay.
func TestScan(t *testing.T) {
	c := New(4 << 20)
	touch := func(file, offset uint64, class Class) bool {
		h := c.Get(file, offset)
		hit := h != nil
		if !hit {
			h = put(t, c, file, offset, 4096, class)
		}
		h.Release()
		return hit
	}
	hits, total := 0, 0
	for i := range uint64(20000) {
		touch(2, i, Data)
		for k := range uint64(3) {
			hit := touch(1, (3*i+k)%300, Data)
			if i > 2000 {
				total++
				if hit {
					hits++
				}
			}
		}
	}
	if rate := float64(hits) / float64(total); rate < 0.97 {
		t.Fatalf("hit rate of the wanted blocks %.3f", rate)
	}
	check(t, c, 0)
}

// TestNoGarbage proves that a cache which is full allocates nothing for new
// blocks.
func TestNoGarbage(t *testing.T) {
	c := New(4 << 20)
	next := uint64(0)
	step := func() {
		next++
		put(t, c, next/100, next%100, 4091, Data).Release()
		if next > 100 {
			c.EvictFile(next/100 - 40)
		}
	}
	for range 20000 {
		step()
	}
	if n := testing.AllocsPerRun(5000, step); n > 0.05 {
		t.Fatalf("%v allocations per block", n)
	}
}

func TestHandleSize(t *testing.T) {
	if n := unsafe.Sizeof(Handle{}); n > 128 || n < 128 && strconv.IntSize == 64 {
		t.Fatalf("a Handle has %d bytes", n)
	}
}

func TestSizeClass(t *testing.T) {
	last := -1
	for n := 1; n <= 1<<20; n++ {
		class, size := sizeClass(n)
		if size < n || n > 512 && size > n+n/4+1 || class < last || class >= numSizes {
			t.Fatalf("%d: class %d, size %d", n, class, size)
		}
		last = class
	}
	if class, _ := sizeClass(1<<20 + 1); class != numSizes {
		t.Fatal("too large a class")
	}
}

func BenchmarkHit(b *testing.B) {
	c := New(64 << 20)
	for i := range uint64(1000) {
		put(b, c, 7, i*4096, 4096, Data).Release()
	}
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i = (i + 617) % 1000
		c.Get(7, i*4096).Release()
	}
}

func BenchmarkMiss(b *testing.B) {
	c := New(16 << 20)
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i++
		if c.Get(7, i*4096) == nil {
			c.Insert(7, i*4096, c.Alloc(4096), Data).Release()
		}
	}
}
