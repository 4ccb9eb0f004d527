package keyspace

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"
)

// The worked examples of encoding.go.
func TestExamples(t *testing.T) {
	key := appendMetaKey(nil, 0, position{Slot([]byte("a")), 0x11223344}, []byte("a"))
	if got := hex.EncodeToString(key); got != "0100003c871122334461" {
		t.Errorf("metadata key %s", got)
	}
	value := appendMeta(nil, &meta{kind: byte(TypeString), written: 1700000000000, deadline: 1700000001000, payload: []byte("hi")})
	if got := hex.EncodeToString(value); got != "81018bcfe5680068690000018bcfe56be8" {
		t.Errorf("metadata %s", got)
	}
}

// TestCRC16 compares with the definition, bit by bit, for all lengths that the table look-ups tell apart.
func TestCRC16(t *testing.T) {
	b := []byte("The quick brown fox jumps over the lazy dog.")
	for n := range b {
		var want uint16
		for _, x := range b[:n] {
			want ^= uint16(x) << 8
			for range 8 {
				carry := want >> 15
				want = want<<1 ^ carry*0x1021
			}
		}
		if got := crc16(b[:n]); got != want {
			t.Errorf("crc16 of %q is %04x, want %04x", b[:n], got, want)
		}
	}
}

func TestSlot(t *testing.T) {
	for key, want := range map[string]uint16{ // CLUSTER KEYSLOT of Redis
		"": 0, "a": 15495, "foo": 12182, "123456789": 12739,
		"{user1000}.following": 3443, "{user1000}.followers": 3443, "foo{}{bar}": 8363, "foo{{bar}}zap": 4015, "foo{bar}{zap}": 5061,
	} {
		if got := Slot([]byte(key)); got != want {
			t.Errorf("slot of %q is %d, want %d", key, got, want)
		}
	}
}

// The vectors of the reference implementation of SipHash-1-3: key and message are 00 01 02 ...
func TestHasher(t *testing.T) {
	var seed, in [16]byte
	for i := range seed {
		seed[i], in[i] = byte(i), byte(i)
	}
	h := newHasher(seed[:])
	for n, want := range []uint32{0x050fc4dc, 0x7d57ca93} {
		if got := h.sum(in[:n]); got != want {
			t.Errorf("hash of %d bytes is %08x, want %08x", n, got, want)
		}
	}
}

func TestSpaceBounds(t *testing.T) {
	for _, db := range []uint16{0, 1, 255, 256, maxDatabases - 1} {
		lower, upper := spaceBounds(spaceMeta, db)
		for _, other := range []uint16{0, 1, 2, 254, 255, 256, 257, maxDatabases - 2, maxDatabases - 1} {
			key := appendMetaKey(nil, other, position{0x3fff, 0xffffffff}, []byte("\xff\xff"))
			in := bytes.Compare(key, lower) >= 0 && bytes.Compare(key, upper) < 0
			if in != (other == db) {
				t.Errorf("key of database %d within bounds of %d: %v", other, db, in)
			}
		}
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(appendMeta(nil, &meta{kind: byte(TypeString), written: 1, deadline: 2, payload: []byte("x")}))
	f.Add(appendMeta(nil, &meta{kind: byte(TypeHash)}))
	f.Add([]byte{0x81})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		if m.deadline == 0 && b[0]&kindExpiring != 0 {
			return // never written
		}
		if got := appendMeta(nil, &m); !bytes.Equal(got, b) {
			t.Fatalf("%x becomes %x", b, got)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(appendMetaKey(nil, 7, position{1, 2}, []byte("key")))
	f.Add(appendExpiryKey(nil, 7, 99, position{1, 2}, []byte("key")))
	f.Add(appendElementPrefix(nil, 7, position{1, 2}, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		if db, p, key, err := decodeMetaKey(b); err == nil && !bytes.Equal(appendMetaKey(nil, db, p, key), b) {
			t.Fatalf("metadata key %x", b)
		}
		if db, at, p, key, err := decodeExpiryKey(b); err == nil && !bytes.Equal(appendExpiryKey(nil, db, at, p, key), b) {
			t.Fatalf("expiry key %x", b)
		}
		if db, p, id, suffix, err := decodeElementPrefix(b); err == nil && !bytes.Equal(append(appendElementPrefix(nil, db, p, id), suffix...), b) {
			t.Fatalf("element key %x", b)
		}
	})
}

func FuzzChunked(f *testing.F) {
	f.Add(chunked{position{1, 2}, 3, 4}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeChunked(b); err == nil && !bytes.Equal(c.append(nil), b) {
			t.Fatalf("chunked string %x", b)
		}
	})
}

func FuzzDatabases(f *testing.F) {
	f.Add(encodeDatabases([]uint16{1, 0, 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		phys, err := decodeDatabases(b)
		if err != nil {
			return
		}
		if !bytes.Equal(encodeDatabases(phys), b) {
			t.Fatalf("map %x", b)
		}
		for i := range phys {
			if !slices.Contains(phys, uint16(i)) {
				t.Fatalf("%v is no permutation", phys)
			}
		}
	})
}

func FuzzParseInt(f *testing.F) {
	for _, s := range []string{"0", "-0", "01", "+1", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", " 1", "1 ", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := ParseInt(b)
		if want, wantOK := slowParseInt(string(b)); ok != wantOK || ok && n != want {
			t.Fatalf("%q: %d %v, want %d %v", b, n, ok, want, wantOK)
		}
	})
}

func FuzzParseFloat(f *testing.F) {
	for _, s := range []string{"0", "1.5", ".5", "5.", "1e10", "-1E-5", "0x1p3", "0x.8", "inf", "-Infinity", "nan", "1e", "e1", "1e99999", "1_0", "0b1", "--1", "0x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := ParseFloat(b)
		if !ok {
			return
		}
		sum, ok := v.Add(v)
		if ok {
			sum.Append(nil)
		}
	})
}

func TestCursorOrder(t *testing.T) {
	a, b := position{1, 0xffffffff}, position{2, 0}
	if a.cursor() >= b.cursor() || bytes.Compare(a.append(nil), b.append(nil)) >= 0 {
		t.Error("cursors are not ordered as positions are")
	}
	if c := (position{slots - 1, 0xffffffff}).cursor(); c >= 1<<48 || c == 0 {
		t.Errorf("cursor %x", c)
	}
	if got := binary.BigEndian.Uint32(a.append(nil)[2:]); got != a.hash {
		t.Errorf("hash %x", got)
	}
}
