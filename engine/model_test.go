package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine/sstable"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

var (
	modelOps   = flag.Int("model.ops", 4000, "operations per seed of the model test")
	modelSeeds = flag.Int("model.seeds", 6, "seeds of the model test")
	modelSeed  = flag.Uint64("model.seed", 0, "run the model test with this seed only")
)

// TestModel runs random operations on a store and on a plain map, and compares.
func TestModel(t *testing.T) {
	first, n := uint64(time.Now().UnixNano()), *modelSeeds
	if testing.Short() { // with the race detector, after all of them without it
		n = (n + 1) / 2
	}
	if *modelSeed != 0 {
		first, n = *modelSeed, 1
	}
	for i := range n {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			m := newModel(t, seed)
			defer func() {
				if t.Failed() {
					t.Logf("go test ./engine -run TestModel -model.seed=%d -model.ops=%d", seed, *modelOps)
				}
			}()
			m.run(*modelOps)
		})
	}
}

// state is what a view shows.
type state struct {
	data     map[string]string // value with its kind in front
	counters map[uint32]int64
}

func (s *state) clone() *state {
	return &state{maps.Clone(s.data), maps.Clone(s.counters)}
}

type modelOp struct {
	kind       byte // s set, e expiring, d delete, r range, c counter
	key, value string
	counter    uint32
	delta      int64
}

func (s *state) apply(ops []modelOp) {
	for _, o := range ops {
		switch o.kind {
		case 's', 'e':
			s.data[o.key] = string(o.kind) + o.value
		case 'd':
			delete(s.data, o.key)
		case 'r':
			for k := range s.data {
				if k >= o.key && k < o.value {
					delete(s.data, k)
				}
			}
		case 'c':
			s.counters[o.counter] += o.delta
		}
	}
}

type pendingBatch struct {
	last uint64
	ops  []modelOp
}

type heldView struct {
	snap *Snapshot
	iter *Iterator
	want []record // exactly, for an iterator; of a snapshot, without what was dead when it was taken
	dead func(record) bool
}

type record struct{ key, value string }

type model struct {
	t    *testing.T
	rng  *rand.Rand
	fs   vfs.FS
	dir  string
	db   *DB
	opts Options
	keys int

	committed *state
	latest    *state
	pending   []pendingBatch // applied, not committed
	last      uint64
	done      uint64 // committed position
	epochs    []Epoch
	horizons  []Horizon         // all that the store was told, of which the last is in force
	written   map[string]uint64 // sequence numbers of expiring values, which are unique
	held      []heldView
	n         int
	step      int
	what      string
}

const garbagePrefix = "garbage"

type modelFilter struct{}

func (modelFilter) Drop(_, value []byte) bool { return bytes.HasPrefix(value, []byte(garbagePrefix)) }

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), fs: vfs.NewMem(), dir: "db",
		committed: &state{map[string]string{}, map[uint32]int64{}},
		latest:    &state{map[string]string{}, map[uint32]int64{}},
		epochs:    []Epoch{firstEpoch},
		horizons:  []Horizon{{}}, written: map[string]uint64{},
	}
	m.keys = []int{20, 200, 2000}[m.rng.IntN(3)]
	m.opts.ExternalCommit = m.rng.IntN(2) == 0
	m.randomOptions()
	return m
}

func pick[T any](rng *rand.Rand, values ...T) T { return values[rng.IntN(len(values))] }

func (m *model) randomOptions() {
	r := m.rng
	o := Options{
		FS: m.fs, ExternalCommit: m.opts.ExternalCommit, Logger: testLogger{m.t},
		Live: Live{
			CacheSize: pick(r, 64*kib, 192*kib, mib), MemTableSize: pick(r, 8*kib, 32*kib, 256*kib),
			Ack: pick(r, wal.AckSynced, wal.AckWritten, wal.AckBuffered), MaxCompactions: 1 + r.IntN(3),
			LogKeepBytes: pick(r, 0, 64*kib), LogPinBytes: pick(r, 0, 128*kib),
		},
		MaxMemTables: 2 + r.IntN(3), LogSegmentSize: pick(r, 8*kib, 64*kib),
		BlockSize: pick(r, 256, 1024, 4096), FilterBits: pick(r, 10, -1, 4),
		Compression: pick(r, nil, []sstable.Compression{sstable.None}, []sstable.Compression{sstable.LZ4, sstable.Snappy, sstable.Zstd}),
		TableSize:   pick(r, 8*kib, 32*kib), L0Tables: 1 + r.IntN(4), BaseLevelSize: pick(r, 8*kib, 64*kib),
		LevelMultiplier: pick(r, 2.0, 4, 10), MaxOpenFiles: pick(r, 1, 3, 100),
	}
	if r.IntN(2) == 0 {
		o.NewFilter = func(Reader) Filter { return modelFilter{} }
	}
	m.opts = o
}

