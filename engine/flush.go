package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/rowcache"
)

const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// flushLoop writes full memtables to level 0, oldest first, as soon as they
// are committed. What fails is tried again, with growing pauses; writers learn
// of it when there is no memory left.
func (db *DB) flushLoop() {
	defer db.mu.background.Done()
	for backoff := firstBackoff; ; {
		m := db.nextFull()
		if m == nil {
			return
		}
		var err error
		if !db.opts.ExternalCommit {
			err = db.Wait(m.last.Load())
		}
		if err == nil {
			err = db.flushReady()
		}
		switch {
		case err == nil:
			backoff = firstBackoff
			db.setFlushError(nil)
			continue
		case errors.Is(err, ErrClosed):
			return
		}
		db.setFlushError(err)
		db.opts.Logger.Errorf("flush: %v; next try in %v", err, backoff)
		if !db.pause(backoff) {
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// pause waits, and reports false when the store is closed meanwhile.
func (db *DB) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-db.life.Done():
		return false
	}
}

func (db *DB) setFlushError(err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.mu.flushErr = err
	if err != nil {
		db.stats.backgroundErrors.Add(1)
	}
	db.mu.changed.Broadcast()
}

// nextFull waits for a full memtable that may be flushed and returns it, the
// oldest; or nil after Close.
func (db *DB) nextFull() *memTable {
	db.mu.Lock()
	defer db.mu.Unlock()
	for !db.mu.closed {
		mems := db.state.Load().mems
		if m := mems[len(mems)-1]; len(mems) > 1 && !db.uncommitted(m) {
			return m
		}
		db.mu.changed.Wait()
	}
	return nil
}

// committedMoved returns those who wait for the committed position, which
// SetCommitted or, below it, an insertion has moved.
func (db *DB) committedMoved() woken {
	committed := db.Committed()
	reached := db.waiters.reach(committed)
	if at := db.flushAt.Load(); at != 0 && committed >= at {
		db.mu.Lock()
		db.mu.changed.Broadcast()
		db.mu.Unlock()
	}
	return reached
}

// flushReady flushes all memtables that are full and committed, into one table.
func (db *DB) flushReady() error {
	db.flushing.Lock()
	defer db.flushing.Unlock()
	rs := db.acquire()
	if rs == nil {
		return ErrClosed
	}
	defer db.release(rs)
	committed := db.Committed()
	full := rs.mems[1:]
	for len(full) > 0 && full[0].last.Load() > committed {
		full = full[1:]
	}
	if len(full) == 0 {
		return nil
	}
	return db.flush(rs, slices.Clone(full))
}

// flush writes memtables, newest first, into one table of level 0. It is
// called with flushing held.
func (db *DB) flush(rs *readState, mems []*memTable) error {
	start := time.Now()
	generation := db.rows.Begin()
	s := &sink{db: db, level: 0}
	if err := db.writeMemTables(rs, mems, s); err != nil {
		s.abandon()
		return err
	}
	newest := mems[0]
	// The log must reach as far as the tables: it is what other nodes read, and what a
	// crash leaves must not end before the tables do.
	if err := db.log.Load().Sync(); err != nil {
		s.abandon()
		return err
	}
	e := db.flushEdit(mems)
	e.generation = generation
	e.added = s.placed()
	if err := db.logEdit(e, mems); err != nil {
		return err
	}
	db.log.Load().Release(newest.last.Load())
	db.flushed(mems, s, time.Since(start))
	return nil
}

func (db *DB) flushEdit(mems []*memTable) *versionEdit {
	e := &versionEdit{flushedSeq: mems[0].last.Load()}
	deltas := map[uint32]int64{}
	for _, m := range mems {
		e.tombstones = append(e.tombstones, m.ranges.all()...)
		deltas = sum(deltas, m.counters.snapshot())
	}
	db.manifest.Lock()
	totals, epochs := db.manifest.state.counters, db.manifest.state.epochs
	db.manifest.Unlock()
	if now := db.epochs.upTo(e.flushedSeq); !slices.Equal(now, epochs) {
		e.epochs = now
	}
	if len(deltas) > 0 {
		e.counters = sum(totals, deltas)
	}
	return e
}

func (db *DB) writeMemTables(rs *readState, mems []*memTable, s *sink) error {
	var m merge
	var list []tombstone
	for _, mem := range mems {
		m.runs = append(m.runs, run{it: mem.Table.NewIter()})
		list = append(list, mem.ranges.all()...)
	}
	defer func() { db.logError(m.close()) }()
	deeper := newDeeperOverlap(rs.version, 0)
	deeper.loose = rs.version.levels[0].files
	sv := &sieve{snaps: db.snaps.view(), deeper: deeper, applied: mems[0].last.Load()}
	s.clean = sv.cleanSeq
	if len(list) > 0 {
		sv.ranges = fragment(list)
		db.rows.Cover(func(key []byte, seq uint64) bool { return seq < sv.ranges.cover(key, base.MaxSeq) })
	}
	rows := make([]rowcache.Row, 0, rowsAtOnce)
	for ok := m.first(); ok; ok = m.step() {
		top := m.top()
		tr, newKey, keep := sv.next(top)
		value := keptValue(top, tr)
		if newKey {
			// A snapshot may keep a record that nobody else sees any more.
			visible := tr.Kind() != base.KindDelete && tr.Seq() >= sv.ranges.cover(top.key, base.MaxSeq)
			if rows = append(rows, rowcache.Row{Key: top.key, Trailer: tr, Value: value, Kept: keep && visible}); len(rows) == rowsAtOnce {
				db.rows.Flushed(rows)
				rows = rows[:0]
			}
		}
		if !keep {
			continue
		}
		if err := s.add(top.key, tr, value); err != nil {
			return err
		}
	}
	if m.err != nil {
		return m.err
	}
	db.rows.Flushed(rows)
	return s.finish()
}

// rowsAtOnce is how many records a flush tells the row cache of at a time. Their keys and values lie in the memtables, and stay.
const rowsAtOnce = 32

// keptValue is the value of a record that stays under tr.
func keptValue(r *run, tr base.Trailer) []byte {
	if tr.Kind() == base.KindDelete {
		return nil
	}
	return r.it.Value()
}

// flushed keeps the books after a flush.
func (db *DB) flushed(mems []*memTable, s *sink, took time.Duration) {
	used := int64(0)
	for _, m := range mems {
		used += m.Table.Used()
	}
	db.stats.flushes.Add(1)
	db.stats.flushedBytes.Add(uint64(s.bytes))
	db.stats.levels[0].written.Add(uint64(s.bytes))
	db.mu.Lock()
	defer db.mu.Unlock()
	db.mu.progress = time.Now()
	db.pace.flushRate.add(used, took)
	db.stirLocked()
	db.updatePressureLocked()
	db.scheduleLocked()
}

// Flush writes all committed records from memory to tables and returns when
// they are there. What is not committed stays in memory.
func (db *DB) Flush() error {
	db.commit.mu.Lock()
	if db.commit.mu.closed {
		db.commit.mu.Unlock()
		return ErrClosed
	}
	last := db.log.Load().Last()
	if db.state.Load().mems[0].before < last {
		db.rotateLocked(0)
	}
	db.commit.mu.Unlock()
	if !db.opts.ExternalCommit {
		if err := db.Wait(last); err != nil {
			return err
		}
	}
	return db.awaitFlushed(min(last, db.Committed()))
}

// awaitFlushed returns when no full memtable that ends at or before seq is left.
func (db *DB) awaitFlushed(seq uint64) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	for {
		if db.mu.closed {
			return ErrClosed
		}
		if db.mu.flushErr != nil {
			return fmt.Errorf("flush: %w", db.mu.flushErr)
		}
		mems := db.state.Load().mems
		oldest := mems[len(mems)-1]
		if len(mems) == 1 || oldest.last.Load() > seq {
			return nil
		}
		db.mu.changed.Wait()
	}
}

