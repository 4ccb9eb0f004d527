package sstable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/cache"
	"github.com/gtinside/corecache/engine/vfs"
)

type record struct {
	key     []byte
	trailer base.Trailer
	value   []byte
}

func compareRecords(a, b record) int { return base.Compare(a.key, a.trailer, b.key, b.trailer) }

func create(t testing.TB, fs vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// build writes a table of sorted records.
func build(t testing.TB, fs vfs.FS, name string, o WriterOptions, records []record) Properties {
	t.Helper()
	f := create(t, fs, name)
	w := NewWriter(f, o)
	for _, r := range records {
		if err := w.Add(r.key, r.trailer, r.value); err != nil {
			t.Fatal(err)
		}
	}
	estimate := w.EstimatedSize()
	p, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	if o.Compression == None && (estimate < size/2-1000 || estimate > size*2+1000) {
		t.Errorf("estimated %d bytes, wrote %d", estimate, size)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t testing.TB, fs vfs.FS, name string, c *cache.Cache) *Reader {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(f, 1, c, ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func randomKey(r *rand.Rand) []byte {
	k := make([]byte, r.Intn(14))
	for i := range k {
		k[i] = []byte{0, 1, 'a', 255}[r.Intn(4)]
	}
	switch r.Intn(4) {
	case 0:
		k = append([]byte("commonpr"), k...)
	case 1:
		k = append([]byte("a rather long prefix that is the same"), k...)
	}
	return k
}

// randomRecords returns up to n sorted records without duplicates.
func randomRecords(r *rand.Rand, n int) []record {
	maxSeq := []uint64{1, 100, 1 << 20, 1 << 40, base.MaxSeq}[r.Intn(5)]
	maxValue := []int{1, 30, 300, 10000}[r.Intn(4)]
	kinds := 1 + r.Intn(3)
	var records []record
	for range r.Intn(n + 1) {
		key := randomKey(r)
		for versions := r.Intn(3) * r.Intn(3) * r.Intn(10); versions >= 0; versions-- {
			value := make([]byte, r.Intn(maxValue))
			r.Read(value[:len(value)/2])
			kind := base.Kind(r.Intn(kinds))
			if kind == base.KindSetExpiring {
				value = binary.BigEndian.AppendUint64(value, uint64(r.Intn(1000)))
			}
			records = append(records, record{key, base.MakeTrailer(uint64(r.Int63n(int64(maxSeq))), kind), value})
		}
	}
	slices.SortFunc(records, compareRecords)
	return slices.CompactFunc(records, func(a, b record) bool { return compareRecords(a, b) == 0 })
}

func randomOptions(r *rand.Rand) WriterOptions {
	return WriterOptions{
		BlockSize:     []int{1, 64, 256, 4096, 16384}[r.Intn(5)],
		PartitionSize: []int{1, 500, 5000, 100000}[r.Intn(4)],
		FilterBits:    []int{-1, 0, 1, 20}[r.Intn(4)],
		Compression:   Compression(r.Intn(4)),
	}
}

func TestModel(t *testing.T) {
	for seed := int64(1); seed <= 60; seed++ {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			r := rand.New(rand.NewSource(seed))
			fs := vfs.NewMem()
			records := randomRecords(r, 400)
			props := build(t, fs, "table", randomOptions(r), records)
			table := open(t, fs, "table", cache.New(int64(r.Intn(1<<20))))
			defer table.Close()
			checkProperties(t, &props, table.Properties(), records)
			if err := table.Verify(); err != nil {
				t.Fatal(err)
			}
			checkGets(t, table, records, 1000, r)
			for range 6 {
				checkIter(t, table, records, r)
			}
		})
	}
}

func checkProperties(t *testing.T, written, read *Properties, records []record) {
	t.Helper()
	if fmt.Sprint(*written) != fmt.Sprint(*read) {
		t.Fatalf("properties read %+v, written %+v", *read, *written)
	}
	if read.Entries != uint64(len(records)) {
		t.Fatalf("%d entries, want %d", read.Entries, len(records))
	}
	if n := len(records); n > 0 && (!bytes.Equal(read.Smallest, records[0].key) || !bytes.Equal(read.Largest, records[n-1].key)) {
		t.Fatalf("bounds %q %q", read.Smallest, read.Largest)
	}
	for _, ms := range []int64{-1, 0, 500, 999, 1000} {
		var expired uint64
		for _, r := range records {
			if r.trailer.Kind() == base.KindSetExpiring && int64(binary.BigEndian.Uint64(r.value[len(r.value)-8:])) <= ms {
				expired++
			}
		}
		got := read.ExpiredBy(ms)
		if all := expired == read.Expiring; all != (got == read.Expiring) || (got == 0) != (expired == 0) && !all && expired > 20 {
			t.Fatalf("ExpiredBy(%d) = %d, want about %d of %d", ms, got, expired, read.Expiring)
		}
	}
}

// position returns the index of the first record >= (key, trailer).
func position(records []record, key []byte, trailer base.Trailer) int {
	n, _ := slices.BinarySearchFunc(records, record{key: key, trailer: trailer}, compareRecords)
	return n
}

func checkGets(t *testing.T, table *Reader, records []record, n int, r *rand.Rand) {
	t.Helper()
	for range n {
		key, seq := randomKey(r), uint64(r.Int63n(int64(base.MaxSeq)))
		if len(records) > 0 && r.Intn(2) == 0 {
			rec := records[r.Intn(len(records))]
			key, seq = rec.key, rec.trailer.Seq()+uint64(r.Intn(3))-uint64(min(int(rec.trailer.Seq()), r.Intn(2)))
		}
		at := position(records, key, base.SeekTrailer(seq))
		want := at < len(records) && bytes.Equal(records[at].key, key)
		value, trailer, found, err := table.Get([]byte("dst"), key, Hash(key), seq)
		if err != nil {
			t.Fatal(err)
		}
		if found != want {
			t.Fatalf("Get(%q, %d) found %v, want %v", key, seq, found, want)
		}
		if found && (trailer != records[at].trailer || string(value) != "dst"+string(records[at].value)) {
			t.Fatalf("Get(%q, %d) = %q %s, want %q %s", key, seq, value, trailer, records[at].value, records[at].trailer)
		}
	}
}

// checkIter moves an iterator with random bounds at random.
func checkIter(t *testing.T, table *Reader, records []record, r *rand.Rand) {
	t.Helper()
	o := IterOptions{FillCache: r.Intn(2) == 0, ReadAhead: []int{0, 1, 10000}[r.Intn(3)]}
	anyKey := func() []byte {
		if len(records) > 0 && r.Intn(2) == 0 {
			return records[r.Intn(len(records))].key
		}
		return randomKey(r)
	}
	if r.Intn(2) == 0 {
		o.Lower = anyKey()
		records = records[position(records, o.Lower, firstTrailer):]
	}
	if r.Intn(2) == 0 {
		o.Upper = anyKey()
		records = records[:position(records, o.Upper, firstTrailer)]
	}
	it := table.NewIter(o)
	defer func() {
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	at := -1
	check := func(op string, ok bool) {
		t.Helper()
		in := at >= 0 && at < len(records)
		if ok != in || it.Valid() != in || it.Error() != nil {
			t.Fatalf("%s: %v %v, want record %d of %d; %+v", op, ok, it.Error(), at, len(records), o)
		}
		if in {
			if w := records[at]; !bytes.Equal(it.Key(), w.key) || it.Trailer() != w.trailer || !bytes.Equal(it.Value(), w.value) {
				t.Fatalf("%s at %d: %q %s, want %q %s", op, at, it.Key(), it.Trailer(), w.key, w.trailer)
			}
		}
	}
	at = 0
	for ok := it.First(); ; ok = it.Next() {
		check("forward", ok)
		if !ok {
			break
		}
		at++
	}
	at = len(records) - 1
	for ok := it.Last(); ; ok = it.Prev() {
		check("backward", ok)
		if !ok {
			break
		}
		at--
	}
	for range 300 {
		key, trailer := anyKey(), base.SeekTrailer(uint64(r.Int63n(int64(base.MaxSeq))))
		switch r.Intn(8) {
		case 0:
			at = 0
			check("First", it.First())
		case 1:
			at = len(records) - 1
			check("Last", it.Last())
		case 2, 3:
			at = position(records, key, trailer)
			check("SeekGE", it.SeekGE(key, trailer))
		case 4, 5:
			at = position(records, key, trailer) - 1
			check("SeekLT", it.SeekLT(key, trailer))
		}
		for range r.Intn(4) {
			if !it.Valid() {
				break
			}
			if r.Intn(2) == 0 {
				at++
				check("Next", it.Next())
			} else {
				at--
				check("Prev", it.Prev())
			}
		}
	}
}

// TestLargeValues mixes values much larger than blocks, partitions and the cache
// with small ones.
func TestLargeValues(t *testing.T) {
	for _, compression := range []Compression{None, Snappy, LZ4, Zstd} {
		r := rand.New(rand.NewSource(1))
		var records []record
		for i := range 60 {
			value := make([]byte, []int{10, 100, 5000, 200_000}[r.Intn(4)])
			if i == 30 {
				value = make([]byte, 6<<20)
			}
			r.Read(value[:len(value)/3])
			records = append(records, record{fmt.Appendf(nil, "key%05d", i), base.MakeTrailer(7, base.KindSet), value})
		}
		fs := vfs.NewMem()
		build(t, fs, "table", WriterOptions{Compression: compression}, records)
		table := open(t, fs, "table", cache.New(1<<20))
		checkGets(t, table, records, 100, r)
		checkIter(t, table, records, r)
		if err := table.Verify(); err != nil {
			t.Fatal(err)
		}
		table.Close()
	}
}

func TestWriterRefusesDisorder(t *testing.T) {
	set := func(seq uint64) base.Trailer { return base.MakeTrailer(seq, base.KindSet) }
	for _, second := range []record{{[]byte("a"), set(9), nil}, {[]byte("b"), set(5), nil}, {[]byte("b"), set(6), nil}} {
		w := NewWriter(create(t, vfs.NewMem(), "table"), WriterOptions{})
		if err := w.Add([]byte("b"), set(5), nil); err != nil {
			t.Fatal(err)
		}
		if err := w.Add(second.key, second.trailer, nil); err == nil {
			t.Fatalf("%q %s taken after b #5", second.key, second.trailer)
		}
		if _, err := w.Finish(); err == nil {
			t.Fatal("finished after an error")
		}
	}
}

// TestConcurrentReads reads a table by many while its blocks fall out of the cache.
func TestConcurrentReads(t *testing.T) {
	fs := vfs.NewMem()
	var records []record
	for i := range 5000 {
		records = append(records, record{fmt.Appendf(nil, "key%06d", i), base.MakeTrailer(1, base.KindSet), fmt.Appendf(nil, "value%0100d", i)})
	}
	build(t, fs, "table", WriterOptions{Compression: Snappy, PartitionSize: 5000}, records)
	c := cache.New(200 << 10)
	table := open(t, fs, "table", c)
	defer table.Close()
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewSource(int64(w)))
			for range 40 {
				checkGets(t, table, records, 25, r)
				at := r.Intn(len(records) - 50)
				it := table.NewIter(IterOptions{FillCache: w%2 == 0, ReadAhead: w % 3 * 20000})
				for ok := it.SeekGE(records[at].key, firstTrailer); ok && it.Valid() && at < len(records)-1; ok = it.Next() {
					if !bytes.Equal(it.Value(), records[at].value) {
						t.Errorf("iterator gave %q at %d", it.Value(), at)
					}
					if at++; at%50 == 0 {
						break
					}
				}
				if err := it.Close(); err != nil {
					t.Error(err)
				}
				if r.Intn(10) == 0 {
					c.EvictFile(1)
				}
			}
		})
	}
	wg.Wait()
	if used := c.Metrics().Used; used > 200<<10 {
		t.Errorf("%d bytes used", used)
	}
}

