package engine

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gtinside/corecache/engine/sstable"
)

// A compaction merges tables of one level with those of the next in one
// stream: it holds one block per input run and one table under construction,
// whatever the sizes. It works on the read state that it was picked in; its inputs
// are marked, so that no other job touches them. Its result becomes visible by
// one edit.

// compactionReadAhead is the size of sequential reads.
const compactionReadAhead = 256 << 10

// stepsPerCheck is how many records pass between looks at the rate limit and at Close.
const stepsPerCheck = 1024

// compact runs a job and starts the next.
func (db *DB) compact(c *compaction) {
	defer db.mu.background.Done()
	err := db.run(c)
	db.mu.Lock()
	for _, f := range c.files() {
		f.compacting = false
	}
	if c.isDrop() {
		db.mu.dropping = false
	} else if c.level == 0 && c.out > 0 {
		db.mu.baseBusy = false
	}
	db.mu.compactions--
	if c.manual != nil {
		c.manual.stepDone(err)
	}
	db.compactedLocked(c, err)
	db.scheduleLocked()
	db.mu.changed.Broadcast()
	db.mu.Unlock()
	db.release(c.rs)
}

// compactedLocked notes success or failure. After a failure nothing is
// compacted for a while; tables that are damaged are left alone.
func (db *DB) compactedLocked(c *compaction, err error) {
	switch {
	case err == nil:
		db.mu.backoff, db.mu.compactErr = 0, nil
		db.mu.progress = time.Now()
		db.stats.compactions.Add(1)
		return
	case errors.Is(err, ErrClosed):
		return
	case errors.Is(err, ErrCorrupt):
		for _, f := range c.files() {
			if f.damaged == nil && strings.Contains(err.Error(), tableName(f.num)) {
				f.damaged = err
			}
		}
	}
	db.stats.backgroundErrors.Add(1)
	for _, m := range db.mu.manual { // they come after what failed, and their callers wait
		m.stepDone(err)
	}
	db.mu.compactErr = err
	db.mu.backoff = min(max(2*db.mu.backoff, firstBackoff), maxBackoff)
	db.mu.retryAt = time.Now().Add(db.mu.backoff)
	db.opts.Logger.Errorf("compaction (%s) of level %d: %v; next try in %v", c.reason, c.level, err, db.mu.backoff)
	db.mu.background.Add(1)
	go db.retryCompaction(db.mu.backoff)
}

func (db *DB) retryCompaction(after time.Duration) {
	defer db.mu.background.Done()
	if db.pause(after + time.Millisecond) {
		db.schedule()
	}
}

func (db *DB) run(c *compaction) error {
	switch {
	case c.isDrop():
		return db.logEdit(&versionEdit{removed: c.gone, dropped: c.dropped}, nil)
	case c.move:
		return db.logEdit(c.edit(placeAll(c.out, c.inputs)), nil)
	}
	start := time.Now()
	s := &sink{db: db, level: c.out}
	if err := db.mergeTables(c, s); err != nil {
		s.abandon()
		return err
	}
	if err := db.logEdit(c.edit(s.placed()), nil); err != nil {
		return err
	}
	db.compacted(c, s, time.Since(start))
	return nil
}

func placeAll(level int, files []*fileMeta) []placed {
	out := make([]placed, len(files))
	for i, f := range files {
		out[i] = placed{level, f}
	}
	return out
}

// edit replaces the inputs by the result.
func (c *compaction) edit(added []placed) *versionEdit {
	removed := placeAll(c.level, c.inputs)
	return &versionEdit{removed: append(removed, placeAll(c.out, c.lower)...), added: added}
}

// compacted keeps the books after a merge.
func (db *DB) compacted(c *compaction, s *sink, took time.Duration) {
	read := sizeOf(c.inputs) + sizeOf(c.lower)
	db.stats.compactedBytes.Add(uint64(s.bytes))
	db.stats.levels[c.level].read.Add(uint64(read))
	db.stats.levels[c.out].written.Add(uint64(s.bytes))
	if c.level == 0 && c.out > 0 {
		db.mu.Lock()
		db.pace.drainRate.add(sizeOf(c.inputs), took)
		db.mu.Unlock()
	}
	if took > 100*time.Millisecond {
		db.opts.Logger.Infof("compaction (%s) of level %d into %d: %d + %d tables, %d -> %d MiB in %v",
			c.reason, c.level, c.out, len(c.inputs), len(c.lower), read/mib, s.bytes/mib, took.Round(time.Millisecond))
	}
}

