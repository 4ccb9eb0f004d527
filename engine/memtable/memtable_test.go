package memtable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"

	"github.com/gtinside/corecache/engine/base"
)

type row struct {
	key     []byte
	trailer base.Trailer
	value   []byte
}

func compareRecords(a, b row) int { return base.Compare(a.key, a.trailer, b.key, b.trailer) }

// randomKey returns keys that often share prefixes and are often shorter than
// the prefix in a node.
func randomKey(r *rand.Rand) []byte {
	k := make([]byte, r.Intn(14))
	for i := range k {
		k[i] = []byte{0, 1, 'a', 255}[r.Intn(4)]
	}
	if r.Intn(3) == 0 {
		k = append([]byte("commonpr"), k...)
	}
	return k
}

func randomRecords(r *rand.Rand, n int) []row {
	records := make([]row, n)
	for i := range records {
		kind := base.Kind(r.Intn(3))
		value := make([]byte, r.Intn(50))
		r.Read(value)
		records[i] = row{randomKey(r), base.MakeTrailer(uint64(i+1), kind), value}
	}
	return records
}

func add(t testing.TB, table *Table, r row) {
	t.Helper()
	if !table.Reserve(NodeSize(len(r.key), len(r.value))) {
		t.Fatalf("no room for %q", r.key)
	}
	table.Add(r.key, r.trailer, r.value)
}

// checkAgainst compares a table with the sorted records it should hold.
func checkAgainst(t *testing.T, table *Table, want []row, r *rand.Rand) {
	t.Helper()
	if table.Len() != len(want) {
		t.Fatalf("Len %d, want %d", table.Len(), len(want))
	}
	it := table.NewIter()
	check := func(op string, at int, ok bool) {
		t.Helper()
		if in := at >= 0 && at < len(want); ok != in || it.Valid() != in {
			t.Fatalf("%s: valid %v, want position %d of %d", op, ok, at, len(want))
		} else if in {
			w := want[at]
			if !bytes.Equal(it.Key(), w.key) || it.Trailer() != w.trailer || !bytes.Equal(it.Value(), w.value) {
				t.Fatalf("%s at %d: got %q %s, want %q %s", op, at, it.Key(), it.Trailer(), w.key, w.trailer)
			}
		}
	}
	at := 0
	for ok := it.First(); ok; ok = it.Next() {
		check("forward", at, ok)
		at++
	}
	check("end", at, false)
	for ok := it.Last(); ok; ok = it.Prev() {
		at--
		check("backward", at, ok)
	}
	check("start", at-1, false)

	for range 500 {
		key, seq := randomKey(r), uint64(r.Intn(len(want)+2))
		if len(want) > 0 && r.Intn(2) == 0 {
			key = want[r.Intn(len(want))].key
		}
		tr := base.SeekTrailer(seq)
		at, _ := slices.BinarySearchFunc(want, row{key: key, trailer: tr}, compareRecords)
		check("SeekGE", at, it.SeekGE(key, tr))
		if at < len(want) && r.Intn(2) == 0 {
			check("Next", at+1, it.Next())
		}
		check("SeekLT", at-1, it.SeekLT(key, tr))
		if at > 0 {
			check("Prev", at-2, it.Prev())
		}
		value, trailer, ok := table.Get(key, seq)
		found := at < len(want) && bytes.Equal(want[at].key, key)
		if ok != found || found && (trailer != want[at].trailer || !bytes.Equal(value, want[at].value)) {
			t.Fatalf("Get(%q, %d) = %q %s %v", key, seq, value, trailer, ok)
		}
		if found && !table.MayContain(base.Hash(key)) {
			t.Fatalf("the filter denies %q", key)
		}
	}
}

func TestModel(t *testing.T) {
	for seed := int64(1); seed <= 20; seed++ {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			r := rand.New(rand.NewSource(seed))
			table := New(1 << 20)
			for range 3 { // the memory of each round is left over by the one before
				records := randomRecords(r, r.Intn(3000))
				if r.Intn(3) == 0 {
					slices.SortFunc(records, compareRecords)
				}
				for _, rec := range records {
					add(t, table, rec)
				}
				slices.SortFunc(records, compareRecords)
				checkAgainst(t, table, records, r)
				table.Reset()
			}
		})
	}
}

func TestConcurrentAdd(t *testing.T) {
	for seed := int64(1); seed <= 4; seed++ {
		r := rand.New(rand.NewSource(seed))
		records := randomRecords(r, 8000)
		table := New(1 << 20)
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := w; i < len(records); i += 4 {
					add(t, table, records[i])
					checkThere(t, table, records[i])
					checkThere(t, table, records[i/2/4*4+w])
				}
			})
		}
		wg.Go(func() { readWhileAdding(t, table, len(records)) })
		wg.Wait()
		slices.SortFunc(records, compareRecords)
		checkAgainst(t, table, records, r)
	}
}

// checkThere finds a record in each way.
func checkThere(t *testing.T, table *Table, r row) {
	t.Helper()
	value, trailer, ok := table.Get(r.key, r.trailer.Seq())
	if !ok || trailer != r.trailer || !bytes.Equal(value, r.value) {
		t.Errorf("Get(%q, %d) = %q %s %v", r.key, r.trailer.Seq(), value, trailer, ok)
	}
	it := table.NewIter()
	if !it.SeekGE(r.key, r.trailer) || it.Trailer() != r.trailer {
		t.Errorf("SeekGE does not find %q %s", r.key, r.trailer)
	}
	if !it.SeekLT(r.key, r.trailer-1) || it.Trailer() != r.trailer {
		t.Errorf("SeekLT does not find %q %s", r.key, r.trailer)
	}
}

