package rowcache

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/gtinside/corecache/engine/base"
)

const (
	unit        = 8 // bytes per unit of a position
	header      = 16
	bucketSlots = 8
	readMark    = 1 << 63 // in a row's trailer
	headMark    = 1 << 15 // in its valueLen
	stripeCount = 256

	// bytesPerSlot of rows: the index takes an eighth of that.
	bytesPerSlot = 64
	// bytesPerMark of rows: see admits.
	bytesPerMark = 128

	maxSegment   = 8 << 20
	minSegment   = 16 << 10
	segmentCount = 16
	maxCapacity  = 16 << 30 // positions have 32 bits

	// maxReturns bounds how many rows go to the other end to make room for one.
	maxReturns = 4
)

// table is the memory of a cache of one capacity.
type table struct {
	capacity int64
	reserve  func(int64)
	used     atomic.Int64 // bytes reserved
	full     atomic.Bool  // rows are evicted
	begun    atomic.Bool  // there are rows

	segmentUnits uint32
	buckets      []bucket
	segments     [][]byte        // as many as there may be; nil: not taken yet
	marks        []atomic.Uint32 // tags of records that were read once
	stripes      [stripeCount]stripe

	log struct {
		sync.Mutex
		at     int    // the segment that is written to
		head   uint32 // where the next row goes, within it
		tail   uint32 // what is there from here on is older than all other rows; when full
		closed bool
	}
}

type bucket [bucketSlots]slot

// slot is a tag in the upper and a position in the lower half; 0 is empty.
type slot uint64

func makeSlot(tag, position uint32) slot { return slot(tag)<<32 | slot(position) }
func (s slot) tag() uint32               { return uint32(s >> 32) }
func (s slot) position() uint32          { return uint32(s) }

type stripe struct {
	sync.Mutex
	lookups [2]uint64 // as wanted says
	hits    uint64
	_       [32]byte
}

func newTable(capacity int64, reserve func(int64)) *table {
	t := &table{capacity: capacity, reserve: reserve}
	rows := min(capacity, maxCapacity) / (bytesPerSlot*bytesPerMark + 8*bytesPerMark + 4*bytesPerSlot) * bytesPerSlot * bytesPerMark
	segment := min(max(rows/segmentCount, minSegment), maxSegment) / unit * unit
	t.segmentUnits = uint32(segment / unit)
	t.segments = make([][]byte, max(rows/segment, 2))
	return t
}

func (t *table) empty() bool { return !t.begun.Load() }

// take allocates a segment, and the index with the first.
func (t *table) take(i int) {
	size := int64(t.segmentUnits) * unit
	bytes := size
	if i == 0 {
		all := size * int64(len(t.segments))
		t.buckets = make([]bucket, max(all/bytesPerSlot/bucketSlots, 1))
		base.AdviseHugePages(unsafe.Slice((*byte)(unsafe.Pointer(&t.buckets[0])), len(t.buckets)*bucketSlots*8))
		t.marks = make([]atomic.Uint32, max(all/bytesPerMark, 1))
		bytes += int64(len(t.buckets))*bucketSlots*8 + int64(len(t.marks))*4
	}
	t.reserve(bytes)
	t.used.Add(bytes)
	t.segments[i] = make([]byte, size)
	base.AdviseHugePages(t.segments[i])
	t.begun.Store(true) // publishes the index
}

// close gives the memory back. Readers that are still at work find what they find.
func (t *table) close() {
	t.log.Lock()
	defer t.log.Unlock()
	t.log.closed = true
	t.reserve(-t.used.Load())
}

// tagOf is the part of a hash that slots and rows have; it is never 0.
func tagOf(hash uint64) uint32 { return uint32(hash) | 1 }

// lock locks the bucket of a hash.
func (t *table) lock(hash uint64) (*bucket, *stripe) {
	i := t.bucketOf(hash)
	s := &t.stripes[i%stripeCount]
	s.Lock()
	return &t.buckets[i], s
}

func (t *table) bucketOf(hash uint64) uint64 { return (hash >> 32) * uint64(len(t.buckets)) >> 32 }

// row returns the memory from a position on.
func (t *table) row(position uint32) []byte {
	return t.segments[position/t.segmentUnits][position%t.segmentUnits*unit:]
}

func trailerOf(row []byte) base.Trailer {
	return base.Trailer(binary.LittleEndian.Uint64(row) &^ readMark)
}

func tagIn(row []byte) uint32 { return binary.LittleEndian.Uint32(row[8:]) }

