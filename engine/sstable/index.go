package sstable

import (
	"encoding/binary"
	"math"

	"github.com/gtinside/corecache/engine/base"
)

// A partition's block tells where its data blocks are, and which keys are not
// in them:
//
//	filter        multiple of 64 bytes, may be empty
//	index         a block (see block) with a record per data block
//	filterLength  uint32
//	probes        byte, 3 zeros
//
// The key of an index record is a separator: at least the last internal key of
// the data block and less than the first of the next. Its value is the uint32
// offset, from the start of the partition, at which the data block ends; it starts
// where the one before ends.
type partitionBlock struct {
	filter []byte
	probes int
	index  []byte
}

const partitionTail = 8

func appendPartitionTail(dst []byte, filterLength, probes int) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(filterLength))
	return binary.LittleEndian.AppendUint32(dst, uint32(probes))
}

func openPartitionBlock(data []byte) partitionBlock {
	tail := data[len(data)-partitionTail:]
	n := binary.LittleEndian.Uint32(tail)
	return partitionBlock{
		filter: data[:n:n],
		probes: int(tail[4]),
		index:  data[n : len(data)-partitionTail],
	}
}

// checkPartitionBlock verifies a partition's block of which the data blocks take
// size bytes.
func checkPartitionBlock(data []byte, size uint32) error {
	if len(data) < partitionTail+blockHeader {
		return errBlock
	}
	n := binary.LittleEndian.Uint32(data[len(data)-partitionTail:])
	if n%lineSize != 0 || uint64(n) > uint64(len(data)-partitionTail-blockHeader) {
		return errBlock
	}
	p := openPartitionBlock(data)
	if err := checkBlock(p.index); err != nil {
		return err
	}
	var b block
	b.open(p.index)
	last := uint32(0)
	for i := range b.n {
		value := b.value(i)
		if len(value) != 4 {
			return errBlock
		}
		end := binary.LittleEndian.Uint32(value)
		if end <= last || end-last <= blockTrailer {
			return errBlock
		}
		last = end
	}
	if last != size {
		return errBlock
	}
	return nil
}

// blockRange returns where the i-th data block lies, from the partition's start.
func blockRange(index *block, i int) (start, end uint32) {
	if i > 0 {
		start = binary.LittleEndian.Uint32(index.value(i - 1))
	}
	return start, binary.LittleEndian.Uint32(index.value(i))
}

// The top index is a block with a record per partition: the key is a separator
// as in the partitions, the value says where the partition is:
//
//	offset     uint64  of its first data block
//	size       uint32  of its data blocks
//	indexSize  uint32  of its own block, which follows them
//
// Sizes include the trailers of blocks.
type partition struct {
	offset          int64
	size, indexSize uint32
}

const partitionValue = 16

func (p partition) appendTo(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.offset))
	dst = binary.LittleEndian.AppendUint32(dst, p.size)
	return binary.LittleEndian.AppendUint32(dst, p.indexSize)
}

func (p partition) indexOffset() int64 { return p.offset + int64(p.size) }
func (p partition) end() int64         { return p.indexOffset() + int64(p.indexSize) }

func partitionAt(top *block, i int) partition {
	v := top.value(i)
	return partition{
		offset:    int64(binary.LittleEndian.Uint64(v)),
		size:      binary.LittleEndian.Uint32(v[8:]),
		indexSize: binary.LittleEndian.Uint32(v[12:]),
	}
}

// checkTopIndex verifies that the partitions lie one behind the other and fill
// the file up to the top index.
func checkTopIndex(data []byte, topOffset int64) error {
	if err := checkBlock(data); err != nil {
		return err
	}
	var b block
	b.open(data)
	next := int64(0)
	for i := range b.n {
		if len(b.value(i)) != partitionValue {
			return errBlock
		}
		p := partitionAt(&b, i)
		if p.offset != next || p.size <= blockTrailer || p.indexSize <= blockTrailer || p.end() > topOffset {
			return errBlock
		}
		next = p.end()
	}
	if next != topOffset {
		return errBlock
	}
	return nil
}

// The largest and smallest trailers: lastTrailer sorts behind all records of its
// user key, firstTrailer before them.
const (
	lastTrailer  = base.Trailer(0)
	firstTrailer = base.Trailer(math.MaxUint64)
)

// appendSeparator appends a user key s with a <= s < b, a short one if there is.
func appendSeparator(dst, a, b []byte) []byte {
	n := commonPrefix(a, b)
	if n == len(a) || n == len(b) {
		return append(dst, a...)
	}
	if a[n]+1 < b[n] { // a[n] < b[n]
		return append(append(dst, a[:n]...), a[n]+1)
	}
	for i := n + 1; i < len(a); i++ {
		if a[i] != 0xff {
			return append(append(dst, a[:i]...), a[i]+1)
		}
	}
	return append(dst, a...)
}
