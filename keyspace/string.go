package keyspace

import (
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/gtinside/corecache/engine/base"
)

// Errors of operations on keys.
var (
	// ErrWrongType: the key holds a value of another type.
	ErrWrongType = errors.New("keyspace: wrong type")
	// ErrNotInteger: the value is not a decimal number of 64 bits.
	ErrNotInteger = errors.New("keyspace: value is not an integer")
	// ErrOverflow: the result does not fit into 64 bits.
	ErrOverflow = errors.New("keyspace: overflow")
	// ErrNotFloat: the value is not a floating point number.
	ErrNotFloat = errors.New("keyspace: value is not a float")
	// ErrNotFinite: the result would not be a finite number.
	ErrNotFinite = errors.New("keyspace: result is not finite")
	// ErrTooLong: the string would exceed the limit given.
	ErrTooLong = errors.New("keyspace: string too long")
	// ErrNoKey: there is no such key.
	ErrNoKey = errors.New("keyspace: no such key")
)

// String is the value of a string key, as the transaction that it came from sees it.
// It is valid as long as that.
type String struct {
	t      *Txn
	inline []byte
	phys   uint16
	chunks chunked
	big    bool
}

// Len is the length in bytes.
func (s *String) Len() int64 {
	if s.big {
		return s.chunks.length
	}
	return int64(len(s.inline))
}

// Append appends the bytes in [from, to) to dst, where 0 <= from <= to <= Len.
func (s *String) Append(dst []byte, from, to int64) ([]byte, error) {
	if !s.big {
		return append(dst, s.inline[from:to]...), nil
	}
	// At once, not by doubling; chunks are read whole, also the last one.
	dst = slices.Grow(dst, int(to-from)+chunkSize)
	return s.t.appendChunks(dst, s.phys, s.chunks, from, to)
}

// String looks a string key up for reading.
func (t *Txn) String(key []byte) (s String, ok bool, err error) {
	e, err := t.read(key)
	if err != nil || !e.found {
		return s, false, err
	}
	if e.meta.chunked() && !t.fixed() {
		t.Pin() // metadata and chunks have to belong together
		if e, err = t.lookup(key); err != nil || !e.found {
			return s, false, err
		}
	}
	s, err = t.stringOf(&e)
	return s, err == nil, err
}

// fixed reports whether all lookups see one state of the key.
func (t *Txn) fixed() bool { return t.locked || t.snap != nil || t.pinned != nil }

// stringOf returns the string of a key that was found.
func (t *Txn) stringOf(e *entry) (s String, err error) {
	if e.meta.typ() != TypeString {
		return s, ErrWrongType
	}
	s = String{t: t, inline: e.meta.payload, phys: e.phys}
	if e.meta.chunked() {
		s.big, s.inline = true, nil
		s.chunks, err = decodeChunked(e.meta.payload)
	}
	return s, err
}

// read is lookup for commands that read: it counts hits and misses.
func (t *Txn) read(key []byte) (entry, error) { return t.readSize(key, base.Whole) }

// readHead is read for commands that do not look at the value; see lookupHead.
func (t *Txn) readHead(key []byte) (entry, error) { return t.readSize(key, headSize) }

func (t *Txn) readSize(key []byte, size int) (entry, error) {
	e, err := t.lookupIn(t.db, key, size)
	if err == nil {
		c := &t.k.counters[e.pos.hash%counterShards]
		if e.found {
			c.hits.Add(1)
		} else {
			c.misses.Add(1)
		}
	}
	return e, err
}

// Condition says when Set sets.
type Condition uint8

// Conditions of Set.
const (
	Always Condition = iota
	IfAbsent
	IfPresent
)

// SetOptions are the options of Set. The zero value sets in any case, without deadline.
type SetOptions struct {
	Condition Condition
	Deadline  int64 // unix milliseconds; 0: none
	KeepTTL   bool  // keep the deadline that the key has
}

// Set makes value the string of a key, whatever it held before, and reports whether the condition was met.
func (t *Txn) Set(key, value []byte, o SetOptions) (bool, error) {
	e, err := t.lookupHead(key)
	if err != nil {
		return false, err
	}
	if o.Condition == IfAbsent && e.found || o.Condition == IfPresent && !e.found {
		return false, nil
	}
	deadline := o.Deadline
	if o.KeepTTL && e.found {
		deadline = e.meta.deadline
	}
	return true, t.setString(&e, value, deadline)
}

// setString replaces whatever the key holds.
func (t *Txn) setString(e *entry, value []byte, deadline int64) error {
	if t.tooLate(deadline) {
		return t.removeIfFound(e)
	}
	if e.found {
		if err := t.dropElements(e); err != nil {
			return err
		}
	}
	if len(value) <= inlineMax {
		t.put(e, meta{kind: byte(TypeString), deadline: deadline, payload: value})
		return nil
	}
	c := chunked{home: e.pos, id: t.newID(), length: int64(len(value))}
	if err := t.storeChunks(e.phys, c, nil, true, 0, value); err != nil {
		return err
	}
	t.putChunked(e, 0, c, deadline)
	return nil
}

