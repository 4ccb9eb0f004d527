package command

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/gtinside/corecache/keyspace"
)

// digest is what DEBUG DIGEST computes: the same data gives the same digest as in Redis (debug.c there), so that
// two servers can be compared.
type digest [sha1.Size]byte

// xor adds something whose order among others does not matter.
func (d *digest) xor(b []byte) {
	for i, x := range sha1.Sum(b) {
		d[i] ^= x
	}
}

// mix adds something whose order matters.
func (d *digest) mix(b []byte) {
	d.xor(b)
	*d = sha1.Sum(d[:])
}

func (d *digest) mixUint32(n uint32) { d.mix(binary.BigEndian.AppendUint32(nil, n)) }

// mixValue adds type, value and the existence of a deadline of a key, nothing when there is no key.
func (d *digest) mixValue(t *keyspace.Txn, key []byte) error {
	t.Select(t.DB()) // lets go of the value before
	s, ok, err := t.String(key)
	if err != nil || !ok {
		return err
	}
	value, err := s.Append(nil, 0, s.Len())
	if err != nil {
		return err
	}
	d.mixUint32(0) // a string
	d.mix(value)
	deadline, _, err := t.Deadline(key)
	if deadline != 0 {
		d.xor([]byte("!!expire!!"))
	}
	return err
}

func (d *digest) reply(c *Call) { c.Out.Simple(hex.EncodeToString(d[:])) }

// mixDatabase adds the number of the selected database, unless it is empty, and all its keys.
func (d *digest) mixDatabase(t *keyspace.Txn) error {
	var failed error
	first := true
	err := t.Keys(func(key []byte) bool {
		if first {
			d.mixUint32(uint32(t.DB()))
			first = false
		}
		var one digest
		one.mix(key)
		if failed = one.mixValue(t, key); failed != nil {
			return false
		}
		d.xor(one[:])
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}

// debugDigest is DEBUG DIGEST, of all databases as they are at one moment.
func debugDigest(c *Call) {
	c.read(func(t *keyspace.Txn) error {
		t.Pin()
		var d digest
		for db := range c.Keyspace.Databases() {
			t.Select(db)
			if err := d.mixDatabase(t); err != nil {
				return err
			}
		}
		d.reply(c)
		return nil
	})
}

// debugDigestValue is DEBUG DIGEST-VALUE key [key ...].
func debugDigestValue(c *Call) {
	c.read(func(t *keyspace.Txn) error {
		c.Out.Array(len(c.Args) - 2)
		for _, key := range c.Args[2:] {
			var d digest
			if err := d.mixValue(t, key); err != nil {
				return err
			}
			d.reply(c)
		}
		return nil
	})
}

// debugPopulate is DEBUG POPULATE count [prefix] [size]: it makes count keys that do not exist yet.
func debugPopulate(c *Call) {
	count, ok := c.positiveArg(2)
	if !ok {
		return
	}
	prefix, size := "key", int64(0)
	if len(c.Args) > 3 {
		prefix = string(c.Args[3])
	}
	if len(c.Args) > 4 {
		if size, ok = c.positiveArg(4); !ok {
			return
		}
	}
	switch {
	case c.Txn != nil:
		c.Out.Error("ERR DEBUG POPULATE is not possible inside a transaction")
		return
	case size > c.maxString():
		c.fail(keyspace.ErrTooLong)
		return
	}
	start := c.Out.Len()
	for n := range count {
		select {
		case <-c.Session.Conn.Done():
			return
		case <-c.quit:
			return
		default:
		}
		c.Out.Truncate(start)
		c.populate(prefix+":"+strconv.FormatInt(n, 10), "value:"+strconv.FormatInt(n, 10), size)
		if c.Out.Buf[start] != '+' {
			return // an error
		}
	}
	c.Out.Truncate(start)
	c.Out.OK()
}

// populate makes a key whose value has size bytes, or as many as the text where size is 0.
func (c *Call) populate(key, text string, size int64) {
	value := []byte(text)
	if size > 0 {
		value = make([]byte, size)
		copy(value, text)
	}
	name := []byte(key)
	c.update([][]byte{name}, func(t *keyspace.Txn) error {
		_, err := t.Set(name, value, keyspace.SetOptions{Condition: keyspace.IfAbsent})
		c.Out.OK()
		return err
	})
}
