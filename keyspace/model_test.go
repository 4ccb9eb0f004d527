package keyspace

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

var (
	modelSeed  = flag.Uint64("model.seed", 0, "seed of the model test; 0: several")
	modelSteps = flag.Int("model.steps", 1000, "steps of the model test for each seed")
)

// modelValue is a key of the model.
type modelValue struct {
	value    string
	deadline int64
}

// model is what the keyspace should hold: maps, and a clock.
type model struct {
	dbs [3]map[string]modelValue
	now int64
}

func newModel(now int64) *model {
	m := &model{now: now}
	for i := range m.dbs {
		m.dbs[i] = map[string]modelValue{}
	}
	return m
}

func (m *model) clone() *model {
	c := &model{now: m.now}
	for i := range m.dbs {
		c.dbs[i] = maps.Clone(m.dbs[i])
	}
	return c
}

func (m *model) get(db int, key string) (modelValue, bool) {
	v, ok := m.dbs[db][key]
	if ok && v.deadline != 0 && m.now > v.deadline {
		delete(m.dbs[db], key)
		return modelValue{}, false
	}
	return v, ok
}

func (m *model) sweep() {
	for db := range m.dbs {
		for key := range m.dbs[db] {
			m.get(db, key)
		}
	}
}

// modelRun drives a keyspace and a model with the same operations.
type modelRun struct {
	*store
	rnd     *rand.Rand
	crash   *vfs.Crash
	m       *model
	pending []*model // states since the last commit that was waited for, oldest first
	last    uint64
	log     []string
}

var modelKeys = []string{"", "a", "b", "c", "{a}1", "{a}2", "k\x00\xff", "long-" + string(bytes.Repeat([]byte("x"), 300))}

func TestModel(t *testing.T) {
	seeds := []uint64{1, 2, rand.Uint64(), rand.Uint64()}
	if *modelSeed != 0 {
		seeds = []uint64{*modelSeed}
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { runModel(t, seed, *modelSteps) })
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	r := &modelRun{rnd: rand.New(rand.NewPCG(seed, 1)), crash: vfs.NewCrash(seed)}
	r.store = &store{TB: t, fs: r.crash, now: 1_700_000_000_000}
	r.store.ko = Options{ExpireEvery: -1, Databases: len(model{}.dbs)}
	r.store.o = engine.Options{MaxMemTables: 3, L0Tables: 2, TableSize: 32 << 10, BaseLevelSize: 64 << 10, LogSegmentSize: 64 << 10, BlockSize: 1 << 10}
	r.store.o.MemTableSize = 256 << 10
	r.store.o.Ack = wal.AckSynced
	r.m = newModel(r.now)
	r.open()
	defer func() { r.store.close() }()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d; last operations:", seed)
			for _, line := range r.log[max(0, len(r.log)-25):] {
				t.Log(line)
			}
		}
	}()
	for i := range steps {
		r.step()
		if i%50 == 49 {
			r.compare()
			r.check()
		}
	}
	r.compare()
	r.check()
}

func (r *modelRun) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *modelRun) key() string { return modelKeys[r.rnd.IntN(len(modelKeys))] }
func (r *modelRun) anyDB() int  { return r.rnd.IntN(len(r.m.dbs)) }

// value is short, rarely around the limit of inline strings, or longer.
func (r *modelRun) value() string {
	n := r.rnd.IntN(30)
	switch r.rnd.IntN(30) {
	case 0:
		n = inlineMax - 5 + r.rnd.IntN(10)
	case 1:
		n = r.rnd.IntN(5 * chunkSize)
	case 2:
		n = r.rnd.IntN(deleteChunks*chunkSize + 2*chunkSize)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + (i+n)%26)
	}
	return string(b)
}