type testLogger struct{ t *testing.T }

func (l testLogger) Infof(string, ...any)         {}
func (l testLogger) Errorf(f string, args ...any) { l.t.Errorf("engine: "+f, args...) }

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("step %d (%s): %s", m.step, m.what, fmt.Sprintf(format, args...))
}

func (m *model) must(err error) {
	m.t.Helper()
	if err != nil {
		m.fatalf("%v", err)
	}
}

func (m *model) run(n int) {
	m.open()
	steps := []struct {
		name   string
		weight int
		run    func()
	}{
		{"write", 400, m.write}, {"txn", 40, m.txn}, {"get", 200, m.get}, {"iterate", 60, m.iterate},
		{"hold", 10, m.hold}, {"letGo", 10, m.letGo}, {"flush", 5, m.flush}, {"compact", 3, m.compact},
		{"checkpoint", 2, m.checkpoint}, {"reopen", 3, m.reopen}, {"commit", 40, m.commit},
		{"truncate", 4, m.truncate}, {"horizon", 5, m.expire}, {"options", 3, m.setOptions},
		{"all", 3, m.checkAll}, {"epoch", 4, m.epoch}, {"install", 2, m.install},
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	for m.step = 0; m.step < n && !m.t.Failed(); m.step++ {
		x := m.rng.IntN(total)
		for _, s := range steps {
			if x -= s.weight; x < 0 {
				m.what = s.name
				s.run()
				break
			}
		}
	}
	m.what = "end"
	m.checkAll()
	m.close()
	m.verifyDir(m.dir)
}

func (m *model) open() {
	db, err := Open(m.dir, m.opts)
	m.must(err)
	m.db = db
	if m.opts.ExternalCommit {
		db.SetCommitted(m.done)
	}
}

func (m *model) close() {
	for len(m.held) > 0 {
		m.letGo()
	}
	m.must(m.db.Close())
	if err := m.db.Close(); !errors.Is(err, ErrClosed) {
		m.fatalf("second close: %v", err)
	}
}

func (m *model) verifyDir(dir string) {
	r, err := Check(m.fs, dir)
	m.must(err)
	for _, p := range r.Problems {
		m.fatalf("check: %v", p)
	}
}

func (m *model) key() string {
	return fmt.Sprintf("key-%0*d", 1+m.rng.IntN(2)*6, m.rng.IntN(m.keys))
}

func (m *model) value() string {
	m.n++
	n := m.rng.IntN(60)
	if m.rng.IntN(50) == 0 {
		n = m.rng.IntN(20000)
	}
	prefix := "v"
	if m.rng.IntN(10) == 0 {
		prefix = garbagePrefix
	}
	return fmt.Sprintf("%s%d-%s", prefix, m.n, bytes.Repeat([]byte{byte('a' + m.n%26)}, n))
}

func (m *model) randomOp() modelOp {
	switch x := m.rng.IntN(100); {
	case x < 55:
		return modelOp{kind: 's', key: m.key(), value: m.value()}
	case x < 65:
		deadline := m.horizon().Deadline + int64(m.rng.IntN(2000)) - 200
		v := binary.BigEndian.AppendUint64([]byte(m.value()), uint64(max(deadline, 1)))
		return modelOp{kind: 'e', key: m.key(), value: string(v)}
	case x < 90:
		return modelOp{kind: 'd', key: m.key()}
	case x < 93:
		a, b := m.key(), m.key()
		if m.rng.IntN(30) == 0 {
			a, b = "", "z"
		}
		if m.rng.IntN(10) != 0 && a > b {
			a, b = b, a
		}
		return modelOp{kind: 'r', key: a, value: b}
	}
	return modelOp{kind: 'c', counter: uint32(m.rng.IntN(4)), delta: int64(m.rng.IntN(11) - 5)}
}

type writer interface {
	Set(k, v []byte)
	SetExpiring(k, v []byte)
	Delete(k []byte)
	DeleteRange(a, b []byte)
	Add(id uint32, n int64)
}

func put(w writer, o modelOp) {
	switch o.kind {
	case 's':
		w.Set([]byte(o.key), []byte(o.value))
	case 'e':
		w.SetExpiring([]byte(o.key), []byte(o.value))
	case 'd':
		w.Delete([]byte(o.key))
	case 'r':
		w.DeleteRange([]byte(o.key), []byte(o.value))
	case 'c':
		w.Add(o.counter, o.delta)
	}
}

func (m *model) applied(seq uint64, ops []modelOp) {
	if seq != m.last+uint64(len(ops)) {
		m.fatalf("batch of %d ends at %d after %d", len(ops), seq, m.last)
	}
	for i, o := range ops {
		if o.kind == 'e' {
			m.written[o.value] = m.last + 1 + uint64(i)
		}
	}
	m.last = seq
	m.latest.apply(ops)
	m.pending = append(m.pending, pendingBatch{seq, ops})
	if !m.opts.ExternalCommit && m.rng.IntN(3) == 0 {
		m.commit()
	}
}

func (m *model) write() {
	b := m.db.NewBatch()
	defer b.Release()
	n := 1 + m.rng.IntN(4)
	if m.rng.IntN(40) == 0 {
		n = m.rng.IntN(300)
	}
	var ops []modelOp
	for range n {
		ops = append(ops, m.randomOp())
		put(b, ops[len(ops)-1])
	}
	if len(ops) == 0 {
		return
	}
	if m.opts.ExternalCommit && m.rng.IntN(4) == 0 {
		epoch := m.db.Epoch() + m.rng.Uint64N(20)/19
		m.noteEpoch(epoch, m.last+1)
		m.must(m.db.ApplyRecord(wal.Record{Epoch: epoch, Seq: m.last + 1, Count: uint32(n), Time: 1, Payload: b.Bytes()}))
		m.applied(m.last+uint64(n), ops)
		return
	}
	seq, err := m.db.Apply(b)
	m.must(err)
	m.applied(seq, ops)
}

// txn reads its own writes and applies them, or not.
func (m *model) txn() {
	t := m.db.NewTxn()
	defer t.Release()
	own := m.latest.clone()
	var ops []modelOp
	for range m.rng.IntN(30) {
		o := m.randomOp()
		ops = append(ops, o)
		put(t, o)
		own.apply(ops[len(ops)-1:])
		m.checkGet(t, own, m.key())
		m.checkGet(t, own, o.key)
	}
	for id := range uint32(4) {
		if got := t.Counter(id); got != own.counters[id] {
			m.fatalf("counter %d in transaction: %d, want %d", id, got, own.counters[id])
		}
	}
	m.checkIter(t, own, IterOptions{})
	if len(ops) > 0 && m.rng.IntN(2) == 0 {
		seq, err := m.db.Apply(t.Batch())
		m.must(err)
		m.applied(seq, ops)
	}
}

// commit moves the committed position to the end of a pending batch.
func (m *model) commit() {
	if len(m.pending) == 0 {
		return
	}
	n := len(m.pending)
	if m.opts.ExternalCommit {
		n = 1 + m.rng.IntN(n)
		m.db.SetCommitted(m.pending[n-1].last)
	}
	m.must(m.db.Wait(m.pending[n-1].last))
	for _, p := range m.pending[:n] {
		m.committed.apply(p.ops)
		m.done = p.last
	}
	m.pending = slices.Delete(m.pending, 0, n)
	if got := m.db.Committed(); got != m.done {
		m.fatalf("committed %d, want %d", got, m.done)
	}
}

// settle makes the committed view certain: without ExternalCommit it follows the log.
func (m *model) settle() {
	if !m.opts.ExternalCommit {
		m.commit()
	}
}

// view is a view that must equal a state.
func (m *model) view() (Reader, *state) {
	if m.rng.IntN(2) == 0 {
		return m.db.Latest(), m.latest
	}
	m.settle()
	return m.db, m.committed
}

// gone reports whether a record may have been dropped by now.
func (m *model) gone(kind byte, value string) bool { return m.dead(kind, value, m.horizons) }

func (m *model) dead(kind byte, value string, horizons []Horizon) bool {
	if strings.HasPrefix(value, garbagePrefix) {
		return true
	}
	seq, ok := m.written[value]
	return kind == 'e' && ok && slices.ContainsFunc(horizons, func(h Horizon) bool {
		return h.covers(int64(binary.BigEndian.Uint64([]byte(value[len(value)-8:]))), seq)
	})
}

func (m *model) horizon() Horizon { return m.horizons[len(m.horizons)-1] }

func (m *model) get() {
	v, s := m.view()
	for range 10 {
		m.checkGet(v, s, m.key())
		m.checkHead(m.key())
	}
	for id := range uint32(4) {
		if got := m.db.Counter(id); got != m.latest.counters[id] {
			m.fatalf("counter %d: %d, want %d", id, got, m.latest.counters[id])
		}
	}
}

func (m *model) checkGet(r Reader, s *state, key string) {
	m.t.Helper()
	prefix := []byte("x")
	got, err := r.Get(prefix, []byte(key))
	want, ok := s.data[key]
	if ok && m.gone(want[0], want[1:]) && errors.Is(err, ErrNotFound) {
		return
	}
	if !ok {
		if !errors.Is(err, ErrNotFound) || string(got) != "x" {
			m.fatalf("get %q: %.60q %v, want nothing", key, got, err)
		}
		return
	}
	if err != nil || string(got) != "x"+want[1:] {
		m.fatalf("get %q: %.60q %v, want %.60q", key, got, err, want[1:])
	}
}

// checkHead asks for the beginning of a value.
func (m *model) checkHead(key string) {
	n := 1 + m.rng.IntN(2*HeadSize)
	g0, e0 := m.db.GetLatest([]byte("x"), []byte(key))
	got, err := m.db.GetHeadLatest([]byte("x"), []byte(key), n)
	g2, e2 := m.db.GetLatest([]byte("x"), []byte(key))
	defer func() {
		if m.t.Failed() {
			println(string(g0), e0 != nil, string(g2), e2 != nil)
		}
	}()
	want, ok := m.latest.data[key]
	switch {
	case errors.Is(err, ErrNotFound) && (!ok || m.gone(want[0], want[1:])) && string(got) == "x":
	case err != nil || !ok || !strings.HasPrefix("x"+want[1:], string(got)) || len(got)-1 < min(n, len(want)-1):
		m.fatalf("%d bytes of %q: %.60q %v, want the beginning of %.60q (%v)", n, key, got, err, want, ok)
	case want[0] == 'e' && len(got) != len(want):
		m.fatalf("%d bytes of %q: %.60q, want all of an expiring value", n, key, got)
	}
}

// sorted returns the records of a state within bounds.
func (s *state) sorted(lower, upper []byte) []record {
	var out []record
	for k, v := range s.data {
		if (lower == nil || k >= string(lower)) && (upper == nil || k < string(upper)) {
			out = append(out, record{k, v})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].key < out[j].key })
	return out
}

