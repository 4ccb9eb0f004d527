package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
)

// TestWindow writes small and large groups to a log on disk, with truncations, changes of the acknowledgement and
// reopening in between, and compares what a second reader of the files and the next Open find.
func TestWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 7))
	o := Options{FS: vfs.OS, Dir: t.TempDir(), Ack: AckWritten, SegmentSize: 3 << 20}
	var want [][]byte
	open := func() *Log {
		var got [][]byte
		l, err := Open(o, 0, func(r Record) error {
			got = append(got, bytes.Clone(r.Payload))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d records, want %d", len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("record %d differs", i)
			}
		}
		return l
	}
	l, mapped := open(), 0
	for i := range 20_000 {
		size := rng.IntN(300)
		if rng.IntN(100) == 0 {
			size = rng.IntN(100 << 10)
		}
		p := make([]byte, size)
		for j := range p {
			p[j] = byte(i + j)
		}
		seq, err := l.Append(1, 1, 1, p)
		if err == nil {
			err = l.Wait(seq)
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, p)
		if l.window.mapping != nil {
			mapped++
		}
		switch rng.IntN(2000) {
		case 0:
			cut := max(len(want)-rng.IntN(50), 0)
			if err := l.TruncateAfter(uint64(cut)); err != nil {
				t.Fatal(err)
			}
			want = want[:cut]
		case 1:
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open()
		case 2:
			l.SetAck(AckSynced)
		case 3, 4, 5:
			l.SetAck(AckWritten)
		}
	}
	if mapped == 0 && !l.window.never {
		t.Error("nothing was written through the window")
	}
	// What has been acknowledged is in the files while the log is open, as after a kill.
	other := o
	other.Dir = t.TempDir()
	copyDir(t, o.Dir, other.Dir)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o = other
	if err := open().Close(); err != nil {
		t.Fatal(err)
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(to, "log"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	names, err := vfs.OS.List(filepath.Join(to, "log"))
	for _, name := range names {
		err = errors.Join(err, os.Rename(filepath.Join(to, "log", name), filepath.Join(to, name)))
	}
	if err = errors.Join(err, os.Remove(filepath.Join(to, "log"))); err != nil {
		t.Fatal(err)
	}
}

// TestWindowFault takes the space away under a mapping, which is what a failing disk looks like.
func TestWindowFault(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	f, err := vfs.OS.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Preallocate(0, 1<<20); err != nil {
		t.Fatal(err)
	}
	m, err := vfs.Map(f, 0, 1<<20)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("the file system is not one for mappings")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if n, err := m.WriteAt([]byte("abc"), 5000); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := m.WriteAt([]byte("abc"), 5000); err == nil || !bytes.Contains(fmt.Append(nil, err), []byte(name)) {
		t.Errorf("a write without a disk gave %v", err)
	}
}
