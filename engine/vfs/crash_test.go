package vfs

import (
	"bytes"
	"io/fs"
	"testing"
)

// outcomes crashes a file system prepared by setup under many seeds and
// counts what look returns.
func outcomes(t *testing.T, setup func(t *testing.T, c *Crash), look func(t *testing.T, c *Crash) string) map[string]int {
	seen := map[string]int{}
	for seed := range uint64(300) {
		c := NewCrash(seed)
		setup(t, c)
		found := c.Crash()
		seen[look(t, found)]++
		if _, err := c.Create("/dead"); err == nil {
			t.Fatal("the crashed file system goes on")
		}
	}
	return seen
}

func content(t *testing.T, c *Crash) string {
	data, err := ReadFile(c, "/f", 0)
	if err != nil {
		wantErr(t, err, fs.ErrNotExist)
		return "missing"
	}
	return string(data)
}

func wantOutcomes(t *testing.T, got map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if got[w] == 0 {
			t.Errorf("never %.20q", w)
		}
		delete(got, w)
	}
	for g := range got {
		t.Errorf("unexpected %.20q", g)
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	got := outcomes(t, func(t *testing.T, c *Crash) {
		create(t, c, "/f", "1")
		must(t, c.SyncDir("/"))
	}, content)
	wantOutcomes(t, got, "1")
}

func TestCrashMayLoseAName(t *testing.T) {
	got := outcomes(t, func(t *testing.T, c *Crash) { create(t, c, "/f", "1") }, content)
	wantOutcomes(t, got, "1", "missing")
}

func TestCrashMayLoseContent(t *testing.T) {
	got := outcomes(t, func(t *testing.T, c *Crash) {
		create(t, c, "/f", "a")
		must(t, c.SyncDir("/"))
		f, err := c.OpenReadWrite("/f")
		must(t, err)
		for i, s := range []string{"b", "c"} {
			_, err := f.WriteAt([]byte(s), int64(i))
			must(t, err)
		}
	}, content)
	wantOutcomes(t, got, "a", "b", "bc", "ac", "a\x00", "b\x00")
}

func TestCrashTearsAtSectors(t *testing.T) {
	got := outcomes(t, func(t *testing.T, c *Crash) {
		create(t, c, "/f", string(bytes.Repeat([]byte("a"), 2*SectorSize)))
		must(t, c.SyncDir("/"))
		f, err := c.OpenReadWrite("/f")
		must(t, err)
		_, err = f.WriteAt(bytes.Repeat([]byte("b"), SectorSize), SectorSize/2)
		must(t, err)
	}, func(t *testing.T, c *Crash) string {
		s := content(t, c)
		return string([]byte{s[0], s[SectorSize-1], s[SectorSize], s[2*SectorSize-1]})
	})
	wantOutcomes(t, got, "aaaa", "abba", "abaa", "aaba")
}

func TestCrashRenameIsAtomic(t *testing.T) {
	got := outcomes(t, func(t *testing.T, c *Crash) {
		create(t, c, "/f", "old")
		must(t, c.SyncDir("/"))
		create(t, c, "/tmp", "new")
		must(t, c.Rename("/tmp", "/f"))
	}, func(t *testing.T, c *Crash) string {
		_, err := c.Stat("/tmp")
		if err == nil {
			return content(t, c) + " and tmp"
		}
		return content(t, c)
	})
	wantOutcomes(t, got, "old", "old and tmp", "new")
}

func TestCrashRemoveAndLink(t *testing.T) {
	got := outcomes(t, func(t *testing.T, c *Crash) {
		create(t, c, "/f", "1")
		must(t, c.SyncDir("/"))
		must(t, c.Link("/f", "/g"))
		must(t, c.Remove("/f"))
	}, func(t *testing.T, c *Crash) string {
		names, err := c.List("/")
		must(t, err)
		s := ""
		for _, n := range names {
			s += n
		}
		return s
	})
	wantOutcomes(t, got, "f", "fg", "g", "")
}

func TestCrashTwice(t *testing.T) {
	c := NewCrash(7)
	create(t, c, "/f", "1")
	must(t, c.SyncDir("/"))
	for range 20 {
		c = c.Crash()
		wantContent(t, c, "/f", "1")
		f, err := c.OpenReadWrite("/f")
		must(t, err)
		must(t, f.Preallocate(0, 1))
		must(t, f.Sync())
	}
}
