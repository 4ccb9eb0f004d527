package engine

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/engine/cache"
	"github.com/gtinside/corecache/engine/rowcache"
	"github.com/gtinside/corecache/engine/wal"
)

// stats are counters that are updated on the way.
type stats struct {
	ingested         atomic.Uint64
	flushes          atomic.Uint64
	flushedBytes     atomic.Uint64
	compactions      atomic.Uint64
	compactedBytes   atomic.Uint64
	backgroundErrors atomic.Uint64
	stalls           atomic.Uint64
	stallTime        atomic.Int64
	slowdown         atomic.Uint64 // float64 bits
	levels           [NumLevels]struct{ read, written atomic.Uint64 }
}

func (s *stats) stalled(d time.Duration) {
	s.stalls.Add(1)
	s.stallTime.Add(int64(d))
}

// LevelMetrics describe one level. Bytes are bytes on disk.
type LevelMetrics struct {
	Tables  int
	Bytes   int64
	Score   float64 // from 1 on it is compacted
	Read    uint64  // by compactions out of the level, both inputs, since Open
	Written uint64  // into the level since Open
}

// Metrics are the engine's figures at one moment. Counters run since Open.
type Metrics struct {
	Levels          [NumLevels]LevelMetrics
	Tables          int
	TableBytes      int64
	RangeTombstones int // in the version

	MemTables     int   // the one being written to included
	MemTableBytes int64 // in use

	Ingested    uint64 // bytes of batches
	Flushed     uint64 // bytes written by flushes
	Compacted   uint64 // bytes written by compactions
	Flushes     uint64
	Compactions uint64
	Running     int   // compactions right now
	Debt        int64 // bytes that compactions are behind, estimated

	WriteAmplification float64 // bytes written to log and tables per byte of batches
	SpaceAmplification float64 // bytes of tables per byte in the last level that has any
	ReadAmplification  int     // sorted runs that a read may have to look at

	Slowdown     float64 // of writes: 0 none .. 1 most
	Stalls       uint64  // times that a write waited for flushes or compactions
	StallTime    time.Duration
	LastProgress time.Time // end of the last flush or compaction

	BackgroundErrors uint64
	BackgroundError  error // of the last flush or compaction, nil after a success

	Last, Committed, FlushedSeq uint64
	Snapshots                   int
	OpenFiles                   int
	Log                         wal.Metrics
	Cache                       cache.Metrics
	Rows                        rowcache.Metrics
}

// Metrics returns the engine's figures. It is cheap enough to be called every second.
func (db *DB) Metrics() Metrics {
	m := Metrics{
		Ingested: db.stats.ingested.Load(), Flushed: db.stats.flushedBytes.Load(),
		Compacted: db.stats.compactedBytes.Load(), Flushes: db.stats.flushes.Load(),
		Compactions: db.stats.compactions.Load(), Stalls: db.stats.stalls.Load(),
		StallTime:        time.Duration(db.stats.stallTime.Load()),
		Slowdown:         math.Float64frombits(db.stats.slowdown.Load()),
		BackgroundErrors: db.stats.backgroundErrors.Load(),
		Snapshots:        db.snaps.count(), OpenFiles: int(db.tables.open.Load()),
		Log: db.log.Load().Metrics(), Cache: db.cache.Metrics(), Rows: db.rows.Metrics(),
	}
	rs := db.acquire()
	if rs == nil {
		return m
	}
	defer db.release(rs)
	m.Last, m.Committed, m.FlushedSeq = db.log.Load().Last(), db.Committed(), rs.flushed()
	m.MemTables = len(rs.mems)
	for _, mem := range rs.mems {
		m.MemTableBytes += mem.Table.Used()
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	m.Running, m.LastProgress = db.mu.compactions, db.mu.progress
	if m.BackgroundError = db.mu.flushErr; m.BackgroundError == nil {
		m.BackgroundError = db.mu.compactErr
	}
	m.Debt = db.debt(rs.version)
	db.levelMetricsLocked(&m, rs.version)
	return m
}

func (db *DB) levelMetricsLocked(m *Metrics, v *version) {
	t := db.targets(v)
	bottom := int64(0)
	m.RangeTombstones = len(v.tombstones)
	m.ReadAmplification = len(v.levels[0].files)
	for n := range v.levels {
		l := &v.levels[n]
		m.Levels[n] = LevelMetrics{
			Tables: len(l.files), Bytes: l.bytes, Score: db.score(v, &t, n),
			Read: db.stats.levels[n].read.Load(), Written: db.stats.levels[n].written.Load(),
		}
		m.Tables += len(l.files)
		m.TableBytes += l.bytes
		if len(l.files) > 0 {
			bottom = l.bytes
			if n > 0 {
				m.ReadAmplification++
			}
		}
	}
	if bottom > 0 {
		m.SpaceAmplification = float64(m.TableBytes) / float64(bottom)
	}
	if m.Ingested > 0 {
		m.WriteAmplification = float64(uint64(m.Log.Bytes)+m.Flushed+m.Compacted) / float64(m.Ingested)
	}
}
