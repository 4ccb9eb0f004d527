package store

import (
	"errors"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
)

var goleveldbEngine = Engine{
	Name:     "goleveldb",
	Settings: "write buffer and block cache as the others, filters of 10 bits, read sampling off (it compacts because of reads), 4 KiB blocks, snappy",
	Open:     openGoleveldb,
}

type goleveldbStore struct {
	db    *leveldb.DB
	write *opt.WriteOptions
}

func openGoleveldb(dir string, o Options) (Store, error) {
	db, err := leveldb.OpenFile(dir, &opt.Options{
		BlockCacheCapacity:     int(o.Cache),
		BlockSize:              blockSize,
		Compression:            opt.SnappyCompression,
		DisableSeeksCompaction: true,
		Filter:                 filter.NewBloomFilter(filterBits),
		OpenFilesCacheCapacity: 4096,
		WriteBuffer:            int(o.Memtable),
	})
	if err != nil {
		return nil, err
	}
	return &goleveldbStore{db: db, write: &opt.WriteOptions{Sync: o.Durability == Synced}}, nil
}

func (s *goleveldbStore) Put(key, value []byte) error { return s.db.Put(key, value, s.write) }

func (s *goleveldbStore) Get(dst, key []byte) ([]byte, error) {
	value, err := s.db.Get(key, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return dst, ErrNotFound
	}
	return append(dst, value...), err
}

func (s *goleveldbStore) Scan(start []byte, n int, visit func(key, value []byte) error) error {
	it := s.db.NewIterator(nil, nil)
	defer it.Release()
	for ok := it.Seek(start); ok && n > 0; n-- {
		if err := visit(it.Key(), it.Value()); err != nil {
			return err
		}
		if n > 1 {
			ok = it.Next()
		}
	}
	return it.Error()
}

func (s *goleveldbStore) Compact() error { return s.db.CompactRange(util.Range{}) }

func (s *goleveldbStore) Close() error { return s.db.Close() }
