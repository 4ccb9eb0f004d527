package engine

import (
	"maps"
	"sync"
	"sync/atomic"
)

// counters are sums that change with the batches that carry them: exact at
// any moment, without a scan, across crashes. The total lives in memory; each
// memtable keeps what was added while it was written, and its flush puts the
// total at its last sequence number into the manifest, so that the manifest
// and the log behind it always give the sum.
type counters struct {
	values atomic.Pointer[map[uint32]*atomic.Int64] // copied to add a counter
	grow   sync.Mutex
}

func (c *counters) get(id uint32) int64 {
	if m := c.values.Load(); m != nil {
		if v := (*m)[id]; v != nil {
			return v.Load()
		}
	}
	return 0
}

func (c *counters) add(id uint32, delta int64) {
	if m := c.values.Load(); m != nil {
		if v := (*m)[id]; v != nil {
			v.Add(delta)
			return
		}
	}
	c.slot(id).Add(delta)
}

func (c *counters) slot(id uint32) *atomic.Int64 {
	c.grow.Lock()
	defer c.grow.Unlock()
	next := map[uint32]*atomic.Int64{}
	if m := c.values.Load(); m != nil {
		if v := (*m)[id]; v != nil {
			return v
		}
		next = maps.Clone(*m)
	}
	v := new(atomic.Int64)
	next[id] = v
	c.values.Store(&next)
	return v
}

// snapshot returns the values that are not zero.
func (c *counters) snapshot() map[uint32]int64 {
	out := map[uint32]int64{}
	if m := c.values.Load(); m != nil {
		for id, v := range *m {
			if n := v.Load(); n != 0 {
				out[id] = n
			}
		}
	}
	return out
}

// set replaces all values.
func (c *counters) set(values map[uint32]int64) {
	next := map[uint32]*atomic.Int64{}
	for id, n := range values {
		next[id] = new(atomic.Int64)
		next[id].Store(n)
	}
	c.grow.Lock()
	c.values.Store(&next)
	c.grow.Unlock()
}

// sum adds deltas to totals and returns a new map.
func sum(totals, deltas map[uint32]int64) map[uint32]int64 {
	out := maps.Clone(totals)
	if out == nil {
		out = map[uint32]int64{}
	}
	for id, n := range deltas {
		out[id] += n
	}
	return out
}

// Counter returns the sum of all applied Batch.Add of a counter.
func (db *DB) Counter(id uint32) int64 { return db.totals.get(id) }
