package wal

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/vfs"
)

// recovered is a log as Open found it, cleaned up.
type recovered struct {
	segments []*segment
	last     uint64 // sequence number
	nextID   uint64
}

// tail is where the records of a log end.
type tail struct {
	index int    // of the segment; -1: before all of them
	off   int64  // in it
	next  uint64 // sequence number
}

// recoverLog replays a log and removes what a crash left behind its end.
func recoverLog(fs vfs.FS, dir string, after uint64, replay func(Record) error) (recovered, error) {
	all, err := findSegments(fs, dir)
	if err != nil {
		return recovered{}, err
	}
	result := recovered{last: after, nextID: 1}
	var used []found
	for _, f := range all {
		result.nextID = f.id + 1
		if f.segment != nil {
			used = append(used, f)
		}
	}
	start := findStart(used, after)
	end, err := scanFrom(fs, used, start, after, func(r Record) error {
		if r.Last() <= after {
			return nil
		}
		return replay(r)
	})
	if err != nil {
		return recovered{}, err
	}
	first, err := findFirst(fs, used, start)
	if err != nil {
		return recovered{}, err
	}
	return result, result.cleanUp(fs, dir, all, used[first:end.index+1], end)
}

// findStart returns the index of the segment that has the record behind after, or
// would have it; -1 if there is none.
func findStart(used []found, after uint64) int {
	for i := len(used) - 1; i >= 0; i-- {
		if used[i].first <= after+1 {
			return i
		}
	}
	return -1
}

// findFirst returns the index of the oldest segment from which records follow
// each other without a gap to segment start. There may be a gap if the caller needs
// nothing before start: power was lost before those records were synced, but what comes behind was
// on disk already. Where a header says that all before it was synced, no look is needed.
func findFirst(fs vfs.FS, used []found, start int) (int, error) {
	for i := start; i > 0; i-- {
		if used[i].synced+1 >= used[i].first {
			return 0, nil
		}
		before := tail{next: used[i-1].first}
		err := before.scanSegment(fs, used[i-1], func(Record) error { return nil })
		if err != nil || before.next != used[i].first {
			return i, err
		}
	}
	return 0, nil
}

// scanFrom visits the records from segment start on and returns where they
// end. It is an error if they end at a place that was durable once. Without a
// start the record behind after is where they end.
func scanFrom(fs vfs.FS, used []found, start int, after uint64, visit func(Record) error) (tail, error) {
	at := tail{index: start, next: after + 1}
	if start >= 0 {
		at.next = used[start].first
	}
	for start >= 0 {
		if err := at.scanSegment(fs, used[at.index], visit); err != nil {
			return at, err
		}
		if at.index+1 == len(used) || used[at.index+1].first != at.next {
			break
		}
		at.index++
	}
	damaged, err := at.damaged(fs, used)
	if err == nil && damaged {
		err = base.Corrupt(used[max(at.index, 0)].path, at.off, "sequence number %d expected, there is no valid record of it, but later ones show that it was durable", at.next)
	}
	return at, err
}

// scanSegment visits the records of one segment.
func (t *tail) scanSegment(fs vfs.FS, s found, visit func(Record) error) (err error) {
	f, err := fs.Open(s.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	scan := scanner{f: f, id: s.ident, off: segmentHeaderSize, limit: s.size}
	for {
		r, ok, err := scan.next(t.next)
		t.off = scan.off
		if !ok || err != nil {
			return err
		}
		if err := visit(r); err != nil {
			return err
		}
		t.next = r.Last() + 1
	}
}

// damaged tells whether something behind the tail says that the record that is
// missing there was durable once. Otherwise a crash cut it off.
func (t tail) damaged(fs vfs.FS, used []found) (bool, error) {
	for i := max(t.index, 0); i < len(used); i++ {
		off := int64(segmentHeaderSize) - 1
		if i == t.index {
			off = t.off
		} else if used[i].synced >= t.next {
			return true, nil
		}
		if found, err := searchEvidence(fs, used[i], off, t.next); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

func searchEvidence(fs vfs.FS, s found, off int64, seq uint64) (found bool, err error) {
	f, err := fs.Open(s.path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	scan := scanner{f: f, id: s.ident, off: off, limit: s.size}
	return scan.evidence(seq)
}

// evidence searches everything behind s.off, byte by byte, for headers that
// say that sequence number seq was durable once.
func (s *scanner) evidence(seq uint64) (found bool, err error) {
	for off := s.off + 1; off+headerSize <= s.limit; {
		b, err := s.peek(off, int(min(windowSize, s.limit-off)))
		if err != nil {
			return false, err
		}
		for i := 0; i < len(b)-headerSize+1; i++ {
			if i += zeroHeaders(b[i:]); i >= len(b)-headerSize+1 {
				break
			}
			// Cheap tests first: nearly all offsets end here.
			synced := binary.LittleEndian.Uint64(b[i+24:])
			if synced < seq || binary.LittleEndian.Uint64(b[i+16:]) <= synced {
				continue
			}
			if _, ok := decodeHeader(b[i:i+headerSize], s.id); ok {
				return true, nil
			}
		}
		off += int64(len(b) - headerSize + 1)
	}
	return false, nil
}

// zeroStretch is how many zeros are recognised at once: most of a segment that was not filled consists of them.
const zeroStretch = 4 << 10

// zeroHeaders returns at how many offsets, from the beginning of b on, there is no header because there are only zeros.
func zeroHeaders(b []byte) (n int) {
	for len(b)-n >= zeroStretch && b[n] == 0 && bytes.Equal(b[n:n+zeroStretch], zeros[:zeroStretch]) {
		n += zeroStretch - headerSize + 1
	}
	return n
}

// cleanUp makes what was replayed durable, cuts what comes behind, and removes
// files that hold nothing. If it is interrupted, it finds the same end again.
func (r *recovered) cleanUp(fs vfs.FS, dir string, all, keep []found, end tail) error {
	if end.next <= r.last {
		keep = nil // the caller has more than the log: it begins anew
	}
	for i := len(all) - 1; i >= 0; i-- {
		if !r.keeps(keep, all[i].id, end) {
			if err := fs.Remove(all[i].path); err != nil {
				return err
			}
		}
	}
	for i, s := range r.segments {
		size := s.end
		if i == len(r.segments)-1 && keep[len(keep)-1].segment == s {
			size = end.off
			s.end = size
		}
		if err := shorten(fs, s.path, size); err != nil {
			return err
		}
	}
	if len(keep) > 0 {
		r.last = end.next - 1
	}
	return fs.SyncDir(dir)
}

// keeps adds the segment with this id to the log if it has a place there.
func (r *recovered) keeps(keep []found, id uint64, end tail) bool {
	for i, f := range keep {
		if f.id == id {
			next := end.next
			if i+1 < len(keep) {
				next = keep[i+1].first
			}
			if next == f.first {
				return false // it has no records
			}
			r.segments = append([]*segment{f.segment}, r.segments...)
			return true
		}
	}
	return false
}
