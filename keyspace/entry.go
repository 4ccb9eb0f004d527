package keyspace

import (
	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/base"
)

// entry is a key as a transaction has found it.
type entry struct {
	key   []byte
	pos   position
	db    int    // logical
	phys  uint16 // physical
	found bool   // it is there, and not expired
	meta  meta   // when found; the payload aliases the buffers of the transaction
}

// lookup finds a key of the selected database. A key whose time is over is not
// found, and deleted on the way.
func (t *Txn) lookup(key []byte) (entry, error) { return t.lookupIn(t.db, key, base.Whole) }

// lookupHead is lookup for who does not look at the value: only headSize bytes of the metadata may be there, enough for
// all but the bytes of an inline string.
func (t *Txn) lookupHead(key []byte) (entry, error) { return t.lookupIn(t.db, key, headSize) }

const headSize = valueHeader + chunkedSize

const _ = uint(engine.HeadSize - headSize) // more would not be worth it

func (t *Txn) lookupIn(db int, key []byte, size int) (entry, error) {
	e, err := t.peek(db, key, size)
	if err == nil && e.found && e.meta.expired(t.now) {
		if !t.hasExpired(&e) {
			err = t.expire(&e)
		}
		e.found, e.meta = false, meta{}
	}
	return e, err
}

// hasExpired reports whether e was deleted by an earlier lookup of this transaction, which a plain batch does not show.
// Deleting it twice would count it twice.
func (t *Txn) hasExpired(e *entry) bool {
	if !t.locked || t.indexed != nil {
		return false
	}
	t.key = appendMetaKey(t.key[:0], e.phys, e.pos, e.key)
	if _, again := t.gone[string(t.key)]; again {
		return true
	}
	if t.gone == nil {
		t.gone = make(map[string]struct{})
	}
	t.gone[string(t.key)] = struct{}{}
	return false
}

// peek finds a key whether it has expired or not, with at least size bytes of its metadata.
func (t *Txn) peek(db int, key []byte, size int) (e entry, err error) {
	e = entry{key: key, pos: t.locate(key), db: db}
	if t.swapped != nil {
		e.phys = t.swapped[db]
		err = t.load(&e, size)
		return e, err
	}
	for d := t.databases(); ; {
		e.phys = d.phys[db]
		if err = t.load(&e, size); err != nil || t.locked {
			return e, err
		}
		again := t.databases()
		if again == d {
			return e, nil
		}
		d = again // a SWAPDB came between the choice of the map and the read
	}
}

// load reads the metadata of e.
func (t *Txn) load(e *entry, size int) error {
	t.key = appendMetaKey(t.key[:0], e.phys, e.pos, e.key)
	start := len(t.val)
	var err error
	t.val, e.found, err = t.getHead(t.val, t.key, size)
	if err != nil || !e.found {
		return err
	}
	e.meta, err = decodeMeta(t.val[start:])
	return err
}

// put writes the metadata of a key. Only put, forget and the flushes change what keys there are;
// they keep the counters, the expiry index and the watches in step.
func (t *Txn) put(e *entry, m meta) {
	m.written = t.now
	t.key = appendMetaKey(t.key[:0], e.phys, e.pos, e.key)
	t.enc = appendMeta(t.enc[:0], &m)
	if m.deadline != 0 {
		t.w.SetExpiring(t.key, t.enc)
	} else {
		t.w.Set(t.key, t.enc)
	}
	if !e.found {
		t.w.Add(keysCounter(e.phys), 1)
		e.meta = meta{}
	}
	if e.meta.deadline != m.deadline {
		t.moveDeadline(e, m.deadline)
	}
	e.found, e.meta = true, m
	t.touch(e)
}

// forget deletes the metadata of a key that was found, and leaves its elements alone.
func (t *Txn) forget(e *entry) {
	t.key = appendMetaKey(t.key[:0], e.phys, e.pos, e.key)
	t.w.Delete(t.key)
	t.w.Add(keysCounter(e.phys), -1)
	if e.meta.deadline != 0 {
		t.moveDeadline(e, 0)
	}
	e.found = false
	t.touch(e)
}

// remove deletes a key that was found.
func (t *Txn) remove(e *entry) error {
	if err := t.dropElements(e); err != nil {
		return err
	}
	t.forget(e)
	return nil
}

// moveDeadline keeps the expiry index and its counter when the deadline of e changes.
func (t *Txn) moveDeadline(e *entry, deadline int64) {
	old := e.meta.deadline
	if old != 0 {
		t.index = appendExpiryKey(t.index[:0], e.phys, old, e.pos, e.key)
		t.w.Delete(t.index)
	}
	if deadline != 0 {
		t.index = appendExpiryKey(t.index[:0], e.phys, deadline, e.pos, e.key)
		t.w.Set(t.index, nil)
		t.notes = append(t.notes, note{phys: e.phys, deadline: deadline})
	}
	switch {
	case old == 0:
		t.w.Add(expiresCounter(e.phys), 1)
	case deadline == 0:
		t.w.Add(expiresCounter(e.phys), -1)
	}
}
