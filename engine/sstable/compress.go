package sstable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compression names how the blocks of a table are compressed.
type Compression uint8

// The numbers are part of the format.
const (
	None   Compression = 0
	Snappy Compression = 1 // the Snappy block format
	LZ4    Compression = 2 // the LZ4 block format
	Zstd   Compression = 3 // Zstandard frames
)

func (c Compression) String() string {
	switch c {
	case None:
		return "none"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("compression %d", uint8(c))
}

// A compressed block is
//
//	size     uint32  of the block
//	content  as the compression's own format has it
//
// It is kept only if it takes at most 7/8 of the block.

// compressor holds the state of a writer's compression.
type compressor struct {
	kind Compression
	lz4  *lz4.Compressor
	zstd *zstd.Encoder
}

var (
	lz4Compressors = sync.Pool{New: func() any { return new(lz4.Compressor) }}
	zstdEncoders   = sync.Pool{New: func() any { return newZstdEncoder() }}
)

func newZstdEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
}

func newCompressor(kind Compression) compressor {
	c := compressor{kind: kind}
	switch kind {
	case LZ4:
		c.lz4 = lz4Compressors.Get().(*lz4.Compressor)
	case Zstd:
		c.zstd = zstdEncoders.Get().(*zstd.Encoder)
	}
	return c
}

// close gives back what is shared among writers.
func (c *compressor) close() {
	if c.lz4 != nil {
		lz4Compressors.Put(c.lz4)
	}
	if c.zstd != nil {
		zstdEncoders.Put(c.zstd)
	}
	*c = compressor{}
}

// compress appends the compressed form of a block to dst and reports whether it
// is worth it; if not, dst comes back unchanged.
func (c *compressor) compress(dst, block []byte) ([]byte, bool) {
	start := len(dst)
	out := binary.LittleEndian.AppendUint32(dst, uint32(len(block)))
	out, ok := c.append(out, block)
	if !ok || len(out)-start > len(block)-len(block)/8 {
		return dst, false
	}
	return out, true
}

func (c *compressor) append(dst, block []byte) ([]byte, bool) {
	n := len(dst)
	switch c.kind {
	case Snappy:
		if len(block) > math.MaxInt32 {
			return dst, false
		}
		dst = grow(dst, s2.MaxEncodedLen(len(block)))
		return dst[:n+len(s2.EncodeSnappy(dst[n:cap(dst)], block))], true
	case LZ4:
		dst = grow(dst, len(block)-len(block)/8)
		size, err := c.lz4.CompressBlock(block, dst[n:n+len(block)-len(block)/8])
		return dst[:n+size], err == nil && size > 0
	case Zstd:
		return c.zstd.EncodeAll(block, dst), true
	}
	return dst, false
}

// grow makes room for n more bytes.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	return append(make([]byte, 0, max(len(b)+n, 2*cap(b))), b...)
}

var errCompressed = errors.New("malformed compressed block")

// maxRatio bounds how much smaller than its content a compressed block can be, so
// that a forged size does not take memory.
var maxRatio = [...]int{Snappy: 64, LZ4: 256, Zstd: 1 << 16}

// uncompressedSize returns the size of what decompress will give.
func uncompressedSize(kind Compression, data []byte) (int, error) {
	if kind == None || kind > Zstd || len(data) < 4 {
		return 0, errCompressed
	}
	n := uint64(binary.LittleEndian.Uint32(data))
	if n > uint64(len(data))*uint64(maxRatio[kind]) {
		return 0, errCompressed
	}
	return int(n), nil
}

var zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return d
})

// decompress fills dst, which has the size that the data names.
func decompress(kind Compression, dst, data []byte) error {
	data = data[4:]
	var n int
	var err error
	switch kind {
	case Snappy:
		if n, err = s2.DecodedLen(data); err == nil && n == len(dst) {
			_, err = s2.Decode(dst, data)
		}
	case LZ4:
		n, err = lz4.UncompressBlock(data, dst)
	case Zstd:
		var out []byte
		out, err = zstdDecoder().DecodeAll(data, dst[:0:len(dst)])
		n = len(out)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errCompressed, kind, err)
	}
	if n != len(dst) {
		return errCompressed
	}
	return nil
}
