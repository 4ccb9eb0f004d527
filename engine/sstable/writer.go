package sstable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/vfs"
)

// WriterOptions configure a Writer. Zero means default.
type WriterOptions struct {
	BlockSize     int         // bytes of a data block in the file if it is not compressed; 4096
	PartitionSize int         // bytes of data per partition; 128 KiB
	FilterBits    int         // per user key; 12; negative: no filters
	Compression   Compression // of the data blocks; None
	CreatedAt     int64       // unix ms, kept in the properties
}

func (o WriterOptions) withDefaults() WriterOptions {
	if o.BlockSize == 0 {
		o.BlockSize = 4096
	}
	if o.PartitionSize == 0 {
		o.PartitionSize = 128 << 10
	}
	if o.FilterBits == 0 {
		o.FilterBits = 12
	}
	o.FilterBits = min(max(o.FilterBits, 0), 64)
	return o
}

// Writer writes a table. It is used by one goroutine, which ends it by Finish or
// Abandon and closes the file itself. Its memory does not grow with the table but
// for some 30 bytes per partition.
type Writer struct {
	file vfs.File
	o    WriterOptions

	compressor compressor
	out        []byte // what is not in the file yet
	written    int64  // bytes in the file
	onItsWay   int64  // of these, on their way to the disk
	raw        []byte // a block before it is compressed

	data, index, top blockWriter
	hashes           []uint64 // of the partition's user keys
	partition        partition
	blockDone        bool // a data block was written that has no index record yet

	key       []byte // the last one
	trailer   base.Trailer
	separator []byte
	deadlines deadlines
	props     Properties
	err       error
}

// outSize is how much is written to the file at once.
const outSize = 256 << 10

// writeBackSize is how much is sent to the disk at once. A disk that gets a table bit by bit while it is made is
// not kept from others for long by the fsync at its end.
const writeBackSize = 1 << 20

// NewWriter starts a table in an empty file.
func NewWriter(f vfs.File, o WriterOptions) *Writer {
	o = o.withDefaults()
	w := &Writer{file: f, o: o, compressor: newCompressor(o.Compression)}
	w.props.Compression = o.Compression
	w.props.CreatedAt = o.CreatedAt
	w.props.FilterBits = uint64(o.FilterBits)
	w.out = make([]byte, 0, outSize+outSize/4)
	return w
}

// Add appends a record. Records come in the order of internal keys, each once.
// Key and value are copied. After an error, all calls fail with it.
func (w *Writer) Add(key []byte, trailer base.Trailer, value []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(value) > math.MaxInt32 || len(key) > math.MaxInt32 {
		return w.fail(errors.New("record too large"))
	}
	order := 1
	if w.props.Entries > 0 {
		if order = bytes.Compare(key, w.key); order < 0 || order == 0 && trailer >= w.trailer {
			return w.fail(fmt.Errorf("keys out of order: %q %s after %q %s", key, trailer, w.key, w.trailer))
		}
	}
	if trailer.Kind() > base.MaxKind {
		return w.fail(fmt.Errorf("record kind %d", trailer.Kind()))
	}
	if err := w.makeRoom(key, trailer, value, order == 0); err != nil {
		return err
	}
	if w.o.FilterBits > 0 && (order != 0 || len(w.hashes) == 0) {
		w.hashes = append(w.hashes, Hash(key))
	}
	w.data.add(key, trailer, value)
	w.props.count(key, trailer, value)
	if trailer.Kind() == base.KindSetExpiring && len(value) >= 8 {
		w.deadlines.add(int64(binary.BigEndian.Uint64(value[len(value)-8:])))
	}
	w.key = append(w.key[:0], key...)
	w.trailer = trailer
	if len(value) > w.o.BlockSize {
		w.flushData()
	}
	return w.err
}

// makeRoom ends the block and the partition before a record if they are full.
func (w *Writer) makeRoom(key []byte, trailer base.Trailer, value []byte, sameKey bool) error {
	if w.data.len() > 0 && w.data.sizeWith(key, trailer, len(value))+blockTrailer > w.o.BlockSize {
		w.flushData()
	}
	if !w.blockDone {
		return w.err
	}
	separator, at := w.separatorTo(key, sameKey)
	w.endBlock(separator, at)
	if int(w.partition.size) >= w.o.PartitionSize {
		w.endPartition(separator, at)
	}
	return w.err
}

// separatorTo returns an internal key that is at least the last one and less
// than those of key, or, if that is the last key too, less than what follows.
func (w *Writer) separatorTo(key []byte, sameKey bool) ([]byte, base.Trailer) {
	if sameKey {
		return w.key, w.trailer
	}
	w.separator = appendSeparator(w.separator[:0], w.key, key)
	return w.separator, lastTrailer
}

