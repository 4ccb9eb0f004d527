package engine

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/engine/cache"
	"github.com/gtinside/corecache/engine/memtable"
	"github.com/gtinside/corecache/engine/rowcache"
	"github.com/gtinside/corecache/engine/wal"
)

// DB is an open store. All methods may be called concurrently.
//
// # Positions
//
// Each operation of each batch has a sequence number; they have no gaps. Four
// positions move along them and never cross:
//
//	flushed <= committed <= applied <= last
//
//	last       appended to the log
//	applied    in the memtables, as has everything before
//	committed  decided: min(applied, what the log acknowledges), or, with
//	           Options.ExternalCommit, min(applied, SetCommitted)
//	flushed    in tables, as has everything before, and in no memtable
//
// # Invariants
//
//  1. A memtable holds consecutive sequence numbers. It is flushed only when
//     all of it is committed, and in order. So a table never holds an
//     uncommitted record, and every record of a memtable is newer than every
//     record of a table.
//  2. Memtables from new to old, level 0 from new to old, level 1, 2, ...: the first
//     place in this order that has a record of a key has its newest record.
//  3. A reader takes the read state first and its sequence number afterwards.
//     Whatever compaction dropped from the tables of that state was hidden,
//     when they were made, by a record that was committed then, hence by one
//     that the reader sees. Snapshots, which read at an older number, are known to
//     compactions.
//  4. A file is removed when no version and no read state holds it, after the
//     edit that dropped it was synced. Log segments are released after the
//     edit with the new flushed position was synced.
//  5. Nothing is read before it is checked: each block, record and edit has a checksum.
//
// # Locks, in the order in which they may be taken
//
//	settings      SetOptions, one at a time
//	maintenance   Checkpoint, TruncateAfter, Install, Close: one at a time
//	flushing      held while a memtable is being flushed
//	commit.mu     the order of writes; held for a reservation and a copy into the log's buffer
//	manifest.mu   edits, one at a time; held during a write and a fsync of the manifest
//	mu            the rest; never held during I/O
//	the log's, epochs, snapshots, waiters, pub, tables.mu: leaves
//
// # Goroutines
//
//	flushLoop     one, from Open to Close
//	compactions   up to Live.MaxCompactions, started by schedule, end with their job
//	retry timers  start schedule again after a failure
//	awaitQuiet    at most one, from a flush until no other follows
//
// Close stops and waits for all of them.
type DB struct {
	opts   Options
	dir    string
	logDir string // set by recover
	lock   io.Closer
	log    atomic.Pointer[wal.Log] // replaced by DB.Install
	tables *tables
	cache  *cache.Cache
	rows   *rowcache.Cache

	state    atomic.Pointer[readState] // nil after Close
	live     atomic.Pointer[Live]
	epochs   epochs
	external atomic.Uint64 // SetCommitted
	flushAt  atomic.Uint64 // end of the oldest full memtable, 0 if there is none
	nextFile atomic.Uint64
	totals   counters
	cuts     atomic.Uint64         // Truncations
	replaced atomic.Uint64         // Replacements
	refusal  atomic.Pointer[error] // RefuseWrites
	commit   pipeline
	waiters  waiters
	pace     pacer
	stats    stats
	snaps    snapshots
	rate     limiter
	life     context.Context // ended by Close, with ErrClosed
	end      context.CancelCauseFunc

	settings    sync.Mutex
	maintenance sync.Mutex
	flushing    sync.Mutex

	manifest struct {
		sync.Mutex
		file    *manifest // nil: the last edit failed; write a new one
		state   manifestState
		orphans []uint64 // outputs of failed edits, which an old manifest may name
	}

	mu struct {
		sync.Mutex
		changed     sync.Cond // a flush, compaction or close happened
		closed      bool
		compactions int
		installing  bool // no compaction begins
		manual      []*manualCompaction
		baseBusy    bool // a compaction out of level 0 into a deeper level runs
		quiet       bool // nothing was flushed for a while
		watched     bool // a goroutine waits for quiet
		dropping    bool // an edit for range tombstones is under way
		background  sync.WaitGroup
		flushErr    error
		compactErr  error
		backoff     time.Duration     // of compactions that fail
		retryAt     time.Time         // no compaction before
		free        []*memtable.Table // recycled arenas
		obsolete    []*fileMeta       // to be removed, see removeObsolete
		progress    time.Time
	}
}

