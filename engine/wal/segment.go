package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gtinside/corecache/engine/vfs"
)

// A segment is a file <id>.wal, the id in decimal with at least 8 digits. It
// begins with two copies of its header, one per sector, so that no single
// damaged byte makes it unreadable:
//
//	offset  bytes
//	     0      8  magic "CCWAL" 0 0, format version 2
//	     8      8  id, as in the name
//	    16      8  salt
//	    24      8  first sequence number: that of the first record, if there is one
//	    32      8  synced, as in a record
//	    40      4  CRC32C of bytes 0 to 39
//	    44    468  zeros
//	   512    512  the same again
//	  1024         records
//
// A file without a header of its own id holds nothing: it was prepared for
// use, either fresh (zeros) or recycled (with what it held before under
// another id).
const (
	segmentMagic      = "CCWAL\x00\x00"
	formatVersion     = 2 // 1: no short records; read as well
	segmentCopySize   = vfs.SectorSize
	segmentHeaderSize = 2 * segmentCopySize
	segmentSuffix     = ".wal"
)

// segment is one file of the log.
type segment struct {
	id    uint64
	salt  uint64
	ident identity
	path  string

	// The rest is guarded by Log.mu, apart from file and zeroed, which belong to the
	// holder of the token (and, for Sync and Close, of syncMu).

	first  uint64 // sequence number
	end    int64  // bytes written; of segments found at Open, their size
	dirty  bool   // written to since the last fsync began
	sealed bool   // never written to again
	pins   int    // readers in it
	fresh  bool   // never written over: its blocks are unwritten extents
	zeroed int64  // how far zeros were written ahead
	file   vfs.File
}

func segmentPath(dir string, id uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%08d%s", id, segmentSuffix))
}

// newSegment gives an id a new salt; it makes no file.
func newSegment(dir string, id uint64) *segment {
	salt := rand.Uint64()
	return &segment{id: id, salt: salt, ident: newIdentity(id, salt), path: segmentPath(dir, id)}
}

func (s *segment) appendHeader(dst []byte, synced uint64) []byte {
	var c [segmentCopySize]byte
	copy(c[:], segmentMagic)
	c[7] = formatVersion
	binary.LittleEndian.PutUint64(c[8:], s.id)
	binary.LittleEndian.PutUint64(c[16:], s.salt)
	binary.LittleEndian.PutUint64(c[24:], s.first)
	binary.LittleEndian.PutUint64(c[32:], synced)
	binary.LittleEndian.PutUint32(c[40:], crc32.Checksum(c[:40], castagnoli))
	return append(append(dst, c[:]...), c[:]...)
}

// decodeSegmentHeader reads a segment header from the first bytes of the file
// with this id. It is not ok if neither copy is whole, or they are of another id.
func decodeSegmentHeader(b []byte, dir string, id uint64) (s *segment, synced uint64, ok bool, err error) {
	for off := 0; off+segmentCopySize <= len(b) && off < segmentHeaderSize; off += segmentCopySize {
		c := b[off:]
		if string(c[:7]) != segmentMagic || binary.LittleEndian.Uint32(c[40:]) != crc32.Checksum(c[:40], castagnoli) {
			continue
		}
		if c[7] < 1 || c[7] > formatVersion {
			return nil, 0, false, fmt.Errorf("%w: %s has version %d, this program knows those up to %d",
				ErrVersion, segmentPath(dir, id), c[7], formatVersion)
		}
		if binary.LittleEndian.Uint64(c[8:]) != id {
			continue
		}
		salt := binary.LittleEndian.Uint64(c[16:])
		s = &segment{id: id, salt: salt, ident: newIdentity(id, salt), path: segmentPath(dir, id),
			first: binary.LittleEndian.Uint64(c[24:])}
		return s, binary.LittleEndian.Uint64(c[32:]), true, nil
	}
	return nil, 0, false, nil
}

// found is a segment file as it was found in the directory.
type found struct {
	*segment        // nil if the file has no header of its id
	id       uint64 // from the name
	path     string
	size     int64
	synced   uint64
}

// findSegments returns the segment files of a directory by ascending id.
func findSegments(fs vfs.FS, dir string) ([]found, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	var all []found
	for _, name := range names {
		id, ok := parseName(name)
		if !ok {
			continue
		}
		f, err := readSegmentHeader(fs, dir, id)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b found) int { return int(int64(a.id) - int64(b.id)) })
	return all, nil
}

func parseName(name string) (id uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) < 8 {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 10, 63)
	return id, err == nil
}

func readSegmentHeader(fs vfs.FS, dir string, id uint64) (result found, err error) {
	result = found{id: id, path: segmentPath(dir, id)}
	f, err := fs.Open(result.path)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if result.size, err = f.Size(); err != nil {
		return result, err
	}
	b := make([]byte, segmentHeaderSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return result, err
	}
	var ok bool
	result.segment, result.synced, ok, err = decodeSegmentHeader(b[:n], dir, id)
	if ok {
		result.end, result.sealed = result.size, true
	}
	return result, err
}
