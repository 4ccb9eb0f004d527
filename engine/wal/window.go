package wal

import (
	"os"

	"github.com/gtinside/corecache/engine/vfs"
)

// A log that is AckWritten hands each group to the operating system before it acknowledges it. For a
// small group the system call takes longer than all the rest, so the place in the file where the log is
// being written to is mapped: a copy into the mapping survives the death of the process just as well.
//
// Rejected: mapping whole segments, whose pages would count as memory of the process; large
// groups, for which one call costs less than a fault per page; and AckSynced, which needs
// a system call anyway.
const (
	mappedSize = 1 << 20
	maxMapped  = 8 << 10 // bytes of a group
)

// window is what is mapped. It belongs to the holder of the token.
type window struct {
	seg     *segment
	mapping *vfs.Mapping
	never   bool // the file system does not do it
}

// writeMapped writes a group through the window. It reports false if that is not the way to write it.
func (l *Log) writeMapped(seg *segment, b []byte, off int64) (written bool, err error) {
	w := &l.window
	if len(b) > maxMapped || w.never || Ack(l.ack.Load()) != AckWritten {
		return false, nil
	}
	if w.seg != seg || !w.mapping.Covers(off, len(b)) {
		if moved, err := l.moveWindow(seg, off); !moved || err != nil {
			return false, err
		}
		if !w.mapping.Covers(off, len(b)) {
			return false, nil // the end of the segment
		}
	}
	_, err = w.mapping.WriteAt(b, off)
	return true, err
}

// moveWindow maps what follows an offset of a segment.
func (l *Log) moveWindow(seg *segment, off int64) (moved bool, err error) {
	if err := l.closeWindow(); err != nil {
		return false, err
	}
	off -= off % int64(os.Getpagesize())
	n := min(mappedSize, l.o.SegmentSize-off)
	if n <= 0 {
		return false, nil
	}
	m, err := vfs.Map(seg.file, off, n)
	if err != nil {
		l.window.never = true // there is the other way
		return false, nil
	}
	l.window.seg, l.window.mapping = seg, m
	return true, nil
}

// closeWindow is called with the token held, before the segment is shortened.
func (l *Log) closeWindow() error {
	m := l.window.mapping
	l.window.seg, l.window.mapping = nil, nil
	return m.Close()
}
