package keyspace

import "encoding/binary"

// Strings up to inlineMax bytes stand in their metadata. Longer ones are cut into chunks,
// so that APPEND, SETRANGE and GETRANGE touch only the part they concern. The suffix of a
// chunk's element key is its number:
//
//	02 db:u16 home:(slot:u16 hash:u32) id:u64 number:u32 -> bytes
//
// Chunk n holds the bytes from n*chunkSize on. A chunk that is missing, or shorter than its part of the
// string, is continued by zero bytes: SETRANGE far behind the end writes no padding.
//
// The id of a value is used once: it is larger than the sequence number of any
// earlier write, and smaller than that of the batch that it is written by. So a
// value that is made anew never meets chunks of an older one.
const (
	inlineMax = 64 << 10
	chunkSize = 16 << 10

	// MaxStringSize is the longest string that can be stored, in bytes. Callers set lower limits.
	MaxStringSize = chunkSize << 32

	// deleteChunks is the number of chunks up to which they are deleted one by one. More
	// are worth a range tombstone: whole tables go with it.
	deleteChunks = 64
)

// newID returns an id for a new value. The caller holds the lock of the key.
func (t *Txn) newID() uint64 { return t.k.db.Last() + uint64(t.pending().Len()) + 1 }

func (t *Txn) chunkKey(phys uint16, c chunked, n int64) []byte {
	t.key = appendElementPrefix(t.key[:0], phys, c.home, c.id)
	t.key = binary.BigEndian.AppendUint32(t.key, uint32(n))
	return t.key
}

func chunksOf(length int64) int64 { return (length + chunkSize - 1) / chunkSize }

// putChunked writes the metadata of a chunked string.
func (t *Txn) putChunked(e *entry, raw byte, c chunked, deadline int64) {
	payload := c.append(t.val[len(t.val):])
	t.put(e, meta{kind: byte(TypeString) | kindChunked | raw, deadline: deadline, payload: payload})
}

// appendChunks appends the bytes in [from, to) of a chunked string to dst.
func (t *Txn) appendChunks(dst []byte, phys uint16, c chunked, from, to int64) ([]byte, error) {
	var err error
	for from < to && err == nil {
		n := from / chunkSize
		lo, hi := int(from-n*chunkSize), int(min(to-n*chunkSize, chunkSize))
		start := len(dst)
		dst, _, err = t.get(dst, t.chunkKey(phys, c, n))
		dst = appendZeros(dst, hi-(len(dst)-start))
		kept := copy(dst[start:], dst[start+lo:start+hi])
		dst = dst[:start+kept]
		from = n*chunkSize + int64(hi)
	}
	return dst, err
}

// chunkOverhead is more than what a chunk takes in a batch beside its bytes.
const chunkOverhead = 64

// storeChunks writes value at an offset of a chunked string. A fresh one has no
// chunks yet, and old are the bytes that it begins with.
func (t *Txn) storeChunks(phys uint16, c chunked, old []byte, fresh bool, offset int64, value []byte) error {
	first, last := offset/chunkSize, (offset+int64(len(value))-1)/chunkSize
	chunks := int(last-first) + 2 + len(old)/chunkSize
	t.w.Grow(len(value) + len(old) + chunks*chunkOverhead)
	for n := int64(0); n*chunkSize < int64(len(old)); n++ {
		if n < first || n > last {
			t.w.Set(t.chunkKey(phys, c, n), chunkOf(old, n))
		}
	}
	for n := first; n <= last && len(value) > 0; n++ {
		lo := max(offset-n*chunkSize, 0)
		size := min(int64(len(value)), chunkSize-lo)
		piece := value[:size]
		value = value[size:]
		have := int64(len(chunkOf(old, n)))
		if !fresh {
			have = min(c.length-n*chunkSize, chunkSize)
		}
		if lo > 0 || have > size {
			var err error
			if piece, err = t.mergeChunk(phys, c, n, chunkOf(old, n), fresh, lo, piece); err != nil {
				return err
			}
		}
		t.w.Set(t.chunkKey(phys, c, n), piece)
	}
	return nil
}

// chunkOf is the n-th part of an inline string.
func chunkOf(b []byte, n int64) []byte {
	lo := min(n*chunkSize, int64(len(b)))
	return b[lo:min(lo+chunkSize, int64(len(b)))]
}

// mergeChunk returns what stands in a chunk, with piece written over it at lo.
func (t *Txn) mergeChunk(phys uint16, c chunked, n int64, old []byte, fresh bool, lo int64, piece []byte) ([]byte, error) {
	buf := append(t.val[len(t.val):], old...)
	if !fresh {
		var err error
		if buf, _, err = t.get(buf, t.chunkKey(phys, c, n)); err != nil {
			return nil, err
		}
	}
	buf = appendZeros(buf, int(lo)+len(piece)-len(buf))
	copy(buf[lo:], piece)
	return buf, nil
}

// dropElements deletes what a key that was found holds outside of its metadata.
func (t *Txn) dropElements(e *entry) error {
	if !e.meta.chunked() {
		return nil
	}
	c, err := decodeChunked(e.meta.payload)
	if err != nil {
		return err
	}
	if chunks := chunksOf(c.length); chunks <= deleteChunks {
		for n := range chunks {
			t.w.Delete(t.chunkKey(e.phys, c, n))
		}
		return nil
	}
	t.key = appendElementPrefix(t.key[:0], e.phys, c.home, c.id)
	t.index = appendElementPrefix(t.index[:0], e.phys, c.home, c.id+1)
	t.w.DeleteRange(t.key, t.index)
	return nil
}

// copyElements returns the metadata with which dst holds the same value as src.
func (t *Txn) copyElements(dst, src *entry) (meta, error) {
	m := src.meta
	if !m.chunked() {
		return m, nil
	}
	from, err := decodeChunked(m.payload)
	if err != nil {
		return m, err
	}
	to := chunked{home: dst.pos, id: t.newID(), length: from.length}
	var buf []byte
	for n := range chunksOf(from.length) {
		var ok bool
		if buf, ok, err = t.get(buf[:0], t.chunkKey(src.phys, from, n)); err != nil {
			return m, err
		}
		if ok {
			t.w.Set(t.chunkKey(dst.phys, to, n), buf)
		}
	}
	m.payload = to.append(nil)
	return m, nil
}
