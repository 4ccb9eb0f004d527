package keyspace

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// slots is the number of slots of Redis Cluster.
const slots = 16384

// Slot is the cluster slot of a key.
//
// https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
func Slot(key []byte) uint16 { return crc16(hashTag(key)) & (slots - 1) }

// hashTag is what stands between the first { and the } behind it, when that is not empty,
// else the whole key.
func hashTag(key []byte) []byte {
	open := bytes.IndexByte(key, '{')
	if open < 0 {
		return key
	}
	if n := bytes.IndexByte(key[open+1:], '}'); n > 0 {
		return key[open+1 : open+1+n]
	}
	return key
}

// crc16Tables are of CRC-16/XMODEM: polynomial 1021, nothing reflected or inverted. The n-th is
// that of a byte followed by n zeros, so that eight bytes are taken at once (Kounavis, Berry,
// "Novel Table Lookup-Based Algorithms for High-Performance CRC Generation", 2008).
var crc16Tables = makeCRC16Tables()

func makeCRC16Tables() (t [8][256]uint16) {
	for i := range t[0] {
		c := uint16(i) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
		t[0][i] = c
	}
	for n := 1; n < len(t); n++ {
		for i, c := range t[n-1] {
			t[n][i] = c<<8 ^ t[0][c>>8]
		}
	}
	return t
}

func crc16(b []byte) (c uint16) {
	t := &crc16Tables
	for ; len(b) >= 8; b = b[8:] {
		c = t[7][byte(c>>8)^b[0]] ^ t[6][byte(c)^b[1]] ^ t[5][b[2]] ^ t[4][b[3]] ^
			t[3][b[4]] ^ t[2][b[5]] ^ t[1][b[6]] ^ t[0][b[7]]
	}
	for _, x := range b {
		c = c<<8 ^ t[0][byte(c>>8)^x]
	}
	return c
}

// hasher is SipHash-1-3 cut to 32 bits, keyed so that clients can not choose keys that
// collide: https://www.aumasson.jp/siphash/siphash.pdf
type hasher struct{ k0, k1 uint64 }

func newHasher(seed []byte) hasher {
	return hasher{binary.LittleEndian.Uint64(seed), binary.LittleEndian.Uint64(seed[8:])}
}

const seedSize = 16

func (h hasher) sum(b []byte) uint32 {
	s := sipState{
		h.k0 ^ 0x736f6d6570736575, h.k1 ^ 0x646f72616e646f6d,
		h.k0 ^ 0x6c7967656e657261, h.k1 ^ 0x7465646279746573,
	}
	last := uint64(len(b)) << 56
	for ; len(b) >= 8; b = b[8:] {
		s.add(binary.LittleEndian.Uint64(b))
	}
	for i, x := range b {
		last |= uint64(x) << (8 * i)
	}
	s.add(last)
	s.v2 ^= 0xff
	s.round()
	s.round()
	s.round()
	return uint32(s.v0 ^ s.v1 ^ s.v2 ^ s.v3)
}

type sipState struct{ v0, v1, v2, v3 uint64 }

func (s *sipState) add(m uint64) {
	s.v3 ^= m
	s.round()
	s.v0 ^= m
}

func (s *sipState) round() {
	s.v0 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v0 = bits.RotateLeft64(s.v0, 32)
	s.v2 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v2 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v2 = bits.RotateLeft64(s.v2, 32)
}

// locate places a key.
func (k *Keyspace) locate(key []byte) position {
	return position{Slot(key), k.hasher.Load().sum(key)}
}
