package sstable

import "math"

// A filter is a blocked Bloom filter (Putze, Sanders, Singler, "Cache-, Hash- and
// Space-Efficient Bloom Filters", 2007): lines of 64 bytes, of which a key uses
// one, so that asking costs one cache miss. The upper half of the key's hash
// chooses the line. The lower half is multiplied by an odd constant for each
// probe; the top 9 bits of the product are the bit.
const (
	lineSize = 64
	probeMul = 0x9e3779b9
)

// probesFor returns how many bits a key sets for a number of bits per key; less
// than ln 2 times that because the load of the lines varies.
func probesFor(bitsPerKey int) int {
	return max(1, min(int(math.Round(float64(bitsPerKey)*0.6)), 16))
}

// filterSize returns the bytes of a filter for n keys.
func filterSize(n, bitsPerKey int) int {
	return (n*bitsPerKey + lineSize*8 - 1) / (lineSize * 8) * lineSize
}

// appendFilter appends a filter that has all the hashes.
func appendFilter(dst []byte, hashes []uint64, bitsPerKey int) []byte {
	start, size := len(dst), filterSize(len(hashes), bitsPerKey)
	dst = append(dst, make([]byte, size)...)
	probes := probesFor(bitsPerKey)
	for _, hash := range hashes {
		line := lineOf(dst[start:], hash)
		for x, i := uint32(hash)*probeMul, 0; i < probes; x, i = x*probeMul, i+1 {
			line[x>>26] |= 1 << (x >> 23 & 7)
		}
	}
	return dst
}

func lineOf(filter []byte, hash uint64) *[lineSize]byte {
	i := (hash >> 32) * uint64(len(filter)/lineSize) >> 32
	return (*[lineSize]byte)(filter[i*lineSize:])
}

// mayContain asks a filter. One of no length contains everything.
func mayContain(filter []byte, probes int, hash uint64) bool {
	if len(filter) == 0 {
		return true
	}
	line := lineOf(filter, hash)
	for x := uint32(hash) * probeMul; probes > 0; x, probes = x*probeMul, probes-1 {
		if line[x>>26]&(1<<(x>>23&7)) == 0 {
			return false
		}
	}
	return true
}