func (t *Txn) removeIfFound(e *entry) error {
	if !e.found {
		return nil
	}
	return t.remove(e)
}

// Append appends to a string, which is empty when the key does not exist, and returns its new length, at most limit.
func (t *Txn) Append(key, value []byte, limit int64) (int64, error) {
	e, s, err := t.modify(key)
	if err != nil {
		return 0, err
	}
	size := s.Len() + int64(len(value))
	if size > limit {
		return 0, ErrTooLong
	}
	raw := byte(0)
	if e.found {
		raw = kindRaw
	}
	return size, t.overlay(&e, &s, s.Len(), value, raw)
}

// SetRange overwrites a part of a string from offset on, and pads it with zero bytes if it ends before
// there. It returns the new length, at most limit. Without a value nothing changes.
func (t *Txn) SetRange(key []byte, offset int64, value []byte, limit int64) (int64, error) {
	e, s, err := t.modify(key)
	if err != nil {
		return 0, err
	}
	if len(value) == 0 {
		return s.Len(), nil
	}
	if int64(len(value)) > limit || offset > limit-int64(len(value)) {
		return 0, ErrTooLong
	}
	err = t.overlay(&e, &s, offset, value, kindRaw)
	return max(s.Len(), offset+int64(len(value))), err
}

// modify looks a string up for a change; when there is none, s is empty.
func (t *Txn) modify(key []byte) (e entry, s String, err error) {
	if e, err = t.lookup(key); err != nil || !e.found {
		return e, s, err
	}
	s, err = t.stringOf(&e)
	return e, s, err
}

// overlay writes value at an offset of the string s of e, and keeps the deadline.
func (t *Txn) overlay(e *entry, s *String, offset int64, value []byte, raw byte) error {
	deadline := int64(0)
	if e.found {
		deadline = e.meta.deadline
	}
	size := max(s.Len(), offset+int64(len(value)))
	if !s.big && size <= inlineMax {
		buf := append(t.val[len(t.val):], s.inline...)
		buf = appendZeros(buf, int(size)-len(buf))
		copy(buf[offset:], value)
		t.put(e, meta{kind: byte(TypeString) | raw, deadline: deadline, payload: buf})
		return nil
	}
	c, fresh := s.chunks, !s.big
	if fresh {
		c = chunked{home: e.pos, id: t.newID()}
	}
	if err := t.storeChunks(e.phys, c, s.inline, fresh, offset, value); err != nil {
		return err
	}
	c.length = size
	t.putChunked(e, raw, c, deadline)
	return nil
}

// Increment adds delta to the number that a string holds, 0 when the key does not exist.
func (t *Txn) Increment(key []byte, delta int64) (int64, error) {
	e, s, err := t.modify(key)
	if err != nil {
		return 0, err
	}
	old := int64(0)
	if e.found {
		var ok bool
		if old, ok = ParseInt(s.inline); !ok || s.big {
			return 0, ErrNotInteger
		}
	}
	if delta > 0 && old > math.MaxInt64-delta || delta < 0 && old < math.MinInt64-delta {
		return 0, ErrOverflow
	}
	text := strconv.AppendInt(t.val[len(t.val):], old+delta, 10)
	t.put(&e, meta{kind: byte(TypeString), deadline: e.meta.deadline, payload: text})
	return old + delta, nil
}

// IncrementFloat adds delta to the number that a string holds, 0 when the key does not exist, and
// returns the result as it is stored.
func (t *Txn) IncrementFloat(key []byte, delta Float) ([]byte, error) {
	e, s, err := t.modify(key)
	if err != nil {
		return nil, err
	}
	var old Float
	if e.found {
		var ok bool
		if old, ok = ParseFloat(s.inline); !ok || s.big {
			return nil, ErrNotFloat
		}
	}
	sum, ok := old.Add(delta)
	if !ok {
		return nil, ErrNotFinite
	}
	text := sum.Append(nil)
	t.put(&e, meta{kind: byte(TypeString) | kindText, deadline: e.meta.deadline, payload: text})
	return text, nil
}

// ParseInt reads a decimal number as strictly as Redis does: no plus sign, no leading zero, no
// space, no minus zero.
func ParseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	digits, negative := b, b[0] == '-'
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	n := uint64(0)
	for _, c := range digits {
		d := uint64(c - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	if negative {
		return int64(-n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}

func appendZeros(b []byte, n int) []byte {
	if n <= 0 {
		return b
	}
	return append(b, make([]byte, n)...)
}