func (r *modelRun) step() {
	switch n := r.rnd.IntN(100); {
	case n < 70:
		r.command()
	case n < 78:
		r.multi()
	case n < 86:
		r.now += int64(r.rnd.IntN(40))
		r.m.now = r.now
	case n < 90:
		r.note("expire at %d", r.now)
		if _, err := r.ExpireDue(); err != nil {
			r.Fatal(err)
		}
		r.m.sweep()
		for db := range r.m.dbs {
			keys, _ := r.Size(db)
			r.expect("size of database "+strconv.Itoa(db), keys, len(r.m.dbs[db]))
		}
	case n < 92:
		r.anotherClock()
	case n < 94:
		r.note("flush")
		r.wait()
		if err := r.db.Flush(); err != nil {
			r.Fatal(err)
		}
	case n < 95:
		r.note("compact")
		r.wait()
		if err := r.db.Compact(nil, nil); err != nil {
			r.Fatal(err)
		}
	case n < 96:
		r.note("reopen")
		r.wait()
		r.store.close()
		r.open()
	case n < 97:
		r.powerLoss()
	default:
		r.readSomething()
	}
}

// anotherClock lets the engine drop what has expired; then, now and then, the clock is one that is behind.
func (r *modelRun) anotherClock() {
	r.now += 15_000
	r.m.now = r.now
	r.note("horizon at %d", r.now)
	if _, err := r.ExpireDue(); err != nil {
		r.Fatal(err)
	}
	r.m.sweep()
	r.last = r.db.Last()
	r.wait()
	if err := r.learnHorizon(); err != nil {
		r.Fatal(err)
	}
	if r.rnd.IntN(2) == 0 {
		r.now -= int64(r.rnd.IntN(30_000))
		r.m.now = r.now
		r.note("the clock is back at %d", r.now)
	}
}

// wait makes everything so far durable.
func (r *modelRun) wait() {
	if err := r.db.Wait(r.last); err != nil {
		r.Fatal(err)
	}
	r.pending = nil
}

// powerLoss loses what was not synced; the result has to be one of the states since the last wait.
func (r *modelRun) powerLoss() {
	r.note("power loss, %d commits not waited for", len(r.pending))
	after := r.crash.Crash()
	r.store.Keyspace.Close()
	r.db.Close()
	r.crash, r.store.fs = after, after
	r.open()
	r.check()
	candidates := append(r.pending, r.m)
	r.pending = nil
	for _, m := range slices.Backward(candidates) {
		m.now = r.now
		if r.difference(m) == "" {
			r.m = m
			r.last = r.db.Last()
			return
		}
	}
	r.Fatalf("the state after the power loss is none of those before it: against the last one %s", r.difference(r.m))
}

// command runs one command in a transaction of its own.
func (r *modelRun) command() {
	db := r.anyDB()
	op := r.operation(db)
	before := r.m.clone()
	var t *Txn
	if op.all {
		t = r.BeginAll(db, r.now)
	} else {
		t = r.Begin(db, r.now, byteSlices(op.keys)...)
	}
	op.run(t)
	r.finish(t, before)
}

// multi runs several commands in one transaction, and sometimes takes them all back.
func (r *modelRun) multi() {
	r.note("multi {")
	before := r.m.clone()
	dbs, ops, keys, all := []int{}, []operation{}, []string{}, false
	for range 1 + r.rnd.IntN(8) {
		db := r.anyDB()
		op := r.operation(db)
		dbs, ops, keys, all = append(dbs, db), append(ops, op), append(keys, op.keys...), all || op.all
	}
	t := r.BeginMulti(0, r.now, nil, all, byteSlices(keys)...)
	for i, op := range ops {
		t.Select(dbs[i])
		op.run(t)
	}
	if r.rnd.IntN(5) == 0 {
		r.note("} discard")
		t.Discard()
		r.m = before
		return
	}
	r.note("} exec")
	r.finish(t, before)
}

func (r *modelRun) finish(t *Txn, before *model) {
	seq, err := t.Commit()
	if err != nil {
		r.Fatal(err)
	}
	r.last = max(r.last, seq)
	r.pending = append(r.pending, before)
	if r.rnd.IntN(3) == 0 || len(r.pending) > 20 {
		r.wait()
	}
}

func byteSlices(keys []string) (out [][]byte) {
	for _, key := range keys {
		out = append(out, []byte(key))
	}
	return out
}

