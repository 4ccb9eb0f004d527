package measure

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are at most 1/32 wide relative
// to their value. The zero value is empty. It is used by one goroutine.
type Histogram struct {
	counts [64 << subBits]uint64
	total  uint64
	max    time.Duration
}

const subBits = 5

// Add counts d; negative durations count as zero.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
	h.max = max(h.max, d)
}

// Merge adds the counts of o.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// Quantile returns an upper bound of the q-th quantile, 0 <= q <= 1.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := uint64(q * float64(h.total))
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if n > 0 && seen > want {
			return min(time.Duration(upper(i)), h.max)
		}
	}
	return h.max
}

// Max returns the largest duration.
func (h *Histogram) Max() time.Duration { return h.max }

// Count returns the number of durations.
func (h *Histogram) Count() uint64 { return h.total }

// bucket: values below 2^subBits have a bucket each; above, the position of
// the highest bit and the subBits bits below it name the bucket.
func bucket(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

func upper(i int) uint64 {
	if i < 1<<subBits {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return (uint64(i&(1<<subBits-1))+1<<subBits+1)<<shift - 1
}
