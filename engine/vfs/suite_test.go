package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// implementations returns every file system, each with an empty directory.
func implementations(t *testing.T) map[string]struct {
	fs  FS
	dir string
} {
	type impl = struct {
		fs  FS
		dir string
	}
	before := NewCrash(1)
	must(t, before.MkdirAll("/a"))
	return map[string]impl{
		"os":          {OS, t.TempDir()},
		"mem":         {NewMem(), "/"},
		"crash":       {NewCrash(2), "/"},
		"crashed":     {before.Crash(), "/a"},
		"fault":       {NewFault(NewMem(), nil), "/"},
		"fault crash": {NewFault(NewCrash(3), nil), "."},
	}
}

// suite is what every file system must do.
var suite = []struct {
	name string
	run  func(t *testing.T, fsys FS, dir string)
}{
	{"create and read", testCreateRead},
	{"write at", testWriteAt},
	{"truncate and preallocate", testSizes},
	{"random operations", testRandomContent},
	{"names", testNames},
	{"links", testLinks},
	{"directories", testDirectories},
	{"missing", testMissing},
	{"closed and read-only files", testClosed},
	{"locks", testLocks},
	{"helpers", testHelpers},
}

func TestSuite(t *testing.T) {
	for _, test := range suite {
		t.Run(test.name, func(t *testing.T) {
			for name, i := range implementations(t) {
				t.Run(name, func(t *testing.T) { test.run(t, i.fs, i.dir) })
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error %v, want %v", got, want)
	}
}

func create(t *testing.T, fsys FS, name string, content string) {
	t.Helper()
	must(t, WriteFile(fsys, name, []byte(content)))
}

func wantContent(t *testing.T, fsys FS, name, want string) {
	t.Helper()
	got, err := ReadFile(fsys, name, 0)
	must(t, err)
	if string(got) != want {
		t.Fatalf("%s has %q, want %q", name, got, want)
	}
}

func testCreateRead(t *testing.T, fsys FS, dir string) {
	name := filepath.Join(dir, "f")
	f, err := fsys.Create(name)
	must(t, err)
	if f.Name() != name {
		t.Fatalf("name is %q", f.Name())
	}
	for _, s := range []string{"hello", "", ", ", "world"} {
		n, err := f.Write([]byte(s))
		must(t, err)
		if n != len(s) {
			t.Fatalf("wrote %d of %d", n, len(s))
		}
	}
	must(t, f.Sync())
	buf := make([]byte, 5)
	for _, c := range []struct {
		off  int64
		want string
		err  error
	}{{0, "hello", nil}, {7, "world", nil}, {10, "ld", io.EOF}, {12, "", io.EOF}, {99, "", io.EOF}} {
		n, err := f.ReadAt(buf, c.off)
		if string(buf[:n]) != c.want || err != c.err {
			t.Fatalf("ReadAt(%d) = %q, %v", c.off, buf[:n], err)
		}
	}
	if n, err := f.ReadAt(nil, 99); n != 0 || err != nil {
		t.Fatalf("empty read = %d, %v", n, err)
	}
	must(t, f.Close())
	must(t, fsys.SyncDir(dir))
	wantContent(t, fsys, name, "hello, world")
	create(t, fsys, name, "x")
	wantContent(t, fsys, name, "x")
}

func testWriteAt(t *testing.T, fsys FS, dir string) {
	name := filepath.Join(dir, "f")
	create(t, fsys, name, "0123456789")
	f, err := fsys.OpenReadWrite(name)
	must(t, err)
	_, err = f.WriteAt([]byte("ab"), 3)
	must(t, err)
	_, err = f.Write([]byte("X"))
	must(t, err)
	_, err = f.WriteAt([]byte("end"), 12)
	must(t, err)
	_, err = f.Write([]byte("Y"))
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	wantContent(t, fsys, name, "XY2ab56789\x00\x00end")
}

func wantSize(t *testing.T, f File, want int64) {
	t.Helper()
	got, err := f.Size()
	must(t, err)
	if got != want {
		t.Fatalf("size %d, want %d", got, want)
	}
}

func testSizes(t *testing.T, fsys FS, dir string) {
	name := filepath.Join(dir, "f")
	f, err := fsys.Create(name)
	must(t, err)
	must(t, f.Preallocate(0, 100))
	wantSize(t, f, 100)
	_, err = f.Write([]byte("0123456789"))
	must(t, err)
	wantSize(t, f, 100)
	must(t, f.Preallocate(50, 20))
	wantSize(t, f, 100)
	must(t, f.Truncate(4))
	wantSize(t, f, 4)
	must(t, f.Truncate(8))
	must(t, f.Close())
	wantContent(t, fsys, name, "0123\x00\x00\x00\x00")
}

func testRandomContent(t *testing.T, fsys FS, dir string) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	name, model := filepath.Join(dir, "f"), []byte{}
	f, err := fsys.Create(name)
	must(t, err)
	grow := func(n int) {
		if n > len(model) {
			model = append(model, make([]byte, n-len(model))...)
		}
	}
	for range 500 {
		off, n := rnd.IntN(5000), 1+rnd.IntN(2000)
		switch rnd.IntN(8) {
		case 0:
			must(t, f.Truncate(int64(off)))
			grow(off)
			model = model[:off]
		case 1:
			must(t, f.Preallocate(int64(off), int64(n)))
			grow(off + n)
		case 2:
			must(t, f.Sync())
		case 3:
			got := make([]byte, n)
			n, _ := f.ReadAt(got, int64(off))
			if want := model[min(off, len(model)):min(off+len(got), len(model))]; !bytes.Equal(got[:n], want) {
				t.Fatalf("read at %d differs", off)
			}
		default:
			p := bytes.Repeat([]byte{byte(rnd.Uint32())}, n)
			_, err := f.WriteAt(p, int64(off))
			must(t, err)
			grow(off + n)
			copy(model[off:], p)
		}
		wantSize(t, f, int64(len(model)))
	}
	must(t, f.Close())
	wantContent(t, fsys, name, string(model))
}

func wantNames(t *testing.T, fsys FS, dir string, want ...string) {
	t.Helper()
	got, err := fsys.List(dir)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("%s has %q, want %q", dir, got, want)
	}
}

func testNames(t *testing.T, fsys FS, dir string) {
	dir = filepath.Join(dir, "names")
	must(t, fsys.MkdirAll(dir))
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	wantNames(t, fsys, dir)
	create(t, fsys, b, "2")
	create(t, fsys, a, "1")
	wantNames(t, fsys, dir, "a", "b")
	must(t, fsys.Rename(a, b))
	wantNames(t, fsys, dir, "b")
	wantContent(t, fsys, b, "1")
	f, err := fsys.Open(b)
	must(t, err)
	must(t, fsys.Remove(b))
	wantNames(t, fsys, dir)
	buf := make([]byte, 1)
	_, err = f.ReadAt(buf, 0)
	must(t, err)
	must(t, f.Close())
	must(t, fsys.SyncDir(dir))
}

func testLinks(t *testing.T, fsys FS, dir string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	create(t, fsys, a, "1")
	must(t, fsys.Link(a, b))
	wantErr(t, fsys.Link(a, b), fs.ErrExist)
	f, err := fsys.OpenReadWrite(a)
	must(t, err)
	_, err = f.Write([]byte("2"))
	must(t, err)
	must(t, f.Close())
	wantContent(t, fsys, b, "2")
	must(t, fsys.Rename(a, b)) // two names of one file: nothing happens
	wantContent(t, fsys, a, "2")
	must(t, fsys.Remove(a))
	wantContent(t, fsys, b, "2")
}

func testDirectories(t *testing.T, fsys FS, dir string) {
	sub := filepath.Join(dir, "x", "y")
	must(t, fsys.MkdirAll(sub))
	must(t, fsys.MkdirAll(sub))
	create(t, fsys, filepath.Join(sub, "f"), "1")
	wantNames(t, fsys, filepath.Join(dir, "x"), "y")
	info, err := fsys.Stat(sub)
	must(t, err)
	if !info.Dir {
		t.Fatal("not a directory")
	}
	if err := fsys.Remove(sub); err == nil {
		t.Fatal("removed a directory that is not empty")
	}
	must(t, fsys.Rename(filepath.Join(dir, "x"), filepath.Join(dir, "z")))
	wantContent(t, fsys, filepath.Join(dir, "z", "y", "f"), "1")
	must(t, fsys.Remove(filepath.Join(dir, "z", "y", "f")))
	must(t, fsys.Remove(filepath.Join(dir, "z", "y")))
	must(t, fsys.Remove(filepath.Join(dir, "z")))
	_, err = fsys.Stat(filepath.Join(dir, "z"))
	wantErr(t, err, fs.ErrNotExist)
	if _, err := fsys.Create(dir); err == nil {
		t.Fatal("created a file over a directory")
	}
	total, free, err := fsys.DiskUsage(dir)
	must(t, err)
	if total == 0 || free > total {
		t.Fatalf("total %d, free %d", total, free)
	}
}

func testMissing(t *testing.T, fsys FS, dir string) {
	no := filepath.Join(dir, "no")
	_, err := fsys.Open(no)
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.OpenReadWrite(no)
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.Create(filepath.Join(no, "f"))
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.Stat(no)
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.List(no)
	wantErr(t, err, fs.ErrNotExist)
	wantErr(t, fsys.Remove(no), fs.ErrNotExist)
	wantErr(t, fsys.Rename(no, filepath.Join(dir, "b")), fs.ErrNotExist)
	wantErr(t, fsys.Link(no, filepath.Join(dir, "b")), fs.ErrNotExist)
	wantErr(t, fsys.SyncDir(no), fs.ErrNotExist)
}

func testClosed(t *testing.T, fsys FS, dir string) {
	name := filepath.Join(dir, "f")
	create(t, fsys, name, "1")
	f, err := fsys.Open(name)
	must(t, err)
	if _, err := f.Write([]byte("x")); err == nil {
		t.Fatal("wrote to a file opened for reading")
	}
	must(t, f.Close())
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantErr(t, err, os.ErrClosed)
	wantErr(t, f.Close(), os.ErrClosed)
}

func testLocks(t *testing.T, fsys FS, dir string) {
	name := filepath.Join(dir, "LOCK")
	l, err := fsys.Lock(name)
	must(t, err)
	_, err = fsys.Lock(name)
	wantErr(t, err, ErrLocked)
	must(t, l.Close())
	l, err = fsys.Lock(name)
	must(t, err)
	must(t, l.Close())
}

func testHelpers(t *testing.T, fsys FS, dir string) {
	name := filepath.Join(dir, "f")
	create(t, fsys, name, "12345")
	_, err := ReadFile(fsys, name, 4)
	if _, ok := errors.AsType[*FileTooLargeError](err); !ok {
		t.Fatalf("error %v", err)
	}
	got, err := ReadFile(fsys, name, 5)
	must(t, err)
	if string(got) != "12345" {
		t.Fatalf("read %q", got)
	}
}
