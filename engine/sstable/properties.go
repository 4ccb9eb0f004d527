package sstable

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/gtinside/corecache/engine/base"
)

// Properties describe a table.
type Properties struct {
	Entries    uint64 // records, all kinds
	Tombstones uint64 // records of kind Delete
	Expiring   uint64 // records of kind SetExpiring

	RawKeyBytes   uint64 // user keys as they came
	RawValueBytes uint64
	DataBytes     uint64 // data blocks as they are in the file, with trailers
	IndexBytes    uint64 // partitions' blocks, with trailers
	Blocks        uint64 // data blocks
	Partitions    uint64

	SmallestSeq, LargestSeq uint64
	Smallest, Largest       []byte // user keys

	CreatedAt   int64 // unix ms, 0 if unknown
	Compression Compression
	FilterBits  uint64 // per key, 0 without filters

	// Deadlines are quantiles of the deadlines (unix ms) of the expiring records
	// at equal steps: the first is the smallest, the last the largest. It is empty
	// if no records expire.
	Deadlines []int64
}

// ExpiredBy estimates how many records have a deadline <= ms. It is exact when
// that is none or all of them.
func (p *Properties) ExpiredBy(ms int64) uint64 {
	d := p.Deadlines
	if len(d) == 0 || ms < d[0] {
		return 0
	}
	i, _ := slices.BinarySearch(d, ms+1) // d[i-1] <= ms < d[i]
	if i == len(d) {
		return p.Expiring
	}
	part := float64(ms-d[i-1]) / float64(d[i]-d[i-1])
	share := (float64(i-1) + part) / float64(len(d)-1)
	return min(max(uint64(share*float64(p.Expiring)), 1), p.Expiring-1)
}

// In a file, properties are fields of
//
//	tag     uvarint
//	length  uvarint
//	value   length bytes: a uvarint, or a key, or uvarints
//
// in any order. A reader skips tags that it does not know, so fields may be added
// without a new version of the format. Tags are never used again.
const (
	tagEntries = iota + 1
	tagTombstones
	tagExpiring
	tagRawKeyBytes
	tagRawValueBytes
	tagDataBytes
	tagIndexBytes
	tagBlocks
	tagPartitions
	tagSmallestSeq
	tagLargestSeq
	tagSmallest
	tagLargest
	tagCreatedAt
	tagCompression
	tagFilterBits
	tagDeadlines
)

// numbers lists the fields that are one number each.
func (p *Properties) numbers() map[uint64]*uint64 {
	return map[uint64]*uint64{
		tagEntries: &p.Entries, tagTombstones: &p.Tombstones, tagExpiring: &p.Expiring,
		tagRawKeyBytes: &p.RawKeyBytes, tagRawValueBytes: &p.RawValueBytes,
		tagDataBytes: &p.DataBytes, tagIndexBytes: &p.IndexBytes,
		tagBlocks: &p.Blocks, tagPartitions: &p.Partitions,
		tagSmallestSeq: &p.SmallestSeq, tagLargestSeq: &p.LargestSeq, tagFilterBits: &p.FilterBits,
	}
}

func (p *Properties) appendTo(dst []byte) []byte {
	var buf []byte
	field := func(tag uint64, value []byte) {
		dst = binary.AppendUvarint(dst, tag)
		dst = binary.AppendUvarint(dst, uint64(len(value)))
		dst = append(dst, value...)
	}
	numbers := p.numbers()
	for tag := uint64(tagEntries); tag <= tagDeadlines; tag++ {
		if v := numbers[tag]; v != nil {
			field(tag, binary.AppendUvarint(buf[:0], *v))
		}
	}
	field(tagSmallest, p.Smallest)
	field(tagLargest, p.Largest)
	field(tagCreatedAt, binary.AppendUvarint(buf[:0], uint64(p.CreatedAt)))
	field(tagCompression, binary.AppendUvarint(buf[:0], uint64(p.Compression)))
	buf = buf[:0]
	for _, d := range p.Deadlines {
		buf = binary.AppendUvarint(buf, uint64(d))
	}
	field(tagDeadlines, buf)
	return dst
}