// alive removes what may have been dropped. The first byte of values is their kind.
func (m *model) alive(list []record) []record {
	var out []record
	for _, r := range list {
		if !m.gone(r.value[0], r.value[1:]) {
			out = append(out, record{r.key, r.value[1:]})
		}
	}
	return out
}

func (m *model) iterate() {
	v, s := m.view()
	var o IterOptions
	if m.rng.IntN(2) == 0 {
		o.Lower = []byte(m.key())
	}
	if m.rng.IntN(2) == 0 {
		o.Upper = []byte(m.key())
	}
	o.NoFillCache = m.rng.IntN(2) == 0
	m.checkIter(v, s, o)
}

// checkIter walks randomly. What may have been dropped is passed over on both sides.
func (m *model) checkIter(r Reader, s *state, o IterOptions) {
	m.t.Helper()
	all := s.sorted(o.Lower, o.Upper)
	kinds := map[string]byte{}
	for _, x := range all {
		kinds[x.key] = x.value[0]
	}
	want := m.alive(all)
	it := r.NewIter(o)
	at := -1
	skip := func(ok, forward bool) bool {
		for ok && m.gone(kinds[string(it.Key())], string(it.Value())) {
			if forward {
				ok = it.Next()
			} else {
				ok = it.Prev()
			}
		}
		return ok
	}
	search := func(k string) int {
		return sort.Search(len(want), func(i int) bool { return want[i].key >= k })
	}
	for range 12 {
		var ok bool
		var how string
		switch x := m.rng.IntN(10); {
		case x == 0:
			how, ok, at = "first", skip(it.First(), true), 0
		case x == 1:
			how, ok, at = "last", skip(it.Last(), false), len(want)-1
		case x < 4:
			k := m.key()
			how, ok, at = "seekGE "+k, skip(it.SeekGE([]byte(k)), true), search(k)
		case x < 6:
			k := m.key()
			how, ok, at = "seekLT "+k, skip(it.SeekLT([]byte(k)), false), search(k)-1
		case !it.Valid():
			continue
		case x < 8:
			how, ok = "next", skip(it.Next(), true)
			at++
		default:
			how, ok = "prev", skip(it.Prev(), false)
			at--
		}
		m.must(it.Error())
		if wantOK := at >= 0 && at < len(want); ok != wantOK || ok != it.Valid() {
			got := ""
			if ok {
				got = string(it.Key())
			}
			m.fatalf("%s (bounds %q %q): %v %q, want %v", how, o.Lower, o.Upper, ok, got, wantOK)
		}
		if ok && (string(it.Key()) != want[at].key || string(it.Value()) != want[at].value) {
			m.fatalf("%s (bounds %q %q): %q=%.40q, want %q=%.40q", how, o.Lower, o.Upper, it.Key(), it.Value(), want[at].key, want[at].value)
		}
	}
	m.must(it.Close())
}

