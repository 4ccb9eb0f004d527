package keyspace

import (
	"encoding/binary"
	"math/rand/v2"
)

const (
	scanKeys  = 64 << 10
	scanBytes = 16 << 20
)

// Scan visits keys of the selected database from a cursor on, at least count (if there are so many)
// and hardly more, and returns the cursor to go on from, 0 at the end. Keys that have expired are passed over,
// but count. key is valid during the visit only. However large count is, a call visits about
// scanKeys keys or scanBytes of them at most.
//
// The cursor is the position of a key, slot and hash, in 48 bits. Keys are visited in the order of their
// positions, which never change; those few that share one are visited together. So
// every key that is there from the first call to the last is visited, exactly once if the client uses each
// cursor once; also across restarts, and on any copy of the data.
func (t *Txn) Scan(cursor uint64, count int64, visit func(key []byte, typ Type)) (next uint64, err error) {
	if cursor >= slots<<32 {
		return 0, nil
	}
	from := position{uint16(cursor >> 32), uint32(cursor)}
	count, room := min(count, scanKeys), scanBytes
	err = t.walk(from.append(nil), func(p position, key []byte, m *meta) bool {
		if (count <= 0 || room <= 0) && p.cursor() != cursor {
			next = p.cursor()
			return false
		}
		count--
		room -= len(key)
		cursor = p.cursor()
		if !m.expired(t.now) {
			visit(key, m.typ())
		}
		return true
	})
	return next, err
}

// Keys visits all keys of the selected database, as they are at one moment, until visit returns false.
func (t *Txn) Keys(visit func(key []byte) bool) error {
	return t.walk(nil, func(_ position, key []byte, m *meta) bool {
		return m.expired(t.now) || visit(key)
	})
}

// walk visits the metadata of the selected database from a position on, until visit returns false.
// Those that have expired go.
func (t *Txn) walk(from []byte, visit func(p position, key []byte, m *meta) bool) error {
	if err := t.walkRecords(from, visit); err != nil {
		return err
	}
	return t.expirePassed()
}

func (t *Txn) walkRecords(from []byte, visit func(p position, key []byte, m *meta) bool) error {
	it := t.iterate(spaceMeta, from)
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		phys, p, key, err := decodeMetaKey(it.Key())
		if err != nil {
			return err
		}
		m, err := decodeMeta(it.Value())
		if err != nil {
			return err
		}
		if !visit(p, key, &m) {
			break
		}
		if m.expired(t.now) {
			if err := t.pass(phys, p, key, &m); err != nil {
				return err
			}
		}
	}
	return it.Error()
}

const (
	// randomSteps is how far RandomKey goes on at most from the place it has jumped to, so that keys
	// behind a large gap are not preferred much.
	randomSteps = 16
	// randomExpired is how many expired keys it passes over before it gives up.
	randomExpired = 1000
)

// RandomKey returns a key of the selected database, ok is false when there is none.
//
// It jumps to a random place. If the slot there is empty it jumps anew within the slot that follows,
// which may hold all keys of the database when they have a common hash tag. The cost is a few seeks.
func (t *Txn) RandomKey() (key []byte, ok bool, err error) {
	if key, ok, err = t.jump(); err != nil {
		return nil, false, err
	}
	return key, ok, t.expirePassed()
}

func (t *Txn) jump() (key []byte, ok bool, err error) {
	it := t.iterate(spaceMeta, nil)
	defer it.Close()
	if !it.First() {
		return nil, false, it.Error()
	}
	seek := append([]byte(nil), it.Key()[:3]...)
	p := position{uint16(rand.Uint32N(slots)), rand.Uint32()}
	if !it.SeekGE(p.append(seek)) {
		it.First()
	}
	if it.Valid() {
		if slot := binary.BigEndian.Uint16(it.Key()[3:]); slot != p.slot {
			p = position{slot, rand.Uint32()}
			if !it.SeekGE(p.append(seek)) {
				it.First()
			}
		}
	}
	skip := rand.IntN(randomSteps)
	for expired := 0; it.Valid() && expired < randomExpired; {
		phys, p, key, err := decodeMetaKey(it.Key())
		if err != nil {
			return nil, false, err
		}
		m, err := decodeMeta(it.Value())
		if err == nil && m.expired(t.now) {
			err = t.pass(phys, p, key, &m)
		}
		if err != nil {
			return nil, false, err
		}
		switch {
		case m.expired(t.now):
			expired++
		case skip > 0:
			skip--
		default:
			start := len(t.val)
			t.val = append(t.val, key...)
			return t.val[start:], true, nil
		}
		if !it.Next() {
			it.First()
		}
	}
	return nil, false, it.Error()
}
