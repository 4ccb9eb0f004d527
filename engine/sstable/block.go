package sstable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/gtinside/corecache/engine/base"
)

// A block holds records in the order of their internal keys:
//
//	 0  n          uint32   number of records
//	 4  shared     uint32   bytes that all keys have in common
//	 8  widths     4 x byte bytes of the fields end, seq, length, kind
//	12  minLength  uint32   shortest key
//	16  minSeq     uint64   smallest sequence number
//	24  minKind    byte, 7 zeros
//	32  heads      n x 8    the 8 key bytes after the shared ones, zero filled
//	    ends       n x w    where the record ends, from the start of the records
//	    prefix     shared bytes
//	    records    n x
//	       seq     w        sequence number - minSeq
//	       length  w        key length - minLength
//	       kind    w        kind - minKind
//	       tail             the key bytes after shared bytes and head
//	       value            up to the record's end
//
// Integers are little endian. A head is stored as the little-endian form of the
// integer that its bytes are in big endian, so that heads compare as integers. A
// width is 0 (all values equal the minimum), 1, 2, 4 or 8.
//
// A search goes over the heads, which lie next to each other, and looks at the
// rest of a key only when heads are equal: about as many cache misses as there
// are parts: header, heads, ends, record. Any record is reached in constant time,
// so Next and Prev cost the same. Compared with restart points there is nothing
// to decode and no trailer of 8 bytes per record; what is given up is prefix
// sharing among neighbours beyond what the whole block shares.
type block struct {
	data   []byte
	prefix []byte // shared by all keys
	n      int

	ends, records int // offsets in data

	endWidth, seqWidth, lengthWidth, kindWidth uint8

	minKind   byte
	minLength int
	minSeq    uint64
}

const blockHeader = 32

// uintAt reads an integer of some width.
func uintAt(data []byte, offset int, width uint8) uint64 {
	switch width {
	case 1:
		return uint64(data[offset])
	case 2:
		return uint64(binary.LittleEndian.Uint16(data[offset:]))
	case 4:
		return uint64(binary.LittleEndian.Uint32(data[offset:]))
	case 8:
		return binary.LittleEndian.Uint64(data[offset:])
	}
	return 0
}

var errBlock = errors.New("malformed block")

// open reads the header of a block that checkBlock has accepted.
func (b *block) open(data []byte) {
	h := data[:blockHeader:blockHeader]
	b.data = data
	b.n = int(binary.LittleEndian.Uint32(h))
	shared := int(binary.LittleEndian.Uint32(h[4:]))
	b.endWidth, b.seqWidth, b.lengthWidth, b.kindWidth = h[8], h[9], h[10], h[11]
	b.minLength = int(binary.LittleEndian.Uint32(h[12:]))
	b.minSeq = binary.LittleEndian.Uint64(h[16:])
	b.minKind = h[24]
	b.ends = blockHeader + 8*b.n
	prefix := b.ends + b.n*int(b.endWidth)
	b.records = prefix + shared
	b.prefix = data[prefix:b.records]
}

// checkBlock verifies that nothing in a block points outside of it, so that no
// access to it can fail. Blocks have passed their checksum before, so what it
// finds is not a damaged disk but a writer gone wrong, or somebody's forgery.
func checkBlock(data []byte) error {
	if len(data) < blockHeader {
		return errBlock
	}
	n := uint64(binary.LittleEndian.Uint32(data))
	for _, w := range data[8:12] {
		if w != 0 && w != 1 && w != 2 && w != 4 && w != 8 {
			return errBlock
		}
	}
	shared := uint64(binary.LittleEndian.Uint32(data[4:]))
	size := blockHeader + n*(8+uint64(data[8])) + shared
	if size > uint64(len(data)) || shared > uint64(binary.LittleEndian.Uint32(data[12:])) {
		return errBlock
	}
	var b block
	b.open(data)
	return b.checkRecords()
}

func (b *block) checkRecords() error {
	size, start := uint64(len(b.data)-b.records), uint64(0)
	fields := uint64(b.fields())
	headed := uint64(len(b.prefix) + 8) // a key's bytes that are not in the tail
	for i := range b.n {
		end := uintAt(b.data, b.ends+i*int(b.endWidth), b.endWidth)
		if end < start || end > size || fields > end-start {
			return errBlock
		}
		if length := b.length(b.records + int(start)); length > headed && length-headed > end-start-fields {
			return errBlock
		}
		if b.kind(b.records+int(start)) > base.MaxKind {
			return errBlock
		}
		start = end
	}
	if start != size {
		return errBlock
	}
	return nil
}

// fields returns the bytes of a record before its tail.
func (b *block) fields() int { return int(b.seqWidth + b.lengthWidth + b.kindWidth) }

// length returns the key length of the record at an offset.
func (b *block) length(at int) uint64 {
	return uint64(b.minLength) + uintAt(b.data, at+int(b.seqWidth), b.lengthWidth)
}

// kind returns the kind of the record at an offset.
func (b *block) kind(at int) base.Kind {
	return base.Kind(b.minKind + byte(uintAt(b.data, at+int(b.seqWidth+b.lengthWidth), b.kindWidth)))
}

func (b *block) head(i int) uint64 {
	return binary.LittleEndian.Uint64(b.data[blockHeader+8*i:])
}

