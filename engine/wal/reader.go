package wal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"sync"
	"sync/atomic"

	"github.com/gtinside/corecache/engine/base"
)

// Reader reads a log in order and waits at its end. It is used by one goroutine, apart
// from Close.
type Reader struct {
	l      *Log
	notify chan struct{} // something was written, cut, closed

	// cut is the smallest sequence number behind which the log was truncated
	// since the reader looked.
	cut    atomic.Uint64
	closed atomic.Bool

	mu   sync.Mutex // held during Next; comes before Log.mu and guards the rest
	next uint64     // sequence number
	seg  *segment   // pinned
	scan scanner    // in seg; its limit may lag behind seg.end
}

// NewReader returns a reader whose first record is the one that has sequence
// number from. The error wraps ErrGone if that was released, and
// ErrTruncated if it is beyond the record that is appended next. The
// caller must Close it.
func (l *Log) NewReader(from uint64) (*Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.mu.err != nil:
		return nil, l.mu.err
	case from < l.firstLocked():
		return nil, fmt.Errorf("read from %d: %w: it begins with %d", from, ErrGone, l.firstLocked())
	case from > l.last.Load()+1:
		return nil, fmt.Errorf("read from %d: %w: it ends with %d", from, ErrTruncated, l.last.Load())
	}
	r := &Reader{l: l, notify: make(chan struct{}, 1), next: from}
	r.cut.Store(math.MaxUint64)
	l.mu.readers[r] = struct{}{}
	return r, nil
}

// First returns the sequence number with which the log begins.
func (l *Log) First() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.firstLocked()
}

// firstLocked returns the sequence number with which the log begins.
func (l *Log) firstLocked() uint64 {
	if len(l.mu.segments) == 0 {
		return l.last.Load() + 1 // amid a truncation
	}
	return l.mu.segments[0].first
}

// Close lets go of the files. A Next that waits returns ErrClosed.
func (r *Reader) Close() error {
	r.closed.Store(true)
	wake(r.notify)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	delete(r.l.mu.readers, r)
	return r.leaveLocked()
}

// Next returns the next record as soon as it is written, whether or not it is
// acknowledged. Its payload is valid until the following call. The error
// wraps ErrTruncated when the record before was cut off, ErrGone
// when the next one was released, ErrClosed when the log or the reader was closed. After
// an error of ctx the reader can go on.
func (r *Reader) Next(ctx context.Context) (Record, error) {
	for {
		rec, ok, err := r.TryNext()
		if ok || err != nil {
			return rec, err
		}
		select {
		case <-ctx.Done():
			return Record{}, ctx.Err()
		case <-r.notify:
		}
	}
}

// TryNext is Next without the wait: it is not ok if the next record is not written yet. Log.Watch tells when it may be.
func (r *Reader) TryNext() (rec Record, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.cut.Load() != math.MaxUint64 {
			if err := r.afterCut(); err != nil {
				return Record{}, false, err
			}
		}
		if r.closed.Load() {
			return Record{}, false, ErrClosed
		}
		ready, err := r.position()
		if err != nil && r.cut.Load() != math.MaxUint64 {
			continue // it was cut while the reader looked
		}
		if err != nil || !ready {
			return Record{}, false, err
		}
		rec, ok, err := r.read()
		if ok || err != nil {
			return rec, ok, err
		}
	}
}

// afterCut looks at what a truncation left.
func (r *Reader) afterCut() error {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	cut := r.cut.Load()
	if r.next > cut+1 {
		err := fmt.Errorf("read %d: %w: it was cut after %d", r.next, ErrTruncated, cut)
		return errors.Join(err, r.leaveLocked())
	}
	r.cut.Store(math.MaxUint64)
	return r.leaveLocked() // and find the place again
}

// position makes scan stand in the segment of the next record. It is not ready if
// that is not written yet.
func (r *Reader) position() (ready bool, err error) {
	if r.seg != nil && r.scan.off < r.scan.limit {
		return true, nil
	}
	seg, ready, err := r.choose()
	if err != nil || seg == nil {
		return ready, err
	}
	return true, r.enter(seg)
}

// choose looks where the next record is: nil and ready if in the segment that
// the reader is in, else in the one that is returned, pinned.
func (r *Reader) choose() (seg *segment, ready bool, err error) {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.next > l.written.Load() {
		return nil, false, l.mu.err
	}
	if r.seg != nil && r.seg.end > r.scan.limit {
		r.scan.limit = r.seg.end
		return nil, true, nil
	}
	if seg = r.findLocked(); seg == nil {
		return nil, false, fmt.Errorf("read %d: %w", r.next, ErrGone)
	}
	if err := r.leaveLocked(); err != nil {
		return nil, false, err
	}
	seg.pins++
	r.seg = seg
	r.scan = scanner{id: seg.ident, off: segmentHeaderSize, limit: seg.end, window: r.scan.window[:0]}
	return seg, true, nil
}

// findLocked returns the segment that has the next record; not the one that
// was read to its end.
func (r *Reader) findLocked() *segment {
	segments := r.l.mu.segments
	for i := len(segments) - 1; i >= 0; i-- {
		if segments[i].first <= r.next {
			if segments[i] == r.seg {
				return nil
			}
			return segments[i]
		}
	}
	return nil
}

// enter opens a segment and goes to the next record. The segment may have been
// removed since it was chosen.
func (r *Reader) enter(seg *segment) error {
	f, err := r.l.fs.Open(seg.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("read %d: %w", r.next, ErrGone)
	}
	if err != nil {
		r.l.mu.Lock()
		defer r.l.mu.Unlock()
		return errors.Join(err, r.leaveLocked())
	}
	r.scan.f = f
	return r.forward()
}

// forward skips to the record that has the next sequence number, and moves next to its first.
func (r *Reader) forward() error {
	for at := r.seg.first; at < r.next; {
		off := r.scan.off
		last, ok, err := r.scan.skip(at)
		switch {
		case err != nil:
			return err
		case !ok:
			return base.Corrupt(r.seg.path, r.scan.off, "sequence number %d expected", at)
		case last >= r.next:
			r.scan.off, r.next = off, at
			return nil
		}
		at = last + 1
	}
	return nil
}

// read reads the record at the place of scan. It is not ok if there is none
// because the segment ends, or because the log was cut meanwhile.
func (r *Reader) read() (Record, bool, error) {
	rec, ok, err := r.scan.next(r.next)
	switch {
	case ok:
		r.next = rec.Last() + 1
		return rec, true, nil
	case r.cut.Load() != math.MaxUint64:
		return Record{}, false, nil
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return Record{}, false, err
	}
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if next := r.findLocked(); next != nil && next.first == r.next {
		r.seg.end, r.scan.limit = r.scan.off, r.scan.off // the rest of the segment is not in use
		return Record{}, false, nil
	}
	if r.cut.Load() != math.MaxUint64 {
		return Record{}, false, nil
	}
	return Record{}, false, base.Corrupt(r.seg.path, r.scan.off, "sequence number %d expected", r.next)
}

// leaveLocked closes the file that the reader is in.
func (r *Reader) leaveLocked() error {
	if r.seg == nil {
		return nil
	}
	r.seg.pins--
	r.seg = nil
	f := r.scan.f
	r.scan.f = nil
	if f == nil {
		return nil
	}
	return f.Close()
}
