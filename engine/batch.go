package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/memtable"
)

// A Batch is a list of operations that is applied, logged, replicated and
// recovered as one. It is the payload of one log record:
//
//	batch   = { op }
//	op      = kind:u8 key:bytes [ value:bytes ]      kind 0 Delete: no value
//	                                                 kind 1 Set, 2 SetExpiring
//	                                                 kind 3 DeleteRange: key = start, value = end
//	        | 4:u8 counter:uvarint delta:varint      kind 4 Add
//	        | 5:u8                                   kind 5 Epoch, alone in its batch
//	bytes   = length:uvarint length*u8
//
// for example Set("a", "xyz") and Delete("b"):
//
//	01 01 61 03 78 79 7a   00 01 62
//
// The number of operations stands in the header of the log record. The n-th
// operation has the sequence number first+n.
//
// A Batch is used by one goroutine at a time. Keys and values are copied.
type Batch struct {
	data    []byte
	count   uint32
	memSize int64 // what it needs in a memtable
	ranges  uint32
	err     error // the first operation that can not be stored
}

const (
	// MaxKeySize is the largest key in bytes: 512 MiB, and room for what a user of
	// the engine puts around the keys of its own users.
	MaxKeySize = 1<<29 + 1<<10
	// MaxValueSize is the largest value in bytes, with the same room.
	MaxValueSize = 1<<29 + 1<<10
	// maxBatchSize bounds a batch; its length has 32 bits in the log.
	maxBatchSize = math.MaxInt32
)

func (b *Batch) put(kind base.Kind, key, value []byte) {
	if !b.fits(key, value) {
		return
	}
	b.data = append(b.data, byte(kind))
	b.data = binary.AppendUvarint(b.data, uint64(len(key)))
	b.data = append(b.data, key...)
	if kind != base.KindDelete {
		b.data = binary.AppendUvarint(b.data, uint64(len(value)))
		b.data = append(b.data, value...)
	}
	b.count++
}

func (b *Batch) fits(key, value []byte) bool {
	switch {
	case b.err != nil:
	case len(key) > MaxKeySize:
		b.err = fmt.Errorf("%w: key of %d bytes", ErrInvalidBatch, len(key))
	case len(value) > MaxValueSize:
		b.err = fmt.Errorf("%w: value of %d bytes", ErrInvalidBatch, len(value))
	case len(b.data)+len(key)+len(value)+16 > maxBatchSize:
		b.err = fmt.Errorf("%w: more than %d bytes", ErrInvalidBatch, maxBatchSize)
	}
	return b.err == nil
}

// Set gives key the value.
func (b *Batch) Set(key, value []byte) {
	b.put(base.KindSet, key, value)
	b.memSize += memtable.NodeSize(len(key), len(value))
}

// SetExpiring gives key the value, whose last 8 bytes are a deadline in unix
// milliseconds, big endian. Get returns the value with these 8 bytes. The
// engine never hides the record by itself; see DB.SetExpiryHorizon.
func (b *Batch) SetExpiring(key, value []byte) {
	if len(value) < 8 && b.err == nil {
		b.err = fmt.Errorf("%w: expiring value without deadline", ErrInvalidBatch)
	}
	b.put(base.KindSetExpiring, key, value)
	b.memSize += memtable.NodeSize(len(key), len(value))
}

// Delete removes the value of key; it need not have one.
func (b *Batch) Delete(key []byte) {
	b.put(base.KindDelete, key, nil)
	b.memSize += memtable.NodeSize(len(key), 0)
}

// DeleteRange removes all keys in [start, end). Nothing happens when start >= end.
func (b *Batch) DeleteRange(start, end []byte) {
	b.put(base.KindDeleteRange, start, end)
	b.ranges++
	b.memSize += rangeDelMemory(start, end)
}

// Add adds delta to one of the engine's counters; see DB.Counter.
func (b *Batch) Add(counter uint32, delta int64) {
	if b.fits(nil, nil) {
		b.data = append(b.data, byte(base.KindAdd))
		b.data = binary.AppendUvarint(b.data, uint64(counter))
		b.data = binary.AppendVarint(b.data, delta)
		b.count++
	}
}

// epochBatch is the payload of a record that begins an epoch.
var epochBatch = Batch{data: []byte{byte(base.KindEpoch)}, count: 1}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() { *b = Batch{data: b.data[:0]} }

// Len is the number of operations.
func (b *Batch) Len() int { return int(b.count) }

// Empty reports whether there is no operation.
func (b *Batch) Empty() bool { return b.count == 0 }

// Size is the encoded size in bytes.
func (b *Batch) Size() int { return len(b.data) }

// Bytes returns the encoding, valid until the next change.
func (b *Batch) Bytes() []byte { return b.data }

// Grow makes room for n more bytes.
func (b *Batch) Grow(n int) {
	b.data = slices.Grow(b.data, n)
}

// load makes b the batch of a log record. It aliases payload.
func (b *Batch) load(payload []byte, count uint32) error {
	*b = Batch{data: payload, count: count}
	n := uint32(0)
	for r := (batchReader{data: payload}); ; n++ {
		op, ok, err := r.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch op.kind {
		case base.KindDeleteRange:
			b.ranges++
			b.memSize += rangeDelMemory(op.key, op.value)
		case base.KindAdd, base.KindEpoch:
		default:
			b.memSize += memtable.NodeSize(len(op.key), len(op.value))
		}
	}
	if n != count {
		return fmt.Errorf("%w: %d operations, the header says %d", ErrInvalidBatch, n, count)
	}
	return nil
}

// batchOp is one decoded operation; the slices alias the batch.
type batchOp struct {
	kind       base.Kind
	key, value []byte
	counter    uint32
	delta      int64
}

// batchReader decodes a batch from its start.
type batchReader struct {
	data []byte
	pos  int
}

func (r *batchReader) next() (op batchOp, ok bool, err error) {
	if r.pos >= len(r.data) {
		return op, false, nil
	}
	at := r.pos
	op.kind = base.Kind(r.data[at])
	r.pos++
	switch op.kind {
	case base.KindDelete:
		op.key, ok = r.bytes()
	case base.KindSet, base.KindSetExpiring, base.KindDeleteRange:
		if op.key, ok = r.bytes(); ok {
			op.value, ok = r.bytes()
		}
		ok = ok && (op.kind != base.KindSetExpiring || len(op.value) >= 8)
	case base.KindAdd:
		ok = r.counter(&op)
	case base.KindEpoch:
		ok = len(r.data) == 1
	}
	if !ok {
		return op, false, fmt.Errorf("%w: bad operation at byte %d", ErrInvalidBatch, at)
	}
	return op, true, nil
}

func (r *batchReader) bytes() ([]byte, bool) {
	n, w := binary.Uvarint(r.data[r.pos:])
	if w <= 0 || n > uint64(len(r.data)-r.pos-w) {
		return nil, false
	}
	start := r.pos + w
	r.pos = start + int(n)
	return r.data[start:r.pos:r.pos], true
}

func (r *batchReader) counter(op *batchOp) bool {
	id, w := binary.Uvarint(r.data[r.pos:])
	if w <= 0 || id > math.MaxUint32 {
		return false
	}
	r.pos += w
	delta, w := binary.Varint(r.data[r.pos:])
	if w <= 0 {
		return false
	}
	r.pos += w
	op.counter, op.delta = uint32(id), delta
	return true
}
