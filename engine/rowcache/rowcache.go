package rowcache

import (
	"sync"
	"sync/atomic"

	"github.com/gtinside/corecache/engine/base"
)

// MaxRow is the most bytes that key and value may have to be kept: in larger records,
// finding them is not what costs.
const MaxRow = 2 << 10

// HeadSize is how many bytes of a value are kept of records of which only the beginning is wanted.
const HeadSize = 32

// wanted counts lookups apart: 0 for whole values, 1 when n bytes are no more than a head has.
func wanted(n int) int {
	if n > HeadSize {
		return 0
	}
	return 1
}

// hasHead reports whether the beginning of a record says anything: what expires has its
// deadline at the end.
func hasHead(tr base.Trailer) bool { return tr.Kind() == base.KindSet }

// Cache is a row cache. All methods may be called concurrently, but those for
// flushes, of which there is one at a time.
type Cache struct {
	reserve func(bytes int64)

	table      atomic.Pointer[table] // nil: capacity 0
	generation atomic.Uint64
	early      [2]atomic.Uint64 // lookups while there was nothing: of whole values, of heads
	resize     sync.Mutex

	// Owned by the flush.
	warm, warmHeads bool   // take in what is flushed, or its head: there were lookups since the flush before
	seen, seenHeads uint64 // lookups when it began
}

// New returns a cache of at most the given bytes, all of its memory included. It calls reserve
// with the bytes that it takes, and, negative, with those it gives back.
func New(capacity int64, reserve func(bytes int64)) *Cache {
	c := &Cache{reserve: reserve}
	c.SetCapacity(capacity)
	return c
}

// minCapacity is the least for which a cache is worth it.
const minCapacity = 64 << 10

// SetCapacity changes the capacity. When it differs from the one before, the cache is empty afterwards.
func (c *Cache) SetCapacity(bytes int64) {
	c.resize.Lock()
	defer c.resize.Unlock()
	old := c.table.Load()
	if old != nil && old.capacity == bytes {
		return
	}
	var next *table
	if bytes >= minCapacity {
		next = newTable(bytes, c.reserve)
	}
	c.table.Store(next)
	if old != nil {
		old.close()
	}
}

// Clear removes all rows.
func (c *Cache) Clear() {
	c.resize.Lock()
	defer c.resize.Unlock()
	old := c.table.Load()
	if old == nil {
		return
	}
	c.table.Store(newTable(old.capacity, c.reserve))
	old.close()
}

// Generation returns the present generation, for the first version.
func (c *Cache) Generation() uint64 { return c.generation.Load() }

// Get looks for the row of key that a reader at seq sees, and appends base.Head(value, n) to dst. hash
// must be base.Hash(key). It allocates nothing if dst has room.
func (c *Cache) Get(dst, key []byte, hash, seq uint64, n int) (value []byte, tr base.Trailer, ok bool) {
	t := c.table.Load()
	if t == nil {
		return dst, 0, false
	}
	if t.empty() {
		c.early[wanted(n)].Add(1)
		return dst, 0, false
	}
	return t.get(dst, key, hash, seq, n)
}

// Add puts in what a reader has found in the tables of a version of the given
// generation, when it is worth it, or the beginning if no more than n bytes were wanted. tr must belong to the
// newest record of key in the version; value is whole.
func (c *Cache) Add(generation uint64, key []byte, hash uint64, tr base.Trailer, value []byte, n int) {
	t := c.table.Load()
	if t == nil || tr.Kind() == base.KindDelete {
		return
	}
	head := n <= HeadSize && len(value) > HeadSize && hasHead(tr)
	if head {
		value = value[:HeadSize]
	}
	if len(key)+len(value) > MaxRow || !t.admits(hash) {
		return
	}
	t.add(key, hash, tr, value, head, func() bool { return c.generation.Load() == generation })
}

// Begin begins a generation: a flush will now tell of its records. It returns the
// generation of the version that will have them.
func (c *Cache) Begin() uint64 {
	m := c.Metrics()
	whole, heads := m.Lookups-m.Heads, m.Heads
	c.warm, c.seen = whole != c.seen, whole
	c.warmHeads, c.seenHeads = heads != c.seenHeads, heads
	return c.generation.Add(1)
}

// Row is the newest record that a flush has of a key.
type Row struct {
	Key     []byte
	Trailer base.Trailer
	Value   []byte
	Kept    bool // it is neither a tombstone nor hidden by one

	hash uint64
}

// Flushed tells of rows of a flush; each key is told of once in a generation. It takes many of them to find several in the time that memory
// takes for one. It changes nothing in rows but what it needs for that, and keeps nothing of them.
func (c *Cache) Flushed(rows []Row) {
	t := c.table.Load()
	if t == nil || t.empty() && !c.warm && !c.warmHeads {
		return
	}
	for i := range rows {
		rows[i].hash = base.Hash(rows[i].Key)
	}
	t.prefetch(rows)
	for i := range rows {
		c.flushed(t, &rows[i])
	}
}

func (c *Cache) flushed(t *table, r *Row) {
	if !r.Kept {
		t.remove(r.Key, r.hash)
		return
	}
	room := !t.full.Load()
	there, fits := t.update(r, room)
	if fits || !there && !room {
		return
	}
	valid := func() bool { return true }
	t.log.Lock()
	defer t.log.Unlock()
	whole := len(r.Value) <= HeadSize || room || c.warm || there && !c.warmHeads
	switch {
	case !there && !c.warm && !c.warmHeads:
	case whole && len(r.Key)+len(r.Value) <= MaxRow:
		t.addLocked(r.Key, r.hash, r.Trailer, r.Value, false, valid)
	case len(r.Value) > HeadSize && len(r.Key)+HeadSize <= MaxRow && hasHead(r.Trailer):
		t.addLocked(r.Key, r.hash, r.Trailer, r.Value[:HeadSize], true, valid)
	}
}

// Cover removes the rows for which covered says that a range tombstone hides them.
func (c *Cache) Cover(covered func(key []byte, seq uint64) bool) {
	if t := c.table.Load(); t != nil {
		t.cover(covered)
	}
}

// Metrics is a reading of the cache's counters.
type Metrics struct {
	Capacity      int64 // bytes
	Used          int64 // bytes taken
	Lookups, Hits uint64
	Heads         uint64 // lookups for which the beginning of the value is enough
}

// Metrics reads the counters, each by itself.
func (c *Cache) Metrics() Metrics {
	t := c.table.Load()
	if t == nil {
		return Metrics{}
	}
	heads := c.early[1].Load()
	m := Metrics{Capacity: t.capacity, Used: t.used.Load(), Lookups: c.early[0].Load() + heads, Heads: heads}
	for i := range t.stripes {
		s := &t.stripes[i]
		s.Lock()
		m.Lookups += s.lookups[0] + s.lookups[1]
		m.Heads += s.lookups[1]
		m.Hits += s.hits
		s.Unlock()
	}
	return m
}
