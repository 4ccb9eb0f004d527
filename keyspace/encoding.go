package keyspace

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gtinside/corecache/engine"
)

// Every key of the engine begins with a byte that names its space. Numbers are
// big endian, so that they are ordered as they count.
//
//	system   00 name
//	meta     01 db:u16 slot:u16 hash:u32 key                  -> metadata, see meta
//	element  02 db:u16 slot:u16 hash:u32 id:u64 suffix        -> part of a value that does not fit into its metadata
//	expiry   03 db:u16 deadline:u64 slot:u16 hash:u32 key     -> nothing
//
// db is the physical database (see databases). slot and hash place the key, see
// position; with them in front, the engine tells most keys apart by their first
// eight bytes, and SCAN has a cursor that survives anything. The slot and hash of an
// element are those of the key under which its value was created; id tells apart
// the values that were ever created there. For example "a" in database 0,
// with slot 15495 (3c87) and a hash of 11223344:
//
//	01 0000 3c87 11223344 61
const (
	spaceSystem  = 0x00
	spaceMeta    = 0x01
	spaceElement = 0x02
	spaceExpiry  = 0x03
	spaceEnd     = 0x10 // behind all spaces that hold data of databases
)

const (
	metaHeader    = 1 + 2 + 6     // in front of the user key
	elementHeader = 1 + 2 + 6 + 8 // in front of the suffix
	expiryHeader  = 1 + 2 + 8 + 6 // in front of the user key
	valueHeader   = 1 + 6         // in front of a metadata payload
	chunkedSize   = 2 + 4 + 8 + 8 // payload of a chunked string
	deadlineSize  = 8             // behind the payload of an expiring key
	horizonSize   = 8 + 8
	maxDatabases  = 1 << 16
)

// position is where a key stands within its database.
type position struct {
	slot uint16 // CRC16 of the key or its hash tag, modulo 16384, as in Redis Cluster
	hash uint32 // keyed hash of the whole key
}

func (p position) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, p.slot)
	return binary.BigEndian.AppendUint32(dst, p.hash)
}

func decodePosition(b []byte) position {
	return position{binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[2:])}
}

// cursor packs a position into the 48 bits of a SCAN cursor.
func (p position) cursor() uint64 { return uint64(p.slot)<<32 | uint64(p.hash) }

func appendSpace(dst []byte, space byte, db uint16) []byte {
	dst = append(dst, space)
	return binary.BigEndian.AppendUint16(dst, db)
}

// spaceBounds are the first key of a database in a space and the first behind.
func spaceBounds(space byte, db uint16) (lower, upper []byte) {
	lower = appendSpace(nil, space, db)
	if db == maxDatabases-1 {
		return lower, []byte{space + 1}
	}
	return lower, appendSpace(nil, space, db+1)
}

func appendMetaKey(dst []byte, db uint16, p position, key []byte) []byte {
	dst = p.append(appendSpace(dst, spaceMeta, db))
	return append(dst, key...)
}

// decodeMetaKey is the reverse of appendMetaKey. key aliases b.
func decodeMetaKey(b []byte) (db uint16, p position, key []byte, err error) {
	if len(b) < metaHeader || b[0] != spaceMeta {
		return 0, p, nil, fmt.Errorf("%w: metadata key %x", ErrCorrupt, b)
	}
	return binary.BigEndian.Uint16(b[1:]), decodePosition(b[3:]), b[metaHeader:], nil
}

func appendExpiryKey(dst []byte, db uint16, deadline int64, p position, key []byte) []byte {
	dst = appendSpace(dst, spaceExpiry, db)
	dst = binary.BigEndian.AppendUint64(dst, uint64(deadline))
	return append(p.append(dst), key...)
}

// decodeExpiryKey is the reverse of appendExpiryKey. key aliases b.
func decodeExpiryKey(b []byte) (db uint16, deadline int64, p position, key []byte, err error) {
	if len(b) < expiryHeader || b[0] != spaceExpiry {
		return 0, 0, p, nil, fmt.Errorf("%w: expiry key %x", ErrCorrupt, b)
	}
	db, deadline = binary.BigEndian.Uint16(b[1:]), int64(binary.BigEndian.Uint64(b[3:]))
	return db, deadline, decodePosition(b[11:]), b[expiryHeader:], nil
}

func appendElementPrefix(dst []byte, db uint16, home position, id uint64) []byte {
	dst = home.append(appendSpace(dst, spaceElement, db))
	return binary.BigEndian.AppendUint64(dst, id)
}

// decodeElementPrefix is the reverse of appendElementPrefix. suffix aliases b.
func decodeElementPrefix(b []byte) (db uint16, home position, id uint64, suffix []byte, err error) {
	if len(b) < elementHeader || b[0] != spaceElement {
		return 0, home, 0, nil, fmt.Errorf("%w: element key %x", ErrCorrupt, b)
	}
	return binary.BigEndian.Uint16(b[1:]), decodePosition(b[3:]), binary.BigEndian.Uint64(b[9:]), b[elementHeader:], nil
}

// Type is the type of a key's value.
type Type uint8

// The types, as they stand on disk.
const (
	TypeNone Type = iota
	TypeString
	TypeList
	TypeSet
	TypeSortedSet
	TypeHash
	TypeStream
	numTypes
)

var typeNames = [numTypes]string{"none", "string", "list", "set", "zset", "hash", "stream"}

// String is the name that TYPE shows.
func (t Type) String() string {
	if t < numTypes {
		return typeNames[t]
	}
	return fmt.Sprintf("type-%d", uint8(t))
}

