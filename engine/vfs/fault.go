package vfs

import (
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"syscall"
)

// Op is a kind of operation that can fail.
type Op int

const (
	OpCreate Op = iota
	OpOpen      // Open and OpenReadWrite
	OpRemove
	OpRename
	OpLink
	OpMkdir
	OpList
	OpStat
	OpSyncDir
	OpLock
	OpRead
	OpWrite // Write and WriteAt
	OpSync
	OpTruncate
	OpPreallocate
	OpClose
	numOps
)

var opNames = [numOps]string{"create", "open", "remove", "rename", "link", "mkdir", "list", "stat", "syncdir",
	"lock", "read", "write", "sync", "truncate", "preallocate", "close"}

func (o Op) String() string { return opNames[o] }

// Call is one operation about to happen.
type Call struct {
	Op   Op
	Name string // of the file; of a rename or link, the new name
	// Offset and Size say what a read, write, truncation or preallocation is about. The
	// offset of a Write is -1.
	Offset, Size int64
}

// Policy decides whether a call fails: with the error that it returns. A
// write that fails has written nothing, unless the error is a ShortWrite. A
// policy may be called concurrently.
type Policy func(Call) error

// ErrInjected is the error of the ready-made policies, apart from DiskFull.
var ErrInjected = errors.New("injected fault")

// ShortWrite is an error for a policy to return: the write fails with Err after
// the first N bytes.
type ShortWrite struct {
	N   int
	Err error
}

func (e *ShortWrite) Error() string { return "short write: " + e.Err.Error() }
func (e *ShortWrite) Unwrap() error { return e.Err }

// FailNth returns a policy by which the n-th (from 1) call of these kinds,
// or of any kind, fails with err, once.
func FailNth(n int64, err error, ops ...Op) Policy {
	var seen atomic.Int64
	return func(c Call) error {
		if (len(ops) == 0 || slices.Contains(ops, c.Op)) && seen.Add(1) == n {
			return err
		}
		return nil
	}
}

// FailFrom is like FailNth, but all calls from the n-th on fail: the rest of the
// world stops at that moment.
func FailFrom(n int64, err error, ops ...Op) Policy {
	var seen atomic.Int64
	return func(c Call) error {
		if (len(ops) == 0 || slices.Contains(ops, c.Op)) && seen.Add(1) >= n {
			return err
		}
		return nil
	}
}

// DiskFull is a policy's switch: while it is full, everything that needs
// space fails with ENOSPC. A write gets Room bytes done before it fails.
type DiskFull struct {
	full atomic.Bool
	room atomic.Int64
}

// Fill makes the disk full, but for room bytes.
func (d *DiskFull) Fill(room int64) { d.room.Store(room); d.full.Store(true) }

// Relieve makes space.
func (d *DiskFull) Relieve() { d.full.Store(false) }

// Policy is the policy of this disk.
func (d *DiskFull) Policy(c Call) error {
	if !d.full.Load() {
		return nil
	}
	switch c.Op {
	case OpCreate, OpLink, OpMkdir, OpPreallocate:
		return syscall.ENOSPC
	case OpWrite:
		left := d.room.Add(-c.Size)
		if left >= 0 {
			return nil
		}
		return &ShortWrite{N: int(max(0, left+c.Size)), Err: syscall.ENOSPC}
	}
	return nil
}

// Fault is a file system whose operations fail when a policy says so.
type Fault struct {
	fs     FS
	policy atomic.Pointer[Policy]
	calls  [numOps]atomic.Int64
}

// NewFault puts a policy in front of a file system; nil lets everything pass.
func NewFault(fs FS, policy Policy) *Fault {
	f := &Fault{fs: fs}
	f.SetPolicy(policy)
	return f
}

// SetPolicy replaces the policy, also for files that are open.
func (f *Fault) SetPolicy(policy Policy) {
	if policy == nil {
		policy = func(Call) error { return nil }
	}
	f.policy.Store(&policy)
}