func scan(it *Iterator) (out []record) {
	for ok := it.First(); ok; ok = it.Next() {
		out = append(out, record{string(it.Key()), string(it.Value())})
	}
	return out
}

func scanBack(it *Iterator) (out []record) {
	for ok := it.Last(); ok; ok = it.Prev() {
		out = append(out, record{string(it.Key()), string(it.Value())})
	}
	slices.Reverse(out)
	return out
}

func (m *model) compare(got, want []record) {
	m.t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			g, w := record{"(end)", ""}, record{"(end)", ""}
			if i < len(got) {
				g = got[i]
			}
			if i < len(want) {
				w = want[i]
			}
			m.fatalf("record %d of %d, %d: %q=%.40q, want %q=%.40q", i, len(got), len(want), g.key, g.value, w.key, w.value)
		}
	}
}

// compareState compares a scan with a state, apart from what may have been dropped.
func (m *model) compareState(r Reader, s *state) {
	m.t.Helper()
	all := s.sorted(nil, nil)
	kinds := map[string]byte{}
	for _, x := range all {
		kinds[x.key] = x.value[0]
	}
	for _, walk := range []func(*Iterator) []record{scan, scanBack} {
		it := r.NewIter(IterOptions{})
		got := slices.DeleteFunc(walk(it), func(x record) bool { return m.gone(kinds[x.key], x.value) })
		m.must(it.Close())
		m.compare(got, m.alive(all))
	}
}