// operation is one command: run executes it on a transaction and on the model, and compares the results.
type operation struct {
	keys []string
	all  bool
	run  func(t *Txn)
}

func (r *modelRun) operation(db int) operation {
	key, other, value := r.key(), r.key(), r.value()
	one := func(run func(t *Txn)) operation { return operation{keys: []string{key}, run: run} }
	two := func(run func(t *Txn)) operation { return operation{keys: []string{key, other}, run: run} }
	switch n := r.rnd.IntN(100); {
	case n < 25:
		o := SetOptions{Condition: Condition(r.rnd.IntN(3)), KeepTTL: r.rnd.IntN(4) == 0}
		if r.rnd.IntN(3) == 0 {
			o.Deadline = r.deadline()
		}
		return one(func(t *Txn) { r.opSet(t, db, key, value, o) })
	case n < 35:
		return one(func(t *Txn) { r.opSetRange(t, db, key, value, -1) })
	case n < 45:
		offset := r.rnd.IntN(40)
		if r.rnd.IntN(5) == 0 {
			offset = r.rnd.IntN(8 * chunkSize)
		}
		return one(func(t *Txn) { r.opSetRange(t, db, key, value, offset) })
	case n < 50:
		return one(func(t *Txn) { r.opIncrement(t, db, key) })
	case n < 57:
		return two(func(t *Txn) {
			r.opDelete(t, db, key)
			r.opDelete(t, db, other)
		})
	case n < 69:
		deadline, c := r.deadline(), ExpireCondition(r.rnd.IntN(16))
		if r.rnd.IntN(2) == 0 {
			c = 0
		}
		return one(func(t *Txn) { r.opExpire(t, db, key, deadline, c) })
	case n < 73:
		return one(func(t *Txn) { r.opPersist(t, db, key) })
	case n < 79:
		return two(func(t *Txn) { r.opRename(t, db, key, other, r.rnd.IntN(3) == 0) })
	case n < 85:
		return two(func(t *Txn) { r.opCopy(t, db, key, other, r.anyDB(), r.rnd.IntN(2) == 0) })
	case n < 90:
		return one(func(t *Txn) { r.opMove(t, db, key, r.anyDB()) })
	case n < 93:
		return operation{all: true, run: func(t *Txn) {
			r.note("%d: flush database", db)
			r.nofail(t.Flush())
			r.m.dbs[db] = map[string]modelValue{}
		}}
	case n < 94:
		return operation{all: true, run: func(t *Txn) {
			r.note("flush all")
			r.nofail(t.FlushAll())
			r.m = newModel(r.now)
		}}
	case n < 97:
		with := r.anyDB()
		return operation{all: true, run: func(t *Txn) {
			r.note("swap %d %d", db, with)
			r.nofail(t.Swap(db, with))
			r.m.dbs[db], r.m.dbs[with] = r.m.dbs[with], r.m.dbs[db]
		}}
	}
	return one(func(t *Txn) { r.opGet(t, db, key) })
}

func (r *modelRun) nofail(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *modelRun) deadline() int64 { return r.now - 10 + int64(r.rnd.IntN(200)) }

func (r *modelRun) opSet(t *Txn, db int, key, value string, o SetOptions) {
	r.note("%d: set %.20q %d bytes %+v", db, key, len(value), o)
	old, found := r.m.get(db, key)
	want := !(o.Condition == IfAbsent && found || o.Condition == IfPresent && !found)
	got, err := t.Set([]byte(key), []byte(value), o)
	r.nofail(err)
	r.expect("set", got, want)
	if !want {
		return
	}
	v := modelValue{value, o.Deadline}
	if o.KeepTTL && found {
		v.deadline = old.deadline
	}
	r.m.dbs[db][key] = v
	r.m.get(db, key)
}

