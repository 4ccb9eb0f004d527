package store

import (
	"errors"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

var badgerEngine = Engine{
	Name: "badger",
	Settings: "cache split 3/4 blocks, 1/4 index and filters; conflict detection off (nobody needs it here); values stay in the tree (its default threshold); " +
		"checksums not verified on reads (its default); 4 KiB blocks, snappy, filters of 1 % false positives",
	Open: openBadger,
}

type badgerStore struct {
	db *badger.DB
}

func openBadger(dir string, o Options) (Store, error) {
	bo := badger.DefaultOptions(dir).
		WithLogger(quiet{}).
		WithMetricsEnabled(false).
		WithMemTableSize(o.Memtable).
		WithValueThreshold(min(1<<20, o.Memtable/8)). // its batches are limited by the memtable
		WithBlockCacheSize(o.Cache * 3 / 4).
		WithIndexCacheSize(o.Cache / 4).
		WithNumCompactors(max(2, o.Compactions)).
		WithBlockSize(blockSize).
		WithBloomFalsePositive(0.01).
		WithCompression(options.Snappy).
		WithDetectConflicts(false).
		WithSyncWrites(o.Durability == Synced)
	db, err := badger.Open(bo)
	if err != nil {
		return nil, err
	}
	return &badgerStore{db: db}, nil
}

// Put makes copies because a transaction keeps the slices until its commit
// has gone through another goroutine.
func (s *badgerStore) Put(key, value []byte) error {
	buf := make([]byte, len(key)+len(value))
	n := copy(buf, key)
	copy(buf[n:], value)
	return s.db.Update(func(tx *badger.Txn) error { return tx.Set(buf[:n:n], buf[n:]) })
}

func (s *badgerStore) Get(dst, key []byte) ([]byte, error) {
	err := s.db.View(func(tx *badger.Txn) error {
		item, err := tx.Get(key)
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			dst = append(dst, v...)
			return nil
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return dst, ErrNotFound
	}
	return dst, err
}

func (s *badgerStore) Scan(start []byte, n int, visit func(key, value []byte) error) error {
	return s.db.View(func(tx *badger.Txn) error {
		io := badger.DefaultIteratorOptions
		io.PrefetchSize = n
		it := tx.NewIterator(io)
		defer it.Close()
		for it.Seek(start); it.Valid() && n > 0; n-- {
			item := it.Item()
			err := item.Value(func(v []byte) error { return visit(item.Key(), v) })
			if err != nil {
				return err
			}
			if n > 1 {
				it.Next()
			}
		}
		return nil
	})
}

func (s *badgerStore) Compact() error { return s.db.Flatten(2) }

func (s *badgerStore) Close() error { return s.db.Close() }