func (m *model) checkAll() {
	m.compareState(m.db.Latest(), m.latest)
	m.settle()
	m.compareState(m.db, m.committed)
	for _, h := range m.held {
		m.checkHeld(h)
	}
	if !slices.Equal(m.db.Epochs(), m.epochs) || m.db.Epoch() != m.epochs[len(m.epochs)-1].Number {
		m.fatalf("epochs %v, want %v", m.db.Epochs(), m.epochs)
	}
	mt := m.db.Metrics()
	if mt.Last != m.last {
		m.fatalf("last %d, want %d", mt.Last, m.last)
	}
}

// hold opens a snapshot or an iterator and notes what it shows.
func (m *model) hold() {
	if len(m.held) > 5 {
		return
	}
	m.settle()
	var h heldView
	if m.rng.IntN(2) == 0 {
		h.snap = m.db.NewSnapshot()
		if h.snap.Seq() != m.done {
			m.fatalf("snapshot at %d, want %d", h.snap.Seq(), m.done)
		}
		horizons, kinds := m.horizons, maps.Clone(m.committed.data)
		h.dead = func(r record) bool { return m.dead(kinds[r.key][0], r.value, horizons) }
		it := h.snap.NewIter(IterOptions{})
		h.want = slices.DeleteFunc(scan(it), h.dead)
		m.must(it.Close())
		m.compareState(h.snap, m.committed)
	} else {
		h.iter = m.db.NewIter(IterOptions{Latest: m.rng.IntN(2) == 0})
		h.want = scan(h.iter)
	}
	m.held = append(m.held, h)
}

