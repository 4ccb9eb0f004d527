package vfs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// OS is the file system of the machine.
var OS FS = osFS{}

type osFS struct{}

func (osFS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (osFS) OpenReadWrite(name string) (File, error) { return openOS(name, os.O_RDWR) }
func (osFS) Open(name string) (File, error)          { return openOS(name, os.O_RDONLY) }
func (osFS) Remove(name string) error                { return os.Remove(name) }
func (osFS) Rename(oldName, newName string) error    { return os.Rename(oldName, newName) }
func (osFS) Link(oldName, newName string) error      { return os.Link(oldName, newName) }

// MkdirAll also makes the names of new directories durable: what is synced
// in a directory is lost with its name.
func (o osFS) MkdirAll(dir string) error {
	parent := filepath.Dir(dir)
	if info, err := os.Stat(dir); parent == dir || err == nil && info.IsDir() {
		return err
	}
	if err := o.MkdirAll(parent); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return o.SyncDir(parent)
}

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (osFS) Stat(name string) (Info, error) {
	i, err := os.Stat(name)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: i.Size(), Dir: i.IsDir(), ModTime: i.ModTime()}, nil
}

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(pathError("lock", name, err), f.Close())
	}
	return f, nil
}

func (osFS) DiskUsage(dir string) (total, free uint64, err error) {
	total, free, err = statfs(dir)
	if err != nil {
		err = pathError("statfs", dir, err)
	}
	return total, free, err
}

// osFile keeps the descriptor beside the file: os.File.Fd would work, but its
// indirections are measurable beside a write of 100 bytes.
type osFile struct {
	*os.File
	fd int
}

func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o644)
	if err != nil {
		return nil, err
	}
	return &osFile{f, int(f.Fd())}, nil
}

func (f *osFile) Sync() error {
	if err := fdatasync(f); err != nil {
		return pathError("sync", f.Name(), err)
	}
	return nil
}

func (f *osFile) Size() (int64, error) {
	i, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

func (f *osFile) Preallocate(off, n int64) error {
	if err := fallocate(f, off, n); err != nil {
		return pathError("preallocate", f.Name(), err)
	}
	return nil
}

func (f *osFile) WriteBack(off, n int64) { writeBack(f, off, n) }

// grow sets the size to at least n: what Preallocate does where space can not
// be reserved.
func (f *osFile) grow(n int64) error {
	size, err := f.Size()
	if err != nil || size >= n {
		return err
	}
	return f.Truncate(n)
}
