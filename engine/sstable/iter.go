package sstable

import (
	"sync"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/cache"
)

// IterOptions configure an iterator.
type IterOptions struct {
	// Lower and Upper bound the user keys: Lower <= key < Upper; nil for no bound.
	// They must not change while the iterator lives.
	Lower, Upper []byte
	// FillCache puts blocks that are read from the file into the cache.
	FillCache bool
	// ReadAhead > 0 makes the iterator read the file in pieces of about so many
	// bytes (at least a partition) into a buffer of its own, past the cache.
	ReadAhead int
}

// iter walks a table: at a record of a data block of a partition.
type iter struct {
	r     *Reader
	o     IterOptions
	ahead ahead

	part      int // in the top index
	partition partition
	indexPage page
	index     block

	blockAt  int // in index
	dataPage page
	block    block
	low      int // records [low, high) of the block are within the bounds
	high     int

	at      int // in block; valid if low <= at < high
	valid   bool
	key     []byte // block.prefix, then the suffix of the record
	value   []byte
	trailer base.Trailer
	err     error
}

// page is a block in memory: a handle, or a piece of the read-ahead buffer.
type page struct {
	handle *cache.Handle
	bytes  []byte
}

func (p *page) set(h *cache.Handle, b []byte) {
	p.release()
	p.handle, p.bytes = h, b
}

func (p *page) release() {
	if p.handle != nil {
		p.handle.Release()
	}
	*p = page{}
}

var iters = sync.Pool{New: func() any { return new(iter) }}

// NewIter returns an iterator, which must be closed. It may not outlive the
// reader.
func (r *Reader) NewIter(o IterOptions) base.Iterator {
	i := iters.Get().(*iter)
	*i = iter{r: r, o: o, key: i.key[:0], part: -1, blockAt: -1}
	return i
}

func (i *iter) Close() error {
	if i.r == nil {
		return nil
	}
	err := i.err
	i.dataPage.release()
	i.indexPage.release()
	i.ahead.release()
	*i = iter{key: i.key}
	iters.Put(i)
	return err
}

func (i *iter) Valid() bool           { return i.valid }
func (i *iter) Key() []byte           { return i.key }
func (i *iter) Trailer() base.Trailer { return i.trailer }
func (i *iter) Value() []byte         { return i.value }
func (i *iter) Error() error          { return i.err }

func (i *iter) First() bool {
	if i.o.Lower != nil {
		return i.SeekGE(i.o.Lower, firstTrailer)
	}
	i.start()
	return i.loadPartition(0) && i.loadBlock(0) && i.forward(0)
}

func (i *iter) Last() bool {
	if i.o.Upper != nil {
		return i.SeekLT(i.o.Upper, firstTrailer)
	}
	i.start()
	return i.loadPartition(i.r.top.n-1) && i.loadBlock(i.index.n-1) && i.backward(i.block.n-1)
}

func (i *iter) SeekGE(key []byte, trailer base.Trailer) bool {
	if i.o.Lower != nil && string(key) < string(i.o.Lower) {
		key, trailer = i.o.Lower, firstTrailer
	}
	i.start()
	return i.seekBlock(key, trailer) && i.forward(i.block.seekGE(key, trailer))
}

func (i *iter) SeekLT(key []byte, trailer base.Trailer) bool {
	if i.o.Upper != nil && string(key) >= string(i.o.Upper) {
		key, trailer = i.o.Upper, firstTrailer
	}
	i.start()
	if i.r.top.seekGE(key, trailer) == i.r.top.n {
		return i.loadPartition(i.r.top.n-1) && i.loadBlock(i.index.n-1) && i.backward(i.block.n-1)
	}
	return i.seekBlock(key, trailer) && i.backward(i.block.seekGE(key, trailer)-1)
}

func (i *iter) Next() bool {
	if i.at+1 < i.high {
		return i.stand(i.at + 1)
	}
	return i.forward(i.at + 1)
}

func (i *iter) Prev() bool {
	if i.at > i.low {
		return i.stand(i.at - 1)
	}
	return i.backward(i.at - 1)
}

// start begins a new positioning.
func (i *iter) start() { i.valid, i.err = false, nil }

// seekBlock loads the block in which the first record >= (key, trailer) is, if
// it is not the first of the next block.
func (i *iter) seekBlock(key []byte, trailer base.Trailer) bool {
	if !i.loadPartition(i.r.top.seekGE(key, trailer)) {
		return false
	}
	return i.loadBlock(i.index.seekGE(key, trailer))
}

// stand makes the record at n of the block, which is within the bounds, current.
func (i *iter) stand(n int) bool {
	i.at, i.valid = n, true
	b := &i.block
	i.key = b.appendSuffix(i.key[:len(b.prefix)], n)
	i.value = b.value(n)
	i.trailer = b.trailer(n)
	return true
}

// forward goes to the record at n or the first one behind it.
func (i *iter) forward(n int) bool {
	i.valid = false
	for {
		if n = max(n, i.low); n < i.high {
			return i.stand(n)
		}
		if i.high < i.block.n || !i.nextBlock() {
			return false
		}
		n = 0
	}
}

// backward goes to the record at n or the last one before it.
func (i *iter) backward(n int) bool {
	i.valid = false
	for {
		if n = min(n, i.high-1); n >= i.low {
			return i.stand(n)
		}
		if i.low > 0 || !i.prevBlock() {
			return false
		}
		n = i.block.n - 1
	}
}

