package sstable

import (
	"fmt"
	"math/rand"
	"path/filepath"
	"testing"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/cache"
	"github.com/gtinside/corecache/engine/vfs"
)

const benchEntries = 1_000_000

// benchRecords returns sorted records with keys of 16 bytes and values of 100, of
// which half compresses.
func benchRecords(n int) []record {
	r := rand.New(rand.NewSource(1))
	pool := make([]byte, 1<<20)
	r.Read(pool)
	for i := 0; i < len(pool); i += 100 {
		clear(pool[i:min(i+50, len(pool))])
	}
	records := make([]record, n)
	for i := range records {
		at := i * 100 % (len(pool) - 100)
		records[i] = record{fmt.Appendf(nil, "%016d", i*3), base.MakeTrailer(uint64(r.Intn(n)), base.KindSet), pool[at : at+100]}
	}
	return records
}

func BenchmarkWriter(b *testing.B) {
	records := benchRecords(200_000)
	for _, compression := range []Compression{None, Snappy, LZ4, Zstd} {
		b.Run(compression.String(), func(b *testing.B) {
			fs, name := vfs.OS, filepath.Join(b.TempDir(), "table")
			b.SetBytes(int64(len(records) * 116))
			var p Properties
			for b.Loop() {
				p = build(b, fs, name, WriterOptions{Compression: compression}, records)
			}
			b.ReportMetric(float64(p.DataBytes)/float64(p.RawKeyBytes+p.RawValueBytes), "ratio")
		})
	}
}

func benchTable(b *testing.B, compression Compression, cacheSize int64) (*Reader, []record) {
	records := benchRecords(benchEntries)
	name := filepath.Join(b.TempDir(), "table")
	build(b, vfs.OS, name, WriterOptions{Compression: compression}, records)
	return open(b, vfs.OS, name, cache.New(cacheSize)), records
}

func benchGet(b *testing.B, table *Reader, records []record, hit bool) {
	r := rand.New(rand.NewSource(2))
	keys := make([][]byte, 1<<16)
	for i := range keys {
		n := r.Intn(len(records)) * 3
		if !hit {
			n++
		}
		keys[i] = fmt.Appendf(nil, "%016d", n)
	}
	var dst []byte
	get := func(i int) {
		k := keys[i%len(keys)]
		v, _, found, err := table.Get(dst[:0], k, Hash(k), base.MaxSeq)
		if err != nil || hit && !found {
			b.Fatal(found, err)
		}
		dst = v
	}
	for i := range keys {
		get(i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		get(i)
		i++
	}
}

func BenchmarkGet(b *testing.B) {
	table, records := benchTable(b, None, 512<<20)
	defer table.Close()
	b.Run("hit", func(b *testing.B) { benchGet(b, table, records, true) })
	b.Run("hot", func(b *testing.B) { benchGet(b, table, records[:10000], true) })
	b.Run("missing", func(b *testing.B) { benchGet(b, table, records, false) })
}

func BenchmarkGetUncached(b *testing.B) {
	for _, compression := range []Compression{None, Snappy, LZ4, Zstd} {
		b.Run(compression.String(), func(b *testing.B) {
			table, records := benchTable(b, compression, 8<<20)
			defer table.Close()
			benchGet(b, table, records, true)
		})
	}
}

func BenchmarkIter(b *testing.B) {
	for _, c := range []struct {
		name string
		o    IterOptions
	}{{"cached", IterOptions{FillCache: true}}, {"ahead", IterOptions{ReadAhead: 1 << 20}}} {
		b.Run(c.name, func(b *testing.B) {
			table, _ := benchTable(b, None, 512<<20)
			defer table.Close()
			it := table.NewIter(c.o)
			for ok := it.First(); ok; ok = it.Next() {
			}
			b.SetBytes(116)
			b.ReportAllocs()
			for b.Loop() {
				if !it.Valid() || !it.Next() {
					it.First()
				}
			}
			it.Close()
		})
	}
}

func BenchmarkSeek(b *testing.B) {
	table, records := benchTable(b, None, 512<<20)
	defer table.Close()
	r := rand.New(rand.NewSource(2))
	it := table.NewIter(IterOptions{FillCache: true})
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
	}
	for b.Loop() {
		it.SeekGE(records[r.Intn(len(records))].key, firstTrailer)
		for range 10 {
			it.Next()
		}
	}
}