func (m *model) checkHeld(h heldView) {
	m.t.Helper()
	it := h.iter
	if h.snap != nil {
		it = h.snap.NewIter(IterOptions{})
		for range 5 {
			if len(h.want) > 0 {
				w := h.want[m.rng.IntN(len(h.want))]
				if got, err := h.snap.Get(nil, []byte(w.key)); err != nil || string(got) != w.value {
					m.fatalf("held get %q: %.40q %v, want %.40q", w.key, got, err, w.value)
				}
			}
		}
	}
	walk := pick(m.rng, scan, scanBack)
	got := walk(it)
	if h.dead != nil {
		got = slices.DeleteFunc(got, h.dead)
	}
	m.compare(got, h.want)
	m.must(it.Error())
	if h.snap != nil {
		m.must(it.Close())
	}
}

func (m *model) letGo() {
	if len(m.held) == 0 {
		return
	}
	i := m.rng.IntN(len(m.held))
	h := m.held[i]
	m.checkHeld(h)
	m.held = slices.Delete(m.held, i, i+1)
	if h.snap != nil {
		m.must(h.snap.Close())
	} else {
		m.must(h.iter.Close())
	}
}

func (m *model) flush() { m.must(m.db.Flush()) }

func (m *model) compact() {
	if m.rng.IntN(2) == 0 {
		m.must(m.db.Compact(nil, nil))
		return
	}
	a, b := m.key(), m.key()
	m.must(m.db.Compact([]byte(min(a, b)), []byte(max(a, b))))
}

func (m *model) checkpoint() {
	m.settle()
	m.n++
	dir := fmt.Sprintf("checkpoint-%d", m.n)
	m.must(m.db.Checkpoint(dir))
	m.verifyDir(dir)
	o := m.opts
	o.ExternalCommit = false
	db, err := Open(dir, o)
	m.must(err)
	m.compareState(db, m.committed)
	if db.Last() != m.done {
		m.fatalf("checkpoint ends at %d, want %d", db.Last(), m.done)
	}
	for id := range uint32(4) {
		if got := db.Counter(id); got != m.committed.counters[id] {
			m.fatalf("counter %d of checkpoint: %d, want %d", id, got, m.committed.counters[id])
		}
	}
	m.must(db.Close())
	m.must(removeAll(m.fs, dir))
}

func (m *model) reopen() {
	m.settle()
	m.close()
	if m.rng.IntN(3) == 0 {
		m.verifyDir(m.dir)
	}
	m.randomOptions()
	if m.rng.IntN(3) == 0 { // into a cluster, or out of it: then all that is in the log counts
		m.opts.ExternalCommit = !m.opts.ExternalCommit
	}
	m.open()
	m.settle()
	m.db.SetExpiryHorizon(m.horizon(), m.db.Truncations())
	if m.db.Last() != m.last {
		m.fatalf("last is %d, want %d", m.db.Last(), m.last)
	}
	m.checkAll()
}

func (m *model) truncate() {
	if !m.opts.ExternalCommit || len(m.pending) == 0 {
		return
	}
	n := m.rng.IntN(len(m.pending))
	seq := m.done
	if n > 0 {
		seq = m.pending[n-1].last
	}
	for i := len(m.held) - 1; i >= 0; i-- {
		m.checkHeld(m.held[i])
	}
	if m.done > 0 {
		if err := m.db.TruncateAfter(m.done - 1); err == nil {
			m.fatalf("truncation before the committed position")
		}
	}
	cuts := m.db.Truncations()
	m.must(m.db.TruncateAfter(seq))
	if m.db.Truncations() == cuts && seq < m.last {
		m.fatalf("a truncation was not counted")
	}
	m.pending = m.pending[:n]
	m.epochs = epochsUpTo(m.epochs, seq)
	m.latest = m.committed.clone()
	for _, p := range m.pending {
		m.latest.apply(p.ops)
	}
	m.last = seq
	m.checkAll()
}

