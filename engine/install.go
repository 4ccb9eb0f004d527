package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/vfs"
)

// Install makes the store in dir, which must not be open, the same as the
// checkpoint in from, whatever it held before; dir may also be empty or not exist. From is not changed
// and must be on the same file system, or is copied. The next Open removes what was there before.
//
// A crash at any point leaves the old store or the new one:
//
//	lock dir; make an empty store if there is none    as Open does
//	link the tables of from under numbers that        not in the manifest that counts:
//	nobody has                                        the next Open would remove them
//	copy its log to log-<number>                      the same
//	sync both directories
//	write a manifest that names these tables          not yet in CURRENT
//	and this log
//	rename CURRENT                                    from here on it is the new store
//
// Rejected: exchanging directories. The data directory may be a mount point, and holds files
// of others.
func Install(fsys vfs.FS, dir, from string) (err error) {
	if fsys == nil {
		fsys = vfs.OS
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	lock, err := fsys.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	next, err := nextNumber(fsys, dir)
	if err == nil {
		err = install(fsys, dir, from, next)
	}
	if err != nil {
		return fmt.Errorf("install %s: %w", from, err)
	}
	return nil
}

// nextNumber returns a file number from which on none is in use. It makes an empty store if
// there is none: tables without CURRENT would look like a store that lost it.
func nextNumber(fsys vfs.FS, dir string) (uint64, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return 0, err
	}
	next, used := uint64(1), false
	for _, name := range names {
		n, ok := parseTableName(name)
		if !ok {
			n, ok = parseManifestName(name)
		}
		if !ok {
			n, ok = parseLogDir(name)
		}
		if ok {
			next = max(next, n+1)
		}
		used = used || ok || name == logName
	}
	_, err = readCurrent(fsys, dir)
	if used || !errors.Is(err, fs.ErrNotExist) {
		return next, nil // what is installed replaces a damaged store too
	}
	m, err := createManifest(fsys, dir, next, &manifestState{version: &version{}, nextFile: next + 1})
	if err != nil {
		return 0, err
	}
	return next + 1, m.file.Close()
}

func install(fsys vfs.FS, dir, from string, next uint64) error {
	num, err := readCurrent(fsys, from)
	if err != nil {
		return err
	}
	state, torn, err := readManifest(fsys, from, num)
	if err == nil && torn >= 0 {
		err = base.Corrupt(filepath.Join(from, manifestName(num)), torn, "a checkpoint has no incomplete edit")
	}
	if err != nil {
		return err
	}
	next, err = linkTables(fsys, dir, from, state, next)
	if err != nil {
		return err
	}
	logFrom := filepath.Join(from, logDirName(state.log))
	state.log = next
	if err := copyDir(fsys, logFrom, filepath.Join(dir, logDirName(state.log))); err != nil {
		return err
	}
	state.nextFile = next + 2
	m, err := createManifest(fsys, dir, next+1, state)
	if err != nil {
		return err
	}
	return m.file.Close()
}

// linkTables links the tables of a state into dir, and gives them numbers from next on.
func linkTables(fsys vfs.FS, dir, from string, state *manifestState, next uint64) (uint64, error) {
	var err error
	state.version.all(func(_ int, f *fileMeta) {
		if err == nil {
			err = linkOrCopy(fsys, filepath.Join(from, tableName(f.num)), filepath.Join(dir, tableName(next)))
			f.num = next // nobody else has the version yet
			next++
		}
	})
	return next, err
}

// copyDir makes a directory with the files of another one, if that exists, durably.
func copyDir(fsys vfs.FS, from, to string) error {
	names, err := fsys.List(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fsys.MkdirAll(to); err != nil {
		return err
	}
	for _, name := range names {
		if err := copyFile(fsys, filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return fsys.SyncDir(to)
}

// Install is the function Install for an open store: it becomes the same as the checkpoint in from, whatever it held
// before, and everything up to its end is committed. Waiters get ErrTruncated, readers and pins of the log are closed; iterators keep
// what they saw. Reads that run meanwhile may see one store or the other: compare Replacements before and after.
//
// After an error the store refuses writes; the next Open finds the old store or the new one.
func (db *DB) Install(from string) error {
	var failed woken
	defer func() { failed.wake() }()
	db.settings.Lock() // the new log has to get what the old one gets
	defer db.settings.Unlock()
	db.maintenance.Lock()
	defer db.maintenance.Unlock()
	if err := context.Cause(db.life); err != nil {
		return err
	}
	db.holdCompactions()
	defer db.resumeCompactions()
	db.flushing.Lock()
	defer db.flushing.Unlock()
	db.commit.mu.Lock()
	defer db.commit.mu.Unlock()
	db.commit.drainLocked()
	failed = db.waiters.fail(0, ErrTruncated)
	db.cuts.Add(1)
	db.replaced.Add(1)
	defer db.replaced.Add(1)
	db.manifest.Lock()
	defer db.manifest.Unlock()
	if err := db.replaceLocked(from); err != nil {
		err = fmt.Errorf("install %s: %w", from, err)
		_ = db.log.Load().Fail(err) // refuses writes, as does a log that is closed already
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return nil
}

// Replacements changes when an Install begins, and again when it ends.
func (db *DB) Replacements() uint64 { return db.replaced.Load() }

// holdCompactions returns when no compaction runs; none begins until resumeCompactions.
func (db *DB) holdCompactions() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.mu.installing = true
	for db.mu.compactions > 0 {
		db.mu.changed.Wait()
	}
}

func (db *DB) resumeCompactions() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.mu.installing = false
	db.updatePressureLocked()
	db.scheduleLocked()
	db.mu.changed.Broadcast()
}

// replaceLocked does Install with everything at rest. Called with commit.mu and manifest held.
func (db *DB) replaceLocked(from string) error {
	if err := install(db.opts.FS, db.dir, from, db.nextFile.Load()); err != nil {
		return err
	}
	oldLog, oldDir := db.log.Load(), db.logDir
	if err := oldLog.Close(); err != nil {
		db.logError(err) // nothing of it is of use any more
	}
	db.closeManifest()
	num, err := readCurrent(db.opts.FS, db.dir)
	if err != nil {
		return err
	}
	state, _, err := readManifest(db.opts.FS, db.dir, num)
	if err != nil {
		return err
	}
	db.nextFile.Store(max(db.nextFile.Load(), state.nextFile, num+1))
	state.version.generation = db.rows.Begin()
	db.rows.Clear()
	db.snaps.forgetHorizon()
	db.manifest.state = *state
	if err := db.newManifest(&db.manifest.state); err != nil {
		return err
	}
	before := db.acquire() // replay installs the new state in place of it
	if err := db.replay(); err != nil {
		db.release(before)
		return err
	}
	db.release(before)
	db.release(before)                         // the reference of having been installed
	db.logError(removeAll(db.opts.FS, oldDir)) // the next Open removes what is left
	return nil
}
