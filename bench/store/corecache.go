package store

import (
	"errors"
	"runtime/debug"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/sstable"
	"github.com/gtinside/corecache/engine/wal"
)

var coreCache = Engine{
	Name: "corecache",
	Settings: "defaults but for the sizes (log segments as large as a memtable, as the peers have them) and snappy on all levels; Go's memory limit set to the budget plus 32 MiB, " +
		"as the server does (the peers run without a limit)",
	Open: openCoreCache,
}

type coreCacheStore struct {
	db *engine.DB
}

func openCoreCache(dir string, o Options) (Store, error) {
	const memTables = 4
	debug.SetMemoryLimit(o.Cache + memTables*o.Memtable + 32<<20)
	db, err := engine.Open(dir, engine.Options{
		Live: engine.Live{
			CacheSize:      o.Cache,
			MemTableSize:   o.Memtable,
			Ack:            acks[o.Durability],
			MaxCompactions: o.Compactions,
		},
		MaxMemTables:   memTables,
		LogSegmentSize: o.Memtable,
		BlockSize:      blockSize,
		FilterBits:     filterBits,
		Compression:    []sstable.Compression{sstable.Snappy},
	})
	if err != nil {
		return nil, err
	}
	return &coreCacheStore{db: db}, nil
}

var acks = map[Durability]wal.Ack{Buffered: wal.AckBuffered, Written: wal.AckWritten, Synced: wal.AckSynced}

func (s *coreCacheStore) Put(key, value []byte) error {
	b := s.db.NewBatch()
	defer b.Release()
	b.Set(key, value)
	return s.db.Commit(b)
}

func (s *coreCacheStore) Get(dst, key []byte) ([]byte, error) {
	dst, err := s.db.Get(dst, key)
	if errors.Is(err, engine.ErrNotFound) {
		return dst, ErrNotFound
	}
	return dst, err
}

func (s *coreCacheStore) Scan(start []byte, n int, visit func(key, value []byte) error) error {
	it := s.db.NewIter(engine.IterOptions{})
	var err error
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

func (s *coreCacheStore) Compact() error { return s.db.Compact(nil, nil) }

func (s *coreCacheStore) Close() error { return s.db.Close() }