// expire moves the horizon: to a later position, and mostly to a later time. Now and then it comes too late, when the log was cut since.
func (m *model) expire() {
	m.settle()
	h := Horizon{max(0, m.horizon().Deadline+int64(m.rng.IntN(600))-100), m.done}
	cuts := m.db.Truncations()
	if m.rng.IntN(10) == 0 {
		m.truncate()
	}
	m.db.SetExpiryHorizon(h, cuts)
	if m.db.Truncations() == cuts && h.Seq > m.horizon().Seq {
		m.horizons = append(slices.Clip(m.horizons), h)
	}
	if got := m.db.ExpiryHorizon(); got != m.horizon() {
		m.fatalf("horizon %v, want %v", got, m.horizon())
	}
}

// epochsUpTo returns those that begin at or before seq, and the first in any case.
func epochsUpTo(list []Epoch, seq uint64) []Epoch {
	for len(list) > 1 && list[len(list)-1].First > seq {
		list = list[:len(list)-1]
	}
	return slices.Clip(list)
}

func (m *model) noteEpoch(number, seq uint64) {
	if number != m.epochs[len(m.epochs)-1].Number {
		m.epochs = append(m.epochs, Epoch{number, seq})
	}
}

func (m *model) epoch() {
	now := m.db.Epoch()
	if _, err := m.db.BeginEpoch(now); !errors.Is(err, ErrEpoch) {
		m.fatalf("epoch %d again: %v", now, err)
	}
	now += 1 + m.rng.Uint64N(3)
	seq, err := m.db.BeginEpoch(now)
	m.must(err)
	m.noteEpoch(now, m.last+1)
	if seq != m.last+1 {
		m.fatalf("epoch begins at %d after %d", seq, m.last)
	}
	m.last = seq
	m.pending = append(m.pending, pendingBatch{seq, nil})
	err = m.db.ApplyRecord(wal.Record{Epoch: now - 1, Seq: seq + 1, Count: 1, Payload: epochBatch.data})
	if !errors.Is(err, ErrEpoch) {
		m.fatalf("a record of an old epoch: %v", err)
	}
}

// install replaces another store by a checkpoint of the tables.
func (m *model) install() {
	m.settle()
	m.flush()
	m.n++
	from := fmt.Sprintf("tables-%d", m.n)
	seq, pin, err := m.db.CheckpointTables(from)
	m.must(err)
	if seq > m.done || !m.opts.ExternalCommit && seq != m.done {
		m.fatalf("checkpoint of the tables at %d, committed is %d", seq, m.done)
	}
	m.must(Install(m.fs, "other", from))
	o := m.opts
	o.ExternalCommit = m.rng.IntN(2) == 0
	db, err := Open("other", o)
	m.must(err)
	if db.Last() != seq || db.Committed() != seq || !slices.Equal(db.Epochs(), epochsUpTo(m.epochs, seq)) {
		m.fatalf("installed at %d, %d with %v, want %d, %v", db.Last(), db.Committed(), db.Epochs(), seq, epochsUpTo(m.epochs, seq))
	}
	r, err := m.db.NewLogReader(seq + 1) // what the pin is for
	m.must(err)
	m.must(copyRecords(m.t.Context(), r, seq, m.done, db.ApplyRecord))
	m.must(r.Close())
	pin.Close()
	if db.SetCommitted(m.done); o.ExternalCommit && db.Committed() != m.done {
		m.fatalf("brought up to %d, want %d", db.Committed(), m.done)
	}
	m.compareState(db.Latest(), m.committed)
	m.must(db.Close())
	m.verifyDir("other")
	m.must(removeAll(m.fs, from))
}

func (m *model) setOptions() {
	l := m.db.Live()
	m.randomOptions()
	n := m.opts.Live
	n.Ack = l.Ack
	if m.rng.IntN(2) == 0 {
		n.Ack = pick(m.rng, wal.AckSynced, wal.AckWritten)
	}
	m.must(m.db.SetOptions(n))
}
