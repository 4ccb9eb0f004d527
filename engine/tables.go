package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/cache"
	"github.com/gtinside/corecache/engine/sstable"
	"github.com/gtinside/corecache/engine/vfs"
)

// tables opens tables and bounds the number of open descriptors. A table's
// reader stays once it was opened, as long as a version holds the table, so
// that reads which the cache answers cost nothing here; what is closed and
// opened again under the bound is only the descriptor.
type tables struct {
	fs    vfs.FS
	dir   string
	cache *cache.Cache
	max   int

	open   atomic.Int64 // descriptors
	closed atomic.Bool  // nothing is opened any more

	mu struct {
		sync.Mutex
		ring []*tableFile // those with a descriptor, in the order of a clock
		hand int
	}
}

func (t *tables) path(num uint64) string { return filepath.Join(t.dir, tableName(num)) }

// reader returns the reader of a table that the caller's version holds.
func (t *tables) reader(f *fileMeta) (*sstable.Reader, error) {
	if r := f.reader.Load(); r != nil {
		return r, nil
	}
	return t.openReader(f)
}

func (t *tables) openReader(f *fileMeta) (*sstable.Reader, error) {
	f.opening.Lock()
	defer f.opening.Unlock()
	if r := f.reader.Load(); r != nil {
		return r, nil
	}
	if t.closed.Load() {
		return nil, ErrClosed
	}
	file := &tableFile{tables: t, name: t.path(f.num), size: f.size}
	if got, err := file.Size(); errors.Is(err, fs.ErrNotExist) {
		return nil, base.Corrupt(file.name, 0, "the table is missing")
	} else if err != nil {
		return nil, err
	} else if got != f.size {
		return nil, errors.Join(base.Corrupt(file.name, got, "the table has %d bytes, the manifest says %d", got, f.size), file.Close())
	}
	r, err := sstable.Open(file, f.num, t.cache, sstable.ReaderOptions{})
	if err != nil {
		return nil, err
	}
	f.reader.Store(r)
	return r, nil
}

// close ends the use of a table; nobody reads it any more.
func (t *tables) close(f *fileMeta) error {
	f.opening.Lock()
	defer f.opening.Unlock()
	r := f.reader.Swap(nil)
	if r == nil {
		return nil
	}
	return r.Close()
}

// opened counts a new descriptor and closes others beyond the bound.
func (t *tables) opened(f *tableFile) error {
	t.open.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.ring = append(t.mu.ring, f)
	var err error
	for tries := 2 * len(t.mu.ring); len(t.mu.ring) > t.max && tries > 0; tries-- {
		t.mu.hand %= len(t.mu.ring)
		victim := t.mu.ring[t.mu.hand]
		if victim == f || victim.recent.Swap(false) || !victim.mu.TryLock() {
			t.mu.hand++
			continue
		}
		if victim.mu.users == 0 {
			err = errors.Join(err, victim.closeLocked())
			t.mu.ring[t.mu.hand] = t.mu.ring[len(t.mu.ring)-1]
			t.mu.ring = t.mu.ring[:len(t.mu.ring)-1]
		} else {
			t.mu.hand++
		}
		victim.mu.Unlock()
	}
	return err
}

func (t *tables) forget(f *tableFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, o := range t.mu.ring {
		if o == f {
			t.mu.ring[i] = t.mu.ring[len(t.mu.ring)-1]
			t.mu.ring = t.mu.ring[:len(t.mu.ring)-1]
			return
		}
	}
}

// tableFile is a table's file, opened for reading when it is read.
type tableFile struct {
	tables *tables
	name   string
	size   int64

	recent atomic.Bool

	mu struct {
		sync.Mutex
		file   vfs.File
		users  int
		closed bool
	}
}

var errReadOnlyFile = errors.New("table files are read only")

func (f *tableFile) acquire() (vfs.File, error) {
	f.recent.Store(true)
	f.mu.Lock()
	if f.mu.closed {
		f.mu.Unlock()
		return nil, ErrClosed
	}
	if f.mu.file != nil {
		f.mu.users++
		file := f.mu.file
		f.mu.Unlock()
		return file, nil
	}
	file, err := f.tables.fs.Open(f.name)
	if err != nil {
		f.mu.Unlock()
		return nil, err
	}
	f.mu.file = file
	f.mu.users++
	f.mu.Unlock()
	if err := f.tables.opened(f); err != nil {
		f.release()
		return nil, err
	}
	return file, nil
}

// release reports whether the file was closed meanwhile.
func (f *tableFile) release() (closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.users--
	return f.mu.closed
}

func (f *tableFile) closeLocked() error {
	if f.mu.file == nil {
		return nil
	}
	file := f.mu.file
	f.mu.file = nil
	f.tables.open.Add(-1)
	return file.Close()
}

func (f *tableFile) ReadAt(p []byte, off int64) (int, error) {
	file, err := f.acquire()
	if err != nil {
		return 0, err
	}
	n, err := file.ReadAt(p, off)
	if closed := f.release(); closed && err != nil {
		err = ErrClosed
	}
	return n, err
}

func (f *tableFile) Size() (int64, error) {
	file, err := f.acquire()
	if err != nil {
		return 0, err
	}
	defer f.release()
	return file.Size()
}

// Close ends the file for good. Who reads it now, or later, gets ErrClosed.
func (f *tableFile) Close() error {
	f.tables.forget(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.closed = true
	return f.closeLocked()
}

func (f *tableFile) Name() string                       { return f.name }
func (f *tableFile) Write([]byte) (int, error)          { return 0, f.refuse() }
func (f *tableFile) WriteAt([]byte, int64) (int, error) { return 0, f.refuse() }
func (f *tableFile) Sync() error                        { return f.refuse() }
func (f *tableFile) Truncate(int64) error               { return f.refuse() }
func (f *tableFile) Preallocate(int64, int64) error     { return f.refuse() }
func (f *tableFile) WriteBack(int64, int64)             {}
func (f *tableFile) refuse() error                      { return fmt.Errorf("%s: %w", f.name, errReadOnlyFile) }
