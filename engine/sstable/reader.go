package sstable

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/cache"
	"github.com/gtinside/corecache/engine/vfs"
)

// Hash is the hash of a user key that Get wants: base.Hash.
func Hash(key []byte) uint64 { return base.Hash(key) }

// ReaderOptions configure a Reader.
type ReaderOptions struct{}

// Reader reads a table. Its methods may be called concurrently, but for Close.
// It keeps the top index in memory, some 40 bytes per partition; all other blocks
// are in the cache, under the file's number.
type Reader struct {
	file    vfs.File
	fileNum uint64
	cache   *cache.Cache
	size    int64
	top     block
	props   *Properties

	// indexes remember the handles of the partitions' blocks, to find them without
	// a search in the cache. They are hints: the cache uses handles for other
	// blocks when it likes.
	indexes []atomic.Pointer[cache.Handle]
}

// Open opens a table, which the reader takes over; on an error the file is
// closed. Damage gives an error that wraps base.ErrCorrupt.
func Open(f vfs.File, fileNum uint64, c *cache.Cache, _ ReaderOptions) (*Reader, error) {
	r := &Reader{file: f, fileNum: fileNum, cache: c}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// tailRead is how much of the end of a file is read at once in the hope that
// footer, properties and top index are in it.
const tailRead = 16 << 10

func (r *Reader) open() (err error) {
	if r.size, err = r.file.Size(); err != nil {
		return fmt.Errorf("open table: %w", err)
	}
	tail := make([]byte, min(r.size, tailRead))
	tailAt := r.size - int64(len(tail))
	if err := r.readAt(tail, tailAt); err != nil {
		return err
	}
	if len(tail) < footerSize {
		return r.corrupt(0, errors.New("too short for a table"))
	}
	f, err := decodeFooter(tail[len(tail)-footerSize:], r.size)
	if err != nil {
		return r.corrupt(r.size-footerSize, err)
	}
	if f.topOffset < tailAt {
		tail, tailAt = make([]byte, r.size-f.topOffset), f.topOffset
		if err := r.readAt(tail, tailAt); err != nil {
			return err
		}
	}
	return r.openEnd(f, tail[f.topOffset-tailAt:])
}

// openEnd takes top index and properties from the end of the file.
func (r *Reader) openEnd(f footer, end []byte) error {
	top, _, err := checkTrailer(end[:f.topSize], f.topOffset)
	if err == nil {
		err = checkTopIndex(top, f.topOffset)
	}
	if err != nil {
		return r.corrupt(f.topOffset, err)
	}
	r.top.open(append([]byte(nil), top...))
	r.indexes = make([]atomic.Pointer[cache.Handle], r.top.n)
	props, _, err := checkTrailer(end[f.topSize:f.topSize+f.propsSize], f.propsOffset())
	if err == nil {
		r.props, err = decodeProperties(props)
	}
	if err != nil {
		return r.corrupt(f.propsOffset(), err)
	}
	return nil
}

// Properties returns the table's properties, which must not be modified.
func (r *Reader) Properties() *Properties { return r.props }

// Size returns the bytes of the file.
func (r *Reader) Size() int64 { return r.size }

// MemorySize returns the bytes that the reader holds outside of the cache.
func (r *Reader) MemorySize() int64 { return int64(len(r.top.data)+8*len(r.indexes)) + 1024 }

// Close closes the file. Blocks in the cache stay: a file that is removed for
// good is taken out by cache.EvictFile.
func (r *Reader) Close() error { return r.file.Close() }

// Get looks for the newest record of key with a sequence number <= seq. The hash
// must be Hash(key). If there is one, its value is appended to dst; a tombstone
// is found too. It allocates nothing if dst has room and the blocks are cached.
func (r *Reader) Get(dst, key []byte, hash, seq uint64) (value []byte, trailer base.Trailer, found bool, err error) {
	trailer = base.SeekTrailer(seq)
	i := r.top.seekGE(key, trailer)
	if i == r.top.n {
		return dst, 0, false, nil
	}
	p := partitionAt(&r.top, i)
	h, err := r.index(i, p)
	if err != nil {
		return dst, 0, false, err
	}
	pb := openPartitionBlock(h.Bytes())
	if !mayContain(pb.filter, pb.probes, hash) {
		h.Release()
		return dst, 0, false, nil
	}
	var b block
	b.open(pb.index)
	if i = b.seekGE(key, trailer); i == b.n {
		h.Release()
		return dst, 0, false, nil
	}
	start, end := blockRange(&b, i)
	h.Release()

	if h, err = r.data(p.offset+int64(start), end-start); err != nil {
		return dst, 0, false, err
	}
	defer h.Release()
	b.open(h.Bytes())
	// The record cannot be in the next block: what is between the last record of
	// this one and the separator is not there.
	if i = b.seekGE(key, trailer); i == b.n || !b.hasKey(i, key) {
		return dst, 0, false, nil
	}
	return append(dst, b.value(i)...), b.trailer(i), true, nil
}

// index returns the block of the n-th partition.
func (r *Reader) index(n int, p partition) (*cache.Handle, error) {
	offset := p.indexOffset()
	if h := r.indexes[n].Load(); h != nil && r.cache.Revive(h, r.fileNum, uint64(offset)) {
		return h, nil
	}
	h := r.cache.Get(r.fileNum, uint64(offset))
	if h == nil {
		var err error
		if h, err = r.read(offset, p.indexSize, p.size, cache.Index, true); err != nil {
			return nil, err
		}
	}
	r.indexes[n].Store(h)
	return h, nil
}

// data returns a data block.
func (r *Reader) data(offset int64, size uint32) (*cache.Handle, error) {
	if h := r.cache.Get(r.fileNum, uint64(offset)); h != nil {
		return h, nil
	}
	return r.read(offset, size, 0, cache.Data, true)
}

// read reads a block from the file and verifies it, and puts it into the cache if
// fill is set. For a partition's block, dataSize is the size of its data.
func (r *Reader) read(offset int64, size, dataSize uint32, class cache.Class, fill bool) (*cache.Handle, error) {
	h := r.cache.Alloc(int(size))
	if err := r.readAt(h.Bytes(), offset); err != nil {
		h.Release()
		return nil, err
	}
	h, err := r.unpack(h, offset)
	if err != nil {
		return nil, err
	}
	if err := check(h.Bytes(), class, dataSize); err != nil {
		h.Release()
		return nil, r.corrupt(offset, err)
	}
	if fill {
		h = r.cache.Insert(r.fileNum, uint64(offset), h, class)
	}
	return h, nil
}

// check verifies the form of a block.
func check(data []byte, class cache.Class, dataSize uint32) error {
	if class == cache.Index {
		return checkPartitionBlock(data, dataSize)
	}
	return checkBlock(data)
}

// unpack turns a block with its trailer into its content.
func (r *Reader) unpack(h *cache.Handle, offset int64) (*cache.Handle, error) {
	content, kind, err := checkTrailer(h.Bytes(), offset)
	if err != nil {
		h.Release()
		return nil, r.corrupt(offset, err)
	}
	if kind == None {
		h.Resize(len(content))
		return h, nil
	}
	defer h.Release()
	n, err := uncompressedSize(kind, content)
	if err != nil {
		return nil, r.corrupt(offset, err)
	}
	plain := r.cache.Alloc(n)
	if err := decompress(kind, plain.Bytes(), content); err != nil {
		plain.Release()
		return nil, r.corrupt(offset, err)
	}
	return plain, nil
}

func (r *Reader) readAt(b []byte, offset int64) error {
	n, err := r.file.ReadAt(b, offset)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return r.corrupt(offset, errors.New("file ends within a block"))
	}
	return fmt.Errorf("read table %s at offset %d: %w", r.file.Name(), offset, err)
}

func (r *Reader) corrupt(offset int64, err error) error {
	return base.Corrupt(r.file.Name(), offset, "%v", err)
}

// ApproximateSize returns about how many bytes of the file hold records of keys in
// [start, end); nil stands for no bound. It reads nothing.
func (r *Reader) ApproximateSize(start, end []byte) int64 {
	from, to := 0, r.top.n
	if start != nil {
		from = r.top.seekGE(start, firstTrailer)
	}
	if end != nil {
		to = min(r.top.seekGE(end, firstTrailer)+1, r.top.n)
	}
	if from >= to {
		return 0
	}
	return partitionAt(&r.top, to-1).end() - partitionAt(&r.top, from).offset
}
