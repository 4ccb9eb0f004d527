package cache

import (
	"math/bits"
	"slices"
	"sync"
)

// Buffers come in size classes: four steps per doubling from 512 bytes to
// 1 MiB. Larger ones are not kept.
const (
	minClassBits = 9
	maxClassBits = 20
	numSizes     = (maxClassBits-minClassBits)*4 + 1
)

// sizeClass returns the smallest class that holds n bytes and its size. Sizes
// above the largest class have class numSizes.
func sizeClass(n int) (class, size int) {
	if n <= 1<<minClassBits {
		return 0, 1 << minClassBits
	}
	if n > 1<<maxClassBits {
		return numSizes, n
	}
	top := bits.Len(uint(n-1)) - 1 // 2^top < n <= 2^(top+1)
	quarter := 1 << (top - 2)
	steps := (n - 1<<top + quarter - 1) / quarter
	return (top-minClassBits)*4 + steps, 1<<top + steps*quarter
}

// freeLists keep handles with their buffers for use again.
type freeLists [numSizes]struct {
	mu struct {
		sync.Mutex
		handles []*Handle
	}
}

func (f *freeLists) pop(class int) *Handle {
	mu := &f[class].mu
	mu.Lock()
	defer mu.Unlock()
	n := len(mu.handles)
	if n == 0 {
		return nil
	}
	h := mu.handles[n-1]
	mu.handles[n-1] = nil
	mu.handles = mu.handles[:n-1]
	return h
}

func (f *freeLists) push(h *Handle) {
	mu := &f[h.size].mu
	mu.Lock()
	mu.handles = append(mu.handles, h)
	mu.Unlock()
}

func (f *freeLists) clear(b *budget) {
	for class := range f {
		for h := f.pop(class); h != nil; h = f.pop(class) {
			b.idle.Add(-h.charge())
			h.bytes = nil
		}
	}
}

// Alloc returns a block of n bytes with undefined content, which belongs to the
// caller until it is inserted or released.
func (c *Cache) Alloc(n int) *Handle {
	class, size := sizeClass(n)
	h := c.reuse(class)
	if h == nil {
		h = &Handle{cache: c, bytes: newBuffer(size), size: uint8(class)}
	}
	h.bytes = h.bytes[:n]
	h.private = true
	c.budget.live.Add(h.charge())
	return h
}

func (c *Cache) reuse(class int) *Handle {
	if class >= numSizes {
		return nil
	}
	h := c.free.pop(class)
	if h != nil {
		c.budget.idle.Add(-h.charge())
	}
	return h
}

// newBuffer allocates a buffer whose capacity is all that the allocator gives.
func newBuffer(n int) []byte { return slices.Grow([]byte(nil), n) }

// recycle takes a handle that nobody refers to any more. It keeps the buffer
// for use again within the budget.
func (c *Cache) recycle(h *Handle) {
	charge := h.charge()
	live := c.budget.live.Add(-charge)
	capacity := c.budget.capacity.Load()
	idle := c.budget.idle.Add(charge)
	if h.size >= numSizes || idle > spareFor(capacity) || live+idle > capacity {
		c.budget.idle.Add(-charge)
		h.bytes = nil // somebody may remember the handle
		return
	}
	c.free.push(h)
}
