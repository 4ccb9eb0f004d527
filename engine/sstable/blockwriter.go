package sstable

import (
	"encoding/binary"
	"math"

	"github.com/gtinside/corecache/engine/base"
)

// blockWriter collects records and writes them as a block.
type blockWriter struct {
	keys, values       []byte
	keyEnds, valueEnds []int
	trailers           []base.Trailer

	shared               int // bytes the first and the last key have in common
	minLength, maxLength int
	minSeq, maxSeq       uint64
	minKind, maxKind     base.Kind
}

func (w *blockWriter) reset() {
	*w = blockWriter{
		keys: reuse(w.keys), values: reuse(w.values),
		keyEnds: w.keyEnds[:0], valueEnds: w.valueEnds[:0], trailers: w.trailers[:0],
	}
}

// maxReuse is the largest buffer that is kept for the next block.
const maxReuse = 1 << 20

// reuse empties a buffer, or lets it go when a large record has blown it up.
func reuse(b []byte) []byte {
	if cap(b) > maxReuse {
		return nil
	}
	return b[:0]
}

func (w *blockWriter) len() int { return len(w.trailers) }

// add appends a record, which must sort behind the last one.
func (w *blockWriter) add(key []byte, trailer base.Trailer, value []byte) {
	seq, kind := trailer.Seq(), trailer.Kind()
	if w.len() == 0 {
		w.shared, w.minLength, w.maxLength = len(key), len(key), len(key)
		w.minSeq, w.maxSeq, w.minKind, w.maxKind = seq, seq, kind, kind
	} else {
		w.shared = commonPrefix(w.keys[:w.shared], key)
		w.minLength, w.maxLength = min(w.minLength, len(key)), max(w.maxLength, len(key))
		w.minSeq, w.maxSeq = min(w.minSeq, seq), max(w.maxSeq, seq)
		w.minKind, w.maxKind = min(w.minKind, kind), max(w.maxKind, kind)
	}
	w.keys = append(w.keys, key...)
	w.values = append(w.values, value...)
	w.keyEnds = append(w.keyEnds, len(w.keys))
	w.valueEnds = append(w.valueEnds, len(w.values))
	w.trailers = append(w.trailers, trailer)
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if binary.LittleEndian.Uint64(a[i:]) != binary.LittleEndian.Uint64(b[i:]) {
			break
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// size returns an upper bound of the block's size.
func (w *blockWriter) size() int {
	if w.len() == 0 {
		return blockHeader
	}
	return w.sizeWith(nil, w.trailers[0], -1)
}

// sizeWith returns an upper bound of the block's size after one more record. A
// negative length of the value stands for no record.
func (w *blockWriter) sizeWith(key []byte, trailer base.Trailer, valueLen int) int {
	n, shared, minLength, maxLength := w.len(), w.shared, w.minLength, w.maxLength
	minSeq, maxSeq := w.minSeq, w.maxSeq
	if valueLen >= 0 {
		if n == 0 {
			return blockHeader + 8 + 8 + 4 + 1 + len(key) + valueLen
		}
		n++
		shared = commonPrefix(w.keys[:shared], key)
		minLength, maxLength = min(minLength, len(key)), max(maxLength, len(key))
		minSeq, maxSeq = min(minSeq, trailer.Seq()), max(maxSeq, trailer.Seq())
	}
	heap := len(w.keys) + len(key) - n*min(shared+8, minLength) + len(w.values) + max(valueLen, 0)
	perRecord := 8 + width(maxSeq-minSeq) + width(uint64(heap)) + width(uint64(maxLength-minLength)) + 1
	return blockHeader + n*perRecord + shared + heap
}

// width returns the bytes per entry of a column with entries up to a maximum.
func width(maximum uint64) int {
	switch {
	case maximum == 0:
		return 0
	case maximum <= math.MaxUint8:
		return 1
	case maximum <= math.MaxUint16:
		return 2
	case maximum <= math.MaxUint32:
		return 4
	}
	return 8
}

// suffix returns the i-th key without the shared prefix.
func (w *blockWriter) suffix(i int) []byte {
	start := w.shared
	if i > 0 {
		start += w.keyEnds[i-1]
	}
	return w.keys[start:w.keyEnds[i]]
}

// tail returns what of the i-th key is behind its head.
func (w *blockWriter) tail(i int) []byte {
	s := w.suffix(i)
	return s[min(len(s), 8):]
}

func (w *blockWriter) value(i int) []byte {
	start := 0
	if i > 0 {
		start = w.valueEnds[i-1]
	}
	return w.values[start:w.valueEnds[i]]
}

// appendTo appends the block to dst.
func (w *blockWriter) appendTo(dst []byte) []byte {
	n := w.len()
	seqWidth, lengthWidth := width(w.maxSeq-w.minSeq), width(uint64(w.maxLength-w.minLength))
	kindWidth := width(uint64(w.maxKind - w.minKind))
	fields := seqWidth + lengthWidth + kindWidth
	size := n*fields + len(w.values)
	for i := range n {
		size += len(w.tail(i))
	}
	endWidth := width(uint64(size))

	dst = grow(dst, blockHeader+n*(8+endWidth)+w.shared+size)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(w.shared))
	dst = append(dst, byte(endWidth), byte(seqWidth), byte(lengthWidth), byte(kindWidth))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(w.minLength))
	dst = binary.LittleEndian.AppendUint64(dst, w.minSeq)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(w.minKind))
	for i := range n {
		dst = binary.LittleEndian.AppendUint64(dst, headOf(w.suffix(i)))
	}
	end := 0
	for i := range n {
		end += fields + len(w.tail(i)) + len(w.value(i))
		dst = appendUint(dst, endWidth, uint64(end))
	}
	dst = append(dst, w.keys[:w.shared]...)
	for i := range n {
		t := w.trailers[i]
		dst = appendUint(dst, seqWidth, t.Seq()-w.minSeq)
		dst = appendUint(dst, lengthWidth, uint64(len(w.suffix(i))+w.shared-w.minLength))
		dst = appendUint(dst, kindWidth, uint64(t.Kind()-w.minKind))
		dst = append(dst, w.tail(i)...)
		dst = append(dst, w.value(i)...)
	}
	return dst
}

func appendUint(dst []byte, width int, v uint64) []byte {
	switch width {
	case 1:
		return append(dst, byte(v))
	case 2:
		return binary.LittleEndian.AppendUint16(dst, uint16(v))
	case 4:
		return binary.LittleEndian.AppendUint32(dst, uint32(v))
	case 8:
		return binary.LittleEndian.AppendUint64(dst, v)
	}
	return dst
}
