package wal

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/gtinside/corecache/engine/vfs"
)

// errFatal marks errors after which the log can not go on, also if the reason
// is a full disk: those of fsyncs, and of cuts half done.
var errFatal = errors.New("fatal")

// waiter is somebody who waits for a sequence number to be acknowledged, or
// (everything) for the token whatever is acknowledged.
type waiter struct {
	seq  uint64
	lead bool // woken with the token
	err  error
	wake chan struct{}
	next *waiter // in a list of those to be woken
}

const everything = math.MaxUint64

var waiters = sync.Pool{New: func() any { return &waiter{wake: make(chan struct{}, 1)} }}

// Wait returns when all records up to sequence number seq are acknowledged at the configured level.
// After an error it is unknown whether they are or will be durable.
func (l *Log) Wait(seq uint64) error {
	var err error
	if l.Acked() < seq {
		err = l.wait(seq)
	}
	l.tell() // also if it was written by somebody who holds locks, or is busy with an fsync
	return err
}

func (l *Log) wait(seq uint64) error {
	l.yield()
	l.mu.Lock()
	defer l.mu.Unlock()
	for tried := false; ; tried = true {
		switch {
		case l.Acked() >= seq:
			return nil
		case l.mu.err != nil:
			return l.mu.err
		case seq > l.last.Load():
			return fmt.Errorf("%w: the log ends with sequence number %d, not %d", ErrTruncated, l.last.Load(), seq)
		case tried && l.mu.full != nil:
			return l.mu.full
		}
		if l.mu.leading {
			if lead, err := l.sleepLocked(seq); !lead {
				return err
			}
		}
		l.mu.leading = true
		l.mu.Unlock()
		l.commit(l.AcksSynced())
		l.mu.Lock()
	}
}

// alone is after how many groups of one record it is tried again whether others are about to append.
const alone = 32

// yield lets others append, who are about to. When nobody is, that costs more than the write: the scheduler wakes a thread for
// a goroutine that is back at once.
func (l *Log) yield() {
	if l.crowd.Load() > 0 || l.yields.Add(1)%alone == 0 {
		runtime.Gosched()
	}
}

// noteGroup tells yield how many records were written together.
func (l *Log) noteGroup(records int) {
	switch crowd := l.crowd.Load(); {
	case records > 1:
		l.crowd.Store(alone)
	case crowd > 0:
		l.crowd.Store(crowd - 1)
	}
}

// sleepLocked waits until seq is acknowledged or never will be, or until the token comes. It drops mu.
func (l *Log) sleepLocked(seq uint64) (lead bool, err error) {
	w := waiters.Get().(*waiter)
	w.seq, w.lead, w.err, w.next = seq, false, nil, nil
	l.mu.waiters = append(l.mu.waiters, w)
	l.mu.Unlock()
	<-w.wake
	lead, err = w.lead, w.err
	waiters.Put(w)
	l.mu.Lock()
	return lead, err
}

// takeLocked returns with the token. It may drop mu.
func (l *Log) takeLocked() {
	if l.mu.leading {
		l.sleepLocked(everything)
	}
	l.mu.leading = true
}

// beginExclusive takes the token and keeps others from appending until endExclusive.
func (l *Log) beginExclusive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beginExclusiveLocked()
}

func (l *Log) beginExclusiveLocked() {
	l.takeLocked()
	l.mu.exclusive = true
}

func (l *Log) endExclusive() {
	l.mu.Lock()
	l.mu.exclusive = false
	l.mu.Unlock()
	l.finish()
	wake(l.wakeKeeper)
}

// Sync makes everything durable that was appended before, whatever the level.
func (l *Log) Sync() error {
	l.mu.Lock()
	if l.mu.err != nil {
		defer l.mu.Unlock()
		return l.mu.err
	}
	l.takeLocked()
	l.mu.Unlock()
	defer wake(l.wakeKeeper)
	if l.AcksSynced() {
		return l.commit(true) // with those who wait for an fsync anyway
	}
	if err := l.commit(false); err != nil {
		return err
	}
	return l.syncWritten() // nobody else waits for it
}

// commit writes one group, syncs it if wanted, wakes those who waited for it
// and passes the token on. The caller holds the token.
func (l *Log) commit(sync bool) error {
	if sync {
		l.gather()
	}
	before := l.taken
	err := l.writeOut()
	if err == nil && sync {
		err = l.syncWritten()
		l.foresee(int(l.taken - before))
	}
	l.finish()
	return err
}

// maxGather bounds the time for which a leader waits for others.
const maxGather = 100 * time.Microsecond

// foresee notes how large the next group will probably be: those whom this
// one releases come back, and some are waiting already. Without that, writers in a
// closed loop fall into two halves that take turns, each paying for a whole fsync.
func (l *Log) foresee(group int) {
	l.expect = group + int(l.appended.Load()-l.taken)
}

// gather waits until as many records are there as foreseen, but for no longer
// than half an fsync usually takes. When they do not come it tries less and less often.
func (l *Log) gather() {
	waiting := func() int { return int(l.appended.Load() - l.taken) }
	if l.expect <= 1 || waiting() >= l.expect {
		return
	}
	if l.pause > 0 {
		l.pause--
		return
	}
	limit := min(time.Duration(l.syncAvg.Load())/2, maxGather)
	for start := time.Now(); waiting() < l.expect; runtime.Gosched() {
		if time.Since(start) > limit {
			l.misses = min(l.misses+1, 6)
			l.pause = 1<<l.misses - 1
			return
		}
	}
	l.misses = 0
}

