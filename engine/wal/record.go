package wal

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"

	"github.com/gtinside/corecache/engine/vfs"
)

// A record on disk, all numbers little endian:
//
//	offset  bytes
//	     0      4  length of the payload, below 2^31
//	     4      4  count: how many sequence numbers the record takes; 0 = a mark
//	     8      8  epoch
//	    16      8  first sequence number
//	    24      8  synced: this sequence number and all before it were durable
//	               when the record was put into the log's buffer
//	    32      8  time, unix milliseconds
//	    40      4  CRC32C of the payload
//	    44      4  CRC32C of the segment's salt and id (8 bytes each), then bytes 0 to 43
//	    48         payload
//
// Records follow each other without padding. Because the second checksum
// covers salt and id, bytes left over from an earlier life of the file, or
// copied from another, are never taken for records; nor can a client forge one
// inside of its value, since the salt is random.
//
// The header has its own checksum so that it is evidence even when its
// payload is damaged, and so that a search for later headers costs a constant
// per byte whatever lengths the bytes pretend.
//
// A mark has no payload and takes no sequence number: its first sequence is
// that of the next record. It only carries "synced"; Close writes one so
// that damage to the last records of a closed log is told from a torn tail.
//
// Where records are put into the buffer one behind the other, most have nothing new to say. A record
// with the epoch and the synced of the one before it in the buffer, and little later, is short:
//
//	offset  bytes
//	     0      4  length of the payload, and the top bit
//	     4      2  count, at least 1
//	     6      2  time, milliseconds after that of the head
//	     8      4  CRC32C of the payload, then of bytes 0 to 7, the checksum at 44 of the
//	               head, and the sequence number (8 bytes)
//	    12         payload
//
// Its head is the last record before it whose header is whole. Epoch and synced are those of the head, so it would be no other evidence
// than the head is. It is genuine only behind that head, which it could not be cut from: all of a buffer is written
// at one place, and the first record of a buffer is never short.
const (
	headerSize = 48
	shortSize  = 12
	shortMark  = 1 << 31
)

// MaxPayload is the largest payload that a record can have, in bytes.
const MaxPayload = math.MaxInt32

// Record is a batch of operations with a place in the log. It takes the
// sequence numbers Seq to Seq+Count-1.
type Record struct {
	Epoch   uint64
	Seq     uint64
	Count   uint32
	Time    int64 // unix milliseconds
	Payload []byte
}

// Last returns the last sequence number of the record.
func (r Record) Last() uint64 { return r.Seq + uint64(r.Count) - 1 }

// header is the decoded form of what stands before a payload.
type header struct {
	length  uint32
	count   uint32
	epoch   uint64
	seq     uint64
	synced  uint64
	time    int64
	dataSum uint32 // of the payload; in a short record, of what its checksum covers
}

// head is a whole header that short records may follow.
type head struct {
	header
	sum uint32 // its checksum
}

func headOf(h header, encoded []byte) head {
	return head{header: h, sum: binary.LittleEndian.Uint32(encoded[headerSize-4:])}
}

// leads reports whether a record that comes next in the buffer can be short.
func (a *head) leads(h header) bool {
	return h.epoch == a.epoch && h.synced == a.synced && h.time >= a.time && h.time-a.time <= math.MaxUint16 && h.count <= math.MaxUint16
}

// appendShort appends the 12 bytes of a record that a leads; h.dataSum is the checksum of its payload.
func (a *head) appendShort(dst []byte, h header) []byte {
	n := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, h.length|shortMark)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(h.count))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(h.time-a.time))
	covered := a.appendPlace(dst, h.seq)
	return binary.LittleEndian.AppendUint32(dst, crc32.Update(h.dataSum, castagnoli, covered[n:]))
}

// appendPlace appends what ties a short record to its place.
func (a *head) appendPlace(dst []byte, seq uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(dst, a.sum), seq)
}

// decodeShort reads the 12 bytes of a short record behind a, whose sequence number must be seq. They are to be believed only together with the payload.
func (a *head) decodeShort(b []byte, seq uint64) header {
	return header{
		length:  binary.LittleEndian.Uint32(b) &^ shortMark,
		count:   uint32(binary.LittleEndian.Uint16(b[4:])),
		epoch:   a.epoch,
		seq:     seq,
		synced:  a.synced,
		time:    a.time + int64(binary.LittleEndian.Uint16(b[6:])),
		dataSum: binary.LittleEndian.Uint32(b[8:]),
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identity is what sets the records of one life of a file apart from all others. It is
// kept as the checksum state after salt and id.
type identity uint32

func newIdentity(id, salt uint64) identity {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[0:], salt)
	binary.LittleEndian.PutUint64(b[8:], id)
	return identity(crc32.Checksum(b[:], castagnoli))
}

// sum is the checksum of b in a segment of this identity.
func (i identity) sum(b []byte) uint32 { return crc32.Update(uint32(i), castagnoli, b) }

// appendTo appends the 48 bytes to dst.
func (h header) appendTo(dst []byte, id identity) []byte {
	n := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, h.length)
	dst = binary.LittleEndian.AppendUint32(dst, h.count)
	dst = binary.LittleEndian.AppendUint64(dst, h.epoch)
	dst = binary.LittleEndian.AppendUint64(dst, h.seq)
	dst = binary.LittleEndian.AppendUint64(dst, h.synced)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.time))
	dst = binary.LittleEndian.AppendUint32(dst, h.dataSum)
	return binary.LittleEndian.AppendUint32(dst, id.sum(dst[n:]))
}