// EstimatedSize returns about how large the file would be if it were finished
// now.
func (w *Writer) EstimatedSize() int64 {
	return w.offset() + int64(w.data.size()+w.index.size()+w.top.size()+filterSize(len(w.hashes), w.o.FilterBits))
}

// Finish writes what is left and syncs the file. The file stays open.
func (w *Writer) Finish() (Properties, error) {
	defer w.compressor.close()
	if w.err != nil {
		return Properties{}, w.err
	}
	if w.data.len() > 0 {
		w.flushData()
	}
	if w.props.Entries > 0 {
		w.endBlock(w.key, lastTrailer)
		w.endPartition(w.key, lastTrailer)
	}
	w.props.Largest = slices.Clone(w.key)
	w.props.Deadlines = w.deadlines.quantiles()
	w.writeEnd()
	if w.err == nil {
		if err := w.file.Sync(); err != nil {
			w.fail(fmt.Errorf("sync table %s: %w", w.file.Name(), err))
		}
	}
	return w.props, w.err
}

// Abandon gives up. The file is the caller's to close and remove.
func (w *Writer) Abandon() {
	w.fail(errors.New("table was abandoned"))
	w.compressor.close()
}

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// offset returns where the next byte goes.
func (w *Writer) offset() int64 { return w.written + int64(len(w.out)) }

// flushData writes the data block.
func (w *Writer) flushData() {
	start, offset := len(w.out), w.offset()
	kind := None
	if w.o.Compression == None {
		w.out = w.data.appendTo(w.out)
	} else {
		w.raw = w.data.appendTo(w.raw[:0])
		var worthIt bool
		if w.out, worthIt = w.compressor.compress(w.out, w.raw); worthIt {
			kind = w.o.Compression
		} else {
			w.out = append(w.out, w.raw...)
		}
		w.raw = reuse(w.raw)
	}
	w.out = appendBlockTrailer(w.out, start, kind, offset)
	size := len(w.out) - start
	if int64(w.partition.size)+int64(size) > math.MaxUint32 {
		w.fail(errors.New("partition too large"))
		return
	}
	w.partition.size += uint32(size)
	w.props.DataBytes += uint64(size)
	w.props.Blocks++
	w.data.reset()
	w.blockDone = true
	w.drain(outSize)
}

// endBlock gives the data block written last its index record.
func (w *Writer) endBlock(separator []byte, trailer base.Trailer) {
	var value [4]byte
	binary.LittleEndian.PutUint32(value[:], w.partition.size)
	w.index.add(separator, trailer, value[:])
	w.blockDone = false
}

// endPartition writes the partition's filter and index.
func (w *Writer) endPartition(separator []byte, trailer base.Trailer) {
	start, offset := len(w.out), w.offset()
	w.out = appendFilter(w.out, w.hashes, w.o.FilterBits)
	n := len(w.out) - start
	w.out = w.index.appendTo(w.out)
	w.out = appendPartitionTail(w.out, n, probesFor(w.o.FilterBits))
	w.out = appendBlockTrailer(w.out, start, None, offset)
	w.partition.indexSize = uint32(len(w.out) - start)
	w.props.IndexBytes += uint64(w.partition.indexSize)
	w.props.Partitions++
	w.top.add(separator, trailer, w.partition.appendTo(nil))
	w.index.reset()
	w.hashes = w.hashes[:0]
	w.partition = partition{offset: w.offset()}
	w.drain(outSize)
}

// writeEnd writes what follows the partitions.
func (w *Writer) writeEnd() {
	f := footer{topOffset: w.offset()}
	start := len(w.out)
	w.out = appendBlockTrailer(w.top.appendTo(w.out), start, None, f.topOffset)
	f.topSize = uint32(len(w.out) - start)
	start = len(w.out)
	w.out = appendBlockTrailer(w.props.appendTo(w.out), start, None, f.propsOffset())
	f.propsSize = uint32(len(w.out) - start)
	w.out = f.appendTo(w.out)
	w.drain(0)
}

// drain writes the buffer to the file when it has at least n bytes.
func (w *Writer) drain(n int) {
	if len(w.out) < n || w.err != nil {
		return
	}
	if _, err := w.file.Write(w.out); err != nil {
		w.fail(fmt.Errorf("write table %s: %w", w.file.Name(), err))
		return
	}
	w.written += int64(len(w.out))
	w.out = reuse(w.out)
	if n := w.written - w.onItsWay; n >= writeBackSize {
		w.file.WriteBack(w.onItsWay, n)
		w.onItsWay = w.written
	}
}
