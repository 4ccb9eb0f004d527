package engine

import (
	"bytes"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
)

// FuzzBatch: a payload is refused or decodes into operations that encode to
// a batch with the same operations.
func FuzzBatch(f *testing.F) {
	var b Batch
	b.Set([]byte("a"), []byte("xyz"))
	b.Delete([]byte("b"))
	b.SetExpiring([]byte("c"), make([]byte, 9))
	b.DeleteRange([]byte("d"), []byte("e"))
	b.Add(3, -4)
	f.Add(b.Bytes(), uint32(b.Len()))
	f.Add(epochBatch.data, epochBatch.count)
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, uint32(1))
	f.Fuzz(func(t *testing.T, payload []byte, count uint32) {
		var in, out, again Batch
		if in.load(payload, count) != nil {
			return
		}
		for r := (batchReader{data: payload}); ; {
			op, ok, err := r.next()
			if err != nil {
				t.Fatalf("accepted, then %v", err)
			}
			if !ok {
				break
			}
			switch op.kind {
			case 0:
				out.Delete(op.key)
			case 1:
				out.Set(op.key, op.value)
			case 2:
				out.SetExpiring(op.key, op.value)
			case 3:
				out.DeleteRange(op.key, op.value)
			case 4:
				out.Add(op.counter, op.delta)
			case 5:
				out = epochBatch
			}
		}
		if err := again.load(out.Bytes(), count); err != nil || out.memSize != in.memSize || out.ranges != in.ranges {
			t.Fatalf("%v; %d and %d bytes, %d and %d ranges", err, in.memSize, out.memSize, in.ranges, out.ranges)
		}
	})
}

// FuzzManifest: any bytes are refused or give a state that can be written and read again.
func FuzzManifest(f *testing.F) {
	fs := vfs.NewMem()
	e := &versionEdit{
		nextFile: 9, flushedSeq: 70, epochs: []Epoch{firstEpoch, {3, 9}}, log: 5, counters: map[uint32]int64{1: -5},
		tombstones: []tombstone{{[]byte("a"), []byte("b"), 60}},
		added: []placed{{0, &fileMeta{num: 7, size: 10, smallest: []byte("a"), largest: []byte("c"), smallestSeq: 1, largestSeq: 5, deadlines: []int64{1, 2}}},
			{3, &fileMeta{num: 8, size: 10, smallest: []byte("a"), largest: []byte("c")}}},
	}
	s := &manifestState{version: &version{}}
	if err := s.apply(e); err != nil {
		f.Fatal(err)
	}
	m, err := createManifest(fs, ".", 1, s)
	if err != nil {
		f.Fatal(err)
	}
	if err := m.append(&versionEdit{removed: []placed{{3, &fileMeta{num: 8}}}, dropped: []uint64{60}}); err != nil {
		f.Fatal(err)
	}
	data, err := vfs.ReadFile(fs, manifestName(1), 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(e.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		fs := vfs.NewMem()
		if err := vfs.WriteFile(fs, manifestName(1), data); err != nil {
			t.Fatal(err)
		}
		if s, _, err := readManifest(fs, ".", 1); err == nil {
			if _, err := createManifest(fs, ".", 2, s); err != nil {
				t.Fatal(err)
			}
			if _, _, err := readManifest(fs, ".", 2); err != nil {
				t.Fatal(err)
			}
		}
		edit, err := decodeEdit(data)
		if err != nil {
			return
		}
		again, err := decodeEdit(edit.encode())
		if err != nil || !bytes.Equal(again.encode(), edit.encode()) {
			t.Fatalf("edit changes: %v", err)
		}
	})
}
