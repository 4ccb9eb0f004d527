package vfs

import (
	"errors"
	"io"
	"math"
	"syscall"
	"time"
)

// FS is a file system. All methods may be called concurrently.
type FS interface {
	// Create makes an empty file for reading and writing; a file of that name
	// that exists already is emptied.
	Create(name string) (File, error)
	// OpenReadWrite opens an existing file. Its first Write goes to offset 0.
	OpenReadWrite(name string) (File, error)
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	// Remove removes a file or an empty directory. Files that are open stay
	// readable and writable.
	Remove(name string) error
	// Rename gives a file or directory another name, replacing a file that
	// has it.
	Rename(oldName, newName string) error
	// Link gives a file a second name, which must be free.
	Link(oldName, newName string) error
	// MkdirAll makes a directory and those above it, durably, if they are missing.
	MkdirAll(dir string) error
	// List returns the names in a directory in ascending order, without the
	// directory itself in front.
	List(dir string) ([]string, error)
	Stat(name string) (Info, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Lock creates the file if it is missing and locks it for this process
	// and this call, until the returned Closer is closed. It does not wait: a lock that is
	// held elsewhere, also in this process, gives ErrLocked.
	Lock(name string) (io.Closer, error)
	// DiskUsage returns the size of the file system that holds dir and what of
	// it is free for this process, in bytes.
	DiskUsage(dir string) (total, free uint64, err error)
}

// File is an open file. ReadAt and WriteAt may be called concurrently; Write
// is for one goroutine at a time, and Close comes last.
type File interface {
	// Write writes at the offset where the previous Write ended.
	io.Writer
	// ReaderAt as documented in io: a short read comes with an error, which
	// is io.EOF at the end of the file.
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes content and size durable (fdatasync). After an error nothing is
	// known about what was written since the last successful Sync, and
	// another Sync that succeeds means nothing: the kernel may have dropped
	// the pages.
	Sync() error
	Size() (int64, error)
	// Truncate sets the size; what is new reads as zeros.
	Truncate(size int64) error
	// Preallocate makes the file at least off+n bytes long with space
	// reserved for [off, off+n), so that writing there neither runs out of
	// space nor changes the size. What is new reads as zeros. Where the file
	// system can not reserve, only the size is set.
	Preallocate(off, n int64) error
	// WriteBack asks for [off, off+n) to be on its way to the disk, so that a later Sync has less to wait for.
	// It promises nothing, and reports nothing: errors are those of Sync.
	WriteBack(off, n int64)
	// Name returns the name the file was opened by.
	Name() string
}

// Info describes a file.
type Info struct {
	Size    int64
	Dir     bool
	ModTime time.Time
}

// ErrLocked says that somebody else holds a lock.
var ErrLocked = errors.New("locked by another process")

// IsNoSpace reports whether an error means that the disk or a quota is full:
// a condition that can go away.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// ReadFile returns the content of a file. It refuses files that are larger
// than max bytes; 0 means no limit.
func ReadFile(fs FS, name string, max int64) (data []byte, err error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if max == 0 {
		max = math.MaxInt
	}
	if size > max {
		return nil, &FileTooLargeError{Name: name, Size: size, Max: max}
	}
	data = make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err == io.EOF && n == len(data) {
		err = nil
	}
	return data[:n], err
}

// WriteFile creates a file with this content and syncs it; its name is durable
// only after SyncDir.
func WriteFile(fs FS, name string, data []byte) error {
	f, err := fs.Create(name)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
