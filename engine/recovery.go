package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/cache"
	"github.com/gtinside/corecache/engine/rowcache"
	"github.com/gtinside/corecache/engine/wal"
)

// Open opens the store in a directory, or makes one where there is none. The
// time it takes grows with the log that was not flushed, not with the data.
//
// The order, and why a crash anywhere in it does no harm:
//
//	lock the directory
//	read CURRENT and the manifest      a torn last edit never was, see manifest.go
//	compare with the files that are    a missing table is damage
//	write a new manifest               CURRENT moves once it is complete
//	remove files nothing refers to     results of jobs that a crash interrupted, what Install replaced
//	replay the log behind the flushed position into memtables
func Open(dir string, o Options) (db *DB, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	if err := o.FS.MkdirAll(dir); err != nil {
		return nil, err
	}
	lock, err := o.FS.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	db = newDB(dir, o)
	db.lock = lock
	if err := db.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", dir, err), db.abandonOpen())
	}
	db.mu.background.Add(2)
	go db.flushLoop()
	go db.cleanLoop()
	db.mu.Lock()
	db.updatePressureLocked()
	db.scheduleLocked()
	db.mu.Unlock()
	return db, nil
}

func newDB(dir string, o Options) *DB {
	db := &DB{opts: o, dir: dir, cache: cache.New(o.CacheSize)}
	db.rows = rowcache.New(rowShare(o.CacheSize), db.cache.Reserve)
	db.life, db.end = context.WithCancelCause(context.Background())
	db.tables = &tables{fs: o.FS, dir: dir, cache: db.cache, max: o.MaxOpenFiles}
	db.live.Store(&o.Live)
	db.rate.set(o.CompactionRate)
	db.mu.changed.L = &db.mu
	db.commit.pub.moved.L = &db.commit.pub
	db.mu.progress = time.Now()
	return db
}

func (db *DB) recover() error {
	num, err := readCurrent(db.opts.FS, db.dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = db.create()
	} else if err == nil {
		err = db.load(num)
	}
	if err != nil {
		return err
	}
	return db.replay()
}

// create begins a store. CURRENT comes first: where there are tables or a log but no CURRENT,
// something was lost.
func (db *DB) create() error {
	names, err := db.opts.FS.List(db.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := parseTableName(name); ok || isLogDir(name) {
			return base.Corrupt(filepath.Join(db.dir, currentName), 0, "it is missing, but there is %s", name)
		}
	}
	db.nextFile.Store(1)
	db.manifest.state.version = &version{}
	return db.newManifest(&db.manifest.state)
}

// load reads the manifest and tidies up.
func (db *DB) load(num uint64) error {
	state, torn, err := readManifest(db.opts.FS, db.dir, num)
	if err != nil {
		return err
	}
	if torn >= 0 {
		db.opts.Logger.Infof("%s: an incomplete edit at offset %d is ignored", manifestName(num), torn)
	}
	names, err := db.opts.FS.List(db.dir)
	if err != nil {
		return err
	}
	db.nextFile.Store(max(state.nextFile, num+1))
	present := map[uint64]bool{}
	for _, name := range names {
		n, ok := parseTableName(name)
		if ok {
			present[n] = true
		} else if n, ok = parseManifestName(name); !ok {
			continue
		}
		db.nextFile.Store(max(db.nextFile.Load(), n+1))
	}
	var missing error
	state.version.all(func(_ int, f *fileMeta) {
		if !present[f.num] {
			missing = errors.Join(missing, base.Corrupt(db.tables.path(f.num), 0, "the table is missing (last complete edit of %s ends at %d)", manifestName(num), torn))
		}
		delete(present, f.num)
	})
	if missing != nil {
		return missing
	}
	db.manifest.state = *state
	if err := db.newManifest(&db.manifest.state); err != nil {
		return err
	}
	for orphan := range present {
		db.logError(db.opts.FS.Remove(db.tables.path(orphan)))
	}
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, tempSuffix):
			db.logError(db.opts.FS.Remove(filepath.Join(db.dir, name)))
		case isLogDir(name) && name != logDirName(state.log):
			db.logError(removeAll(db.opts.FS, filepath.Join(db.dir, name)))
		}
	}
	return nil
}

