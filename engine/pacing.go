package engine

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Writes must not outrun flushes and compactions for long, and must never be
// stopped: that would only move the wait from everybody to somebody. The pacer
// measures what drains (user bytes that flushes and compactions out of level 0
// took away per second), and how full the buffers are (memtables, level 0,
// compaction debt; 0 empty .. 1 full). Writes may then come at
//
//	rate = drained * 2^(3 - 5*fullness)       for the tree
//	rate = drained * 2^(3 - 3*fullness)       for the memtables
//
// that is 8 times faster than they drain while there is room, and a quarter
// when the tree is full; when the memtables are full, the last of them still fills just as
// fast as another one is flushed. A write that comes
// earlier than that rate allows sleeps; sleeps below minPaceSleep are saved up.
//
// Rejected: stopping at a threshold (seconds without progress), and delays
// per write regardless of its size.
type pacer struct {
	flushRate meter // of memtable bytes
	drainRate meter // of level 0 bytes

	rate atomic.Uint64 // bytes per second, as float64 bits; 0: no bound

	mu struct {
		sync.Mutex
		free time.Time // when what was let through so far is paid for
	}
}

// minWriteRate is the slowest that writes are made, in bytes per second.
const minWriteRate = 256 << 10

// maxPaceSleep bounds one sleep, and what writers can owe: many writers at the
// slowest rate do not make each other wait longer.
const maxPaceSleep = 100 * time.Millisecond

// minPaceSleep is the shortest sleep: as long as the scheduler's time slice, for which a write may have to wait
// anyway. Ten sleeps of a millisecond give no more to flushes than one of ten, and hit ten times as many writes.
const minPaceSleep = 10 * time.Millisecond

// yieldEvery is after how many writes writers let others run, when they come too fast for the flushes. Flushes and
// compactions do not yield: beside goroutines that never sleep, such as busy event loops, they would get next to nothing.
const yieldEvery = 64

// wait lets n bytes through at the present rate.
func (p *pacer) wait(db *DB, n int) {
	bits := p.rate.Load()
	if bits == 0 {
		return
	}
	cost := time.Duration(float64(n+64) / math.Float64frombits(bits) * float64(time.Second))
	now := time.Now()
	p.mu.Lock()
	if p.mu.free.Before(now) {
		p.mu.free = now
	}
	p.mu.free = p.mu.free.Add(cost)
	ahead := p.mu.free.Sub(now)
	if ahead > maxPaceSleep {
		ahead = maxPaceSleep
		p.mu.free = now.Add(ahead)
	}
	p.mu.Unlock()
	if ahead < minPaceSleep {
		return
	}
	time.Sleep(ahead)
	db.stats.stalled(time.Since(now))
}

// meter is a moving average of a rate, guarded by DB.mu.
type meter struct {
	bytes, seconds float64
}

// meterDecay is the weight of the past at each new measurement.
const meterDecay = 0.7

func (m *meter) add(bytes int64, took time.Duration) {
	m.bytes = m.bytes*meterDecay + float64(bytes)
	m.seconds = m.seconds*meterDecay + took.Seconds()
}

// perSecond returns the rate, or 0 when nothing was measured.
func (m *meter) perSecond() float64 {
	if m.seconds == 0 {
		return 0
	}
	return m.bytes / m.seconds
}

// fullness places v between soft (0) and hard (1).
func fullness(v, soft, hard float64) float64 {
	return max(0, min(1, (v-soft)/(hard-soft)))
}

// pressure returns how full the memtables and the tree are.
func (db *DB) pressure(rs *readState) (memory, tree float64) {
	full := float64(len(rs.mems) - 1)
	most := float64(db.opts.MaxMemTables - 1)
	memory = fullness(full, min(1, most/2), most)
	l0 := fullness(float64(len(rs.version.levels[0].files)), float64(db.opts.L0Slow), float64(db.opts.L0Max))
	total := 0.0
	for n := range rs.version.levels {
		total += float64(rs.version.levels[n].bytes)
	}
	floor := float64(16 * db.opts.BaseLevelSize)
	debt := fullness(float64(db.debt(rs.version)), floor+total/4, 2*floor+total)
	return memory, max(l0, debt)
}

// updatePressureLocked sets the rate of writes. It is called with mu held
// whenever the memtables or the version change.
func (db *DB) updatePressureLocked() {
	memory, tree := db.pressure(db.state.Load())
	rate := math.Inf(1)
	bound := func(fullness, steepness, drained float64) {
		if fullness > 0 && drained > 0 {
			rate = min(rate, drained*math.Exp2(3-steepness*fullness))
		}
	}
	bound(memory, 3, db.pace.flushRate.perSecond())
	bound(tree, 5, db.pace.drainRate.perSecond())
	db.stats.slowdown.Store(math.Float64bits(max(memory, tree)))
	if math.IsInf(rate, 1) {
		db.pace.rate.Store(0)
		return
	}
	db.pace.rate.Store(math.Float64bits(max(rate, minWriteRate)))
}

// debt estimates the bytes that compactions have to write until every level
// has its size.
func (db *DB) debt(v *version) int64 {
	t := db.targets(v)
	debt := int64(0)
	if n := len(v.levels[0].files); n >= db.opts.L0Tables {
		debt += v.levels[0].bytes + v.levels[t.base].bytes
	}
	carry := int64(0)
	for n := t.base; n < NumLevels-1; n++ {
		over := v.levels[n].bytes + carry - t.size[n]
		if over <= 0 {
			carry = 0
			continue
		}
		ratio := 1.0
		if v.levels[n].bytes > 0 {
			ratio = float64(v.levels[n+1].bytes) / float64(v.levels[n].bytes)
		}
		debt += int64(float64(over) * (1 + min(ratio, db.opts.LevelMultiplier)))
		carry = over
	}
	return debt
}

// limiter bounds the rate of compactions' writes.
type limiter struct {
	perSecond atomic.Int64
	mu        struct {
		sync.Mutex
		free time.Time
	}
}

func (l *limiter) set(perSecond int64) { l.perSecond.Store(perSecond) }

// wait lets n bytes through; it returns early when stop is closed.
func (l *limiter) wait(n int64, stop <-chan struct{}) {
	rate := l.perSecond.Load()
	if rate <= 0 || n <= 0 {
		return
	}
	now := time.Now()
	l.mu.Lock()
	if l.mu.free.Before(now) {
		l.mu.free = now
	}
	l.mu.free = l.mu.free.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	ahead := l.mu.free.Sub(now)
	l.mu.Unlock()
	if ahead < time.Millisecond {
		return
	}
	t := time.NewTimer(min(ahead, time.Second))
	defer t.Stop()
	select {
	case <-t.C:
	case <-stop:
	}
}
