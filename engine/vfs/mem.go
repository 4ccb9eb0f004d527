package vfs

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory. Everything is durable at once, as long as
// the process lives.
type Mem struct {
	mu struct {
		sync.RWMutex
		// dirs holds all directories by their cleaned path; subdirectories are
		// found by their prefix.
		dirs  map[string]map[string]*inode
		locks map[string]bool
	}
}

// NewMem returns an empty file system with the directories "/" and ".".
func NewMem() *Mem {
	m := &Mem{}
	m.mu.dirs = map[string]map[string]*inode{"/": {}, ".": {}}
	m.mu.locks = map[string]bool{}
	return m
}

// Clone returns a copy that shares nothing with m.
func (m *Mem) Clone() *Mem {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c, copies := NewMem(), map[*inode]*inode{}
	for dir, entries := range m.mu.dirs {
		c.mu.dirs[dir] = make(map[string]*inode, len(entries))
		for name, ino := range entries {
			if copies[ino] == nil {
				copies[ino] = ino.clone()
			}
			c.mu.dirs[dir][name] = copies[ino]
		}
	}
	return c
}

// split returns the directory of a path and the last name in it.
func split(name string) (dir, base string) {
	name = filepath.Clean(name)
	return filepath.Dir(name), filepath.Base(name)
}

// entriesLocked returns the directory that holds name.
func (m *Mem) entriesLocked(name string) (entries map[string]*inode, base string, err error) {
	dir, base := split(name)
	entries, ok := m.mu.dirs[dir]
	if !ok {
		return nil, "", fs.ErrNotExist
	}
	return entries, base, nil
}

func (m *Mem) isDirLocked(name string) bool {
	_, ok := m.mu.dirs[filepath.Clean(name)]
	return ok
}

func (m *Mem) lookupLocked(name string) (*inode, error) {
	entries, base, err := m.entriesLocked(name)
	if err != nil {
		return nil, err
	}
	if ino := entries[base]; ino != nil {
		return ino, nil
	}
	if m.isDirLocked(name) {
		return nil, syscall.EISDIR
	}
	return nil, fs.ErrNotExist
}

func (m *Mem) lookup(name string) (*inode, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.lookupLocked(name)
}

func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries, base, err := m.entriesLocked(name)
	if err == nil && m.isDirLocked(name) {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if entries[base] == nil {
		entries[base] = &inode{modTime: time.Now()}
	} else {
		entries[base].truncate(0)
	}
	return &memFile{name: name, ino: entries[base], writable: true}, nil
}

func (m *Mem) OpenReadWrite(name string) (File, error) { return m.open(name, true) }
func (m *Mem) Open(name string) (File, error)          { return m.open(name, false) }

func (m *Mem) open(name string, writable bool) (File, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ino, err := m.lookupLocked(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &memFile{name: name, ino: ino, writable: writable}, nil
}

func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isDirLocked(name) {
		return m.removeDirLocked(name)
	}
	entries, base, err := m.entriesLocked(name)
	if err == nil && entries[base] == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return pathError("remove", name, err)
	}
	delete(entries, base)
	return nil
}

func (m *Mem) removeDirLocked(name string) error {
	if len(m.listLocked(name)) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	delete(m.mu.dirs, filepath.Clean(name))
	return nil
}

func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	if m.isDirLocked(oldName) {
		err = m.renameDirLocked(filepath.Clean(oldName), filepath.Clean(newName))
	} else {
		err = m.renameFileLocked(oldName, newName)
	}
	if err != nil {
		return linkError("rename", oldName, newName, err)
	}
	return nil
}

func (m *Mem) renameFileLocked(oldName, newName string) error {
	ino, err := m.lookupLocked(oldName)
	if err != nil {
		return err
	}
	to, newBase, err := m.entriesLocked(newName)
	if err != nil {
		return err
	}
	if m.isDirLocked(newName) {
		return syscall.EISDIR
	}
	from, oldBase, _ := m.entriesLocked(oldName)
	if to[newBase] == ino {
		return nil // as POSIX has it: two names of one file both stay
	}
	delete(from, oldBase)
	to[newBase] = ino
	return nil
}

func (m *Mem) renameDirLocked(oldName, newName string) error {
	if _, _, err := m.entriesLocked(newName); err != nil {
		return err
	}
	if m.isDirLocked(newName) {
		return fs.ErrExist
	}
	for dir, entries := range m.mu.dirs {
		if rest, ok := under(dir, oldName); ok {
			delete(m.mu.dirs, dir)
			m.mu.dirs[newName+rest] = entries
		}
	}
	return nil
}

// under tells whether dir is top or below it, and what follows top in it.
func under(dir, top string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(dir, top)
	return rest, ok && (rest == "" || rest[0] == filepath.Separator)
}

func (m *Mem) Link(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ino, err := m.lookupLocked(oldName)
	if err != nil {
		return linkError("link", oldName, newName, err)
	}
	to, base, err := m.entriesLocked(newName)
	if err == nil && (to[base] != nil || m.isDirLocked(newName)) {
		err = fs.ErrExist
	}
	if err != nil {
		return linkError("link", oldName, newName, err)
	}
	to[base] = ino
	return nil
}

func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for dir = filepath.Clean(dir); !m.isDirLocked(dir); dir = filepath.Dir(dir) {
		if entries, base, err := m.entriesLocked(dir); err == nil && entries[base] != nil {
			return pathError("mkdir", dir, syscall.ENOTDIR)
		}
		m.mu.dirs[dir] = map[string]*inode{}
	}
	return nil
}

