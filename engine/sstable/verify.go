package sstable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gtinside/corecache/engine/base"
)

// Verify reads the whole table and checks that all checksums match, that records
// are in order and where the indexes and filters say, and that the properties
// tell the truth. Damage gives an error that wraps base.ErrCorrupt.
func (r *Reader) Verify() error {
	v := verifier{r: r}
	for n := range r.top.n {
		if err := v.partition(n); err != nil {
			return err
		}
	}
	v.props.Largest = append([]byte{}, v.key...)
	if err := v.compareProperties(); err != nil {
		return r.corrupt(r.size-footerSize, err)
	}
	return nil
}

// verifier holds what was seen so far.
type verifier struct {
	r       *Reader
	key     []byte
	trailer base.Trailer
	props   Properties
	times   deadlines
	buf     []byte
}

func (v *verifier) partition(n int) error {
	p := partitionAt(&v.r.top, n)
	data, err := v.read(p.indexOffset(), p.indexSize)
	if err != nil {
		return err
	}
	if err := checkPartitionBlock(data, p.size); err != nil {
		return v.r.corrupt(p.indexOffset(), err)
	}
	data = bytes.Clone(data)
	pb := openPartitionBlock(data)
	var index block
	index.open(pb.index)
	for i := range index.n {
		start, end := blockRange(&index, i)
		offset := p.offset + int64(start)
		data, err := v.read(offset, end-start)
		if err != nil {
			return err
		}
		if err := v.block(data, pb); err != nil {
			return v.r.corrupt(offset, err)
		}
		v.props.DataBytes += uint64(end - start)
		if err := v.separator(&index, i); err != nil {
			return v.r.corrupt(p.indexOffset(), err)
		}
	}
	if err := v.separator(&v.r.top, n); err != nil {
		return v.r.corrupt(p.indexOffset(), err)
	}
	v.props.Partitions++
	v.props.IndexBytes += uint64(p.indexSize)
	return nil
}

// read reads a block past the cache.
func (v *verifier) read(offset int64, size uint32) ([]byte, error) {
	v.buf = grow(v.buf[:0], int(size))[:size]
	if err := v.r.readAt(v.buf, offset); err != nil {
		return nil, err
	}
	plain, err := unpackBytes(v.buf, offset)
	if err != nil {
		return nil, v.r.corrupt(offset, err)
	}
	return plain, nil
}

// unpackBytes returns the content of a block with its trailer.
func unpackBytes(data []byte, offset int64) ([]byte, error) {
	content, kind, err := checkTrailer(data, offset)
	if err != nil || kind == None {
		return content, err
	}
	n, err := uncompressedSize(kind, content)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, n)
	return plain, decompress(kind, plain, content)
}

func (v *verifier) block(data []byte, pb partitionBlock) error {
	if err := checkBlock(data); err != nil {
		return err
	}
	var b block
	b.open(data)
	if b.n == 0 {
		return errBlock
	}
	for i := range b.n {
		if err := v.record(&b, i, pb); err != nil {
			return err
		}
	}
	v.props.Blocks++
	return nil
}

func (v *verifier) record(b *block, i int, pb partitionBlock) error {
	key, trailer := b.appendKey(nil, i), b.trailer(i)
	value := b.value(i)
	if v.props.Entries > 0 && base.Compare(v.key, v.trailer, key, trailer) >= 0 {
		return fmt.Errorf("key %q %s out of order after %q %s", key, trailer, v.key, v.trailer)
	}
	if at := b.seekGE(key, trailer); at != i {
		return fmt.Errorf("record %d of a block is found at %d", i, at)
	}
	if !mayContain(pb.filter, pb.probes, Hash(key)) {
		return fmt.Errorf("the filter denies key %q", key)
	}
	v.key, v.trailer = key, trailer
	v.props.count(key, trailer, value)
	if trailer.Kind() == base.KindSetExpiring && len(value) >= 8 {
		v.times.add(int64(binary.BigEndian.Uint64(value[len(value)-8:])))
	}
	return nil
}

// separator checks that the i-th record of an index is not before the last record
// that was seen. That the next record is behind it follows from it being found.
func (v *verifier) separator(index *block, i int) error {
	if base.Compare(index.appendKey(nil, i), index.trailer(i), v.key, v.trailer) < 0 {
		return errors.New("separator sorts before a record of its block")
	}
	return nil
}

func (v *verifier) compareProperties() error {
	p := v.r.props
	want := v.props
	want.CreatedAt, want.Compression, want.FilterBits = p.CreatedAt, p.Compression, p.FilterBits
	want.Deadlines = v.times.quantiles()
	if got := fmt.Sprintf("%+v", *p); got != fmt.Sprintf("%+v", want) {
		return fmt.Errorf("properties %s do not describe the table: %+v", got, want)
	}
	return nil
}
