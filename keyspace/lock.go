package keyspace

import (
	"slices"
	"sync"
)

const (
	stripeBits  = 10
	stripeCount = 1 << stripeBits
)

// stripe is the lock of all keys, of all databases, whose hash ends alike.
// A key has the same stripe in each database, so that SWAPDB moves no key to another lock.
type stripe struct {
	sync.Mutex
	watched map[watchedKey][]*watch // guarded by the mutex; nil when nothing is watched
	_       [48]byte                // to a cache line of its own
}

func (k *Keyspace) stripe(p position) *stripe { return &k.stripes[p.hash%stripeCount] }

// A lockSet names stripes to be locked in ascending order: the stripe in the upper bits, and
// below it the slot and hash of the key, so that equal keys become equal numbers.
type lockSet []uint64

func (s lockSet) add(p position) lockSet {
	return append(s, uint64(p.hash%stripeCount)<<48|uint64(p.slot)<<32|uint64(p.hash))
}

// sort brings the set into order and reports whether a key occurs twice. It
// may say so of two keys with the same slot and hash, too.
func (s lockSet) sort() (repeated bool) {
	if len(s) < 2 {
		return false
	}
	slices.Sort(s)
	for i := 1; i < len(s); i++ {
		repeated = repeated || s[i] == s[i-1]
	}
	return repeated
}

// each calls f for each stripe of the sorted set.
func (s lockSet) each(k *Keyspace, f func(*stripe)) {
	for i, v := range s {
		if i == 0 || s[i-1]>>48 != v>>48 {
			f(&k.stripes[v>>48])
		}
	}
}

func (s lockSet) lock(k *Keyspace)   { s.each(k, (*stripe).Lock) }
func (s lockSet) unlock(k *Keyspace) { s.each(k, (*stripe).Unlock) }

func (k *Keyspace) lockAll() {
	for i := range k.stripes {
		k.stripes[i].Lock()
	}
}

func (k *Keyspace) unlockAll() {
	for i := range k.stripes {
		k.stripes[i].Unlock()
	}
}