// meta is the metadata of a key, the value of its record in the meta space:
//
//	kind:u8 written:u48 payload [ deadline:u64 ]
//
//	kind       bits 0-3 the type, bit 4 text, bit 5 raw, bit 6 chunked, bit 7 expiring
//	written    when the record was written, unix milliseconds
//	deadline   when the key expires, unix milliseconds; there when expiring
//
// The payload of a string is the string, and of a chunked one
//
//	home:(slot:u16 hash:u32) id:u64 length:u64
//
// For example "hi" written at 1700000000000 ms (018bcfe56800) with a deadline one second later:
//
//	81 018bcfe56800 6869 0000018bcfe56be8
type meta struct {
	kind     byte
	written  int64
	deadline int64 // 0: none
	payload  []byte
}

const (
	kindType     = 0x0f
	kindText     = 0x10 // a string that OBJECT ENCODING does not call int, whatever it looks like
	kindRaw      = 0x20 // a string that was modified in place: OBJECT ENCODING says raw
	kindChunked  = 0x40 // a string whose bytes are elements
	kindExpiring = 0x80
)

func (m *meta) typ() Type     { return Type(m.kind & kindType) }
func (m *meta) chunked() bool { return m.kind&kindChunked != 0 }

// expired reports whether the deadline has passed: as in Redis, a key still lives in
// the millisecond of its deadline.
func (m *meta) expired(now int64) bool { return m.deadline != 0 && now > m.deadline }

func appendMeta(dst []byte, m *meta) []byte {
	kind := m.kind &^ kindExpiring
	if m.deadline != 0 {
		kind |= kindExpiring
	}
	w := uint64(m.written)
	dst = append(dst, kind, byte(w>>40), byte(w>>32), byte(w>>24), byte(w>>16), byte(w>>8), byte(w))
	dst = append(dst, m.payload...)
	if m.deadline != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.deadline))
	}
	return dst
}

// ErrCorrupt marks a record that can not be decoded.
var ErrCorrupt = errors.New("keyspace: corrupt record")

// decodeMeta is the reverse of appendMeta. The payload aliases b.
func decodeMeta(b []byte) (m meta, err error) {
	if len(b) < valueHeader {
		return m, fmt.Errorf("%w: metadata of %d bytes", ErrCorrupt, len(b))
	}
	m.kind = b[0]
	m.written = int64(binary.BigEndian.Uint16(b[1:]))<<32 | int64(binary.BigEndian.Uint32(b[3:]))
	m.payload = b[valueHeader:]
	if m.kind&kindExpiring != 0 {
		n := len(m.payload) - deadlineSize
		if n < 0 {
			return m, fmt.Errorf("%w: expiring metadata of %d bytes", ErrCorrupt, len(b))
		}
		m.deadline = int64(binary.BigEndian.Uint64(m.payload[n:]))
		m.payload = m.payload[:n:n]
		m.kind &^= kindExpiring
	}
	if t := m.typ(); t == TypeNone || t >= numTypes {
		return m, fmt.Errorf("%w: metadata of %v", ErrCorrupt, t)
	}
	return m, nil
}

// chunked is the payload of a chunked string.
type chunked struct {
	home   position
	id     uint64
	length int64
}

func (c chunked) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(c.home.append(dst), c.id)
	return binary.BigEndian.AppendUint64(dst, uint64(c.length))
}

func decodeChunked(b []byte) (c chunked, err error) {
	if len(b) != chunkedSize {
		return c, fmt.Errorf("%w: chunked string of %d bytes", ErrCorrupt, len(b))
	}
	c = chunked{decodePosition(b), binary.BigEndian.Uint64(b[6:]), int64(binary.BigEndian.Uint64(b[14:]))}
	if c.length < 0 || c.length > MaxStringSize {
		return c, fmt.Errorf("%w: string of %d bytes", ErrCorrupt, c.length)
	}
	return c, nil
}

// databases is the record of the system space that maps logical to physical databases,
// which SWAPDB exchanges: one u16 for each.
func encodeDatabases(phys []uint16) []byte {
	var b []byte
	for _, p := range phys {
		b = binary.BigEndian.AppendUint16(b, p)
	}
	return b
}

func decodeDatabases(b []byte) ([]uint16, error) {
	if len(b)%2 != 0 || len(b)/2 > maxDatabases {
		return nil, fmt.Errorf("%w: map of databases of %d bytes", ErrCorrupt, len(b))
	}
	phys := make([]uint16, len(b)/2)
	seen := make(map[uint16]bool)
	for i := range phys {
		phys[i] = binary.BigEndian.Uint16(b[2*i:])
		if seen[phys[i]] || int(phys[i]) >= len(phys) {
			return nil, fmt.Errorf("%w: map of databases %x", ErrCorrupt, b)
		}
		seen[phys[i]] = true
	}
	return phys, nil
}

// horizon is the record of the system space that says that a leader has deleted all keys whose deadline was up to a time, by
// a position of its log (engine.Horizon):
//
//	deadline:u64 seq:u64
//
// deadline is in unix milliseconds. For example 1700000000000 ms and the position 42:
//
//	0000018bcfe56800 000000000000002a
func encodeHorizon(h engine.Horizon) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(h.Deadline))
	return binary.BigEndian.AppendUint64(b, h.Seq)
}

func decodeHorizon(b []byte) (h engine.Horizon, err error) {
	if len(b) != horizonSize {
		return h, fmt.Errorf("%w: expiry horizon of %d bytes", ErrCorrupt, len(b))
	}
	return engine.Horizon{Deadline: int64(binary.BigEndian.Uint64(b)), Seq: binary.BigEndian.Uint64(b[8:])}, nil
}

var (
	keySeed      = systemKey("hash-seed")
	keyDatabases = systemKey("databases")
	keyHorizon   = systemKey("expiry-horizon")
)

func systemKey(name string) []byte { return append([]byte{spaceSystem}, name...) }
