package keyspace

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gtinside/corecache/engine"
)

// maxProblems bounds what Check reports.
const maxProblems = 20

// Check reads everything and verifies the invariants of the package. It locks all keys for a moment only.
// Memory grows with the number of keys that have a deadline or chunks.
func (k *Keyspace) Check() error {
	c := &checker{k: k, keys: map[uint16]int64{}, expires: map[uint16]int64{}, deadlines: map[string]bool{}, values: map[string]int64{}}
	k.search.Lock()
	k.lockAll()
	it := k.db.NewIter(engine.IterOptions{Latest: true, NoFillCache: true})
	c.expected()
	k.unlockAll()
	k.search.Unlock()
	defer it.Close()
	for ok := it.First(); ok && len(c.problems) < maxProblems; ok = it.Next() {
		c.record(it.Key(), it.Value())
	}
	if err := it.Error(); err != nil {
		return err
	}
	c.totals()
	return errors.Join(c.problems...)
}

// checker collects what it has seen.
type checker struct {
	k             *Keyspace
	counted       map[uint32]int64 // counters as they should be found
	due           []int64
	keys, expires map[uint16]int64
	deadlines     map[string]bool  // records that the index must have
	values        map[string]int64 // lengths of chunked strings by the prefix of their elements
	problems      []error
}

// expected notes counters and due times at the moment of the check.
func (c *checker) expected() {
	c.counted = map[uint32]int64{}
	for phys := range c.k.due {
		for _, id := range []uint32{keysCounter(uint16(phys)), expiresCounter(uint16(phys))} {
			c.counted[id] = c.k.db.Counter(id)
		}
		if !c.k.options.Follows || !c.k.readOnly.Load() { // a node that follows remembers what was due when it led; Reload ends that
			c.due = append(c.due, c.k.due[phys].Load())
		}
	}
}

func (c *checker) fail(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("keyspace: "+format, args...))
}

func (c *checker) record(key, value []byte) {
	switch key[0] {
	case spaceSystem:
	case spaceMeta:
		c.meta(key, value)
	case spaceElement:
		c.element(key, value)
	case spaceExpiry:
		if !c.deadlines[string(key)] {
			c.fail("expiry record %x belongs to no key", key)
		}
		delete(c.deadlines, string(key))
	default:
		c.fail("record %x is in no known space", key)
	}
}

func (c *checker) meta(key, value []byte) {
	phys, p, user, err := decodeMetaKey(key)
	if err != nil {
		c.problems = append(c.problems, err)
		return
	}
	m, err := decodeMeta(value)
	if err != nil {
		c.fail("key %q: %w", user, err)
		return
	}
	if p != c.k.locate(user) {
		c.fail("key %q stands at %v instead of %v", user, p, c.k.locate(user))
	}
	c.keys[phys]++
	if m.deadline != 0 {
		c.expires[phys]++
		c.deadlines[string(appendExpiryKey(nil, phys, m.deadline, p, user))] = true
		if int(phys) < len(c.due) && m.deadline < c.due[phys] {
			c.fail("key %q has the deadline %d, but the first is said to be %d", user, m.deadline, c.due[phys])
		}
	}
	if m.chunked() {
		c.chunked(phys, user, &m)
	}
}

func (c *checker) chunked(phys uint16, user []byte, m *meta) {
	s, err := decodeChunked(m.payload)
	if err != nil {
		c.fail("key %q: %w", user, err)
		return
	}
	prefix := string(appendElementPrefix(nil, phys, s.home, s.id))
	if _, twice := c.values[prefix]; twice {
		c.fail("key %q shares its chunks %x with another", user, prefix)
	}
	c.values[prefix] = s.length
}

func (c *checker) element(key, value []byte) {
	_, _, _, suffix, err := decodeElementPrefix(key)
	if err != nil || len(suffix) != 4 {
		c.fail("element %x can not be decoded", key)
		return
	}
	length, ok := c.values[string(key[:elementHeader])]
	n := int64(binary.BigEndian.Uint32(suffix))
	switch {
	case !ok:
		c.fail("chunk %x belongs to no key", key)
	case n >= chunksOf(length) || int64(len(value)) > min(chunkSize, length-n*chunkSize):
		c.fail("chunk %x of %d bytes is beyond the length of %d bytes", key, len(value), length)
	}
}

// totals compares what has been counted.
func (c *checker) totals() {
	for record := range c.deadlines {
		if len(c.problems) >= maxProblems {
			return
		}
		c.fail("expiry record %x is missing", record)
	}
	for phys := range c.k.due {
		p := uint16(phys)
		if n := c.counted[keysCounter(p)]; n != c.keys[p] {
			c.fail("database %d has %d keys, %d are counted", p, c.keys[p], n)
		}
		if n := c.counted[expiresCounter(p)]; n != c.expires[p] {
			c.fail("database %d has %d keys with a deadline, %d are counted", p, c.expires[p], n)
		}
	}
}
