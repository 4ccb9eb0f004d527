package vfs

import (
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
)

// Crash is a file system in memory that knows what a disk would still have
// after losing power.
//
// Beside the live state, which is what the running program sees, it keeps for
// each file the content as of its last Sync and the operations since, and
// for each directory the names as of its last SyncDir and the operations
// since. Crash builds another file system from that: what was synced is
// there; of what was not, each operation was done, or not, or (a write) in part,
// in units of sectors. It is sometimes harsher than real file systems, never kinder,
// with one exception: making and renaming directories is durable at once.
type Crash struct {
	live *Mem

	mu struct {
		sync.Mutex
		rnd     *rand.Rand
		crashed bool
		files   map[*inode]*fileHistory
		dirs    map[string]*dirHistory
	}
}

// SectorSize is the unit of which a disk writes all or nothing, in bytes.
const SectorSize = 512

// ErrCrashed is returned by all operations on a file system whose Crash was called.
var ErrCrashed = errors.New("the simulated machine lost power")

// fileHistory is what the disk surely has of a file, and what it may have.
type fileHistory struct {
	durable *inode
	pending []fileOp
}

// fileOp is a write (data != nil), a truncation or an extension.
type fileOp struct {
	data   []byte
	off    int64
	size   int64
	extend bool
}

// dirHistory is the same for the names in a directory.
type dirHistory struct {
	durable map[string]*inode
	pending []dirOp
}

// dirOp gives a name to a file, takes one away, or both at once.
type dirOp struct {
	set    string
	ino    *inode
	remove string
}

// NewCrash returns an empty file system. The seed decides what a crash leaves.
func NewCrash(seed uint64) *Crash { return newCrash(rand.New(rand.NewPCG(seed, 0)), NewMem()) }

// newCrash takes the whole state of live as durable.
func newCrash(rnd *rand.Rand, live *Mem) *Crash {
	c := &Crash{live: live}
	c.mu.rnd = rnd
	c.mu.files = map[*inode]*fileHistory{}
	c.mu.dirs = map[string]*dirHistory{}
	for dir, entries := range live.mu.dirs {
		for name, ino := range entries {
			c.dirLocked(dir).durable[name] = ino
			c.mu.files[ino] = &fileHistory{durable: ino.clone()}
		}
	}
	return c
}

// Crash loses power: every later operation on c and its files fails with ErrCrashed. It
// returns the file system as it is found when the power comes back.
func (c *Crash) Crash() *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.crashed = true
	found, copies := NewMem(), map[*inode]*inode{}
	for dir := range c.live.mu.dirs {
		found.mu.dirs[dir] = map[string]*inode{}
	}
	for dir, h := range c.mu.dirs {
		if found.mu.dirs[dir] == nil {
			continue // removed or renamed, which is durable at once
		}
		for name, ino := range h.afterCrash(c.mu.rnd) {
			if copies[ino] == nil {
				copies[ino] = c.mu.files[ino].afterCrash(c.mu.rnd)
			}
			found.mu.dirs[dir][name] = copies[ino]
		}
	}
	return newCrash(c.mu.rnd, found)
}

// fate returns which of n pending operations reach the disk. All styles of
// loss are likely, so that a few crashes see each: nothing, everything, a
// prefix (what a journal does), and any subset.
func fate(rnd *rand.Rand, n int) func(i int) bool {
	switch style, cut := rnd.IntN(4), rnd.IntN(n+1); style {
	case 0:
		return func(int) bool { return false }
	case 1:
		return func(int) bool { return true }
	case 2:
		return func(i int) bool { return i < cut }
	default:
		return func(int) bool { return rnd.IntN(2) == 0 }
	}
}

func (h *dirHistory) afterCrash(rnd *rand.Rand) map[string]*inode {
	names := make(map[string]*inode, len(h.durable))
	for name, ino := range h.durable {
		names[name] = ino
	}
	kept := fate(rnd, len(h.pending))
	for i, op := range h.pending {
		if kept(i) {
			op.apply(names)
		}
	}
	return names
}

func (op dirOp) apply(names map[string]*inode) {
	if op.remove != "" {
		delete(names, op.remove)
	}
	if op.set != "" {
		names[op.set] = op.ino
	}
}

func (h *fileHistory) afterCrash(rnd *rand.Rand) *inode {
	ino := h.durable.clone()
	kept := fate(rnd, len(h.pending))
	for i, op := range h.pending {
		switch {
		case kept(i):
			op.apply(ino)
		case rnd.IntN(4) == 0:
			op.applyTorn(rnd, ino)
		}
	}
	return ino
}