// readState is what a reader needs: the memtables, newest first, and the
// version below them. It is immutable; each change installs another one.
//
// A reader counts itself in refs. The state is dead from the moment refs
// reaches zero and is then marked by a negative number, so that a late reader
// sees it and loads again.
type readState struct {
	mems    []*memTable // mems[0] is being written to
	version *version

	refs atomic.Int64
}

// flushed is the position up to which tables hold the records.
func (rs *readState) flushed() uint64 { return rs.mems[len(rs.mems)-1].before }

const deadState = -1 << 40

// acquire returns the current read state, or nil after Close.
func (db *DB) acquire() *readState {
	for {
		rs := db.state.Load()
		if rs == nil || rs.refs.Add(1) > 0 {
			return rs
		}
		rs.refs.Add(-1)
	}
}

func (db *DB) release(rs *readState) {
	if rs.refs.Add(-1) == 0 && rs.refs.CompareAndSwap(0, deadState) {
		db.dispose(rs)
	}
}

// dispose gives up what a dead read state held.
func (db *DB) dispose(rs *readState) {
	for _, m := range rs.mems {
		if m.refs.Add(-1) == 0 {
			db.recycle(m)
		}
	}
	db.unrefVersion(rs.version)
}

func (db *DB) unrefVersion(v *version) {
	if v.refs.Add(-1) > 0 {
		return
	}
	var dead []*fileMeta
	v.all(func(_ int, f *fileMeta) {
		if f.refs.Add(-1) == 0 {
			dead = append(dead, f)
		}
	})
	if len(dead) > 0 {
		db.retire(dead)
	}
}

// installLocked makes (mems, v) the read state and returns the one before, which the
// caller releases once it has given up mu. Called with mu held.
func (db *DB) installLocked(mems []*memTable, v *version) (old *readState) {
	rs := &readState{mems: mems, version: v}
	rs.refs.Store(1)
	for _, m := range mems {
		m.refs.Add(1)
	}
	if v.refs.Add(1) == 1 {
		v.all(func(_ int, f *fileMeta) { f.refs.Add(1) })
	}
	at := uint64(0)
	if n := len(mems); n > 1 {
		at = mems[n-1].last.Load()
	}
	old = db.state.Swap(rs)
	db.flushAt.Store(at)
	db.mu.changed.Broadcast()
	return old
}

// memTable is a memtable with what does not live in its skiplist.
type memTable struct {
	*memtable.Table
	before   uint64        // all its sequence numbers are greater
	last     atomic.Uint64 // and not greater than this, once it is full
	ranges   rangeBuffer
	counters counters
	huge     bool // larger than the option says; not recycled

	refs atomic.Int32 // read states
}

// newMemTable returns a memtable for the records after a sequence number,
// with room for at least size bytes.
func (db *DB) newMemTable(before uint64, size int64) *memTable {
	m := &memTable{before: before}
	standard := db.live.Load().MemTableSize
	if m.huge = size > standard; !m.huge {
		m.Table = db.recycled(standard)
		size = standard
	}
	if m.Table == nil {
		m.Table = memtable.New(int(size))
	}
	return m
}

func (db *DB) recycled(size int64) *memtable.Table {
	db.mu.Lock()
	defer db.mu.Unlock()
	for len(db.mu.free) > 0 {
		t := db.mu.free[len(db.mu.free)-1]
		db.mu.free = db.mu.free[:len(db.mu.free)-1]
		if t.Capacity() >= size && t.Capacity() < size+kib {
			return t
		}
	}
	return nil
}

// recycle keeps the arena of a memtable that nobody reads any more.
func (db *DB) recycle(m *memTable) {
	if m.huge {
		return
	}
	m.Table.Reset()
	db.mu.Lock()
	defer db.mu.Unlock()
	if len(db.mu.free) < 2 && !db.mu.closed {
		db.mu.free = append(db.mu.free, m.Table)
	}
}

// Last returns the sequence number of the last operation in the log.
func (db *DB) Last() uint64 { return db.log.Load().Last() }

