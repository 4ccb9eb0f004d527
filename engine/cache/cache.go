package cache

import (
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
)

// Class says what a block is for.
type Class uint8

const (
	// Data blocks hold records.
	Data Class = iota
	// Index blocks say where records are, or are not. They are kept longer.
	Index
	numClasses = int(Index) + 1
)

// Cache is a block cache. All methods may be called concurrently.
type Cache struct {
	shards []shard
	shift  uint // hash >> shift is the shard

	budget budget
	free   freeLists

	size struct {
		sync.Mutex
		bytes    int64 // of SetCapacity
		reserved int64
	}
}

// budget counts bytes of memory.
type budget struct {
	capacity atomic.Int64
	live     atomic.Int64 // in blocks, cached or not
	idle     atomic.Int64 // in the free lists
}

// spareFor returns the part of a capacity that is for the free lists, so that
// what one block gives up is there for the next.
func spareFor(capacity int64) int64 { return min(capacity/16, max(capacity/64, 256<<10)) }

// limit returns how many bytes may be in blocks.
func (b *budget) limit() int64 {
	capacity := b.capacity.Load()
	return capacity - spareFor(capacity)
}

// minShard is the least capacity for which a shard of its own is worth it.
const minShard = 512 << 10

// New returns a cache that holds at most the given bytes, 0 for a cache that
// keeps nothing.
func New(bytes int64) *Cache {
	n := 1
	for n < 8*runtime.GOMAXPROCS(0) && n < 256 && bytes/int64(2*n) >= minShard {
		n *= 2
	}
	c := &Cache{shards: make([]shard, n), shift: uint(64 - bits.TrailingZeros(uint(n)))}
	for i := range c.shards {
		c.shards[i].init(c)
	}
	c.SetCapacity(bytes)
	return c
}

// SetCapacity changes the budget. What is too much is evicted before it returns.
func (c *Cache) SetCapacity(bytes int64) {
	c.size.Lock()
	defer c.size.Unlock()
	c.size.bytes = bytes
	c.resizeLocked()
}

// Reserve takes n bytes of the budget for something else, or, negative, gives them back.
func (c *Cache) Reserve(n int64) {
	c.size.Lock()
	defer c.size.Unlock()
	c.size.reserved += n
	c.resizeLocked()
}

func (c *Cache) resizeLocked() {
	c.budget.capacity.Store(max(c.size.bytes-c.size.reserved, 0))
	for i := range c.shards {
		c.shards[i].setCapacity(c.budget.limit() / int64(len(c.shards)))
	}
	c.free.clear(&c.budget)
}

// Get returns a reference to a block, which must be released, or nil when the
// block is not there.
func (c *Cache) Get(file, offset uint64) *Handle {
	hash := hashOf(file, offset)
	s := c.shard(hash)
	if h := s.table.Load().find(hash, file, offset); h != nil {
		s.hit(h)
		return h
	}
	return s.getSlow(hash, file, offset)
}

// Revive takes a reference to a block by a handle that was got from the cache
// before and has been released. It reports whether the handle is that block
// still, or again; if so, it must be released. It saves a reader that remembers
// where a block was the search for it.
func (c *Cache) Revive(h *Handle, file, offset uint64) bool {
	if !h.acquire() {
		return false
	}
	if h.file != file || h.offset != offset {
		h.Release()
		return false
	}
	c.shard(hashOf(file, offset)).hit(h)
	return true
}

// Insert puts a block from Alloc, of which the caller has filled the bytes, into
// the cache and returns a reference to it, which must be released. The bytes
// must not change any more. If the block is there already, that one is returned
// and h is given back. A block that is too large for the cache is not kept.
func (c *Cache) Insert(file, offset uint64, h *Handle, class Class) *Handle {
	hash := hashOf(file, offset)
	return c.shard(hash).insert(hash, file, offset, h, class)
}

// EvictFile removes all blocks of a file.
func (c *Cache) EvictFile(file uint64) {
	for i := range c.shards {
		c.shards[i].evictFile(file)
	}
}

func (c *Cache) shard(hash uint64) *shard { return &c.shards[hash>>c.shift] }

// hashOf mixes file and offset; it is never 0.
func hashOf(file, offset uint64) uint64 {
	h := (file*0x9e3779b97f4a7c15 ^ offset) * 0xd6e8feb86659fd93
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	return h ^ h>>29 | 1
}

// Metrics is a reading of the cache's counters.
type Metrics struct {
	Capacity int64 // bytes, without what is reserved for others
	Used     int64 // bytes of memory in blocks and free lists, cached or not
	Idle     int64 // bytes of Used in free lists
	Classes  [numClasses]ClassMetrics
}

// ClassMetrics are the counters of one class.
type ClassMetrics struct {
	Hits, Evictions uint64
	Misses          uint64 // blocks that had to be read and were inserted
	Count, Bytes    int64  // cached now
}

// Metrics reads the counters, each by itself.
func (c *Cache) Metrics() Metrics {
	m := Metrics{Capacity: c.budget.capacity.Load(), Idle: c.budget.idle.Load()}
	m.Used = m.Idle + c.budget.live.Load()
	for i := range c.shards {
		c.shards[i].addMetrics(&m)
	}
	return m
}