func lengths(row []byte) (key, value int) {
	return int(binary.LittleEndian.Uint16(row[12:])), int(binary.LittleEndian.Uint16(row[14:]) &^ headMark)
}

// isHead reports whether a row has only the beginning of its value.
func isHead(row []byte) bool { return binary.LittleEndian.Uint16(row[14:])&headMark != 0 }

func putLengths(row []byte, key, value int, head bool) {
	binary.LittleEndian.PutUint16(row[12:], uint16(key))
	if head {
		value |= headMark
	}
	binary.LittleEndian.PutUint16(row[14:], uint16(value))
}

func keyOf(row []byte) []byte {
	n, _ := lengths(row)
	return row[header : header+n]
}

func valueOf(row []byte) []byte {
	k, v := lengths(row)
	return row[header+k : header+k+v]
}

// unitsOf returns the units of a row.
func unitsOf(keyLen, valueLen int) uint32 {
	return uint32(header+keyLen+valueLen+unit-1) / unit
}

// find returns the row of a key and its slot. The bucket is locked.
func (t *table) find(b *bucket, key []byte, tag uint32) (row []byte, at int) {
	for i, s := range b {
		if s.tag() == tag {
			if row := t.row(s.position()); string(keyOf(row)) == string(key) {
				return row, i
			}
		}
	}
	return nil, -1
}

// get appends the first n bytes of a value, or all of it.
func (t *table) get(dst, key []byte, hash, seq uint64, n int) ([]byte, base.Trailer, bool) {
	b, s := t.lock(hash)
	defer s.Unlock()
	s.lookups[wanted(n)]++
	row, _ := t.find(b, key, tagOf(hash))
	if row == nil || isHead(row) && n > HeadSize {
		return dst, 0, false
	}
	raw := binary.LittleEndian.Uint64(row)
	tr := base.Trailer(raw &^ readMark)
	if tr.Seq() > seq {
		return dst, 0, false
	}
	if raw&readMark == 0 {
		binary.LittleEndian.PutUint64(row, raw|readMark)
	}
	s.hits++
	return append(dst, base.Head(valueOf(row), tr.Kind(), n)...), tr, true
}

// admits reports whether a record that was read goes in: while there is room, or at the second time.
func (t *table) admits(hash uint64) bool {
	if !t.full.Load() {
		return true
	}
	mark := &t.marks[(hash>>32)*uint64(len(t.marks))>>32]
	tag := tagOf(hash)
	if mark.Load() == tag {
		mark.Store(0)
		return true
	}
	mark.Store(tag)
	return false
}

// add puts a row at the head, unless there is one of the key that has as much, or valid says at the last moment that
// it is not the newest any more. head says that the value is only its beginning. A reader does not wait
// for others who are adding: it is only a cache.
func (t *table) add(key []byte, hash uint64, tr base.Trailer, value []byte, head bool, valid func() bool) {
	if !t.log.TryLock() {
		return
	}
	defer t.log.Unlock()
	t.addLocked(key, hash, tr, value, head, valid)
}

func (t *table) addLocked(key []byte, hash uint64, tr base.Trailer, value []byte, head bool, valid func() bool) {
	n := unitsOf(len(key), len(value))
	if t.log.closed || n > t.segmentUnits || !t.makeRoomLocked(n) {
		return
	}
	position := uint32(t.log.at)*t.segmentUnits + t.log.head
	tag := tagOf(hash)
	row := t.row(position)
	binary.LittleEndian.PutUint64(row, uint64(tr))
	binary.LittleEndian.PutUint32(row[8:], tag)
	putLengths(row, len(key), len(value), head)
	copy(row[header:], key)
	copy(row[header+len(key):], value)

	b, s := t.lock(hash)
	defer s.Unlock()
	there, at := t.find(b, key, tag)
	if there != nil && (head || !isHead(there)) || !valid() {
		return // what lies at the head is overwritten by the next row
	}
	if there == nil {
		at = t.placeLocked(b)
	}
	b[at] = makeSlot(tag, position)
	t.log.head += n
}

// placeLocked returns an empty slot of a bucket, or that of the oldest row.
func (t *table) placeLocked(b *bucket) int {
	now := uint32(t.log.at)*t.segmentUnits + t.log.head
	all := uint32(len(t.segments)) * t.segmentUnits
	oldest, age := 0, uint32(0)
	for i, s := range b {
		if s == 0 {
			return i
		}
		if a := (now + all - s.position()) % all; a > age {
			oldest, age = i, a
		}
	}
	return oldest
}