// TestFlip damages each byte of a table in turn. Whoever reads it either gets an
// error that names file and offset, or does not read that byte.
func TestFlip(t *testing.T) {
	for _, compression := range []Compression{None, LZ4, Zstd} {
		fs := vfs.NewMem()
		var records []record
		for i := range 40 {
			records = append(records, record{fmt.Appendf(nil, "key%04d", i), base.MakeTrailer(uint64(i), base.KindSet), bytes.Repeat([]byte{byte(i)}, 40)})
		}
		build(t, fs, "table", WriterOptions{Compression: compression, BlockSize: 300, PartitionSize: 800}, records)
		whole := readAll(t, fs, "table")
		for i := range whole {
			damaged := slices.Clone(whole)
			damaged[i] ^= 1 << (i % 8)
			writeAll(t, fs, "damaged", damaged)
			checkDamaged(t, fs, i, records)
		}
		for n := range whole {
			writeAll(t, fs, "damaged", whole[:n])
			checkDamaged(t, fs, n, records)
		}
	}
}

func readAll(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, _ := f.Size()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func writeAll(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f := create(t, fs, name)
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
}

func checkDamaged(t *testing.T, fs vfs.FS, at int, records []record) {
	t.Helper()
	mustBeCorrupt := func(err error) {
		t.Helper()
		if !errors.Is(err, base.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte("damaged at offset ")) {
			t.Fatalf("damage at %d: error %v", at, err)
		}
	}
	f, err := fs.Open("damaged")
	if err != nil {
		t.Fatal(err)
	}
	table, err := Open(f, 1, cache.New(1<<10), ReaderOptions{})
	if err != nil {
		mustBeCorrupt(err)
		return
	}
	defer table.Close()
	mustBeCorrupt(table.Verify())
	errs := 0
	for _, r := range records {
		value, _, found, err := table.Get(nil, r.key, Hash(r.key), base.MaxSeq)
		if err != nil {
			mustBeCorrupt(err)
			errs++
		} else if !found || !bytes.Equal(value, r.value) {
			t.Fatalf("damage at %d: Get(%q) = %q %v", at, r.key, value, found)
		}
	}
	if errs == 0 {
		t.Fatalf("damage at %d: no read failed", at)
	}
	for _, ahead := range []int{0, 1000} {
		it := table.NewIter(IterOptions{ReadAhead: ahead})
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			if !bytes.Equal(it.Value(), records[n].value) {
				t.Fatalf("damage at %d: iterator gave %q at %d", at, it.Value(), n)
			}
			n++
		}
		mustBeCorrupt(it.Close())
	}
}