func (db *DB) logOptions() wal.Options {
	l := db.live.Load()
	return wal.Options{
		FS: db.opts.FS, Dir: db.logDir,
		SegmentSize: db.opts.LogSegmentSize, KeepBytes: l.LogKeepBytes, PinBytes: l.LogPinBytes,
		Ack: l.Ack, SyncInterval: l.SyncInterval,
	}
}

// replay puts the log behind the flushed position into memtables.
func (db *DB) replay() error {
	s := &db.manifest.state
	db.logDir = filepath.Join(db.dir, logDirName(s.log))
	db.epochs.set(s.epochs)
	db.totals.set(s.counters)
	db.commit.applied.Store(s.flushedSeq)
	mems := &replayed{db: db, next: s.flushedSeq + 1}
	log, err := wal.Open(db.logOptions(), s.flushedSeq, mems.add)
	if err != nil {
		return err
	}
	db.log.Store(log)
	if log.Last() != mems.next-1 {
		return base.Corrupt(db.logDir, 0, "the log ends at %d, its records at %d", log.Last(), mems.next-1)
	}
	db.external.Store(s.flushedSeq)
	db.commit.committed.Store(s.flushedSeq)
	db.commit.applied.Store(log.Last())
	list := mems.list()
	db.mu.Lock()
	defer db.mu.Unlock()
	db.installLocked(list, s.version)
	return nil
}

// replayed builds memtables from log records.
type replayed struct {
	db   *DB
	next uint64      // sequence number expected
	mems []*memTable // oldest first
}

func (p *replayed) add(r wal.Record) error {
	if r.Seq != p.next {
		return base.Corrupt(p.db.logDir, 0, "records %d to %d are missing", p.next, r.Seq-1)
	}
	var b Batch
	if err := b.load(r.Payload, r.Count); err != nil {
		return base.Corrupt(p.db.logDir, 0, "record %d: %v", r.Seq, err)
	}
	if before := p.db.Epoch(); r.Epoch < before {
		return base.Corrupt(p.db.logDir, 0, "record %d has epoch %d after epoch %d", r.Seq, r.Epoch, before)
	}
	p.db.insert(p.room(b.memSize), &b, r.Seq)
	p.db.epochs.note(r.Epoch, r.Seq)
	p.next = r.Seq + uint64(r.Count)
	return nil
}

// room returns a memtable with n bytes reserved.
func (p *replayed) room(n int64) *memTable {
	if len(p.mems) > 0 {
		m := p.mems[len(p.mems)-1]
		if m.Table.Reserve(n) {
			return m
		}
		m.last.Store(p.next - 1)
	}
	m := p.db.newMemTable(p.next-1, n)
	m.Table.Reserve(n)
	p.mems = append(p.mems, m)
	return m
}

// list returns the memtables, newest first; there is at least one.
func (p *replayed) list() []*memTable {
	if len(p.mems) == 0 {
		p.room(0)
	}
	out := make([]*memTable, len(p.mems))
	for i, m := range p.mems {
		out[len(out)-1-i] = m
	}
	return out
}

// abandonOpen gives up what a failed Open holds.
func (db *DB) abandonOpen() error {
	db.end(ErrClosed)
	var err error
	if db.log.Load() != nil {
		err = db.log.Load().Close()
	}
	if m := db.manifest.file; m != nil {
		err = errors.Join(err, m.file.Close())
	}
	return errors.Join(err, db.lock.Close())
}

// endTables lets no table be opened any more, and returns those that were
// retired since cleanLoop ended.
func (db *DB) endTables() []*fileMeta {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.tables.closed.Store(true)
	files := db.mu.obsolete
	db.mu.obsolete = nil
	return files
}

// closeFiles ends everything that runs, then closes the files. The tables of the
// present version keep their reference: they are not garbage.
func (db *DB) closeFiles() error {
	db.mu.background.Wait()
	db.commit.mu.Lock()
	db.commit.mu.closed = true
	db.commit.drainLocked()
	db.commit.mu.Unlock()
	err := db.log.Load().Close()
	rs := db.state.Swap(nil)
	db.removeTables(db.endTables())
	rs.version.all(func(_ int, f *fileMeta) { err = errors.Join(err, db.tables.close(f)) })
	db.manifest.Lock()
	defer db.manifest.Unlock()
	if m := db.manifest.file; m != nil {
		err = errors.Join(err, m.file.Close())
		db.manifest.file = nil
	}
	return errors.Join(err, db.lock.Close())
}
