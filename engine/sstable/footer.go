package sstable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The footer ends the file:
//
//	 0  topOffset  uint64  of the top index
//	 8  topSize    uint32  with its trailer
//	12  propsSize  uint32  of the properties, which follow it, with their trailer
//	16  version    uint32  of the format
//	20  checksum   uint32  CRC32C of the 20 bytes before
//	24  magic      8 bytes "CoreTabl"
type footer struct {
	topOffset          int64
	topSize, propsSize uint32
}

const (
	footerSize = 32
	magic      = "CoreTabl"
)

// Versions of the format. A reader refuses versions it does not know.
const (
	version1       = 1 // the first
	currentVersion = version1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (f footer) propsOffset() int64 { return f.topOffset + int64(f.topSize) }

func (f footer) appendTo(dst []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.topOffset))
	dst = binary.LittleEndian.AppendUint32(dst, f.topSize)
	dst = binary.LittleEndian.AppendUint32(dst, f.propsSize)
	dst = binary.LittleEndian.AppendUint32(dst, currentVersion)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	return append(dst, magic...)
}

// decodeFooter reads the footer of a file of the given size.
func decodeFooter(data []byte, fileSize int64) (f footer, err error) {
	if len(data) != footerSize || string(data[24:]) != magic {
		return f, errors.New("not a table: bad magic number")
	}
	if crc32.Checksum(data[:20], castagnoli) != binary.LittleEndian.Uint32(data[20:]) {
		return f, errors.New("checksum of the footer does not match")
	}
	if v := binary.LittleEndian.Uint32(data[16:]); v != currentVersion {
		return f, fmt.Errorf("format version %d is not supported", v)
	}
	f.topOffset = int64(binary.LittleEndian.Uint64(data))
	f.topSize = binary.LittleEndian.Uint32(data[8:])
	f.propsSize = binary.LittleEndian.Uint32(data[12:])
	if f.topOffset < 0 || f.topOffset > fileSize || f.propsOffset()+int64(f.propsSize)+footerSize != fileSize {
		return f, errors.New("footer does not fit the file's size")
	}
	return f, nil
}

// Each block is followed by a trailer:
//
//	0  compression  byte
//	1  checksum     uint32  CRC32C of block and compression, xor the low 32 bits
//	                        of the block's offset, so that a block in a wrong
//	                        place is found out too
const blockTrailer = 5

func appendBlockTrailer(dst []byte, start int, kind Compression, offset int64) []byte {
	dst = append(dst, byte(kind))
	sum := crc32.Checksum(dst[start:], castagnoli) ^ uint32(offset)
	return binary.LittleEndian.AppendUint32(dst, sum)
}

// checkTrailer verifies a block with its trailer and returns the content.
func checkTrailer(data []byte, offset int64) (content []byte, kind Compression, err error) {
	n := len(data) - blockTrailer
	if n < 0 {
		return nil, 0, errBlock
	}
	sum := crc32.Checksum(data[:n+1], castagnoli) ^ uint32(offset)
	if sum != binary.LittleEndian.Uint32(data[n+1:]) {
		return nil, 0, errors.New("checksum of the block does not match")
	}
	return data[:n], Compression(data[n]), nil
}
