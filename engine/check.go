package engine

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/cache"
	"github.com/gtinside/corecache/engine/sstable"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

// Report is the outcome of Check.
type Report struct {
	Tables     int
	Records    uint64
	Bytes      int64 // of tables
	LogRecords uint64
	// Problems that were found. Those that are damage wrap ErrCorrupt and name
	// file and offset.
	Problems []error
}

func (r *Report) problem(err error) {
	if err != nil {
		r.Problems = append(r.Problems, err)
	}
}

// Check reads everything in the directory of a store that is not open: the manifest, each block of each table, the
// order and the bounds of all records, the order of the levels, and the log. It
// changes nothing. The error says that it could not look; what it found is in the report.
func Check(fs vfs.FS, dir string) (Report, error) {
	if fs == nil {
		fs = vfs.OS
	}
	var r Report
	lock, err := fs.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return r, err
	}
	defer func() { r.problem(lock.Close()) }()
	num, err := readCurrent(fs, dir)
	if err != nil {
		r.problem(err)
		return r, nil
	}
	state, _, err := readManifest(fs, dir, num)
	if err != nil {
		r.problem(err)
		return r, nil
	}
	r.problem(state.version.check())
	t := &tables{fs: fs, dir: dir, cache: cache.New(mib), max: 16}
	state.version.all(func(n int, f *fileMeta) {
		r.Tables++
		r.Bytes += f.size
		records, err := checkTable(t, f)
		r.Records += records
		if err != nil {
			r.problem(fmt.Errorf("level %d: %w", n, err))
		}
	})
	log, err := wal.Check(fs, filepath.Join(dir, logDirName(state.log)), state.flushedSeq)
	r.LogRecords = log.Records
	r.problem(err)
	return r, nil
}

// checkTable verifies a table's checksums, then its records against each other
// and against what the manifest says.
func checkTable(t *tables, f *fileMeta) (n uint64, err error) {
	path := t.path(f.num)
	r, err := t.reader(f)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.close(f)) }()
	if err := r.Verify(); err != nil {
		return 0, err
	}
	it := r.NewIter(sstable.IterOptions{ReadAhead: compactionReadAhead})
	defer func() { err = errors.Join(err, it.Close()) }()
	var key []byte
	var tr base.Trailer
	for ok := it.First(); ok; ok = it.Next() {
		if n > 0 && base.Compare(key, tr, it.Key(), it.Trailer()) >= 0 {
			return n, base.Corrupt(path, 0, "record %d is out of order", n)
		}
		key, tr = append(key[:0], it.Key()...), it.Trailer()
		if bytes.Compare(key, f.smallest) < 0 || bytes.Compare(key, f.largest) > 0 ||
			tr.Seq() < f.smallestSeq || tr.Seq() > f.largestSeq || tr.Kind() > base.MaxKind {
			return n, base.Corrupt(path, 0, "record %d (%q %v) is not what the manifest says: %v", n, key, tr, f)
		}
		n++
	}
	if err := it.Error(); err != nil {
		return n, err
	}
	if n != f.entries {
		return n, base.Corrupt(path, 0, "%d records, the manifest says %d", n, f.entries)
	}
	return n, nil
}
