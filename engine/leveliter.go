package engine

import (
	"bytes"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/sstable"
)

// levelIter walks a sorted run of tables and has one of them open at a time.
// It implements base.Iterator.
type levelIter struct {
	tables *tables
	level  *level
	opts   sstable.IterOptions
	i      int           // the table that is open
	it     base.Iterator // nil: none is open
	err    error
	onOpen func(f *fileMeta) // compactions learn where they are; may be nil
}

var _ base.Iterator = (*levelIter)(nil)

func (l *levelIter) newest() uint64 { return l.level.files[l.i].largestSeq }

// open opens table i, unless it stands outside the bounds.
func (l *levelIter) open(i int) bool {
	if l.it != nil && l.i == i {
		return true
	}
	l.closeTable()
	if i < 0 || i >= len(l.level.files) || l.err != nil {
		return false
	}
	f := l.level.files[i]
	if l.opts.Upper != nil && bytes.Compare(f.smallest, l.opts.Upper) >= 0 ||
		l.opts.Lower != nil && bytes.Compare(f.largest, l.opts.Lower) < 0 {
		return false
	}
	r, err := l.tables.reader(f)
	if err != nil {
		l.err = err
		return false
	}
	l.i, l.it = i, r.NewIter(l.opts)
	if l.onOpen != nil {
		l.onOpen(f)
	}
	return true
}

func (l *levelIter) closeTable() {
	if l.it != nil {
		if err := l.it.Close(); err != nil && l.err == nil {
			l.err = err
		}
		l.it = nil
	}
}

// failed takes over the error of the open table.
func (l *levelIter) failed() bool {
	if err := l.it.Error(); err != nil {
		l.err = err
	}
	return l.err != nil
}

// forward stands on the first record from table i on.
func (l *levelIter) forward(i int) bool {
	for ; l.open(i); i++ {
		if l.it.First() {
			return true
		}
		if l.failed() {
			return false
		}
	}
	return false
}

// backward stands on the last record up to table i.
func (l *levelIter) backward(i int) bool {
	for ; l.open(i); i-- {
		if l.it.Last() {
			return true
		}
		if l.failed() {
			return false
		}
	}
	return false
}

func (l *levelIter) First() bool {
	i := 0
	if l.opts.Lower != nil {
		i = l.level.seek(l.opts.Lower)
	}
	return l.forward(i)
}

func (l *levelIter) Last() bool {
	i := len(l.level.files) - 1
	if l.opts.Upper != nil {
		i = min(i, l.level.seek(l.opts.Upper))
		if i >= 0 && bytes.Compare(l.level.files[i].smallest, l.opts.Upper) >= 0 {
			i--
		}
	}
	return l.backward(i)
}

func (l *levelIter) SeekGE(key []byte, tr base.Trailer) bool {
	i := l.level.seek(key)
	if !l.open(i) {
		return false
	}
	if l.it.SeekGE(key, tr) {
		return true
	}
	return !l.failed() && l.forward(i+1)
}

func (l *levelIter) SeekLT(key []byte, tr base.Trailer) bool {
	i := l.level.seek(key)
	if i == len(l.level.files) || bytes.Compare(l.level.files[i].smallest, key) > 0 {
		i--
	}
	for ; i >= 0; i-- {
		if u := l.opts.Upper; u != nil && bytes.Compare(l.level.files[i].smallest, u) >= 0 {
			continue
		}
		if !l.open(i) {
			return false
		}
		if l.it.SeekLT(key, tr) {
			return true
		}
		if l.failed() {
			return false
		}
	}
	return false
}

// skipTo goes to the first record >= key of the present table or, if there is
// none, to the next table; in reverse to the last record < key or the table
// before.
func (l *levelIter) skipTo(key []byte, reverse bool) bool {
	f := l.level.files[l.i]
	switch {
	case reverse && bytes.Compare(f.smallest, key) >= 0:
		return l.backward(l.i - 1)
	case reverse:
		return l.it.SeekLT(key, maxTrailer) || !l.failed() && l.backward(l.i-1)
	case bytes.Compare(f.largest, key) < 0:
		return l.forward(l.i + 1)
	}
	return l.it.SeekGE(key, maxTrailer) || !l.failed() && l.forward(l.i+1)
}

func (l *levelIter) Next() bool {
	if l.it == nil {
		return false
	}
	if l.it.Next() {
		return true
	}
	return !l.failed() && l.forward(l.i+1)
}

func (l *levelIter) Prev() bool {
	if l.it == nil {
		return false
	}
	if l.it.Prev() {
		return true
	}
	return !l.failed() && l.backward(l.i-1)
}

func (l *levelIter) Valid() bool           { return l.it != nil && l.it.Valid() }
func (l *levelIter) Key() []byte           { return l.it.Key() }
func (l *levelIter) Trailer() base.Trailer { return l.it.Trailer() }
func (l *levelIter) Value() []byte         { return l.it.Value() }
func (l *levelIter) Error() error          { return l.err }

func (l *levelIter) Close() error {
	l.closeTable()
	err := l.err
	l.level, l.err = nil, nil
	return err
}