func (i *iter) nextBlock() bool {
	if i.blockAt+1 < i.index.n {
		return i.loadBlock(i.blockAt + 1)
	}
	return i.loadPartition(i.part+1) && i.loadBlock(0)
}

func (i *iter) prevBlock() bool {
	if i.blockAt > 0 {
		return i.loadBlock(i.blockAt - 1)
	}
	return i.loadPartition(i.part-1) && i.loadBlock(i.index.n-1)
}

// loadPartition makes a partition current and reads its index. It reports false at
// the end of the table and on an error.
func (i *iter) loadPartition(n int) bool {
	if n < 0 || n >= i.r.top.n {
		return false
	}
	if n == i.part {
		return true
	}
	i.part, i.blockAt = -1, -1
	i.partition = partitionAt(&i.r.top, n)
	if i.o.ReadAhead > 0 {
		if i.err = i.ahead.cover(i.r, n, i.o.ReadAhead); i.err != nil {
			return false
		}
	}
	if !i.load(&i.indexPage, i.partition.indexOffset(), i.partition.indexSize, cache.Index) {
		return false
	}
	i.index.open(openPartitionBlock(i.indexPage.bytes).index)
	i.part = n
	return true
}

// loadBlock makes a data block of the partition current.
func (i *iter) loadBlock(n int) bool {
	if n < 0 || n >= i.index.n {
		return false
	}
	if n == i.blockAt {
		return true
	}
	i.blockAt = -1
	start, end := blockRange(&i.index, n)
	if !i.load(&i.dataPage, i.partition.offset+int64(start), end-start, cache.Data) {
		return false
	}
	i.block.open(i.dataPage.bytes)
	i.low, i.high = 0, i.block.n
	if i.o.Lower != nil {
		i.low = i.block.seekGE(i.o.Lower, firstTrailer)
	}
	if i.o.Upper != nil {
		i.high = i.block.seekGE(i.o.Upper, firstTrailer)
	}
	i.key = append(i.key[:0], i.block.prefix...)
	i.blockAt = n
	return true
}

// load gets a block into a page.
func (i *iter) load(p *page, offset int64, size uint32, class cache.Class) bool {
	if raw := i.ahead.bytes(offset, size); raw != nil {
		i.err = i.unpackAhead(p, raw, offset, class)
		return i.err == nil
	}
	h := i.r.cache.Get(i.r.fileNum, uint64(offset))
	if h == nil {
		if h, i.err = i.r.read(offset, size, i.partition.size, class, i.o.FillCache); i.err != nil {
			return false
		}
	}
	p.set(h, h.Bytes())
	return true
}

// unpackAhead gets a block from the read-ahead buffer into a page; only if it is
// compressed, it takes another buffer.
func (i *iter) unpackAhead(p *page, raw []byte, offset int64, class cache.Class) error {
	content, kind, err := checkTrailer(raw, offset)
	if err != nil {
		return i.r.corrupt(offset, err)
	}
	var h *cache.Handle
	if kind != None {
		n, err := uncompressedSize(kind, content)
		if err != nil {
			return i.r.corrupt(offset, err)
		}
		h = i.r.cache.Alloc(n)
		if err := decompress(kind, h.Bytes(), content); err != nil {
			h.Release()
			return i.r.corrupt(offset, err)
		}
		content = h.Bytes()
	}
	p.set(h, content)
	if err := check(content, class, i.partition.size); err != nil {
		return i.r.corrupt(offset, err)
	}
	return nil
}

// ahead is a piece of the file that was read at once.
type ahead struct {
	handle *cache.Handle
	offset int64
}

// maxAhead bounds the buffer; partitions with records so large are read block by
// block.
const maxAhead = 4 << 20

// cover reads partition n and those behind it that fit into size bytes, unless it
// is there already.
func (a *ahead) cover(r *Reader, n, size int) error {
	first := partitionAt(&r.top, n)
	end := first.end()
	if end-first.offset > maxAhead {
		a.release()
		return nil
	}
	if a.bytes(first.offset, uint32(end-first.offset)) != nil {
		return nil
	}
	size = min(size, maxAhead)
	for n++; n < r.top.n; n++ {
		next := partitionAt(&r.top, n).end()
		if next-first.offset > int64(size) {
			break
		}
		end = next
	}
	a.room(r.cache, int(end-first.offset), size)
	a.offset = first.offset
	return r.readAt(a.handle.Bytes(), first.offset)
}

// room makes the buffer n bytes long. A new one gets size bytes, so that it
// lasts.
func (a *ahead) room(c *cache.Cache, n, size int) {
	if a.handle == nil || cap(a.handle.Bytes()) < n {
		a.release()
		a.handle = c.Alloc(max(n, size))
	}
	a.handle.Resize(n)
}

// bytes returns a part of the file if the buffer has it.
func (a *ahead) bytes(offset int64, size uint32) []byte {
	if a.handle == nil || offset < a.offset {
		return nil
	}
	b := a.handle.Bytes()
	from := offset - a.offset
	if from+int64(size) > int64(len(b)) {
		return nil
	}
	return b[from : from+int64(size)]
}

func (a *ahead) release() {
	if a.handle != nil {
		a.handle.Release()
	}
	*a = ahead{}
}
