package sstable

import (
	"bytes"
	"fmt"
	"math/rand"
	"testing"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/cache"
	"github.com/gtinside/corecache/engine/vfs"
)

// sampleBlock returns a block of records as blockWriter makes it.
func sampleBlock(records []record) []byte {
	var w blockWriter
	for _, r := range records {
		w.add(r.key, r.trailer, r.value)
	}
	return w.appendTo(nil)
}

// useBlock does what readers do with a block that was accepted.
func useBlock(b *block) {
	for i := range b.n {
		key := b.appendKey(nil, i)
		b.seekGE(key, b.trailer(i))
		b.hasKey(i, key)
		b.value(i)
	}
	b.seekGE(nil, firstTrailer)
	b.seekGE(bytes.Repeat([]byte{255}, 40), lastTrailer)
}

func FuzzBlock(f *testing.F) {
	for seed := range int64(10) {
		r := rand.New(rand.NewSource(seed))
		f.Add(sampleBlock(randomRecords(r, 20)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if checkBlock(data) == nil {
			var b block
			b.open(data)
			useBlock(&b)
		}
	})
}

func FuzzPartitionBlock(f *testing.F) {
	index := sampleBlock([]record{{[]byte("a"), 0, []byte{9, 0, 0, 0}}, {[]byte("b"), 0, []byte{90, 0, 0, 0}}})
	f.Add(appendPartitionTail(index, 0, 7), uint32(90))
	filter := appendFilter(nil, []uint64{1, 2, 3}, 12)
	f.Add(appendPartitionTail(append(filter, index...), len(filter), 7), uint32(90))
	f.Fuzz(func(t *testing.T, data []byte, size uint32) {
		if checkPartitionBlock(data, size) != nil {
			return
		}
		p := openPartitionBlock(data)
		mayContain(p.filter, p.probes, 0x123456789abcdef0)
		var b block
		b.open(p.index)
		useBlock(&b)
		for i := range b.n {
			if from, to := blockRange(&b, i); from >= to || to > size {
				t.Fatalf("block %d: [%d, %d) of %d", i, from, to, size)
			}
		}
	})
}

func FuzzTopIndex(f *testing.F) {
	value := partition{0, 50, 50}.appendTo(nil)
	f.Add(sampleBlock([]record{{[]byte("a"), 0, value}}), int64(100))
	f.Fuzz(func(t *testing.T, data []byte, offset int64) {
		if checkTopIndex(data, offset) == nil {
			var b block
			b.open(data)
			useBlock(&b)
		}
	})
}

func FuzzFooter(f *testing.F) {
	f.Add(footer{1000, 20, 30}.appendTo(nil), int64(1082))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		decodeFooter(data, size)
	})
}

func FuzzProperties(f *testing.F) {
	p := Properties{Entries: 3, Expiring: 2, Smallest: []byte("a"), Largest: []byte("b"), Deadlines: []int64{1, 5}}
	f.Add(p.appendTo(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodeProperties(data)
		if err != nil {
			return
		}
		p.ExpiredBy(3)
		again, err := decodeProperties(p.appendTo(nil))
		if err != nil || fmt.Sprint(*again) != fmt.Sprint(*p) {
			t.Fatalf("%+v, again %+v: %v", p, again, err)
		}
	})
}

func FuzzDecompress(f *testing.F) {
	text := bytes.Repeat([]byte("some text to compress, "), 20)
	for _, kind := range []Compression{Snappy, LZ4, Zstd} {
		c := newCompressor(kind)
		out, _ := c.compress(nil, text)
		f.Add(uint8(kind), out)
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		if len(data) > 1<<12 {
			return
		}
		if n, err := uncompressedSize(Compression(kind), data); err == nil && n < 1<<20 {
			_ = decompress(Compression(kind), make([]byte, n), data)
		}
	})
}

// FuzzTable opens whole files.
func FuzzTable(f *testing.F) {
	fs := vfs.NewMem()
	build(f, fs, "table", WriterOptions{BlockSize: 100, PartitionSize: 200}, []record{
		{[]byte("a"), base.MakeTrailer(1, base.KindSet), []byte("value")},
		{[]byte("b"), base.MakeTrailer(2, base.KindDelete), nil},
	})
	f.Add(readAll(f, fs, "table"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fs := vfs.NewMem()
		writeAll(t, fs, "table", data)
		file, err := fs.Open("table")
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open(file, 1, cache.New(1<<20), ReaderOptions{})
		if err != nil {
			return
		}
		defer r.Close()
		_ = r.Verify()
		_, _, _, _ = r.Get(nil, []byte("a"), Hash([]byte("a")), base.MaxSeq)
		it := r.NewIter(IterOptions{})
		for ok := it.First(); ok; ok = it.Next() {
		}
		_ = it.Close()
	})
}
