package wal

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// Two goroutines belong to a log; both end in Close, through l.stop.
//
// The writer writes records that nobody waits for, and tries again while the
// disk is full. While there are records at all it looks after them by a timer, so that hardly any of them has to wake it. The keeper does what takes long: the periodic fsync,
// closing segments, and having the next one ready.

const (
	// writeDelay is how often the writer looks: a record that nobody waits for stays in memory for up to twice as long.
	writeDelay = time.Millisecond
	// writeQuiet is after how many looks without a new record it sleeps.
	writeQuiet = 8
	// retryDelay is how often a full disk is tried again.
	retryDelay = 100 * time.Millisecond
)

func (l *Log) runWriter() {
	defer l.background.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-l.wakeWriter:
		}
		last, delay := l.last.Load(), writeDelay
		for quiet := 0; quiet < writeQuiet; quiet++ {
			timer.Reset(delay)
			select {
			case <-l.stop:
				return
			case <-l.hurry:
			case <-timer.C:
			}
			delay = writeDelay
			if l.behind(last) {
				_ = l.commitWaiting() // the log remembers failures; a full disk is tried again
				if l.behind(last) {
					delay, quiet = retryDelay, 0
				}
			}
			if now := l.last.Load(); now != last {
				last, quiet = now, 0
			}
		}
	}
}

// behind tells whether records up to last are still in the hands of the log, and
// their writers have left them there.
func (l *Log) behind(last uint64) bool {
	if l.failed.Load() {
		return false
	}
	if l.AcksSynced() {
		return l.synced.Load() < min(last, l.last.Load())
	}
	return l.written.Load() < min(last, l.last.Load())
}

// commitWaiting does what the first waiter would do.
func (l *Log) commitWaiting() error {
	l.mu.Lock()
	l.takeLocked()
	l.mu.Unlock()
	defer l.tell()
	return l.commit(l.AcksSynced())
}

func (l *Log) runKeeper() {
	defer l.background.Done()
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	var interval time.Duration
	for {
		if now := time.Duration(l.interval.Load()); now != interval {
			interval = now
			ticker.Reset(cmp.Or(interval, time.Hour))
		}
		select {
		case <-l.stop:
			return
		case <-l.wakeKeeper:
			l.keep(false)
		case <-ticker.C:
			l.keep(interval > 0)
		}
		l.tell()
	}
}

// keep does what is due. Failures of an fsync stop the log; failures to close
// or to prepare are left to whoever needs the file.
func (l *Log) keep(sync bool) {
	if l.failed.Load() {
		return
	}
	l.prepare() // an fsync may take longer than the present segment lasts
	if sync && l.written.Load() > l.synced.Load() || l.sealedDirty() {
		if l.syncWritten() != nil {
			return
		}
	}
	l.closeSealed()
}

// sealedDirty tells whether a full segment waits for its fsync.
func (l *Log) sealedDirty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.mu.segments, func(s *segment) bool { return s.sealed && s.dirty })
}

// closeSealed closes the files of segments that need no write and no fsync.
func (l *Log) closeSealed() {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.mu.segments {
		if s.sealed && !s.dirty && closeFile(s) != nil {
			l.stats.cleanupErrors.Add(1)
		}
	}
}

// maxPrepared is how many segments are kept for later use.
const maxPrepared = 2

// prepare has a segment ready, so that nobody who commits has to make one.
func (l *Log) prepare() {
	l.mu.Lock()
	if len(l.mu.prepared)+l.mu.preparing > 0 || l.mu.err != nil {
		l.mu.Unlock()
		return
	}
	seg := l.reserveLocked()
	l.mu.Unlock()
	err := l.create(seg)
	if err == nil {
		err = seg.file.Sync()
	}
	l.offer(seg, err)
}

// reserveLocked gives the next id to a segment that is being prepared; offer must follow.
func (l *Log) reserveLocked() *segment {
	l.mu.preparing++
	seg := newSegment(l.o.Dir, l.mu.nextID)
	l.mu.nextID++
	return seg
}

// offer adds a segment to those ready for use, or throws it away if making
// it failed or took so long that a later id is in use.
func (l *Log) offer(seg *segment, err error) {
	l.mu.Lock()
	l.mu.preparing--
	late := seg.id < l.mu.fill.seg.id || l.mu.err != nil
	if err == nil && !late {
		l.mu.prepared = append(l.mu.prepared, seg)
		slices.SortFunc(l.mu.prepared, func(a, b *segment) int { return cmp.Compare(a.id, b.id) })
	}
	l.mu.Unlock()
	if err == nil && !late {
		return
	}
	if err := errors.Join(err, closeFile(seg), l.fs.Remove(seg.path)); err != nil {
		l.stats.cleanupErrors.Add(1)
	}
}

// create makes the file of a new segment, reserves its space, and makes its
// name durable.
func (l *Log) create(seg *segment) error {
	f, err := l.fs.Create(seg.path)
	if err != nil {
		return err
	}
	err = f.Preallocate(0, l.o.SegmentSize)
	if err == nil {
		err = l.syncDir()
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	seg.file, seg.fresh = f, true
	return nil
}

// syncDir makes the names of segments durable. Its failure is that of an fsync.
func (l *Log) syncDir() error {
	if err := l.fs.SyncDir(l.o.Dir); err != nil {
		return errors.Join(errFatal, err)
	}
	return nil
}