// opSetRange is SETRANGE, or APPEND when offset is negative.
func (r *modelRun) opSetRange(t *Txn, db int, key, value string, offset int) {
	r.note("%d: setrange %.20q %d, %d bytes", db, key, offset, len(value))
	v, found := r.m.get(db, key)
	var got int64
	var err error
	if offset < 0 {
		offset = len(v.value)
		got, err = t.Append([]byte(key), []byte(value), 1<<30)
		found = true
	} else {
		got, err = t.SetRange([]byte(key), int64(offset), []byte(value), 1<<30)
		found = found || value != ""
	}
	r.nofail(err)
	b := []byte(v.value)
	if value != "" {
		b = append(b, make([]byte, max(0, offset+len(value)-len(b)))...)
		copy(b[offset:], value)
	}
	r.expect("length", got, len(b))
	v.value = string(b)
	if found {
		r.m.dbs[db][key] = v
	}
}

func (r *modelRun) opIncrement(t *Txn, db int, key string) {
	r.note("%d: increment %.20q", db, key)
	v, found := r.m.get(db, key)
	n, ok := slowParseInt(v.value)
	got, err := t.Increment([]byte(key), 7)
	if found && !ok {
		r.expect("increment", err, ErrNotInteger)
		return
	}
	r.nofail(err)
	r.expect("increment", got, n+7)
	v.value = strconv.FormatInt(n+7, 10)
	r.m.dbs[db][key] = v
}

func (r *modelRun) opDelete(t *Txn, db int, key string) {
	r.note("%d: delete %.20q", db, key)
	_, found := r.m.get(db, key)
	got, err := t.Delete([]byte(key))
	r.nofail(err)
	r.expect("delete", got, found)
	delete(r.m.dbs[db], key)
}

func (r *modelRun) opExpire(t *Txn, db int, key string, deadline int64, c ExpireCondition) {
	r.note("%d: expire %.20q in %d, condition %d", db, key, deadline-r.now, c)
	v, found := r.m.get(db, key)
	want := found && !(c&IfPersistent != 0 && v.deadline != 0 || c&IfExpiring != 0 && v.deadline == 0 ||
		c&IfLater != 0 && (v.deadline == 0 || deadline <= v.deadline) || c&IfEarlier != 0 && v.deadline != 0 && deadline >= v.deadline)
	got, err := t.Expire([]byte(key), deadline, c)
	r.nofail(err)
	r.expect("expire", got, want)
	switch {
	case want && deadline <= r.now:
		delete(r.m.dbs[db], key)
	case want:
		v.deadline = deadline
		r.m.dbs[db][key] = v
	}
}

func (r *modelRun) opPersist(t *Txn, db int, key string) {
	r.note("%d: persist %.20q", db, key)
	v, found := r.m.get(db, key)
	got, err := t.Persist([]byte(key))
	r.nofail(err)
	r.expect("persist", got, found && v.deadline != 0)
	if found {
		v.deadline = 0
		r.m.dbs[db][key] = v
	}
}

func (r *modelRun) opRename(t *Txn, db int, from, to string, nx bool) {
	r.note("%d: rename %.20q %.20q %v", db, from, to, nx)
	v, found := r.m.get(db, from)
	_, there := r.m.get(db, to)
	got, err := t.Rename([]byte(from), []byte(to), nx)
	if !found {
		r.expect("rename", err, ErrNoKey)
		return
	}
	r.nofail(err)
	r.expect("rename", got, !(nx && there))
	if got && from != to {
		delete(r.m.dbs[db], from)
		r.m.dbs[db][to] = v
	}
}

func (r *modelRun) opCopy(t *Txn, db int, from, to string, toDB int, replace bool) {
	if from == to && db == toDB {
		return
	}
	r.note("%d: copy %.20q %.20q to %d %v", db, from, to, toDB, replace)
	v, found := r.m.get(db, from)
	_, there := r.m.get(toDB, to)
	got, err := t.Copy([]byte(from), []byte(to), toDB, replace)
	r.nofail(err)
	r.expect("copy", got, found && (replace || !there))
	if got {
		r.m.dbs[toDB][to] = v
	}
}

