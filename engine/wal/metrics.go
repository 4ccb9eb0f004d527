package wal

import (
	"math/bits"
	"sync/atomic"
)

// Metrics is what a log did since it was opened.
type Metrics struct {
	Bytes    uint64    // written, headers of records included
	Records  uint64    // appended
	Groups   Histogram // records per write
	Syncs    Histogram // microseconds per fsync of a segment
	Segments int       // in the log
	DiskSize int64     // bytes of these segments that hold records
	Prepared int       // segments ready for use, each of Options.SegmentSize
	Waiting  int       // calls of Wait that sleep
	Full     bool      // the disk is full
	Failed   bool      // a write or an fsync failed
	// CleanupErrors counts failures to remove, prepare or close files, which
	// lose nothing but may leave a file that is not needed.
	CleanupErrors uint64
}

// Histogram counts values by their magnitude: Counts[i] is how many were in
// [2^(i-1), 2^i), and Counts[0] how many were 0.
type Histogram struct {
	Counts     [40]uint64
	Count, Sum uint64
}

// Quantile returns an upper bound of the value below which the fraction q (0 to 1) of the values is.
func (h Histogram) Quantile(q float64) uint64 {
	seen := uint64(0)
	for i, n := range h.Counts {
		if seen += n; n > 0 && float64(seen) >= q*float64(h.Count) {
			return 1<<i - 1
		}
	}
	return 0
}

// histogram is a Histogram that is being counted.
type histogram struct {
	counts [40]atomic.Uint64
	sum    atomic.Uint64
}

func (h *histogram) observe(v uint64) {
	h.counts[min(bits.Len64(v), len(h.counts)-1)].Add(1)
	h.sum.Add(v)
}

func (h *histogram) snapshot() (s Histogram) {
	for i := range h.counts {
		s.Counts[i] = h.counts[i].Load()
		s.Count += s.Counts[i]
	}
	s.Sum = h.sum.Load()
	return s
}

type stats struct {
	bytes         atomic.Uint64
	groups, syncs histogram
	cleanupErrors atomic.Uint64
}

// Metrics returns the present values.
func (l *Log) Metrics() Metrics {
	m := Metrics{
		Bytes:         l.stats.bytes.Load(),
		Records:       l.appended.Load(),
		Groups:        l.stats.groups.snapshot(),
		Syncs:         l.stats.syncs.snapshot(),
		CleanupErrors: l.stats.cleanupErrors.Load(),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	m.Segments, m.Prepared, m.Waiting = len(l.mu.segments), len(l.mu.prepared), len(l.mu.waiters)
	m.Full, m.Failed = l.mu.full != nil, l.mu.err != nil && l.mu.err != ErrClosed
	for _, s := range l.mu.segments {
		m.DiskSize += s.end
	}
	return m
}