// mergeTables writes the records of the inputs that are still needed.
func (db *DB) mergeTables(c *compaction, s *sink) error {
	m, err := db.openInputs(c)
	defer func() { db.logError(m.close()) }()
	if err != nil {
		return err
	}
	sv := db.compactionSieve(c)
	s.clean = sv.cleanSeq
	cutter := newCutter(db, c)
	written := int64(0)
	for ok, i := m.first(), 0; ok; ok, i = m.step(), i+1 {
		if i%stepsPerCheck == 0 {
			select {
			case <-db.life.Done():
				return ErrClosed
			default:
			}
			done := s.bytes + s.size()
			db.rate.wait(done-written, db.life.Done())
			written = done
		}
		top := m.top()
		tr, newKey, keep := sv.next(top)
		if newKey && s.writer != nil && cutter.cut(top.key, s.size()) {
			if err := s.cut(); err != nil {
				return err
			}
		}
		if !keep {
			continue
		}
		if err := s.add(top.key, tr, keptValue(top, tr)); err != nil {
			return err
		}
	}
	if m.err != nil {
		return m.err
	}
	return s.finish()
}

// openInputs returns a merge over the inputs. All of their keys share the
// first bytes that their bounds share.
func (db *DB) openInputs(c *compaction) (*merge, error) {
	m := &merge{skip: commonPrefix(c.smallest, c.largest)}
	opts := sstable.IterOptions{ReadAhead: compactionReadAhead}
	if c.level == 0 {
		for _, f := range c.inputs {
			r, err := db.tables.reader(f)
			if err != nil {
				return m, err
			}
			m.runs = append(m.runs, run{it: r.NewIter(opts)})
		}
	} else {
		m.runs = append(m.runs, db.runOf(c.inputs, opts))
	}
	if len(c.lower) > 0 {
		m.runs = append(m.runs, db.runOf(c.lower, opts))
	}
	return m, nil
}

func (db *DB) runOf(files []*fileMeta, opts sstable.IterOptions) run {
	l := newLevel(1, files)
	return run{it: &levelIter{tables: db.tables, level: &l, opts: opts}}
}

func (db *DB) compactionSieve(c *compaction) *sieve {
	v := c.rs.version
	s := &sieve{
		snaps:   db.snaps.view(),
		ranges:  v.ranges,
		deeper:  newDeeperOverlap(v, c.out),
		zeroSeq: c.out > 0,
	}
	if n := len(v.tombstones); n > 0 {
		s.applied = v.tombstones[n-1].seq
	}
	if c.level == 0 && c.out == 0 {
		s.deeper.loose = olderThan(v.levels[0].files, c.inputs)
	}
	if db.opts.NewFilter != nil {
		s.filter = db.opts.NewFilter(db)
	}
	return s
}

// olderThan returns the tables of level 0 behind the last of some, which
// stand together, newest first.
func olderThan(files, some []*fileMeta) []*fileMeta {
	last := some[len(some)-1]
	for i, f := range files {
		if f == last {
			return files[i+1:]
		}
	}
	return files
}

// cutter decides where a result is cut into tables: at its size; or earlier,
// at a bound of a table two levels down, so that a later compaction of the
// table does not rewrite more than it must.
type cutter struct {
	size    int64
	next    []*fileMeta // grandparents not yet passed
	overlap int64       // bytes of grandparents since the last cut
	most    int64
}

func newCutter(db *DB, c *compaction) *cutter {
	k := &cutter{size: db.tableSize(c.out), most: 10 * db.tableSize(c.out)}
	switch {
	case c.out == 0:
		k.size = 1 << 62
	case c.out+1 < NumLevels:
		k.next = c.rs.version.overlap(c.out+1, c.smallest, c.largest)
	}
	return k
}

// cut reports whether to cut before key, which starts a new user key.
func (k *cutter) cut(key []byte, size int64) bool {
	crossed := false
	for len(k.next) > 0 && bytes.Compare(k.next[0].largest, key) < 0 {
		k.overlap += k.next[0].size
		k.next = k.next[1:]
		crossed = true
	}
	if size >= k.size || crossed && (size >= k.size/2 || k.overlap > k.most && size >= k.size/8) {
		k.overlap = 0
		return true
	}
	return false
}