func (r *modelRun) opMove(t *Txn, db int, key string, toDB int) {
	if db == toDB {
		return
	}
	r.note("%d: move %.20q to %d", db, key, toDB)
	v, found := r.m.get(db, key)
	_, there := r.m.get(toDB, key)
	got, err := t.Move([]byte(key), toDB)
	r.nofail(err)
	r.expect("move", got, found && !there)
	if got {
		delete(r.m.dbs[db], key)
		r.m.dbs[toDB][key] = v
	}
}

// opGet reads a key, a part of it, and what else there is to know.
func (r *modelRun) opGet(t *Txn, db int, key string) {
	if problem := r.differenceOf(r.m, t, db, key); problem != "" {
		r.Fatal(problem)
	}
}

func (r *modelRun) differenceOf(m *model, t *Txn, db int, key string) string {
	v, found := m.get(db, key)
	s, ok, err := t.String([]byte(key))
	r.nofail(err)
	if ok != found {
		return fmt.Sprintf("%d: key %.20q found: %v, want %v", db, key, ok, found)
	}
	if !ok {
		return ""
	}
	b, err := s.Append([]byte("before"), 0, s.Len())
	r.nofail(err)
	if string(b) != "before"+v.value {
		return fmt.Sprintf("%d: key %.20q holds %d bytes, want %d: %.40q and %.40q", db, key, s.Len(), len(v.value), b[6:], v.value)
	}
	lo := r.rnd.IntN(len(v.value) + 1)
	hi := lo + r.rnd.IntN(len(v.value)+1-lo)
	if b, err = s.Append(nil, int64(lo), int64(hi)); err != nil || string(b) != v.value[lo:hi] {
		return fmt.Sprintf("%d: range %d to %d of %.20q is wrong (%v)", db, lo, hi, key, err)
	}
	if at, ok, err := t.Deadline([]byte(key)); err != nil || !ok || at != v.deadline {
		return fmt.Sprintf("%d: key %.20q has the deadline %d, want %d (%v)", db, key, at, v.deadline, err)
	}
	return ""
}

// readSomething reads without locks: what is committed, or all that is applied.
func (r *modelRun) readSomething() {
	latest := r.rnd.IntN(2) == 0
	if !latest {
		r.wait()
	}
	db := r.anyDB()
	t := r.View(db, r.now, latest)
	if r.rnd.IntN(2) == 0 {
		t.Pin()
	}
	r.opGet(t, db, r.key())
	r.randomKey(t, db)
	t.Commit()
}

func (r *modelRun) randomKey(t *Txn, db int) {
	r.m.sweep()
	key, ok, err := t.RandomKey()
	r.nofail(err)
	r.expect("random key", ok, len(r.m.dbs[db]) > 0)
	if _, there := r.m.dbs[db][string(key)]; ok && !there {
		r.Fatalf("random key %q is not in database %d", key, db)
	}
}

// compare compares everything.
func (r *modelRun) compare() {
	r.wait()
	if problem := r.difference(r.m); problem != "" {
		r.Fatal(problem)
	}
}

func (r *modelRun) difference(m *model) string {
	m.sweep()
	for db := range m.dbs {
		t := r.View(db, r.now, true)
		defer t.Commit()
		want := slices.Sorted(maps.Keys(m.dbs[db]))
		var keys []string
		r.nofail(t.Keys(func(key []byte) bool {
			keys = append(keys, string(key))
			return true
		}))
		slices.Sort(keys)
		if !slices.Equal(keys, want) {
			return fmt.Sprintf("database %d has the keys %.20q, want %.20q", db, keys, want)
		}
		if keys = r.scan(t); !slices.Equal(keys, want) {
			return fmt.Sprintf("a scan of database %d finds the keys %.20q, want %.20q", db, keys, want)
		}
		for _, key := range modelKeys {
			if problem := r.differenceOf(m, t, db, key); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func (r *modelRun) scan(t *Txn) (keys []string) {
	for cursor := uint64(0); ; {
		var err error
		cursor, err = t.Scan(cursor, int64(1+r.rnd.IntN(3)), func(key []byte, _ Type) { keys = append(keys, string(key)) })
		r.nofail(err)
		if cursor == 0 {
			break
		}
	}
	slices.Sort(keys)
	return keys
}