var errProperties = errors.New("malformed properties")

func decodeProperties(data []byte) (*Properties, error) {
	p := new(Properties)
	numbers := p.numbers()
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 {
			return nil, errProperties
		}
		data = data[n:]
		length, n := binary.Uvarint(data)
		if n <= 0 || length > uint64(len(data)-n) {
			return nil, errProperties
		}
		value := data[n : n+int(length)]
		data = data[n+int(length):]
		if err := p.decodeField(tag, value, numbers[tag]); err != nil {
			return nil, err
		}
	}
	if !slices.IsSorted(p.Deadlines) || len(p.Deadlines) > 0 && p.Expiring == 0 {
		return nil, errProperties
	}
	return p, nil
}

func (p *Properties) decodeField(tag uint64, value []byte, number *uint64) error {
	switch tag {
	case tagSmallest:
		p.Smallest = slices.Clone(value)
		return nil
	case tagLargest:
		p.Largest = slices.Clone(value)
		return nil
	case tagDeadlines:
		return p.decodeDeadlines(value)
	}
	v, n := binary.Uvarint(value)
	switch {
	case number == nil && tag != tagCreatedAt && tag != tagCompression:
		return nil
	case n <= 0:
		return errProperties
	case tag == tagCreatedAt:
		p.CreatedAt = int64(v)
	case tag == tagCompression:
		p.Compression = Compression(v)
	default:
		*number = v
	}
	return nil
}

func (p *Properties) decodeDeadlines(value []byte) error {
	p.Deadlines = nil
	for len(value) > 0 {
		v, n := binary.Uvarint(value)
		if n <= 0 {
			return errProperties
		}
		p.Deadlines = append(p.Deadlines, int64(v))
		value = value[n:]
	}
	return nil
}

// count takes a record into account; records come in order.
func (p *Properties) count(key []byte, trailer base.Trailer, value []byte) {
	seq := trailer.Seq()
	if p.Entries == 0 {
		p.Smallest = slices.Clone(key)
		p.SmallestSeq, p.LargestSeq = seq, seq
	}
	p.Entries++
	p.RawKeyBytes += uint64(len(key))
	p.RawValueBytes += uint64(len(value))
	p.SmallestSeq, p.LargestSeq = min(p.SmallestSeq, seq), max(p.LargestSeq, seq)
	switch trailer.Kind() {
	case base.KindDelete:
		p.Tombstones++
	case base.KindSetExpiring:
		p.Expiring++
	}
}

// deadlines takes a sample of deadlines: every stride-th, where the stride
// doubles when the sample is full. The smallest and the largest are exact.
type deadlines struct {
	sample           []int64
	stride, skip     int
	smallest, latest int64
}

const (
	deadlineSample    = 1024
	deadlineQuantiles = 16
)

func (d *deadlines) add(ms int64) {
	if d.stride == 0 {
		*d = deadlines{stride: 1, smallest: ms, latest: ms}
	}
	d.smallest, d.latest = min(d.smallest, ms), max(d.latest, ms)
	if d.skip > 0 {
		d.skip--
		return
	}
	if len(d.sample) == deadlineSample {
		for i := range deadlineSample / 2 {
			d.sample[i] = d.sample[2*i]
		}
		d.sample = d.sample[:deadlineSample/2]
		d.stride *= 2
	}
	d.sample = append(d.sample, ms)
	d.skip = d.stride - 1
}

func (d *deadlines) quantiles() []int64 {
	if len(d.sample) == 0 {
		return nil
	}
	slices.Sort(d.sample)
	q := make([]int64, deadlineQuantiles+1)
	for i := range q {
		q[i] = d.sample[i*(len(d.sample)-1)/deadlineQuantiles]
	}
	q[0], q[deadlineQuantiles] = d.smallest, d.latest
	return q
}