func (m *Mem) List(dir string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.isDirLocked(dir) {
		return nil, pathError("open", dir, fs.ErrNotExist)
	}
	return m.listLocked(dir), nil
}

func (m *Mem) listLocked(dir string) []string {
	dir = filepath.Clean(dir)
	names := make([]string, 0, len(m.mu.dirs[dir]))
	for name := range m.mu.dirs[dir] {
		names = append(names, name)
	}
	for sub := range m.mu.dirs {
		if sub != dir && filepath.Dir(sub) == dir {
			names = append(names, filepath.Base(sub))
		}
	}
	slices.Sort(names)
	return names
}

func (m *Mem) Stat(name string) (Info, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.isDirLocked(name) {
		return Info{Dir: true}, nil
	}
	ino, err := m.lookupLocked(name)
	if err != nil {
		return Info{}, pathError("stat", name, err)
	}
	ino.mu.RLock()
	defer ino.mu.RUnlock()
	return Info{Size: ino.size, ModTime: ino.modTime}, nil
}

func (m *Mem) SyncDir(dir string) error {
	_, err := m.List(dir)
	return err
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	if _, err := m.Stat(name); err != nil {
		f, err := m.Create(name)
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	if m.mu.locks[name] {
		return nil, pathError("lock", name, ErrLocked)
	}
	m.mu.locks[name] = true
	return &memLock{m: m, name: name}, nil
}

type memLock struct {
	m    *Mem
	name string
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.mu.locks, l.name)
	})
	return nil
}

// DiskUsage pretends to be a disk of 1 TiB that is half full.
func (m *Mem) DiskUsage(string) (total, free uint64, err error) { return 1 << 40, 1 << 39, nil }

// inode is the content of a file, whatever its names are.
type inode struct {
	mu sync.RWMutex
	// data may be shorter than size: what is missing are zeros, so that
	// preallocation costs nothing.
	data    []byte
	size    int64
	modTime time.Time
}

func (ino *inode) clone() *inode {
	ino.mu.RLock()
	defer ino.mu.RUnlock()
	return &inode{data: slices.Clone(ino.data), size: ino.size, modTime: ino.modTime}
}

func (ino *inode) writeAt(p []byte, off int64) {
	ino.mu.Lock()
	defer ino.mu.Unlock()
	end := int(off) + len(p)
	if end > len(ino.data) {
		ino.data = growTo(ino.data, end)
	}
	copy(ino.data[off:], p)
	ino.size = max(ino.size, int64(end))
}

// growTo extends b to n bytes with zeros.
func growTo(b []byte, n int) []byte {
	old := len(b)
	b = slices.Grow(b, n-old)[:n]
	clear(b[old:])
	return b
}

func (ino *inode) readAt(p []byte, off int64) (int, error) {
	ino.mu.RLock()
	defer ino.mu.RUnlock()
	if len(p) == 0 {
		return 0, nil
	}
	if off >= ino.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), ino.size-off))
	have := 0
	if off < int64(len(ino.data)) {
		have = copy(p[:n], ino.data[off:])
	}
	clear(p[have:n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (ino *inode) truncate(size int64) {
	ino.mu.Lock()
	defer ino.mu.Unlock()
	if size < int64(len(ino.data)) {
		ino.data = ino.data[:size]
	}
	ino.size = size
}

func (ino *inode) extend(size int64) {
	ino.mu.Lock()
	defer ino.mu.Unlock()
	ino.size = max(ino.size, size)
}

type memFile struct {
	name     string
	ino      *inode
	writable bool

	mu struct {
		sync.RWMutex
		closed bool
		pos    int64
	}
}

func (f *memFile) check(op string, write bool) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.mu.closed {
		return pathError(op, f.name, os.ErrClosed)
	}
	if write && !f.writable {
		return pathError(op, f.name, syscall.EBADF)
	}
	return nil
}

func (f *memFile) Write(p []byte) (int, error) {
	f.mu.RLock()
	pos := f.mu.pos
	f.mu.RUnlock()
	n, err := f.WriteAt(p, pos)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.pos = pos + int64(n)
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("write", f.name, syscall.EINVAL)
	}
	f.ino.writeAt(p, off)
	return len(p), nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, syscall.EINVAL)
	}
	return f.ino.readAt(p, off)
}

func (f *memFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.closed {
		return pathError("close", f.name, os.ErrClosed)
	}
	f.mu.closed = true
	return nil
}

func (f *memFile) Sync() error { return f.check("sync", false) }

func (f *memFile) Size() (int64, error) {
	if err := f.check("stat", false); err != nil {
		return 0, err
	}
	f.ino.mu.RLock()
	defer f.ino.mu.RUnlock()
	return f.ino.size, nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.check("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return pathError("truncate", f.name, syscall.EINVAL)
	}
	f.ino.truncate(size)
	return nil
}

func (f *memFile) Preallocate(off, n int64) error {
	if err := f.check("preallocate", true); err != nil {
		return err
	}
	if off < 0 || n <= 0 {
		return pathError("preallocate", f.name, syscall.EINVAL)
	}
	f.ino.extend(off + n)
	return nil
}

// WriteBack does nothing: content is where it stays.
func (f *memFile) WriteBack(off, n int64) {}

func (f *memFile) Name() string { return f.name }