// makeRoomLocked makes room for a row at the head. It reports false when it gives
// up for now.
func (t *table) makeRoomLocked(n uint32) bool {
	for returns := 0; ; {
		if t.segments[t.log.at] == nil {
			t.take(t.log.at)
		}
		end := t.segmentUnits
		if t.full.Load() {
			end = t.log.tail
		}
		if end-t.log.head >= n {
			return true
		}
		if end < t.segmentUnits {
			if t.evictLocked(returns < maxReturns) {
				returns++
			}
			continue
		}
		t.endSegmentLocked()
	}
}

// endSegmentLocked goes on to the next segment.
func (t *table) endSegmentLocked() {
	if l := &t.log; l.head+header/unit <= t.segmentUnits {
		row := t.segments[l.at][l.head*unit:]
		clear(row[:header]) // no tag: nothing follows
	}
	t.log.at = (t.log.at + 1) % len(t.segments)
	t.log.head, t.log.tail = 0, 0
	if t.log.at == 0 {
		t.full.Store(true)
	}
}

// evictLocked gives up the row at the tail or, if it was read, moves it to the head when it may.
func (t *table) evictLocked(mayReturn bool) (returned bool) {
	l := &t.log
	if l.tail+header/unit > t.segmentUnits {
		l.tail = t.segmentUnits
		return false
	}
	old := t.segments[l.at][l.tail*unit:]
	tag := tagIn(old)
	if tag == 0 {
		l.tail = t.segmentUnits
		return false
	}
	n := unitsOf(lengths(old))
	first := uint32(l.at) * t.segmentUnits
	b, s := t.lock(base.Hash(keyOf(old)))
	defer s.Unlock()
	for i := range b {
		if b[i] != makeSlot(tag, first+l.tail) {
			continue
		}
		if raw := binary.LittleEndian.Uint64(old); mayReturn && raw&readMark != 0 {
			binary.LittleEndian.PutUint64(old, raw&^readMark)
			copy(t.segments[l.at][l.head*unit:], old[:n*unit])
			b[i] = makeSlot(tag, first+l.head)
			l.head += n
			returned = true
		} else {
			b[i] = 0
		}
		break
	}
	l.tail += n
	return returned
}

// update makes a record the row of its key, if there is one and the record fits into it, or its beginning into a head
// for which there is no room to become more. If not, the row is removed.
func (t *table) update(r *Row, room bool) (there, fits bool) {
	if t.empty() {
		return false, false
	}
	b, s := t.lock(r.hash)
	defer s.Unlock()
	row, i := t.find(b, r.Key, tagOf(r.hash))
	if row == nil {
		return false, false
	}
	old := valueOf(row)
	stays := isHead(row) && len(old) < len(r.Value) && hasHead(r.Trailer) && !(room && len(r.Key)+len(r.Value) <= MaxRow)
	if len(old) == len(r.Value) || stays {
		putLengths(row, len(r.Key), len(old), len(old) < len(r.Value))
		mark := binary.LittleEndian.Uint64(row) & readMark
		binary.LittleEndian.PutUint64(row, uint64(r.Trailer)|mark)
		copy(old, r.Value)
		return true, true
	}
	b[i] = 0
	return true, false
}

// prefetch asks for what Flushed will look at: first all buckets, then what their slots name.
func (t *table) prefetch(rows []Row) {
	if t.empty() {
		return
	}
	for i := range rows {
		base.Prefetch(uintptr(unsafe.Pointer(&t.buckets[t.bucketOf(rows[i].hash)])))
	}
	for i := range rows {
		b, s := t.lock(rows[i].hash)
		tag := tagOf(rows[i].hash)
		for _, at := range b {
			if at.tag() == tag {
				row := uintptr(unsafe.Pointer(unsafe.SliceData(t.row(at.position()))))
				base.Prefetch(row)
				base.Prefetch(row + 64)
			}
		}
		s.Unlock()
	}
}

func (t *table) remove(key []byte, hash uint64) {
	if t.empty() {
		return
	}
	b, s := t.lock(hash)
	defer s.Unlock()
	if _, i := t.find(b, key, tagOf(hash)); i >= 0 {
		b[i] = 0
	}
}

// cover goes through all buckets.
func (t *table) cover(covered func(key []byte, seq uint64) bool) {
	if t.empty() {
		return
	}
	for n := range t.buckets {
		s := &t.stripes[n%stripeCount]
		s.Lock()
		b := &t.buckets[n]
		for i, at := range b {
			if at == 0 {
				continue
			}
			if row := t.row(at.position()); covered(keyOf(row), trailerOf(row).Seq()) {
				b[i] = 0
			}
		}
		s.Unlock()
	}
}