// waitMemoryLocked returns when another memtable may be started. It is called
// with commit.mu held and drops it while it waits. It does not wait for what
// is not committed: how far the log may run ahead of that is for those to say who
// commit.
func (db *DB) waitMemoryLocked() error {
	var began time.Time
	for {
		db.mu.Lock()
		if db.mu.closed { // nothing is flushed any more
			db.mu.Unlock()
			return ErrClosed
		}
		mems := db.state.Load().mems
		if len(mems) < db.opts.MaxMemTables || db.uncommitted(mems[len(mems)-1]) {
			db.mu.Unlock()
			break
		}
		if err := db.mu.flushErr; err != nil {
			db.mu.Unlock()
			if failed := db.log.Load().Err(); failed != nil {
				return writeError(failed) // and nothing will ever be flushed
			}
			return fmt.Errorf("%w: %w", ErrStalled, err)
		}
		if began.IsZero() {
			began = time.Now()
		}
		db.commit.mu.Unlock()
		db.mu.changed.Wait()
		db.mu.Unlock()
		db.commit.mu.Lock()
	}
	if !began.IsZero() {
		db.stats.stalled(time.Since(began))
	}
	return nil
}

func (db *DB) uncommitted(m *memTable) bool {
	return db.opts.ExternalCommit && m.last.Load() > db.Committed()
}

// rangesApplied starts a flush early when range deletes cover a lot of tables:
// these are removed as soon as the tombstones are in the version.
func (db *DB) rangesApplied(b *Batch) {
	rs := db.acquire()
	if rs == nil {
		return
	}
	covered := int64(0)
	for r := (batchReader{data: b.data}); ; {
		op, ok, _ := r.next()
		if !ok {
			break
		}
		if op.kind == base.KindDeleteRange {
			covered += rs.version.inside(op.key, op.value)
		}
	}
	mem := rs.mems[0]
	worth := covered > max(mem.Table.Used(), 256*kib)
	db.release(rs)
	if !worth {
		return
	}
	db.commit.mu.Lock()
	defer db.commit.mu.Unlock()
	if !db.commit.mu.closed && db.state.Load().mems[0] == mem {
		db.rotateLocked(0)
	}
}
