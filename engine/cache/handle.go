package cache

import "sync/atomic"

// Handle is a block in memory and a reference to it. It is got from Get, Insert
// or Alloc and may not be used after Release.
//
// What a lookup needs lies in one cache line, which the allocator keeps whole
// because the size of a Handle is a power of two.
type Handle struct {
	cache *Cache
	bytes []byte

	// refs counts the references, the cache's own among them. A count of 0 is
	// never raised: the handle is private to somebody or in a free list.
	refs atomic.Int32
	// credit is what a block has gained by hits and loses when its turn to be
	// evicted comes.
	credit atomic.Uint32

	// Constant while refs > 0.
	file, offset uint64
	class        Class
	private      bool  // between Alloc and Insert
	size         uint8 // class of the buffer

	// Guarded by the shard's mutex.
	queue                *queue
	newer, older         *Handle // in the queue
	nextFile, beforeFile *Handle // blocks of the same file

	_ [24]byte
}

// overhead is what a handle costs besides its buffer: itself and its share of
// the shard's table.
const overhead = 192

// maxCredit bounds the credit per class.
var maxCredit = [numClasses]uint32{Data: 3, Index: 7}

// Bytes returns the block. It must not be modified once it has been inserted.
func (h *Handle) Bytes() []byte { return h.bytes }

// charge returns the memory that the handle holds.
func (h *Handle) charge() int64 { return int64(cap(h.bytes)) + overhead }

// acquire takes a reference unless the handle is not shared (any more).
func (h *Handle) acquire() bool {
	for {
		n := h.refs.Load()
		if n <= 0 {
			return false
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives the reference back.
func (h *Handle) Release() {
	if h.private || h.refs.Add(-1) == 0 {
		h.cache.recycle(h)
	}
}

// Resize changes the length of a block that has not been inserted yet, up to the
// capacity of its buffer.
func (h *Handle) Resize(n int) { h.bytes = h.bytes[:n] }
