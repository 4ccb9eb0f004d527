package link

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame, all numbers little endian:
//
//	offset  bytes
//	     0      4  length of the payload
//	     4      1  type: 0 heartbeat, 1 bye, 16 and more are for those who use the link
//	     5      3  zeros
//	     8      4  CRC32C of: the session (32 bytes, see handshake.go), the direction ("dialer" or
//	               "acceptor", who sends), the number of the frame in its direction
//	               (8 bytes, from 0), bytes 0 to 7, and the payload
//	    12         payload
//
// The checksum covers what is not sent so that a frame of another link, of the other
// direction, or one that is lost, doubled or out of order is not taken for the next.
//
// A heartbeat has no payload. The payload of a bye is the reason, a text; nothing follows.
const (
	frameHeader = 12

	typeHeartbeat = 0
	typeBye       = 1
	// FirstType is the smallest type that a frame of a user of the link may have.
	FirstType = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealer makes the checksums of one direction.
type sealer struct {
	base   uint32  // checksum state after session and direction
	frames uint64  // number of the next frame
	number [8]byte // the same, encoded; here so that it is not allocated each time
}

func newSealer(s *session, sender string) sealer {
	return sealer{base: crc32.Update(crc32.Checksum(s.id[:], castagnoli), castagnoli, []byte(sender))}
}

// sum returns the checksum of the next frame: its first 8 bytes, and payload.
func (s *sealer) sum(header, payload []byte) uint32 {
	binary.LittleEndian.PutUint64(s.number[:], s.frames)
	c := crc32.Update(s.base, castagnoli, s.number[:])
	c = crc32.Update(c, castagnoli, header[:8])
	return crc32.Update(c, castagnoli, payload)
}

// appendFrame appends the next frame.
func (s *sealer) appendFrame(dst []byte, typ byte, parts ...[]byte) []byte {
	start := len(dst)
	var h [frameHeader]byte
	h[4] = typ
	dst = append(dst, h[:]...)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	f := dst[start:]
	binary.LittleEndian.PutUint32(f, uint32(len(f)-frameHeader))
	binary.LittleEndian.PutUint32(f[8:], s.sum(f, f[frameHeader:]))
	s.frames++
	return dst
}

// decoder reads frames. Its buffer holds at most one frame of the largest size, or
// readSize.
type decoder struct {
	r    io.Reader
	max  int // payload
	seal sealer

	buf        []byte
	start, end int // what was read and not returned yet
}

// readSize is how much is read from the socket at once, if it is there.
const readSize = 128 << 10

// next returns the next frame. The payload is valid until the following call. A stream that
// ends between two frames gives io.EOF, within one io.ErrUnexpectedEOF.
func (d *decoder) next() (typ byte, payload []byte, err error) {
	if err := d.need(frameHeader); err != nil {
		return 0, nil, err
	}
	h := d.buf[d.start:d.end]
	n := binary.LittleEndian.Uint32(h)
	if uint64(n) > uint64(d.max) || h[5]|h[6]|h[7] != 0 {
		return 0, nil, fmt.Errorf("%w: number %d has type %d and %d bytes, the largest has %d", ErrFrame, d.seal.frames, h[4], n, d.max)
	}
	size := frameHeader + int(n)
	if err := d.need(size); err != nil {
		return 0, nil, err
	}
	f := d.buf[d.start : d.start+size]
	if d.seal.sum(f, f[frameHeader:]) != binary.LittleEndian.Uint32(f[8:]) {
		return 0, nil, fmt.Errorf("%w: number %d has a bad checksum", ErrFrame, d.seal.frames)
	}
	d.seal.frames++
	d.start += size
	return f[4], f[frameHeader:size:size], nil
}

// buffered tells whether next will return a frame of the user's without reading.
func (d *decoder) buffered() bool {
	have := d.end - d.start
	return have >= frameHeader && have-frameHeader >= int(binary.LittleEndian.Uint32(d.buf[d.start:])) && d.buf[d.start+4] >= FirstType
}

// need reads until n bytes are there.
func (d *decoder) need(n int) error {
	if d.end-d.start >= n {
		return nil
	}
	d.makeRoom(n)
	for d.end-d.start < n {
		got, err := d.r.Read(d.buf[d.end:])
		d.end += got
		if d.end-d.start >= n {
			return nil
		}
		if err == io.EOF && d.end > d.start {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeRoom moves what is there to the front of a buffer that can hold n bytes, and reads well.
func (d *decoder) makeRoom(n int) {
	to := d.buf
	if len(to) < n || len(to) > readSize && n <= readSize {
		to = make([]byte, max(n, readSize))
	}
	d.end = copy(to, d.buf[d.start:d.end])
	d.buf, d.start = to, 0
}
