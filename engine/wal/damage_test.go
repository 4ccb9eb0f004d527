package wal

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/vfs"
)

// closedLog makes a log of several segments with little slack and closes it.
func closedLog(t testing.TB) (*vfs.Mem, []Record) {
	mem := vfs.NewMem()
	l, _ := open(t, Options{FS: mem, SegmentSize: 2048}, 0)
	var want []Record
	for seq := uint64(1); seq < 24; seq += 2 {
		want = append(want, record(seq, 2, int(seq*7)))
		add(t, l, want[len(want)-1])
		must(t, l.Wait(seq+1))
	}
	must(t, l.Close())
	return mem, want
}

// TestEveryByteFlipped damages each byte of a closed log: everything is
// replayed nevertheless, or the damage is reported with its place. Reported or not, Check agrees.
func TestEveryByteFlipped(t *testing.T) {
	mem, want := closedLog(t)
	names, err := mem.List("/log")
	must(t, err)
	reported, harmless := 0, 0
	for _, name := range names {
		path := "/log/" + name
		content, err := vfs.ReadFile(mem, path, 0)
		must(t, err)
		for off := range content {
			damaged := mem.Clone()
			f, err := damaged.OpenReadWrite(path)
			must(t, err)
			_, err = f.WriteAt([]byte{content[off] ^ byte(1+off%255)}, int64(off))
			must(t, err)
			must(t, f.Close())
			_, checkErr := Check(damaged, "/log", 0)
			if !sameOutcome(t, damaged, path, want, checkErr) {
				reported++
			} else {
				harmless++
			}
		}
	}
	t.Logf("%d reported, %d harmless", reported, harmless)
	if reported < 1000 {
		t.Fatal("hardly anything was reported")
	}
}

func sameOutcome(t *testing.T, fs vfs.FS, path string, want []Record, checkErr error) bool {
	t.Helper()
	i := 0
	l, err := Open(Options{FS: fs, Dir: "/log", SegmentSize: 2048}, 0, func(r Record) error {
		wantRecord(t, r, want[i])
		i++
		return nil
	})
	if (err == nil) != (checkErr == nil) && !errors.Is(err, ErrVersion) {
		t.Fatalf("%s: open says %v, check says %v", path, err, checkErr)
	}
	if err != nil {
		if !errors.Is(err, ErrVersion) && (!errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), ".wal at offset")) {
			t.Fatalf("%s: error %v", path, err)
		}
		return false
	}
	if i != len(want) {
		t.Fatalf("%s: %d records of %d", path, i, len(want))
	}
	must(t, l.Close())
	return true
}

// TestEvidenceSurvivesPowerLoss damages the last record of a log that lost power after it was closed, or
// right after it was opened again. Both leave durable evidence that the record was complete, so this is no
// torn tail to be cut.
func TestEvidenceSurvivesPowerLoss(t *testing.T) {
	powerLoss := func(l *Log, disk *vfs.Crash) *vfs.Crash {
		after := disk.Crash()
		_ = l.Close() // fails: its disk is gone
		return after
	}
	for seed := range uint64(20) {
		for _, closed := range []bool{true, false} {
			disk := vfs.NewCrash(seed)
			l, _ := open(t, Options{FS: disk, SegmentSize: 4096}, 0)
			for seq := uint64(1); seq <= 5; seq++ {
				add(t, l, record(seq, 1, 100))
			}
			must(t, l.Sync())
			if closed {
				must(t, l.Close())
				disk = disk.Crash()
			} else {
				disk = powerLoss(l, disk)
				again, got := open(t, Options{FS: disk, SegmentSize: 4096}, 0)
				if len(got) != 5 {
					t.Fatalf("seed %d: %d records", seed, len(got))
				}
				disk = powerLoss(again, disk)
			}
			damage(t, disk, record(5, 1, 100))
			wantErr(t, openErr(t, Options{FS: disk, SegmentSize: 4096}, 0), base.ErrCorrupt)
		}
	}
}

// damage writes over part of the record in the first segment.
func damage(t *testing.T, fs vfs.FS, r Record) {
	t.Helper()
	const path = "/log/00000001.wal"
	content, err := vfs.ReadFile(fs, path, 0)
	must(t, err)
	at := bytes.Index(content, r.Payload)
	if at < 0 {
		t.Fatalf("record %d is not in %s", r.Seq, path)
	}
	f, err := fs.OpenReadWrite(path)
	must(t, err)
	_, err = f.WriteAt([]byte("damage"), int64(at)+12)
	must(t, err)
	must(t, f.Close())
}

// TestMissingSegment removes each segment of a closed log in turn. Only the last one can vanish
// unseen, and only if nothing says that it was there.
func TestMissingSegment(t *testing.T) {
	mem, _ := closedLog(t)
	names, err := mem.List("/log")
	must(t, err)
	for _, name := range names[:len(names)-2] { // one in use and one prepared
		damaged := mem.Clone()
		must(t, damaged.Remove("/log/"+name))
		wantErr(t, openErr(t, Options{FS: damaged, SegmentSize: 2048}, 0), base.ErrCorrupt)
	}
}

