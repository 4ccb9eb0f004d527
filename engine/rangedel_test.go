package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gtinside/corecache/engine/base"
)

// TestRangesAgainstList compares random tombstones, cut into fragments, with a search of the list.
func TestRangesAgainstList(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	key := func() []byte { return fmt.Appendf(nil, "%03d", r.IntN(200)) }
	for range 50 {
		var b rangeBuffer
		var list []tombstone
		for n := r.IntN(300); len(list) < n; {
			one := tombstone{key(), key(), uint64(len(list) + 1)}
			list = append(list, one)
			b.add(one)
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		f := fragment(list)
		for range 200 {
			k, seq := key(), r.Uint64N(uint64(len(list)+2))
			newest, after := search(list, k, seq)
			if got := f.cover(k, seq); got != newest {
				t.Fatalf("%s at %d: cover %d, want %d", k, seq, got, newest)
			}
			if got := b.cover(k, seq); got != newest {
				t.Fatalf("%s at %d: cover %d in the buffer, want %d", k, seq, got, newest)
			}
			start, end, got := f.span(k, seq)
			if got != newest || got > 0 && (string(start) > string(k) || string(k) >= string(end)) {
				t.Fatalf("%s at %d: span %s to %s of %d, want %d", k, seq, start, end, got, newest)
			}
			if len(list) > 0 {
				if got := f.oldestAfter(f.at(k), seq); got != after {
					t.Fatalf("%s: oldest after %d is %d, want %d", k, seq, got, after)
				}
			}
		}
	}
}

// search is what fragments answer: the newest tombstone over key up to seq, and the oldest one after it; 0: none.
func search(list []tombstone, key []byte, seq uint64) (newest, after uint64) {
	for _, t := range list {
		switch {
		case string(key) < string(t.start) || string(t.end) <= string(key):
		case t.seq <= seq:
			newest = max(newest, t.seq)
		case after == 0 || t.seq < after:
			after = t.seq
		}
	}
	return newest, after
}

// TestNestedRangesStaySmall bounds what ranges within each other take: as a list per fragment these would be 400
// million entries.
func TestNestedRangesStaySmall(t *testing.T) {
	const n = 20000
	var b rangeBuffer
	for i := range n {
		b.add(tombstone{fmt.Appendf(nil, "a%06d", i), fmt.Appendf(nil, "z%06d", n-i), uint64(i + 1)})
	}
	f := fragment(b.all())
	entries := 0
	for _, seqs := range f.nodes {
		entries += len(seqs)
	}
	if entries > n*32 {
		t.Errorf("%d entries for %d ranges", entries, n)
	}
	for _, r := range []interface {
		cover(key []byte, seq uint64) uint64
	}{f, &b} {
		if got := r.cover([]byte("m"), base.MaxSeq); got != n {
			t.Errorf("cover %d", got)
		}
		if got := r.cover([]byte("m"), 7); got != 7 {
			t.Errorf("cover %d at 7", got)
		}
	}
}
