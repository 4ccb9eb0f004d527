package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

// Checkpoint makes a copy of the store in dir, which must not exist or be
// empty: all that was committed when it was called, perhaps more. Tables are
// immutable, so they are linked, not copied (unless dir is on another file
// system); what is not in tables yet goes into a log of its own. CURRENT comes last:
// without it the directory is not a store. Writes go on meanwhile.
func (db *DB) Checkpoint(dir string) error {
	return db.checkpoint(dir, func(p *pinned) error {
		upTo := db.Committed()
		if err := db.log.Load().Sync(); err != nil { // the reader waits for what is not written, on a full disk for ever
			return err
		}
		return db.copyLog(dir, p.state.flushedSeq, upTo)
	})
}

// CheckpointTables is Checkpoint without the log: exactly what is in tables, which is
// everything up to the sequence number that it returns. The log behind that is pinned, within
// Live.LogPinBytes, so that a store which begins as this copy can be brought up to date
// from the log. The caller must Close the pin.
func (db *DB) CheckpointTables(dir string) (seq uint64, behind *wal.Pin, err error) {
	err = db.checkpoint(dir, func(p *pinned) (err error) {
		seq = p.state.flushedSeq
		if behind, err = db.log.Load().Pin(seq + 1); err != nil {
			return err
		}
		return db.opts.FS.MkdirAll(filepath.Join(dir, logName))
	})
	if err != nil && behind != nil {
		behind.Close()
		behind = nil
	}
	return seq, behind, err
}

// checkpoint makes a copy whose log, if it has one, is for rest to make.
func (db *DB) checkpoint(dir string, rest func(*pinned) error) error {
	db.maintenance.Lock()
	defer db.maintenance.Unlock()
	if err := context.Cause(db.life); err != nil {
		return err
	}
	fsys := db.opts.FS
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	if names, err := fsys.List(dir); err != nil || len(names) > 0 {
		return errors.Join(err, fmt.Errorf("checkpoint: %s is not empty", dir))
	}
	err := db.copyStore(dir, rest)
	if err != nil {
		err = fmt.Errorf("checkpoint: %w", errors.Join(err, removeAll(fsys, dir)))
	}
	return err
}

func (db *DB) copyStore(dir string, rest func(*pinned) error) error {
	p, err := db.pin()
	if err != nil {
		return err
	}
	defer p.unpin(db)
	state := p.state
	var linkErr error
	state.version.all(func(_ int, f *fileMeta) {
		if linkErr == nil {
			linkErr = context.Cause(db.life)
		}
		if linkErr == nil {
			linkErr = linkOrCopy(db.opts.FS, db.tables.path(f.num), filepath.Join(dir, tableName(f.num)))
		}
	})
	if linkErr != nil {
		return linkErr
	}
	if err := rest(p); err != nil {
		return err
	}
	num := state.nextFile
	state.nextFile, state.log = num+1, 0
	m, err := createManifest(db.opts.FS, dir, num, &state)
	if err != nil {
		return err
	}
	return m.file.Close()
}

// pinned is a version that stays, with the log behind it.
type pinned struct {
	*readState
	state manifestState
	log   *wal.Pin
}

func (p *pinned) unpin(db *DB) {
	p.log.Close()
	db.release(p.readState)
}

// pin keeps the present version and the log from where it ends. Edits wait, so that
// the log is not released in between.
func (db *DB) pin() (*pinned, error) {
	db.manifest.Lock()
	defer db.manifest.Unlock()
	s := db.manifest.state
	s.nextFile = db.nextFile.Load()
	rs := db.acquire()
	if rs == nil {
		return nil, ErrClosed
	}
	log, err := db.log.Load().PinFirmly(s.flushedSeq + 1)
	if err != nil {
		db.release(rs)
		return nil, err
	}
	return &pinned{rs, s, log}, nil
}

// copyLog writes the records in (after, upTo] into a log in dir.
func (db *DB) copyLog(dir string, after, upTo uint64) error {
	from, err := db.log.Load().NewReader(after + 1)
	if err != nil {
		return err
	}
	defer from.Close()
	o := db.logOptions()
	o.Dir, o.Ack, o.SyncInterval = filepath.Join(dir, logName), wal.AckWritten, 0
	to, err := wal.Open(o, after, func(wal.Record) error { return errors.New("not empty") })
	if err != nil {
		return err
	}
	err = copyRecords(db.life, from, after, upTo, to.AppendAt)
	return errors.Join(err, to.Close())
}

// copyRecords hands over the records in (after, upTo]; upTo is the end of one.
// It ends early, with the cause, when the context does.
func copyRecords(ctx context.Context, from *wal.Reader, after, upTo uint64, visit func(wal.Record) error) error {
	for at := after; at < upTo; {
		r, err := from.Next(ctx)
		if ended := context.Cause(ctx); ended != nil {
			return ended
		}
		if err != nil {
			return err
		}
		if r.Last() > upTo {
			return nil
		}
		if err := visit(r); err != nil {
			return err
		}
		at = r.Last()
	}
	return nil
}

// readLog visits the log's records in (after, upTo], which are written: it does not wait.
func (db *DB) readLog(after, upTo uint64, visit func(wal.Record) error) error {
	if after >= upTo {
		return nil
	}
	r, err := db.log.Load().NewReader(after + 1)
	if err != nil {
		return err
	}
	defer r.Close()
	return copyRecords(context.Background(), r, after, upTo, visit)
}

func linkOrCopy(fsys vfs.FS, from, to string) error {
	err := fsys.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) || vfs.IsNoSpace(err) {
		return err
	}
	return copyFile(fsys, from, to)
}

func copyFile(fsys vfs.FS, from, to string) (err error) {
	in, err := fsys.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	size, err := in.Size()
	if err != nil {
		return err
	}
	out, err := fsys.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, io.NewSectionReader(in, 0, size)); err != nil {
		return err
	}
	return out.Sync()
}

// removeAll removes a directory with the files and the one level of directories in it.
func removeAll(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, e := fsys.Stat(path)
		if e == nil && info.Dir {
			e = removeAll(fsys, path)
		} else if e == nil {
			e = fsys.Remove(path)
		}
		err = errors.Join(err, e)
	}
	return errors.Join(err, fsys.Remove(dir))
}
