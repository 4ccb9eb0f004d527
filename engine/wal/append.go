package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrNotNext is returned by AppendAt for a record that leaves a gap or that is
// there already.
var ErrNotNext = errors.New("the record is not the next of the log")

// Append adds a record that takes count (at least 1) sequence numbers and returns the
// first of them. The payload is copied. There is no I/O, unless the buffer is at its bound, the disk
// was full, or the payload is large. The record is acknowledged when Wait for its last
// sequence number returns. After an error nothing was appended, with one exception: a large record
// whose write failed (ErrFailed) may turn up when the log is opened again.
func (l *Log) Append(epoch uint64, count uint32, time int64, payload []byte) (first uint64, err error) {
	return l.append(header{epoch: epoch, count: count, time: time}, payload)
}

// AppendAt adds a record of another log. Its sequence number must be the next;
// otherwise the error wraps ErrNotNext.
func (l *Log) AppendAt(r Record) error {
	if r.Seq == 0 {
		return fmt.Errorf("%w: sequence number 0", ErrNotNext)
	}
	_, err := l.append(header{epoch: r.Epoch, seq: r.Seq, count: r.Count, time: r.Time}, r.Payload)
	return err
}

// append adds a record; h.seq is what its sequence number must be, or 0.
func (l *Log) append(h header, payload []byte) (seq uint64, err error) {
	if h.count == 0 || int64(len(payload)) > MaxPayload {
		return 0, fmt.Errorf("a record has 1 or more operations and at most %d bytes, not %d and %d",
			uint32(MaxPayload), h.count, len(payload))
	}
	h.length = uint32(len(payload))
	h.dataSum = crc32.Checksum(payload, castagnoli)
	size := headerSize + len(payload)

	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.makeRoomLocked(size); err != nil {
		return 0, err
	}
	if len(payload) > l.direct {
		return l.appendDirectLocked(h, payload)
	}
	if err := l.numberLocked(&h); err != nil {
		return 0, err
	}
	fill := &l.mu.fill
	fill.addHeader(h)
	fill.b = append(fill.b, payload...)
	fill.records++
	fill.last = h.seq + uint64(h.count) - 1
	l.appended.Add(1)
	l.last.Store(fill.last)
	if fill.records == 1 {
		wake(l.wakeWriter)
	}
	if len(fill.b) > l.o.MaxBuffered/2 {
		wake(l.hurry)
	}
	return h.seq, nil
}

// numberLocked completes a header with what depends on the place in the log.
func (l *Log) numberLocked(h *header) error {
	next := l.last.Load() + 1
	if h.seq != 0 && h.seq != next {
		return fmt.Errorf("%w: it has sequence number %d, the next is %d", ErrNotNext, h.seq, next)
	}
	h.seq = next
	h.synced = l.synced.Load()
	return nil
}

// makeRoomLocked returns when size bytes may be added to the buffer. It may drop mu.
func (l *Log) makeRoomLocked(size int) error {
	for {
		switch fill := &l.mu.fill; {
		case l.mu.err != nil:
			return l.mu.err
		case l.mu.exclusive:
			l.takeLocked()
			l.mu.Unlock()
			l.finish()
			l.mu.Lock()
		case l.mu.full != nil, fill.records > 0 && len(fill.b)+size > l.o.MaxBuffered && size <= headerSize+l.direct:
			if err := l.flushLocked(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// flushLocked hands the buffer to the file. It drops mu.
func (l *Log) flushLocked() error {
	l.takeLocked()
	l.mu.Unlock()
	err := l.writeOut()
	l.finish()
	wake(l.wakeKeeper)
	l.mu.Lock()
	return err
}

// appendDirectLocked writes a large payload without copying it. Nothing else can be
// appended meanwhile, so that after an error the record can be taken back. It drops mu.
func (l *Log) appendDirectLocked(h header, payload []byte) (seq uint64, err error) {
	l.beginExclusiveLocked()
	l.mu.Unlock()
	if err = l.writeOut(); err == nil {
		seq, err = l.writeDirect(h, payload)
	}
	l.endExclusive()
	l.mu.Lock()
	return seq, err
}

// writeDirect writes a record while the buffer is empty, apart from a segment
// header. The caller holds the token, exclusively.
func (l *Log) writeDirect(h header, payload []byte) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.numberLocked(&h); err != nil {
		return 0, err
	}
	fill := &l.mu.fill
	before := len(fill.b)
	fill.b = h.appendTo(fill.b, fill.seg.ident)
	l.mu.Unlock()
	err := l.write(fill.seg, fill.b, fill.off)
	if err == nil {
		err = l.write(fill.seg, payload, fill.end())
	}
	l.mu.Lock()
	if err != nil {
		fill.b = fill.b[:before]
		return 0, l.failLocked(err)
	}
	last := h.seq + uint64(h.count) - 1
	l.appended.Add(1)
	l.taken++
	l.last.Store(last)
	seg, end := fill.seg, fill.end()+int64(len(payload))
	fill.off, fill.b = end, fill.b[:0]
	if end >= l.o.SegmentSize {
		l.rotateLocked(last + 1)
	}
	l.wroteLocked(seg, end, last, headerSize+len(payload))
	return h.seq, nil
}
