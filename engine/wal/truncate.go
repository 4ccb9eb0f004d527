package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/vfs"
)

// ErrNotBoundary is returned by TruncateAfter for a position inside a record.
var ErrNotBoundary = errors.New("not the end of a record")

// TruncateAfter removes all records behind sequence number seq, which must be
// the last of a record, or the one before the first record of the log. When it returns without
// an error the cut is durable, and so is all before it. Those who wait for a
// sequence number that is gone get ErrTruncated, as do readers beyond the
// cut. The numbers are used again: a caller that has one from before must not wait for it now.
//
// A crash leaves the log whole, or cut somewhere at or behind seq, never with a gap:
// later segments go first, the last one first, each durably; then the segment of the cut is
// shortened. It must be: its bytes are valid, and would follow again when another record
// ends where the cut is. The next record begins a new segment.
func (l *Log) TruncateAfter(seq uint64) error {
	l.beginExclusive()
	defer l.endExclusive()
	err := l.writeOut()
	if err == nil {
		err = l.syncWritten()
	}
	if err != nil || seq == l.last.Load() {
		return err
	}
	l.trimMu.Lock()
	defer l.trimMu.Unlock()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	keep, end, err := l.findCut(seq)
	if err != nil {
		return err
	}
	removed, last := l.forget(keep, end, seq)
	err = l.cut(removed, last)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return l.failLocked(fmt.Errorf("truncate: %w: %w", errFatal, err))
	}
	l.rotateLocked(seq + 1)
	return nil
}

// findCut returns how many segments stay, and where the last of them ends.
func (l *Log) findCut(seq uint64) (keep int, end int64, err error) {
	l.mu.Lock()
	segments := l.mu.segments
	l.mu.Unlock()
	if first := segments[0].first; seq+1 < first {
		return 0, 0, fmt.Errorf("truncate after %d: %w: it begins with %d", seq, ErrGone, first)
	}
	if seq > l.last.Load() {
		return 0, 0, fmt.Errorf("truncate after %d: %w: it ends with %d", seq, ErrTruncated, l.last.Load())
	}
	for keep < len(segments) && segments[keep].first <= seq {
		keep++
	}
	if keep == 0 {
		return 0, 0, nil
	}
	end, err = endOf(l.fs, segments[keep-1], seq)
	return keep, end, err
}

// endOf returns the offset at which the record ends that ends with seq.
func endOf(fs vfs.FS, s *segment, seq uint64) (off int64, err error) {
	f, err := fs.Open(s.path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	scan := scanner{f: f, id: s.ident, off: segmentHeaderSize, limit: s.end}
	for next := s.first; next <= seq; {
		last, ok, err := scan.skip(next)
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, base.Corrupt(s.path, scan.off, "sequence number %d expected", next)
		}
		next = last + 1
		if last > seq {
			return 0, fmt.Errorf("truncate after %d: %w", seq, ErrNotBoundary)
		}
	}
	return scan.off, nil
}

// forget takes the records behind seq out of the state, so that nobody reads
// or waits for them while they are removed. It returns the segments to remove, and the
// one that then ends with seq, if there is one.
func (l *Log) forget(keep int, end int64, seq uint64) (removed []*segment, last *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	removed = slices.Clone(l.mu.segments[keep:])
	l.mu.segments = slices.Delete(l.mu.segments, keep, len(l.mu.segments))
	if keep > 0 {
		last = l.mu.segments[keep-1]
		last.end, last.sealed, last.dirty = end, true, false
	}
	l.synced.Store(seq)
	l.written.Store(seq)
	l.last.Store(seq)
	l.mu.released = min(l.mu.released, seq)
	for r := range l.mu.readers {
		r.cut.Store(min(seq, r.cut.Load()))
	}
	l.movedLocked()
	return removed, last
}

// cut removes segments, the last one first, and shortens the one before. The
// caller holds the token, trimMu and syncMu.
func (l *Log) cut(removed []*segment, last *segment) error {
	for _, s := range slices.Backward(removed) {
		if s.file == nil && !s.sealed {
			continue // its first write never came
		}
		if err := errors.Join(closeFile(s), l.fs.Remove(s.path), l.syncDir()); err != nil {
			return err
		}
	}
	if last == nil {
		return nil
	}
	return errors.Join(closeFile(last), shorten(l.fs, last.path, last.end))
}

// shorten durably cuts a file.
func shorten(fs vfs.FS, path string, size int64) (err error) {
	f, err := fs.OpenReadWrite(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if now, err := f.Size(); err != nil || now > size {
		if err = errors.Join(err, f.Truncate(size)); err != nil {
			return err
		}
	}
	return f.Sync()
}