func (op fileOp) apply(ino *inode) {
	switch {
	case op.data != nil:
		ino.writeAt(op.data, op.off)
	case op.extend:
		ino.extend(op.size)
	default:
		ino.truncate(op.size)
	}
}

// applyTorn does some sectors of a write. The size may have reached the disk
// without the data.
func (op fileOp) applyTorn(rnd *rand.Rand, ino *inode) {
	if op.data == nil {
		return
	}
	kept := fate(rnd, len(op.data)/SectorSize+2)
	end := op.off + int64(len(op.data))
	for i, off := 0, op.off; off < end; i++ {
		next := min(end, off-off%SectorSize+SectorSize)
		if kept(i) {
			ino.writeAt(op.data[off-op.off:next-op.off], off)
		}
		off = next
	}
	if rnd.IntN(2) == 0 {
		ino.extend(end)
	}
}

// dirLocked returns the history of a directory.
func (c *Crash) dirLocked(dir string) *dirHistory {
	dir = filepath.Clean(dir)
	h := c.mu.dirs[dir]
	if h == nil {
		h = &dirHistory{durable: map[string]*inode{}}
		c.mu.dirs[dir] = h
	}
	return h
}

// recordLocked adds a change of names to the directory of name.
func (c *Crash) recordLocked(dir string, op dirOp) {
	h := c.dirLocked(dir)
	h.pending = append(h.pending, op)
}

// live operations run under the one mutex, so that history and live state agree.
func (c *Crash) lock() error {
	c.mu.Lock()
	if c.mu.crashed {
		c.mu.Unlock()
		return ErrCrashed
	}
	return nil
}

func (c *Crash) Create(name string) (File, error) {
	if err := c.lock(); err != nil {
		return nil, pathError("open", name, err)
	}
	defer c.mu.Unlock()
	f, err := c.live.Create(name)
	if err != nil {
		return nil, err
	}
	ino := f.(*memFile).ino
	if h := c.mu.files[ino]; h != nil {
		h.pending = append(h.pending, fileOp{size: 0})
	} else {
		c.mu.files[ino] = &fileHistory{durable: &inode{}}
		dir, base := split(name)
		c.recordLocked(dir, dirOp{set: base, ino: ino})
	}
	return &crashFile{f.(*memFile), c}, nil
}

func (c *Crash) OpenReadWrite(name string) (File, error) { return c.open(name, c.live.OpenReadWrite) }
func (c *Crash) Open(name string) (File, error)          { return c.open(name, c.live.Open) }

func (c *Crash) open(name string, open func(string) (File, error)) (File, error) {
	if err := c.lock(); err != nil {
		return nil, pathError("open", name, err)
	}
	defer c.mu.Unlock()
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return &crashFile{f.(*memFile), c}, nil
}

func (c *Crash) Remove(name string) error {
	if err := c.lock(); err != nil {
		return pathError("remove", name, err)
	}
	defer c.mu.Unlock()
	if err := c.live.Remove(name); err != nil {
		return err
	}
	dir, base := split(name)
	c.recordLocked(dir, dirOp{remove: base})
	return nil
}

func (c *Crash) Rename(oldName, newName string) error {
	if err := c.lock(); err != nil {
		return linkError("rename", oldName, newName, err)
	}
	defer c.mu.Unlock()
	ino, lookupErr := c.live.lookup(oldName)
	if err := c.live.Rename(oldName, newName); err != nil {
		return err
	}
	if lookupErr != nil {
		c.renameDirLocked(filepath.Clean(oldName), filepath.Clean(newName))
		return nil
	}
	if still, _ := c.live.lookup(oldName); still == ino {
		return nil
	}
	c.recordRenameLocked(oldName, newName, ino)
	return nil
}

// recordRenameLocked notes one operation, all or nothing, when both names are
// in one directory. Between directories it is two; the new name comes
// first, but a crash may still lose the file, which is why nobody should do that.
func (c *Crash) recordRenameLocked(oldName, newName string, ino *inode) {
	oldDir, oldBase := split(oldName)
	newDir, newBase := split(newName)
	if oldDir == newDir {
		c.recordLocked(newDir, dirOp{set: newBase, ino: ino, remove: oldBase})
		return
	}
	c.recordLocked(newDir, dirOp{set: newBase, ino: ino})
	c.recordLocked(oldDir, dirOp{remove: oldBase})
}

