package main

import (
	"math"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gtinside/corecache/config"
)

const (
	mib = 1 << 20
	// runtimeReserve is what the process needs besides data: code, stacks, the
	// engine's own structures.
	runtimeReserve = 16 * mib
	leastCache     = 2 * mib
)

// budget divides maxmemory.
type budget struct {
	total    int64
	memtable int64 // one of memtable-count
	cache    int64
}

// newBudget: memtables take what is configured, clients and the runtime (its garbage
// above all) have their reserves, and the block cache gets the rest.
func newBudget(c *config.Config) budget {
	b := budget{total: c.Int("maxmemory"), memtable: c.Int("memtable-size"), cache: c.Int("cache-size")}
	if b.memtable == 0 {
		b.memtable = min(max(b.total/16, 4*mib), 256*mib)
	}
	if b.cache == 0 {
		rest := b.total - b.memtable*c.Int("memtable-count") - c.Int("maxmemory-clients") - b.total/10 - runtimeReserve
		b.cache = max(rest, leastCache)
	}
	return b
}

// exceeded reports whether what is configured can not fit into the budget.
func (b budget) exceeded(c *config.Config) bool {
	return b.memtable*c.Int("memtable-count")+b.cache+runtimeReserve > b.total
}

// limitMemory makes the garbage collector keep the process within the budget.
func (b budget) limitMemory() { debug.SetMemoryLimit(b.total) }

const fewFiles = 64 // log, manifest, listeners, compactions

// fitFiles lowers maxclients to what the process may open, as Redis does, and returns
// the former number; 0 when it fits.
func fitFiles(c *config.Config) (lowered int64, err error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return 0, err
	}
	want := c.Int("maxclients")
	room := int64(limit.Cur) - c.Int("max-open-files") - fewFiles
	if want <= room {
		return 0, nil
	}
	return want, c.Set([]config.Pair{{Name: "maxclients", Value: strconv.FormatInt(max(room, 32), 10)}})
}