// manualCompaction is a call of Compact. It goes down level by level.
type manualCompaction struct {
	start, end []byte // inclusive; end nil: no bound
	level      int
	queue      []*fileMeta // tables of level still to do
	started    bool        // queue was filled for level
	running    bool
	err        error
	done       bool
}

// stepDone ends the step that runs, if any; after an error also the rest.
func (m *manualCompaction) stepDone(err error) {
	m.running = false
	if err != nil && m.err == nil {
		m.err, m.done = err, true
	}
}

// Compact flushes memory and merges all tables that may hold keys in
// [start, end) down to the deepest level that has any, where whatever nobody needs is
// dropped. A nil end means no bound.
func (db *DB) Compact(start, end []byte) error {
	if err := db.Flush(); err != nil {
		return err
	}
	m := &manualCompaction{start: start, end: end}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.mu.manual = append(db.mu.manual, m)
	db.scheduleLocked()
	for !m.done {
		if db.mu.closed {
			return ErrClosed
		}
		db.mu.changed.Wait()
	}
	if m.err != nil {
		return fmt.Errorf("compact: %w", m.err)
	}
	return nil
}

// pickManualLocked returns the next step of the oldest call of Compact.
func (db *DB) pickManualLocked(v *version, t *targets) *compaction {
	for len(db.mu.manual) > 0 {
		m := db.mu.manual[0]
		if m.running {
			return nil
		}
		c, wait := db.manualStepLocked(m, v, t)
		if c != nil {
			c.reason, c.manual, m.running = "manual", m, true
			return c
		}
		if wait {
			return nil
		}
		m.done = true
		db.mu.manual = db.mu.manual[1:]
		db.mu.changed.Broadcast()
	}
	return nil
}

// manualStepLocked returns the next job of m. Without one, wait says that
// other jobs have to end first.
func (db *DB) manualStepLocked(m *manualCompaction, v *version, t *targets) (c *compaction, wait bool) {
	for ; !m.done && m.level < NumLevels; m.level, m.started = m.level+1, false {
		if !m.started {
			m.queue, m.started = m.filesOf(v, m.level), true
		}
		for len(m.queue) > 0 {
			f := m.queue[0]
			if !v.holds(m.level, f) {
				m.queue = m.queue[1:]
				continue
			}
			c := db.manualJobLocked(m, v, t, f)
			if c == nil && db.mu.compactions > 0 {
				return nil, true
			}
			if c == nil {
				m.stepDone(v.damage())
				return nil, false
			}
			if len(c.inputs) > 0 {
				return c, false
			}
			m.queue = m.queue[1:]
		}
	}
	return nil, false
}

// damage returns the first corruption that compactions met in the tables. It is called with
// DB.mu held.
func (v *version) damage() (err error) {
	v.all(func(_ int, f *fileMeta) {
		if err == nil {
			err = f.damaged
		}
	})
	return err
}

func (m *manualCompaction) filesOf(v *version, n int) (files []*fileMeta) {
	for _, f := range v.levels[n].files {
		if bytes.Compare(f.largest, m.start) >= 0 && (m.end == nil || bytes.Compare(f.smallest, m.end) < 0) {
			files = append(files, f)
		}
	}
	return files
}

func (v *version) holds(n int, f *fileMeta) bool {
	if n > 0 {
		return v.levels[n].find(f.smallest) == f
	}
	for _, o := range v.levels[0].files {
		if o == f {
			return true
		}
	}
	return false
}

// maxManualBytes is about what one step of Compact takes from a level.
const maxManualBytes = 256 * mib

// manualJobLocked returns the job that takes f, and some of the tables after it,
// further down; nil when tables in the way are busy; and a job without inputs when f is
// where it belongs.
func (db *DB) manualJobLocked(m *manualCompaction, v *version, t *targets, f *fileMeta) *compaction {
	if m.level == 0 {
		return db.pickL0Locked(v, t)
	}
	if f.compacting || f.damaged != nil {
		return nil
	}
	if !v.below(m.level, f.smallest, f.largest) && f.tombstones == 0 && f.expiring == 0 && db.opts.NewFilter == nil {
		return &compaction{}
	}
	group, size := []*fileMeta{f}, f.size
	for _, g := range m.queue[1:] {
		if size += g.size; size > maxManualBytes || g.compacting || g.damaged != nil || !v.holds(m.level, g) {
			break
		}
		group = append(group, g)
	}
	c := db.downLocked(v, m.level, group)
	if c != nil && c.out == m.level {
		m.queue = m.queue[len(group):] // rewritten in place: done
	}
	return c
}