// writeOut writes what was appended, behind what a full disk did not take before. The caller
// holds the token.
func (l *Log) writeOut() error {
	if l.out.records > 0 {
		if err := l.writeTaken(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	err, empty := l.mu.err, l.mu.fill.records == 0
	if err == nil && empty {
		l.mu.full = nil
	}
	if err == nil && !empty {
		l.swapLocked()
	}
	l.mu.Unlock()
	if err != nil || empty {
		return err
	}
	return l.writeTaken()
}

// swapLocked takes the full buffer and leaves an empty one, which belongs
// behind it, or to the next segment when another group like this would not fit.
func (l *Log) swapLocked() {
	out, fill := &l.out, &l.mu.fill
	*out, *fill = *fill, buffer{b: out.b[:0], seg: fill.seg, off: fill.end()}
	l.taken += uint64(out.records)
	if fill.off+int64(len(out.b)) > l.o.SegmentSize {
		l.rotateLocked(out.last + 1)
	}
}

// rotateLocked makes the empty buffer begin a segment whose first record will
// have this sequence number.
func (l *Log) rotateLocked(first uint64) {
	var seg *segment
	if len(l.mu.prepared) > 0 {
		seg = l.mu.prepared[0]
		l.mu.prepared = slices.Delete(l.mu.prepared, 0, 1)
	} else {
		seg = newSegment(l.o.Dir, l.mu.nextID)
		l.mu.nextID++
	}
	seg.first = first
	l.mu.segments = append(l.mu.segments, seg)
	fill := &l.mu.fill
	fill.seg, fill.off = seg, 0
	fill.b = seg.appendHeader(fill.b[:0], l.synced.Load())
	wake(l.wakeKeeper)
}

// writeTaken writes l.out.
func (l *Log) writeTaken() error {
	out := &l.out
	err := l.write(out.seg, out.b, out.off)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return l.failLocked(err)
	}
	l.stats.groups.observe(uint64(out.records))
	l.noteGroup(out.records)
	out.records = 0
	l.mu.full = nil
	l.wroteLocked(out.seg, out.end(), out.last, len(out.b))
	return nil
}

// wroteLocked publishes that a segment was written up to an offset.
func (l *Log) wroteLocked(seg *segment, end int64, last uint64, n int) {
	seg.end, seg.dirty = end, true
	if l.mu.fill.seg != seg {
		seg.sealed = true
		wake(l.wakeKeeper)
	}
	l.stats.bytes.Add(uint64(n))
	l.written.Store(last)
	l.movedLocked()
}

// zeroAhead is how far zeros are written ahead of the records in a segment
// that is used for the first time, in bytes. Space that was only reserved is
// marked as unwritten; the first write to it changes metadata, which fdatasync would then
// have to commit to the file system's journal each time. Written zeros do that once per stretch.
const zeroAhead = 512 << 10

var zeros [zeroAhead]byte

// write writes to a segment, which it creates if it was not prepared. The
// caller holds the token.
func (l *Log) write(seg *segment, b []byte, off int64) error {
	if seg.file == nil {
		if err := l.create(seg); err != nil {
			return err
		}
	}
	if _, err := seg.file.WriteAt(b, off); err != nil {
		return err
	}
	end := off + int64(len(b))
	if !seg.fresh || end <= seg.zeroed || !l.AcksSynced() {
		return nil
	}
	n := min(zeroAhead, l.o.SegmentSize-end)
	if n <= 0 {
		return nil
	}
	_, err := seg.file.WriteAt(zeros[:n], end)
	if vfs.IsNoSpace(err) {
		return nil // the record is written; zeros only make the next ones cheaper
	}
	seg.zeroed = end + n
	return err
}

// syncWritten makes durable what was written before.
func (l *Log) syncWritten() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	seq, err := l.written.Load(), l.mu.err
	l.syncing = l.syncing[:0]
	for _, s := range l.mu.segments {
		if s.dirty && err == nil {
			s.dirty = false
			l.syncing = append(l.syncing, s)
		}
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	for _, s := range l.syncing {
		if err := l.syncFile(s); err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.failLocked(fmt.Errorf("%w: %w", errFatal, err))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced.Store(max(seq, l.synced.Load()))
	l.movedLocked()
	return nil
}

func (l *Log) syncFile(s *segment) error {
	start := time.Now()
	err := s.file.Sync()
	took := time.Since(start)
	l.stats.syncs.observe(uint64(took.Microseconds()))
	l.syncAvg.Store((7*l.syncAvg.Load() + int64(took)) / 8)
	return err
}

// finish wakes those whose records are acknowledged, or will not be, and passes the token on.
func (l *Log) finish() {
	l.mu.Lock()
	done := l.doneLocked()
	var next *waiter
	if len(l.mu.waiters) > 0 {
		next = l.mu.waiters[0]
		next.lead = true
		l.mu.waiters = slices.Delete(l.mu.waiters, 0, 1)
	}
	l.mu.leading = next != nil
	l.mu.Unlock()
	if next != nil {
		next.wake <- struct{}{}
	}
	for done != nil {
		w := done
		done = w.next // before the wake: w may be in use again right after it
		w.wake <- struct{}{}
	}
}

// doneLocked removes the waiters that have nothing to wait for any more.
func (l *Log) doneLocked() (done *waiter) {
	acked, last, kept := l.Acked(), l.last.Load(), l.mu.waiters[:0]
	for _, w := range l.mu.waiters {
		switch {
		case w.seq == everything:
			kept = append(kept, w)
			continue
		case w.seq <= acked:
		case l.mu.err != nil:
			w.err = l.mu.err
		case w.seq > last:
			w.err = ErrTruncated
		case l.mu.full != nil:
			w.err = l.mu.full
		default:
			kept = append(kept, w)
			continue
		}
		w.next, done = done, w
	}
	clear(l.mu.waiters[len(kept):])
	l.mu.waiters = kept
	return done
}
