package workload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
)

// A record is named by an id. The prepared records 0 <= i < n have the id
// i<<insertBits; records that a workload inserts lie in the gaps.
//
//	key    8 bytes id, big endian | 8 bytes '0'       (the layout of db_bench)
//	value  8 bytes id | 4 bytes version | text, half of which compresses away
//
// A value therefore proves by itself that it belongs to its key and is whole.
const (
	insertBits = 24
	keySize    = 16
	headSize   = 12
)

func preparedID(i int) uint64 { return uint64(i) << insertBits }

// insertedID scatters the k-th insert (k < 2^insertBits - 1) over the keys.
func insertedID(k uint64, n int) uint64 {
	return preparedID(int(mix(k)%uint64(n))) | (k + 1)
}

func appendKey(dst []byte, id uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, id)
	return append(dst, "00000000"...)
}

func keyID(key []byte) uint64 { return binary.BigEndian.Uint64(key) }

// values makes and checks values of one size.
type values struct {
	size int
	text []byte
}

func newValues(size int) *values {
	return &values{size: size, text: halfCompressible(1 << 20)}
}

// halfCompressible repeats every 50 random bytes once.
func halfCompressible(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 0, n+100)
	for len(text) < n {
		var piece [50]byte
		for i := range piece {
			piece[i] = byte(' ' + rng.IntN(95))
		}
		text = append(append(text, piece[:]...), piece[:]...)
	}
	return text[:n]
}

func (v *values) part(id uint64, version uint32) []byte {
	n := v.size - headSize
	at := int(mix(id^bits.RotateLeft64(uint64(version), 40)) % uint64(len(v.text)-n))
	return v.text[at : at+n]
}

func (v *values) append(dst []byte, id uint64, version uint32) []byte {
	dst = binary.BigEndian.AppendUint64(dst, id)
	dst = binary.BigEndian.AppendUint32(dst, version)
	return append(dst, v.part(id, version)...)
}

// check returns the version of a value of record id.
func (v *values) check(id uint64, value []byte) (uint32, error) {
	if len(value) != v.size {
		return 0, fmt.Errorf("record %x: value of %d bytes, want %d", id, len(value), v.size)
	}
	version := binary.BigEndian.Uint32(value[8:])
	if got := binary.BigEndian.Uint64(value); got != id {
		return 0, fmt.Errorf("record %x: value belongs to %x", id, got)
	}
	if !bytes.Equal(value[headSize:], v.part(id, version)) {
		return 0, fmt.Errorf("record %x: value of version %d is damaged", id, version)
	}
	return version, nil
}

// mix is the finalizer of SplitMix64: a bijection that scatters its input.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
