package workload

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/gtinside/corecache/bench/store"
)

// get reads a record that must be there and returns its version.
func (w *worker) get(id uint64) (uint32, error) {
	w.key = appendKey(w.key[:0], id)
	got, err := w.db.Get(w.got[:0], w.key)
	if err != nil {
		return 0, fmt.Errorf("get %x: %w", id, err)
	}
	w.got = got
	return w.values.check(id, got)
}

// put writes the next version of a prepared record.
func (w *worker) put(i int) error {
	version := w.versions[i] + 1
	if err := w.write(preparedID(i), version); err != nil {
		return err
	}
	w.versions[i] = version
	return nil
}

func (w *worker) write(id uint64, version uint32) error {
	w.key = appendKey(w.key[:0], id)
	w.value = w.values.append(w.value[:0], id, version)
	if err := w.db.Put(w.key, w.value); err != nil {
		return fmt.Errorf("put %x: %w", id, err)
	}
	w.puts.Add(1)
	return nil
}

// own moves an index to the nearest one that this worker writes, so that
// each record has one writer.
func (w *worker) own(i int) int {
	i -= i%w.of - w.id
	if i >= len(w.versions) {
		i -= w.of
	}
	return i
}

func (w *worker) uniform() int { return w.rng.IntN(len(w.versions)) }

func (w *worker) popular() int { return w.zipf.scattered(w.rng) }

func (w *worker) read(i int) error {
	_, err := w.get(preparedID(i))
	return err
}

// missing reads a key that lies right behind an existing one.
func (w *worker) missing(i int) error {
	w.key = appendKey(w.key[:0], preparedID(i))
	w.key[keySize-1]++
	got, err := w.db.Get(w.got[:0], w.key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return fmt.Errorf("get of a missing key: %q, %v", got, err)
}

// scan reads up to n records and checks their order and values.
func (w *worker) scan(i, n int) error {
	w.key = appendKey(w.key[:0], preparedID(i))
	w.last = w.last[:0]
	count := 0
	err := w.db.Scan(w.key, n, func(key, value []byte) error {
		count++
		if bytes.Compare(key, w.last) <= 0 {
			return fmt.Errorf("scan: %x after %x", key, w.last)
		}
		w.last = append(w.last[:0], key...)
		_, err := w.values.check(keyID(key), value)
		return err
	})
	if err == nil && count < min(n, len(w.versions)-i) {
		err = fmt.Errorf("scan from record %d: %d records, want %d", i, count, n)
	}
	return err
}

// insert adds a record of its own stripe of inserts.
func (w *worker) insert() error {
	if err := w.write(w.insertID(w.inserts), 1); err != nil {
		return err
	}
	w.inserts++
	w.inserted.Add(1)
	return nil
}

func (w *worker) insertID(k uint64) uint64 {
	return insertedID(k*uint64(w.of)+uint64(w.id), len(w.versions))
}

// readLatest prefers the records that this worker inserted last.
func (w *worker) readLatest() error {
	rank := uint64(w.zipf.rank(w.rng))
	if rank < w.inserts {
		_, err := w.get(w.insertID(w.inserts - 1 - rank))
		return err
	}
	return w.read(len(w.versions) - 1 - int(rank-w.inserts))
}

func (w *worker) readModifyWrite(i int) error {
	i = w.own(i)
	version, err := w.get(preparedID(i))
	if err != nil {
		return err
	}
	if version != w.versions[i] {
		return fmt.Errorf("record %d has version %d, put last was %d", i, version, w.versions[i])
	}
	return w.put(i)
}
