package vfs

import (
	"errors"
	"syscall"
	"testing"
)

func TestFaultNth(t *testing.T) {
	f := NewFault(NewMem(), FailNth(2, ErrInjected, OpWrite))
	file, err := f.Create("/f")
	must(t, err)
	_, err = file.Write([]byte("a"))
	must(t, err)
	_, err = file.Write([]byte("b"))
	wantErr(t, err, ErrInjected)
	_, err = file.Write([]byte("c"))
	must(t, err)
	wantContent(t, f, "/f", "ac")
	if n := f.Calls(OpWrite); n != 3 {
		t.Fatalf("%d writes", n)
	}
}

func TestFaultFrom(t *testing.T) {
	f := NewFault(NewMem(), FailFrom(3, ErrInjected))
	create := func() error { return WriteFile(f, "/f", nil) } // create, write, sync, close
	wantErr(t, create(), ErrInjected)
	_, err := f.Stat("/f")
	wantErr(t, err, ErrInjected)
	f.SetPolicy(nil)
	must(t, create())
}

func TestFaultEachKind(t *testing.T) {
	run := map[Op]func(f *Fault, file File) error{
		OpCreate:      func(f *Fault, _ File) error { _, err := f.Create("/x"); return err },
		OpOpen:        func(f *Fault, _ File) error { _, err := f.Open("/f"); return err },
		OpRemove:      func(f *Fault, _ File) error { return f.Remove("/f") },
		OpRename:      func(f *Fault, _ File) error { return f.Rename("/f", "/g") },
		OpLink:        func(f *Fault, _ File) error { return f.Link("/f", "/g") },
		OpMkdir:       func(f *Fault, _ File) error { return f.MkdirAll("/d") },
		OpList:        func(f *Fault, _ File) error { _, err := f.List("/"); return err },
		OpStat:        func(f *Fault, _ File) error { _, err := f.Stat("/f"); return err },
		OpSyncDir:     func(f *Fault, _ File) error { return f.SyncDir("/") },
		OpLock:        func(f *Fault, _ File) error { _, err := f.Lock("/l"); return err },
		OpRead:        func(_ *Fault, file File) error { _, err := file.ReadAt(make([]byte, 1), 0); return err },
		OpWrite:       func(_ *Fault, file File) error { _, err := file.Write([]byte("x")); return err },
		OpSync:        func(_ *Fault, file File) error { return file.Sync() },
		OpTruncate:    func(_ *Fault, file File) error { return file.Truncate(0) },
		OpPreallocate: func(_ *Fault, file File) error { return file.Preallocate(0, 9) },
		OpClose:       func(_ *Fault, file File) error { return file.Close() },
	}
	for op := range numOps {
		t.Run(op.String(), func(t *testing.T) {
			f := NewFault(NewMem(), nil)
			create(t, f, "/f", "12")
			file, err := f.OpenReadWrite("/f")
			must(t, err)
			f.SetPolicy(FailNth(1, ErrInjected, op))
			wantErr(t, run[op](f, file), ErrInjected)
			if op != OpClose {
				wantContent(t, f, "/f", "12")
				must(t, run[op](f, file))
			}
		})
	}
}

func TestDiskFull(t *testing.T) {
	var disk DiskFull
	f := NewFault(NewMem(), disk.Policy)
	file, err := f.Create("/f")
	must(t, err)
	disk.Fill(3)
	_, err = file.Write([]byte("ab"))
	must(t, err)
	n, err := file.Write([]byte("cd"))
	if n != 1 || !IsNoSpace(err) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	n, err = file.Write([]byte("d"))
	if n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	_, err = f.Create("/g")
	wantErr(t, err, syscall.ENOSPC)
	disk.Relieve()
	_, err = file.Write([]byte("d"))
	must(t, err)
	wantContent(t, f, "/f", "abcd")
}
