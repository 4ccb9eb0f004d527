package wal

import (
	"errors"
	"slices"
)

// Release says that recovery needs no record up to sequence number seq any
// more. Segments that hold only such records are removed or used again,
// the oldest first, as long as KeepBytes of them remain for readers, and as
// pins allow. A reader keeps the file that it is in, not those that follow.
func (l *Log) Release(seq uint64) {
	l.trimMu.Lock()
	defer l.trimMu.Unlock()
	for {
		old, recycled, err := l.dropOldest(seq)
		if old == nil {
			return
		}
		if err == nil {
			err = l.retire(old, recycled)
		}
		if err != nil {
			l.stats.cleanupErrors.Add(1)
			return // later ones must not go before this one: there would be a gap
		}
	}
}

// retire removes the file of a segment that was dropped, or makes it the file
// of another one, durably. If it can not, the segment is in the log again.
func (l *Log) retire(old, recycled *segment) error {
	var err error
	if recycled != nil {
		err = l.fs.Rename(old.path, recycled.path)
	} else {
		err = l.fs.Remove(old.path)
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.mu.segments = slices.Insert(l.mu.segments, 0, old)
		if recycled != nil {
			l.mu.preparing--
		}
		return err
	}
	err = l.syncDir()
	if recycled != nil {
		l.offer(recycled, errors.Join(err, l.reuse(recycled)))
	}
	return err
}

// dropOldest takes the oldest segment out of the log if it may go. If its
// file is worth keeping, it also returns the segment that it shall become.
func (l *Log) dropOldest(seq uint64) (old, recycled *segment, err error) {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.released = max(l.mu.released, min(seq, l.last.Load()))
	if !l.droppableLocked() || l.mu.err != nil {
		return nil, nil, nil
	}
	old = l.mu.segments[0]
	l.mu.segments = l.mu.segments[1:]
	l.loseLocked(l.mu.segments[0].first)
	if old.pins == 0 && old.end >= l.o.SegmentSize/2 && len(l.mu.prepared)+l.mu.preparing < maxPrepared {
		recycled = l.reserveLocked()
	}
	return old, recycled, closeFile(old)
}

// droppableLocked tells whether the oldest segment is released, and more than
// what is kept are.
func (l *Log) droppableLocked() bool {
	segments := l.mu.segments
	if len(segments) < 2 || !segments[0].sealed || segments[0].dirty || segments[1].first > l.mu.released+1 {
		return false
	}
	keep, stays := l.keepLocked(segments[1].first)
	if stays {
		return false
	}
	others := int64(0)
	for i := 1; i+1 < len(segments) && segments[i+1].first <= l.mu.released+1; i++ {
		others += segments[i].end
	}
	return others >= keep
}

// reuse opens the file of a recycled segment and gives it a size as if it
// were new. What it holds stays there, without meaning under the new id.
func (l *Log) reuse(seg *segment) error {
	f, err := l.fs.OpenReadWrite(seg.path)
	if err != nil {
		return err
	}
	seg.file = f
	size, err := f.Size()
	if err == nil && size > 2*l.o.SegmentSize {
		err = f.Truncate(l.o.SegmentSize)
	}
	if err == nil && size < l.o.SegmentSize {
		seg.fresh, seg.zeroed = true, size
		err = f.Preallocate(0, l.o.SegmentSize)
	}
	return errors.Join(err, f.Sync())
}