// Committed returns the committed position. It never goes back: what the log
// acknowledged once stays committed when it is told to acknowledge later than
// so far, or fails.
func (db *DB) Committed() uint64 {
	if db.opts.ExternalCommit {
		return min(db.external.Load(), db.commit.applied.Load())
	}
	return db.commit.raise(min(db.log.Load().Acked(), db.commit.applied.Load()))
}

// Live returns the live settings in force.
func (db *DB) Live() Live { return *db.live.Load() }

// SetOptions changes the live settings; zero values mean the defaults.
func (db *DB) SetOptions(l Live) error {
	l = l.withDefaults()
	o := db.opts
	o.Live = l
	if err := o.Validate(); err != nil {
		return err
	}
	db.settings.Lock()
	defer db.settings.Unlock()
	db.live.Store(&l)
	db.cache.SetCapacity(l.CacheSize)
	db.rows.SetCapacity(rowShare(l.CacheSize))
	db.log.Load().SetAck(l.Ack)
	db.log.Load().SetSyncInterval(l.SyncInterval)
	db.log.Load().SetKeep(l.LogKeepBytes, l.LogPinBytes)
	db.rate.set(l.CompactionRate)
	db.mu.Lock()
	defer db.mu.Unlock()
	db.scheduleLocked()
	return nil
}

// Sync returns when everything that was applied before the call is on disk,
// in the log, whatever acknowledgement asks for.
func (db *DB) Sync() error { return writeError(db.log.Load().Sync()) }

// Synced is the sequence number up to which everything is on disk in the log, as far as is known.
func (db *DB) Synced() uint64 { return db.log.Load().Synced() }

// NewLogReader returns a reader of the log that starts with the record that
// holds the sequence number from, and follows the log as it grows. The reader sees what is written,
// committed or not.
func (db *DB) NewLogReader(from uint64) (*wal.Reader, error) { return db.log.Load().NewReader(from) }

// LogFirst returns the sequence number of the first record that the log still has, or would have.
func (db *DB) LogFirst() uint64 { return db.log.Load().First() }

// LogBehind estimates how many bytes of the log come behind a sequence number: how far somebody is behind who has it.
func (db *DB) LogBehind(seq uint64) int64 { return db.log.Load().Behind(seq) }

// LogFull tells whether nothing can be written to the log at the moment because the disk is full.
func (db *DB) LogFull() bool { return db.log.Load().Full() }

// PinLog keeps the log from a sequence number on, within Live.LogPinBytes, for
// somebody who will read it.
func (db *DB) PinLog(from uint64) (*wal.Pin, error) { return db.log.Load().Pin(from) }

// WatchLog watches LogPositions. It is the log that there is at the moment which is watched, see Install. moved must not write
// to the store, nor wait for those who do.
func (db *DB) WatchLog(moved func()) *wal.Watch { return db.log.Load().Watch(moved) }

// LogPositions are sequence numbers; each is at least the next. The log has failed or is closed if
// Err is not nil; then they stay.
type LogPositions struct {
	Last    uint64 // in the log's memory
	Written uint64 // survives the death of the process
	Synced  uint64 // survives a loss of power
	Err     error
}

// LogPositions says how far this node's log is. TruncateAfter takes positions back.
func (db *DB) LogPositions() LogPositions {
	p := LogPositions{Synced: db.log.Load().Synced(), Err: db.log.Load().Err()}
	p.Written = max(p.Synced, db.log.Load().Written())
	p.Last = max(p.Written, db.log.Load().Last())
	return p
}

// Close stops background work and closes the log, which is synced first. What
// is in the memtables is read from the log by the next Open. Reads that run,
// and iterators that are still open, may get ErrClosed. A second Close returns ErrClosed.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.mu.closed {
		db.mu.Unlock()
		return ErrClosed
	}
	db.mu.closed = true
	db.end(ErrClosed)
	db.mu.changed.Broadcast()
	db.mu.Unlock()
	db.waiters.close()

	db.maintenance.Lock() // who holds it sees the end of life
	defer db.maintenance.Unlock()
	return db.closeFiles()
}

var _ Reader = (*DB)(nil)