// readWhileAdding walks both ways until all records are there.
func readWhileAdding(t *testing.T, table *Table, until int) {
	it := table.NewIter()
	for done := false; !done; {
		done = table.Len() == until
		var last row
		for ok := it.First(); ok; ok = it.Next() {
			now := row{key: it.Key(), trailer: it.Trailer()}
			if last.key != nil && compareRecords(last, now) >= 0 {
				t.Errorf("forward out of order: %q, %q", last.key, now.key)
				return
			}
			last = now
		}
		last = row{}
		for ok := it.Last(); ok; ok = it.Prev() {
			now := row{key: it.Key(), trailer: it.Trailer()}
			if last.key != nil && compareRecords(last, now) <= 0 {
				t.Errorf("backward out of order: %q, %q", last.key, now.key)
				return
			}
			last = now
		}
	}
}

func TestConcurrentAppend(t *testing.T) {
	const n = 20000
	table := New(n * 64)
	var next sync.Mutex
	at := 0
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				next.Lock()
				i := at
				at++
				next.Unlock()
				if i >= n {
					return
				}
				add(t, table, row{binary.BigEndian.AppendUint64(nil, uint64(i)), base.MakeTrailer(uint64(i), base.KindSet), nil})
			}
		})
	}
	wg.Wait()
	it, i := table.NewIter(), 0
	for ok := it.First(); ok; ok = it.Next() {
		if got := binary.BigEndian.Uint64(it.Key()); got != uint64(i) {
			t.Fatalf("got %d, want %d", got, i)
		}
		i++
	}
	if i != n {
		t.Fatalf("%d records, want %d", i, n)
	}
}

// TestReserve fills tables of all small sizes: what was reserved must fit.
func TestReserve(t *testing.T) {
	for size := range 3000 {
		table := New(size)
		var used int64
		for i := uint64(1); ; i++ {
			key := binary.BigEndian.AppendUint64(nil, i*0x9e3779b97f4a7c15)
			n := NodeSize(len(key), int(i%7))
			if !table.Reserve(n) {
				break
			}
			used += n
			table.Add(key, base.MakeTrailer(i, base.KindSet), make([]byte, i%7))
			if table.Used() > int64(len(table.arena)) {
				t.Fatalf("size %d: %d bytes used of %d", size, table.Used(), len(table.arena))
			}
		}
		if used > int64(align(int64(size))) {
			t.Fatalf("%d bytes reserved in a table of %d", used, size)
		}
	}
}

func TestLargeValue(t *testing.T) {
	value := bytes.Repeat([]byte("large value "), 3<<20)
	table := New(int(NodeSize(3, len(value))))
	add(t, table, row{[]byte("key"), base.MakeTrailer(1, base.KindSet), value})
	if table.Reserve(1) {
		t.Fatal("a full table gave room")
	}
	if got, _, ok := table.Get([]byte("key"), 1); !ok || !bytes.Equal(got, value) {
		t.Fatalf("%d bytes, %v", len(got), ok)
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	table := New(1 << 16)
	key := []byte("some key")
	add(t, table, row{key, base.MakeTrailer(1, base.KindSet), []byte("value")})
	if n := testing.AllocsPerRun(100, func() { table.Get(key, 9) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func benchKeys(n int, sequential bool) [][]byte {
	keys := make([][]byte, n)
	for i := range keys {
		x := uint64(i)
		if !sequential {
			x *= 0x9e3779b97f4a7c15
		}
		keys[i] = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, x), x)
	}
	return keys
}

func benchAdd(b *testing.B, sequential bool) {
	keys := benchKeys(1<<20, sequential)
	value := make([]byte, 100)
	table := New(64 << 20)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		k := keys[i%len(keys)]
		i++
		if !table.Reserve(NodeSize(len(k), len(value))) {
			table.Reset()
		}
		table.Add(k, base.MakeTrailer(uint64(i), base.KindSet), value)
	}
}

func BenchmarkAddRandom(b *testing.B)     { benchAdd(b, false) }
func BenchmarkAddSequential(b *testing.B) { benchAdd(b, true) }

func filled(b *testing.B) (*Table, [][]byte) {
	keys := benchKeys(400_000, false)
	table := New(80 << 20)
	for i, k := range keys {
		add(b, table, row{k, base.MakeTrailer(uint64(i+1), base.KindSet), make([]byte, 100)})
	}
	rand.New(rand.NewSource(1)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return table, keys
}

func BenchmarkGet(b *testing.B) {
	table, keys := filled(b)
	i := 0
	for b.Loop() {
		if _, _, ok := table.Get(keys[i%len(keys)], base.MaxSeq); !ok {
			b.Fatal("missing")
		}
		i++
	}
}

func BenchmarkMayContain(b *testing.B) {
	table, _ := filled(b)
	i, hits := uint64(0), 0
	for b.Loop() {
		i++
		if table.MayContain(i * 0xd6e8feb86659fd93) {
			hits++
		}
	}
	b.ReportMetric(float64(hits)/float64(i)*100, "%fpr")
}

func BenchmarkNext(b *testing.B) {
	table, _ := filled(b)
	it := table.NewIter()
	for b.Loop() {
		if !it.Valid() || !it.Next() {
			it.First()
		}
	}
}
