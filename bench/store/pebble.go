package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

var pebbleEngine = Engine{
	Name: "pebble",
	Settings: "newest format (columnar blocks), filters of 10 bits on all levels, L0CompactionThreshold 2, L0StopWritesThreshold 1000, " +
		"LBaseMaxBytes 64 MiB, MemTableStopWritesThreshold 4, flushes split at the L0 file size (as its own benchmark tool), 4 KiB blocks, snappy",
	MayLose: true,
	Open:    openPebble,
}

type pebbleStore struct {
	db    *pebble.DB
	write *pebble.WriteOptions
}

func openPebble(dir string, o Options) (Store, error) {
	db, err := pebble.Open(dir, pebbleOptions(o))
	if err != nil {
		return nil, err
	}
	write := pebble.NoSync
	if o.Durability == Synced {
		write = pebble.Sync
	}
	return &pebbleStore{db: db, write: write}, nil
}

func pebbleOptions(o Options) *pebble.Options {
	po := &pebble.Options{
		CacheSize:                   o.Cache,
		FormatMajorVersion:          pebble.FormatNewest,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                16384,
		MemTableSize:                uint64(o.Memtable),
		MemTableStopWritesThreshold: 4,
		CompactionConcurrencyRange:  func() (int, int) { return 1, o.Compactions },
		Logger:                      quiet{},
	}
	po.Experimental.EnableColumnarBlocks = func() bool { return true }
	for i := range po.Levels {
		l := &po.Levels[i]
		l.BlockSize = blockSize
		l.FilterPolicy = bloom.FilterPolicy(filterBits)
		l.Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	}
	po.EnsureDefaults()
	po.FlushSplitBytes = po.TargetFileSizes[0]
	return po
}

func (s *pebbleStore) Put(key, value []byte) error { return s.db.Set(key, value, s.write) }

func (s *pebbleStore) Get(dst, key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, ErrNotFound
	}
	if err != nil {
		return dst, err
	}
	dst = append(dst, value...)
	return dst, closer.Close()
}

func (s *pebbleStore) Scan(start []byte, n int, visit func(key, value []byte) error) error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := it.SeekGE(start); ok && n > 0; n-- {
		if err = visit(it.Key(), it.Value()); err != nil {
			break
		}
		if n > 1 {
			ok = it.Next()
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

func (s *pebbleStore) Compact() error {
	return s.db.Compact(context.Background(), nil, []byte{0xff, 0xff}, false)
}

func (s *pebbleStore) Close() error { return s.db.Close() }

// quiet drops an engine's log lines.
type quiet struct{}

func (quiet) Infof(string, ...any)    {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}