// start returns the offset of the i-th record, i <= n.
func (b *block) start(i int) int {
	if i == 0 {
		return b.records
	}
	return b.records + int(uintAt(b.data, b.ends+(i-1)*int(b.endWidth), b.endWidth))
}

// trailer returns the i-th record's trailer.
func (b *block) trailer(i int) base.Trailer { return b.trailerAt(b.start(i)) }

func (b *block) trailerAt(at int) base.Trailer {
	return base.MakeTrailer(b.minSeq+uintAt(b.data, at, b.seqWidth), b.kind(at))
}

// value returns the i-th record's value.
func (b *block) value(i int) []byte {
	at, end := b.start(i), b.start(i+1)
	at += b.fields() + max(b.suffixLength(at)-8, 0)
	return b.data[at:end:end]
}

// suffixLength returns the length of a key without the shared prefix.
func (b *block) suffixLength(at int) int { return int(b.length(at)) - len(b.prefix) }

// tail returns the key bytes of the record at an offset that are behind its head.
func (b *block) tail(at, suffixLength int) []byte {
	at += b.fields()
	return b.data[at : at+max(suffixLength-8, 0)]
}

// appendSuffix appends the i-th key without the shared prefix.
func (b *block) appendSuffix(dst []byte, i int) []byte {
	at := b.start(i)
	length := b.suffixLength(at)
	n := len(dst) + min(length, 8)
	dst = binary.BigEndian.AppendUint64(dst, b.head(i))
	return append(dst[:n], b.tail(at, length)...)
}

// appendKey appends the i-th user key.
func (b *block) appendKey(dst []byte, i int) []byte {
	return b.appendSuffix(append(dst, b.prefix...), i)
}

// headOf returns the first 8 bytes of a key's suffix as heads hold them.
func headOf(suffix []byte) uint64 {
	if len(suffix) >= 8 {
		return binary.BigEndian.Uint64(suffix)
	}
	var h uint64
	for i, c := range suffix {
		h |= uint64(c) << (56 - 8*i)
	}
	return h
}

// seekGE returns the index of the first record >= (key, trailer), or n.
func (b *block) seekGE(key []byte, trailer base.Trailer) int {
	suffix, side := b.cut(key)
	if side != 0 {
		if side < 0 {
			return 0
		}
		return b.n
	}
	head := headOf(suffix)
	i := b.firstHead(head)
	if i == b.n || b.head(i) != head || b.compareTie(i, suffix, trailer) >= 0 {
		return i
	}
	end := b.n
	if head != ^uint64(0) {
		end = b.firstHead(head + 1)
	}
	for i++; i < end; {
		if m := int(uint(i+end) >> 1); b.compareTie(m, suffix, trailer) < 0 {
			i = m + 1
		} else {
			end = m
		}
	}
	return i
}

// cut takes the shared prefix off a key. A side < 0 says that the key sorts
// before all keys of the block, > 0 after all, for want of the prefix.
func (b *block) cut(key []byte) (suffix []byte, side int) {
	n := len(b.prefix)
	if len(key) >= n {
		return key[n:], bytes.Compare(key[:n], b.prefix)
	}
	if side = bytes.Compare(key, b.prefix[:len(key)]); side == 0 {
		side = -1
	}
	return nil, side
}

// linear is up to how many heads it is faster to look at all of them: the loads
// do not wait for each other, and no branch has to be guessed.
const linear = 48

// firstHead returns the index of the first head >= head, or n.
func (b *block) firstHead(head uint64) int {
	heads := b.data[blockHeader : blockHeader+8*b.n]
	i, n := 0, b.n
	for n > linear {
		half := n >> 1
		if m := i + half; binary.LittleEndian.Uint64(heads[8*m:]) < head {
			i, n = m+1, n-half-1
		} else {
			n = half
		}
	}
	return i + countLess(heads[8*i:8*(i+n)], head)
}

// countLess returns how many heads are less than head.
func countLess(heads []byte, head uint64) int {
	var n uint64
	for len(heads) >= 8 {
		_, less := bits.Sub64(binary.LittleEndian.Uint64(heads), head, 0)
		n += less
		heads = heads[8:]
	}
	return int(n)
}

// compareTie compares the i-th internal key with one that has the same head.
func (b *block) compareTie(i int, suffix []byte, trailer base.Trailer) int {
	at := b.start(i)
	if c := b.compareTail(at, suffix); c != 0 {
		return c
	}
	switch t := b.trailerAt(at); {
	case t > trailer:
		return -1
	case t < trailer:
		return 1
	}
	return 0
}

// compareTail compares the user key of the record at an offset with one that has
// the same head. When one of them ends within the head, the other goes on with
// zeros, so the shorter comes first.
func (b *block) compareTail(at int, suffix []byte) int {
	length := b.suffixLength(at)
	if length < 8 || len(suffix) < 8 {
		return length - len(suffix)
	}
	return bytes.Compare(b.tail(at, length), suffix[8:])
}

// hasKey reports whether the i-th user key is key.
func (b *block) hasKey(i int, key []byte) bool {
	suffix, side := b.cut(key)
	return side == 0 && b.head(i) == headOf(suffix) && b.compareTail(b.start(i), suffix) == 0
}
