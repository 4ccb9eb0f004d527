package cache

import (
	"sync"
	"sync/atomic"
)

// shard is one of the parts into which hashes divide the cache.
type shard struct {
	cache *Cache

	table atomic.Pointer[table]
	hits  [numClasses]atomic.Uint64

	mu struct {
		sync.Mutex
		capacity int64
		small    queue // new blocks: a tenth of the capacity
		main     queue // blocks that were wanted again
		ghosts   ghosts
		files    map[uint64]*Handle // one block of each file
		count    int
		classes  [numClasses]ClassMetrics
	}

	_ [64]byte // keep the counters of neighbours apart
}

const firstTable = 64

func (s *shard) init(c *Cache) {
	s.cache = c
	s.table.Store(newTable(firstTable))
	s.mu.files = map[uint64]*Handle{}
}

func (s *shard) setCapacity(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.capacity = bytes
	s.mu.ghosts = newGhosts(bytes)
	s.shrinkLocked(bytes)
}

// hit gives a block credit. Concurrent hits may count once.
func (s *shard) hit(h *Handle) {
	s.hits[h.class].Add(1)
	if n := h.credit.Load(); n < maxCredit[h.class] {
		h.credit.Store(n + 1)
	}
}

// getSlow looks under the lock, where nothing moves.
func (s *shard) getSlow(hash, file, offset uint64) *Handle {
	s.mu.Lock()
	h := s.table.Load().find(hash, file, offset)
	s.mu.Unlock()
	if h != nil {
		s.hit(h)
	}
	return h
}

func (s *shard) insert(hash, file, offset uint64, h *Handle, class Class) *Handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	if there := s.table.Load().find(hash, file, offset); there != nil {
		h.Release()
		return there
	}
	s.mu.classes[class].Misses++
	h.file, h.offset, h.class, h.private = file, offset, class, false
	if h.charge() > s.mu.capacity/2 || s.table.Load().has(hash) {
		h.refs.Store(1) // the caller's; the last Release frees it
		return h
	}
	h.credit.Store(0)
	h.refs.Store(2) // the caller's and the cache's
	s.addLocked(hash, h)
	s.shrinkLocked(s.mu.capacity)
	return h
}

func (s *shard) addLocked(hash uint64, h *Handle) {
	t := s.table.Load()
	if s.mu.count++; 2*s.mu.count > len(t.slots) {
		t = t.grown()
		s.table.Store(t)
	}
	t.set(hash, h)
	if s.mu.ghosts.take(hash) || h.class == Index {
		s.mu.main.push(h)
	} else {
		s.mu.small.push(h)
	}
	if next := s.mu.files[h.file]; next != nil {
		h.nextFile, next.beforeFile = next, h
	}
	s.mu.files[h.file] = h
	s.mu.classes[h.class].Count++
	s.mu.classes[h.class].Bytes += h.charge()
}

// removeLocked takes a block out of the cache and gives up the cache's
// reference. It lives on while others have one.
func (s *shard) removeLocked(h *Handle) {
	s.table.Load().remove(hashOf(h.file, h.offset))
	s.mu.count--
	h.queue.remove(h)
	if h.beforeFile != nil {
		h.beforeFile.nextFile = h.nextFile
	} else if h.nextFile != nil {
		s.mu.files[h.file] = h.nextFile
	} else {
		delete(s.mu.files, h.file)
	}
	if h.nextFile != nil {
		h.nextFile.beforeFile = h.beforeFile
	}
	h.nextFile, h.beforeFile = nil, nil
	s.mu.classes[h.class].Count--
	s.mu.classes[h.class].Bytes -= h.charge()
	h.Release()
}

// maxExtra bounds how many blocks an insert evicts for the sake of what is in
// use outside the cache, so that no shard has to give way alone.
const maxExtra = 8

// shrinkLocked evicts until the shard has its share at most, and some more when
// the whole cache with what is in use outside is over its budget.
func (s *shard) shrinkLocked(capacity int64) {
	for s.mu.small.bytes+s.mu.main.bytes > capacity {
		s.evictLocked()
	}
	b := &s.cache.budget
	for n := 0; n < maxExtra && s.mu.count > 0 && b.live.Load() > b.limit(); n++ {
		s.evictLocked()
	}
}

// promoteAt is the credit with which a block leaves the small queue for the
// main one.
const promoteAt = 2

// evictLocked evicts one block. It ends because each block it passes over loses
// credit or leaves the small queue.
func (s *shard) evictLocked() {
	for {
		if small := &s.mu.small; small.oldest != nil && (small.bytes > s.mu.capacity/10 || s.mu.main.oldest == nil) {
			h := small.oldest
			if h.credit.Load() < promoteAt {
				s.mu.ghosts.add(hashOf(h.file, h.offset))
				s.dropLocked(h)
				return
			}
			small.remove(h)
			h.credit.Store(0)
			s.mu.main.push(h)
			continue
		}
		h := s.mu.main.oldest
		credit := h.credit.Load()
		if credit == 0 {
			s.dropLocked(h)
			return
		}
		h.credit.Store(credit - 1)
		s.mu.main.remove(h)
		s.mu.main.push(h)
	}
}

func (s *shard) dropLocked(h *Handle) {
	s.mu.classes[h.class].Evictions++
	s.removeLocked(h)
}

func (s *shard) evictFile(file uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := s.mu.files[file]; h != nil; h = s.mu.files[file] {
		s.removeLocked(h)
	}
}

func (s *shard) addMetrics(m *Metrics) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range m.Classes {
		c := &m.Classes[i]
		c.Hits += s.hits[i].Load()
		c.Misses += s.mu.classes[i].Misses
		c.Evictions += s.mu.classes[i].Evictions
		c.Count += s.mu.classes[i].Count
		c.Bytes += s.mu.classes[i].Bytes
	}
}