func (c *Crash) renameDirLocked(oldName, newName string) {
	for dir, h := range c.mu.dirs {
		if rest, ok := under(dir, oldName); ok {
			delete(c.mu.dirs, dir)
			c.mu.dirs[newName+rest] = h
		}
	}
}

func (c *Crash) Link(oldName, newName string) error {
	if err := c.lock(); err != nil {
		return linkError("link", oldName, newName, err)
	}
	defer c.mu.Unlock()
	if err := c.live.Link(oldName, newName); err != nil {
		return err
	}
	ino, err := c.live.lookup(newName)
	dir, base := split(newName)
	c.recordLocked(dir, dirOp{set: base, ino: ino})
	return err
}

func (c *Crash) MkdirAll(dir string) error {
	if err := c.lock(); err != nil {
		return pathError("mkdir", dir, err)
	}
	defer c.mu.Unlock()
	return c.live.MkdirAll(dir)
}

func (c *Crash) List(dir string) ([]string, error) {
	if err := c.lock(); err != nil {
		return nil, pathError("open", dir, err)
	}
	defer c.mu.Unlock()
	return c.live.List(dir)
}

func (c *Crash) Stat(name string) (Info, error) {
	if err := c.lock(); err != nil {
		return Info{}, pathError("stat", name, err)
	}
	defer c.mu.Unlock()
	return c.live.Stat(name)
}

func (c *Crash) SyncDir(dir string) error {
	if err := c.lock(); err != nil {
		return pathError("sync", dir, err)
	}
	defer c.mu.Unlock()
	if err := c.live.SyncDir(dir); err != nil {
		return err
	}
	h := c.dirLocked(dir)
	for _, op := range h.pending {
		op.apply(h.durable)
	}
	h.pending = nil
	return nil
}

// Lock creates the file durably if it is missing: its content and name matter
// to nobody. The locks of c end with its Crash.
func (c *Crash) Lock(name string) (io.Closer, error) {
	if err := c.lock(); err != nil {
		return nil, pathError("lock", name, err)
	}
	defer c.mu.Unlock()
	l, err := c.live.Lock(name)
	if err != nil {
		return nil, err
	}
	ino, err := c.live.lookup(name)
	if err == nil && c.mu.files[ino] == nil {
		dir, base := split(name)
		c.mu.files[ino] = &fileHistory{durable: &inode{}}
		c.dirLocked(dir).durable[base] = ino
	}
	return l, err
}

func (c *Crash) DiskUsage(dir string) (total, free uint64, err error) {
	return c.live.DiskUsage(dir)
}

// crashFile records what happens to a file of the live file system.
type crashFile struct {
	*memFile
	c *Crash
}

// change runs a change of the live file and notes what it was.
func (f *crashFile) change(run func() error, op func() fileOp) error {
	if err := f.c.lock(); err != nil {
		return pathError("write", f.name, err)
	}
	defer f.c.mu.Unlock()
	if err := run(); err != nil {
		return err
	}
	h := f.c.mu.files[f.ino]
	h.pending = append(h.pending, op())
	return nil
}

func (f *crashFile) Write(p []byte) (n int, err error) {
	err = f.change(
		func() (err error) { n, err = f.memFile.Write(p); return err },
		func() fileOp { return writeOp(p, f.mu.pos-int64(n)) })
	return n, err
}

func (f *crashFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.change(
		func() (err error) { n, err = f.memFile.WriteAt(p, off); return err },
		func() fileOp { return writeOp(p, off) })
	return n, err
}

func writeOp(p []byte, off int64) fileOp {
	return fileOp{data: append([]byte{}, p...), off: off}
}

func (f *crashFile) Truncate(size int64) error {
	return f.change(
		func() error { return f.memFile.Truncate(size) },
		func() fileOp { return fileOp{size: size} })
}

func (f *crashFile) Preallocate(off, n int64) error {
	return f.change(
		func() error { return f.memFile.Preallocate(off, n) },
		func() fileOp { return fileOp{size: off + n, extend: true} })
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.c.lock(); err != nil {
		return 0, pathError("read", f.name, err)
	}
	defer f.c.mu.Unlock()
	return f.memFile.ReadAt(p, off)
}

func (f *crashFile) Sync() error {
	if err := f.c.lock(); err != nil {
		return pathError("sync", f.name, err)
	}
	defer f.c.mu.Unlock()
	if err := f.memFile.Sync(); err != nil {
		return err
	}
	h := f.c.mu.files[f.ino]
	for _, op := range h.pending {
		op.apply(h.durable)
	}
	h.pending = nil
	return nil
}
