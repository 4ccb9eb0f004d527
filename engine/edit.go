package engine

import (
	"errors"
	"path/filepath"
	"slices"
)

// logEdit makes an edit durable and installs the version behind it, without
// the memtables that the edit replaces. After an error the edit may or may
// not be there when the store is opened again; both are right, because
// nothing was removed. Its tables are kept until a new manifest says which. But
// if it certainly is not there (errNoEdit) they are removed at once, so that
// trying again and again does not fill the disk.
func (db *DB) logEdit(e *versionEdit, flushed []*memTable) error {
	db.manifest.Lock()
	defer db.manifest.Unlock()
	e.nextFile = db.nextFile.Load()
	next := db.manifest.state
	err := next.apply(e)
	if err == nil {
		err = db.writeEdit(e, &next)
	} else {
		err = noEdit(err)
	}
	if err != nil {
		db.giveUp(e, errors.Is(err, errNoEdit))
		return err
	}
	db.manifest.state = next

	db.mu.Lock()
	mems := slices.Clone(db.state.Load().mems)
	mems = slices.DeleteFunc(mems, func(m *memTable) bool { return slices.Contains(flushed, m) })
	old := db.installLocked(mems, next.version)
	db.updatePressureLocked()
	db.mu.Unlock()
	db.release(old)
	return nil
}

// giveUp lets the new tables of a failed edit go, or notes them when the
// manifest may name them.
func (db *DB) giveUp(e *versionEdit, certain bool) {
	for _, p := range e.added {
		num := p.file.num
		switch moved := slices.ContainsFunc(e.removed, func(r placed) bool { return r.file.num == num }); {
		case moved: // it stays where it is
		case certain:
			db.logError(db.opts.FS.Remove(db.tables.path(num)))
		default:
			db.manifest.orphans = append(db.manifest.orphans, num)
		}
	}
}

// writeEdit appends the edit to the manifest, or starts a new manifest when
// there is none that can be trusted or it has grown large.
func (db *DB) writeEdit(e *versionEdit, next *manifestState) error {
	m := db.manifest.file
	if m == nil || m.large() {
		return db.newManifest(next)
	}
	err := m.append(e)
	if err != nil && !errors.Is(err, errNoEdit) {
		db.closeManifest()
	}
	return err
}

func (db *DB) closeManifest() {
	if m := db.manifest.file; m != nil {
		db.logError(m.file.Close())
		db.manifest.file = nil
	}
}

// newManifest starts a manifest with the state and removes older ones.
func (db *DB) newManifest(s *manifestState) error {
	num := db.nextFile.Add(1) - 1
	s.nextFile = num + 1
	m, err := createManifest(db.opts.FS, db.dir, num, s)
	if errors.Is(err, errNoEdit) {
		return err // the one before still counts
	}
	db.closeManifest()
	if err != nil {
		return err
	}
	db.manifest.file = m
	db.removeOldManifests(num)
	db.removeOrphans(s.version)
	return nil
}

func (db *DB) removeOldManifests(current uint64) {
	names, err := db.opts.FS.List(db.dir)
	db.logError(err)
	for _, name := range names {
		if num, ok := parseManifestName(name); ok && num != current {
			db.logError(db.opts.FS.Remove(filepath.Join(db.dir, name)))
		}
	}
}

// removeOrphans removes the tables of failed edits. It follows a new manifest.
func (db *DB) removeOrphans(v *version) {
	held := map[uint64]bool{}
	v.all(func(_ int, f *fileMeta) { held[f.num] = true })
	for _, num := range db.manifest.orphans {
		if !held[num] {
			db.logError(db.opts.FS.Remove(db.tables.path(num)))
		}
	}
	db.manifest.orphans = nil
}

// retire hands over tables that nothing refers to any more. After Close they
// are only closed: the directory may be somebody else's by then, who removes them.
func (db *DB) retire(files []*fileMeta) {
	db.mu.Lock()
	if db.tables.closed.Load() {
		db.mu.Unlock()
		for _, f := range files {
			db.logError(db.tables.close(f))
		}
		return
	}
	db.mu.obsolete = append(db.mu.obsolete, files...)
	db.mu.changed.Broadcast()
	db.mu.Unlock()
}

// cleanLoop removes retired tables: not on the goroutine of the reader that
// happened to be the last.
func (db *DB) cleanLoop() {
	defer db.mu.background.Done()
	for {
		db.mu.Lock()
		for len(db.mu.obsolete) == 0 && !db.mu.closed {
			db.mu.changed.Wait()
		}
		files := db.mu.obsolete
		db.mu.obsolete = nil
		closed := db.mu.closed
		db.mu.Unlock()
		db.removeTables(files)
		if closed && len(files) == 0 {
			return
		}
	}
}

func (db *DB) removeTables(files []*fileMeta) {
	for _, f := range files {
		db.logError(db.tables.close(f))
		db.cache.EvictFile(f.num)
		db.logError(db.opts.FS.Remove(db.tables.path(f.num)))
	}
}