func TestFilterRate(t *testing.T) {
	for _, n := range []int{100, 1100, 20000} {
		hashes := make([]uint64, n)
		for i := range hashes {
			hashes[i] = Hash(fmt.Appendf(nil, "key%d", i))
		}
		for _, bits := range []int{10, WriterOptions{}.withDefaults().FilterBits} {
			checkFilterRate(t, hashes, bits)
		}
	}
}

func checkFilterRate(t *testing.T, hashes []uint64, bits int) {
	t.Helper()
	filter := appendFilter(nil, hashes, bits)
	for i, h := range hashes {
		if !mayContain(filter, probesFor(bits), h) {
			t.Fatalf("key %d is denied", i)
		}
	}
	wrong := 0
	const tries = 200_000
	for i := range tries {
		if mayContain(filter, probesFor(bits), Hash(fmt.Appendf(nil, "other%d", i))) {
			wrong++
		}
	}
	rate := float64(wrong) / tries
	t.Logf("%d keys, %d bits per key: false positive rate %.3f %%", len(hashes), bits, rate*100)
	if rate > 0.01 {
		t.Errorf("false positive rate %.4f", rate)
	}
}

func TestSeparator(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 100_000 {
		a, b := randomKey(r), randomKey(r)
		if bytes.Compare(a, b) >= 0 {
			continue
		}
		s := appendSeparator(nil, a, b)
		if bytes.Compare(a, s) > 0 || bytes.Compare(s, b) >= 0 || len(s) > len(a) {
			t.Fatalf("separator of %q and %q: %q", a, b, s)
		}
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	fs := vfs.NewMem()
	var records []record
	for i := range 10000 {
		records = append(records, record{fmt.Appendf(nil, "key%06d", i), base.MakeTrailer(1, base.KindSet), make([]byte, 100)})
	}
	build(t, fs, "table", WriterOptions{}, records)
	table := open(t, fs, "table", cache.New(64<<20))
	dst := make([]byte, 0, 200)
	i := 0
	get := func() {
		i++
		k := records[i*7%len(records)].key
		if _, _, found, err := table.Get(dst, k, Hash(k), 5); !found || err != nil {
			t.Fatal(found, err)
		}
	}
	for range records {
		get()
	}
	if n := testing.AllocsPerRun(1000, get); n != 0 {
		t.Fatalf("%v allocations per Get", n)
	}
	it := table.NewIter(IterOptions{})
	it.First()
	if n := testing.AllocsPerRun(9000, func() { it.Next() }); n != 0 {
		t.Fatalf("%v allocations per Next", n)
	}
	it.Close()
}