// decodeHeader reads a header. It is not ok if b is too short or was not
// written as a header in this life of the file.
func decodeHeader(b []byte, id identity) (h header, ok bool) {
	if len(b) < headerSize || binary.LittleEndian.Uint32(b[44:]) != id.sum(b[:44]) {
		return header{}, false
	}
	return header{
		length:  binary.LittleEndian.Uint32(b[0:]),
		count:   binary.LittleEndian.Uint32(b[4:]),
		epoch:   binary.LittleEndian.Uint64(b[8:]),
		seq:     binary.LittleEndian.Uint64(b[16:]),
		synced:  binary.LittleEndian.Uint64(b[24:]),
		time:    int64(binary.LittleEndian.Uint64(b[32:])),
		dataSum: binary.LittleEndian.Uint32(b[40:]),
	}, true
}

// scanner reads records from a segment file in order.
type scanner struct {
	f     vfs.File
	id    identity
	off   int64 // of the next record
	limit int64 // nothing is read from here on
	head  head  // of short records at off

	scratch [20]byte
	window  []byte // content of the file from offset start
	start   int64
}

// windowSize is how much a scanner reads at once, in bytes; larger windows,
// made for a large payload, are not kept.
const windowSize = 256 << 10

// next returns the record at s.off and moves behind it. It is not ok if there
// is no whole, undamaged record with sequence number seq; s then stays. Marks are
// skipped. The payload is valid until the following call.
func (s *scanner) next(seq uint64) (r Record, ok bool, err error) { return s.read(seq, false) }

// skip is next without the payload, which it need not read; it returns the last sequence number.
func (s *scanner) skip(seq uint64) (last uint64, ok bool, err error) {
	r, ok, err := s.read(seq, true)
	return r.Last(), ok, err
}

func (s *scanner) read(seq uint64, skip bool) (r Record, ok bool, err error) {
	for {
		h, size, ok, err := s.header(seq)
		if !ok || err != nil || h.seq != seq {
			return Record{}, false, err
		}
		end := s.off + int64(size) + int64(h.length)
		if h.count == 0 && h.length == 0 && size == headerSize {
			s.off = end
			continue
		}
		if h.count == 0 || end > s.limit {
			return Record{}, false, nil
		}
		r = Record{Epoch: h.epoch, Seq: h.seq, Count: h.count, Time: h.time}
		if size == shortSize || !skip {
			if r.Payload, ok, err = s.payload(h, size); !ok || err != nil {
				return Record{}, false, err
			}
		}
		s.off = end
		return r, true, nil
	}
}

// payload returns the payload of the record at s.off, if it is what the header says.
func (s *scanner) payload(h header, size int) (payload []byte, ok bool, err error) {
	b, err := s.peek(s.off, size+int(h.length))
	if err != nil {
		return nil, false, err
	}
	payload = b[size:]
	sum := crc32.Checksum(payload, castagnoli)
	if size == shortSize {
		covered := s.head.appendPlace(append(s.scratch[:0], b[:8]...), h.seq)
		sum = crc32.Update(sum, castagnoli, covered)
	}
	return payload, sum == h.dataSum, nil
}

// header returns the header at s.off, or what could be that of a short record with sequence number seq, and its size.
func (s *scanner) header(seq uint64) (h header, size int, ok bool, err error) {
	n := min(s.limit-s.off, headerSize)
	if n < shortSize {
		return header{}, 0, false, nil
	}
	b, err := s.peek(s.off, int(n))
	if err != nil {
		return header{}, 0, false, err
	}
	if binary.LittleEndian.Uint32(b)&shortMark != 0 {
		return s.head.decodeShort(b, seq), shortSize, s.head.seq != 0, nil
	}
	if h, ok = decodeHeader(b, s.id); ok {
		s.head = headOf(h, b)
	}
	return h, headerSize, ok, nil
}

// peek returns n bytes from offset off, which the caller knows to lie below
// s.limit. A file that turns out to be shorter gives io.ErrUnexpectedEOF.
func (s *scanner) peek(off int64, n int) ([]byte, error) {
	if off < s.start || off+int64(n) > s.start+int64(len(s.window)) {
		if err := s.fill(off, n); err != nil {
			return nil, err
		}
	}
	i := off - s.start
	return s.window[i : i+int64(n) : i+int64(n)], nil
}

func (s *scanner) fill(off int64, n int) error {
	want := int(min(int64(max(n, windowSize)), s.limit-off))
	if cap(s.window) < want || cap(s.window) > windowSize && want <= windowSize {
		s.window = make([]byte, want, max(want, 16<<10))
	}
	s.window, s.start = s.window[:want], off
	got, err := s.f.ReadAt(s.window, off)
	s.window = s.window[:got]
	switch {
	case got >= n:
		return nil
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}