// Calls returns how many operations of these kinds, or of any kind, there
// were, failed ones included.
func (f *Fault) Calls(ops ...Op) (n int64) {
	for op := range numOps {
		if len(ops) == 0 || slices.Contains(ops, op) {
			n += f.calls[op].Load()
		}
	}
	return n
}

func (f *Fault) check(c Call) error {
	f.calls[c.Op].Add(1)
	if err := (*f.policy.Load())(c); err != nil {
		return pathError(c.Op.String(), c.Name, err)
	}
	return nil
}

func (f *Fault) file(op Op, name string, open func(string) (File, error)) (File, error) {
	if err := f.check(Call{Op: op, Name: name}); err != nil {
		return nil, err
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *Fault) Create(name string) (File, error) { return f.file(OpCreate, name, f.fs.Create) }
func (f *Fault) Open(name string) (File, error)   { return f.file(OpOpen, name, f.fs.Open) }
func (f *Fault) OpenReadWrite(name string) (File, error) {
	return f.file(OpOpen, name, f.fs.OpenReadWrite)
}

func (f *Fault) Remove(name string) error {
	if err := f.check(Call{Op: OpRemove, Name: name}); err != nil {
		return err
	}
	return f.fs.Remove(name)
}

func (f *Fault) Rename(oldName, newName string) error {
	if err := f.check(Call{Op: OpRename, Name: newName}); err != nil {
		return err
	}
	return f.fs.Rename(oldName, newName)
}

func (f *Fault) Link(oldName, newName string) error {
	if err := f.check(Call{Op: OpLink, Name: newName}); err != nil {
		return err
	}
	return f.fs.Link(oldName, newName)
}

func (f *Fault) MkdirAll(dir string) error {
	if err := f.check(Call{Op: OpMkdir, Name: dir}); err != nil {
		return err
	}
	return f.fs.MkdirAll(dir)
}

func (f *Fault) List(dir string) ([]string, error) {
	if err := f.check(Call{Op: OpList, Name: dir}); err != nil {
		return nil, err
	}
	return f.fs.List(dir)
}

func (f *Fault) Stat(name string) (Info, error) {
	if err := f.check(Call{Op: OpStat, Name: name}); err != nil {
		return Info{}, err
	}
	return f.fs.Stat(name)
}

func (f *Fault) SyncDir(dir string) error {
	if err := f.check(Call{Op: OpSyncDir, Name: dir}); err != nil {
		return err
	}
	return f.fs.SyncDir(dir)
}

func (f *Fault) Lock(name string) (io.Closer, error) {
	if err := f.check(Call{Op: OpLock, Name: name}); err != nil {
		return nil, err
	}
	return f.fs.Lock(name)
}

func (f *Fault) DiskUsage(dir string) (total, free uint64, err error) { return f.fs.DiskUsage(dir) }

// faultFile passes what the policy lets pass.
type faultFile struct {
	File
	f *Fault
}

func (f *faultFile) check(op Op, off, size int64) error {
	return f.f.check(Call{Op: op, Name: f.Name(), Offset: off, Size: size})
}

// write does a write, or the part of it that a ShortWrite wants done.
func (f *faultFile) write(p []byte, off int64, write func([]byte) (int, error)) (int, error) {
	err := f.check(OpWrite, off, int64(len(p)))
	if err == nil {
		return write(p)
	}
	short, ok := errors.AsType[*ShortWrite](err)
	if !ok {
		return 0, err
	}
	n, writeErr := write(p[:min(short.N, len(p))])
	return n, errors.Join(err, writeErr)
}

func (f *faultFile) Write(p []byte) (int, error) { return f.write(p, -1, f.File.Write) }

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, off, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check(OpRead, off, int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) Sync() error {
	if err := f.check(OpSync, 0, 0); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.check(OpTruncate, size, 0); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Preallocate(off, n int64) error {
	if err := f.check(OpPreallocate, off, n); err != nil {
		return err
	}
	return f.File.Preallocate(off, n)
}

// Close closes the file also when it reports a failure, as close(2) does.
func (f *faultFile) Close() error {
	err := f.check(OpClose, 0, 0)
	return errors.Join(err, f.File.Close())
}