// TestDamageSeenByReaders damages a record that a reader has yet to read.
func TestDamageSeenByReaders(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := open(t, Options{FS: mem}, 0)
	for seq := uint64(1); seq <= 10; seq++ {
		add(t, l, record(seq, 1, 100))
	}
	must(t, l.Sync())
	damage(t, mem, record(6, 1, 100))
	r, err := l.NewReader(1)
	must(t, err)
	for seq := uint64(1); seq <= 5; seq++ {
		_, err := r.Next(t.Context())
		must(t, err)
	}
	_, err = r.Next(t.Context())
	wantErr(t, err, base.ErrCorrupt)
	must(t, r.Close())
	must(t, l.Close())
}

// FuzzScanner feeds arbitrary bytes to what reads segments.
func FuzzScanner(f *testing.F) {
	mem, _ := closedLog(f)
	names, err := mem.List("/log")
	must(f, err)
	for _, name := range names {
		content, err := vfs.ReadFile(mem, "/log/"+name, 0)
		must(f, err)
		f.Add(content, uint64(1), false)
	}
	f.Add([]byte{1, 0, 0, 0, 1, 0, 0, 0}, uint64(0), true)
	f.Fuzz(func(t *testing.T, content []byte, seq uint64, sign bool) {
		id := newIdentity(1, 2)
		if s, _, ok, err := decodeSegmentHeader(content, "/", 1); ok && err == nil {
			id = s.ident
		}
		if sign && len(content) >= headerSize { // as if the header were genuine
			h, _ := decodeHeader(content, id)
			h.length = uint32(content[0])
			h.count, h.seq = uint32(content[4]), seq
			h.dataSum = crc32Of(content[headerSize:min(len(content), headerSize+int(h.length))])
			copy(content, h.appendTo(nil, id))
		}
		fs := vfs.NewMem()
		must(t, vfs.WriteFile(fs, "/f", content))
		file, err := fs.Open("/f")
		must(t, err)
		scan := scanner{f: file, id: id, limit: int64(len(content))}
		for at := seq; ; {
			before := scan.off
			r, ok, err := scan.next(at)
			must(t, err)
			if !ok {
				break
			}
			if r.Seq != at || r.Count == 0 || scan.off < before+shortSize+int64(len(r.Payload)) || scan.off > scan.limit {
				t.Fatalf("record %+v at %d ends at %d", r, before, scan.off)
			}
			at = r.Last() + 1
		}
		_, err = scan.evidence(seq)
		must(t, err)
	})
}

// FuzzHeader encodes, decodes, and flips a bit.
func FuzzHeader(f *testing.F) {
	f.Add(uint32(1), uint32(2), uint64(3), uint64(4), uint64(5), int64(6), uint32(7), uint64(8), 9)
	f.Fuzz(func(t *testing.T, length, count uint32, epoch, seq, synced uint64, time int64, sum uint32, salt uint64, flip int) {
		h := header{length, count, epoch, seq, synced, time, sum}
		id := newIdentity(1, salt)
		b := h.appendTo(nil, id)
		if got, ok := decodeHeader(b, id); !ok || got != h {
			t.Fatalf("decoded %+v, %v", got, ok)
		}
		if _, ok := decodeHeader(b, newIdentity(2, salt)); ok {
			t.Fatal("valid in another segment")
		}
		i := uint(flip) % uint(len(b)*8)
		b[i/8] ^= 1 << (i % 8)
		if _, ok := decodeHeader(b, id); ok {
			t.Fatal("valid with a flipped bit")
		}
	})
}

// TestEvidenceAmongZeros: a header is found wherever it stands behind, between and before zeros, which are not looked at one by one.
func TestEvidenceAmongZeros(t *testing.T) {
	id := newIdentity(1, 2)
	mark := header{seq: 8, synced: 7}.appendTo(nil, id)
	const size = windowSize + 3*zeroStretch
	fs := vfs.NewMem()
	var places []int
	for _, around := range []int{1, headerSize, zeroStretch, 2 * zeroStretch, windowSize, size - headerSize} {
		for at := max(1, around-2*headerSize); at <= min(around+2*headerSize, size-headerSize); at++ {
			places = append(places, at)
		}
	}
	for _, at := range places {
		content := make([]byte, size)
		copy(content[at:], mark)
		must(t, vfs.WriteFile(fs, "f", content))
		f, err := fs.Open("f")
		must(t, err)
		s := scanner{f: f, id: id, limit: size}
		if found, err := s.evidence(7); !found || err != nil {
			t.Fatalf("at %d: %v, %v", at, found, err)
		}
		s = scanner{f: f, id: id, limit: size}
		if found, err := s.evidence(8); found || err != nil {
			t.Fatalf("at %d, of a record that was not durable: %v, %v", at, found, err)
		}
		must(t, f.Close())
	}
}
