package memtable

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"github.com/gtinside/corecache/engine/base"
)

// A record in the arena never changes once it can be reached:
//
//	0  trailer   uint64
//	8  keyLen    uint32
//	12 valueLen  uint32
//	16 key, value, padding to 8 bytes
type record struct {
	trailer  base.Trailer
	keyLen   uint32
	valueLen uint32
}

const recordHeader = 16

func (r *record) key() []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(r), recordHeader)), r.keyLen)
}

func (r *record) value() []byte {
	p := unsafe.Add(unsafe.Pointer(r), recordHeader+uintptr(r.keyLen))
	return unsafe.Slice((*byte)(p), r.valueLen)
}

// target is the internal key that a search looks for.
type target struct {
	prefix  uint64
	key     []byte
	trailer base.Trailer
	end     bool // sorts behind all records; prefix has all bits set
}

// prefixOf returns the first 8 bytes of key, filled up with zeros, as an
// integer that sorts like them.
func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var p uint64
	for i, c := range key {
		p |= uint64(c) << (56 - 8*i)
	}
	return p
}

// compare compares a record with a target that has the same prefix.
func (r *record) compare(to *target) int {
	if to.end {
		return -1
	}
	if c := r.compareTail(to.key); c != 0 {
		return c
	}
	switch {
	case r.trailer > to.trailer:
		return -1
	case r.trailer < to.trailer:
		return 1
	}
	return 0
}

// compareTail compares user keys of which the first 8 bytes are known to be equal.
func (r *record) compareTail(key []byte) int {
	k := r.key()
	if len(k) >= 8 && len(key) >= 8 {
		return bytes.Compare(k[8:], key[8:])
	}
	return bytes.Compare(k, key)
}
