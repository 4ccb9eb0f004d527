package engine

import "fmt"

// TruncateAfter drops all operations after seq, which must be the end of a
// batch and not before the committed position. Tables never hold what is not
// committed, so only memory and the log change: the memtables are built anew
// from the shortened log. When it returns, the cut is durable. Waiters for what was dropped get
// ErrTruncated. The sequence numbers are used again.
//
// Iterators that were opened before keep what they saw.
func (db *DB) TruncateAfter(seq uint64) error {
	var failed woken
	defer func() { failed.wake() }()
	db.maintenance.Lock()
	defer db.maintenance.Unlock()
	db.flushing.Lock()
	defer db.flushing.Unlock()
	db.commit.mu.Lock()
	defer db.commit.mu.Unlock()
	if db.commit.mu.closed {
		return ErrClosed
	}
	db.commit.drainLocked()
	if committed := db.Committed(); seq < committed {
		return fmt.Errorf("engine: truncation after %d, but %d is committed", seq, committed)
	}
	if last := db.log.Load().Last(); seq >= last {
		return nil
	}
	db.cuts.Add(1)
	if err := db.log.Load().TruncateAfter(seq); err != nil {
		return writeError(err)
	}
	err := db.rebuildLocked(seq)
	failed = db.waiters.fail(seq, ErrTruncated)
	if err != nil {
		// The memtables still hold what was cut; its numbers must not be used again.
		return writeError(db.log.Load().Fail(err))
	}
	return nil
}

// Truncations counts the calls of TruncateAfter that dropped something; see Wait.
func (db *DB) Truncations() uint64 { return db.cuts.Load() }

// rebuildLocked replaces the memtables by the log's records after the flushed
// position. It is called with flushing and commit.mu held.
//
// The applied position goes back before the new read state appears: a reader
// with the old state and the new position sees a prefix, one with the new
// state loads the position afterwards.
func (db *DB) rebuildLocked(seq uint64) error {
	db.manifest.Lock()
	s := db.manifest.state
	db.manifest.Unlock()
	db.totals.set(s.counters)
	db.epochs.set(s.epochs)
	mems := &replayed{db: db, next: s.flushedSeq + 1}
	if err := db.readLog(s.flushedSeq, seq, mems.add); err != nil {
		return err
	}
	list := mems.list()
	db.commit.applied.Store(seq)
	db.mu.Lock()
	old := db.installLocked(list, db.state.Load().version)
	db.updatePressureLocked()
	db.mu.Unlock()
	db.release(old)
	return nil
}
