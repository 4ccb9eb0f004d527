// Package sstable writes and reads immutable sorted tables.
//
// # Format
//
// A file is a row of partitions and an end. A partition is some 128 KiB of data
// blocks and a block of its own, which says where they are and which keys they do
// not have:
//
//	data block | trailer          \
//	...                            | partition
//	filter + index | trailer      /
//	...
//	top index | trailer           a record per partition
//	properties | trailer
//	footer                        32 bytes, where top index and properties are
//
// where, drawn byte by byte next to the code that writes them:
//
//	data block, index, top index   block.go: one format for all three
//	filter                         filter.go
//	filter + index, top index      index.go: what their values mean
//	trailer, footer                footer.go: checksum and compression per block
//	compressed block               compress.go
//	properties                     properties.go
//
// The smallest table, of the record "k" -> "v" with sequence number 1 and kind
// Set, has, without trailers: a data block of 32+8+1+1+1 bytes (header, head, the
// end of the record, prefix "k", the record "v"), its filter of 64 bytes, an
// index with the separator "k", a top index with the same separator.
//
// # Decisions
//
//   - A point read touches the resident top index, then one block that has filter
//     and index of 128 KiB of data, then one data block. A missing key ends at
//     the filter: one lookup in the cache, one cache line of the filter.
//   - Filter and index share a block, because a read that passes the filter needs
//     the index next. Memory stays bounded for files of any size: what is resident
//     is 1/3000 of the data.
//   - Data blocks end before they exceed the block size with their trailer, so that
//     they fill a buffer of the cache exactly. A value larger than a block gets its own.
//   - Blocks have an array of key heads and records with fields of fixed width
//     instead of prefix-compressed records with restart points; see block.
//   - Separators are internal keys: versions of one user key may lie in more than
//     one block, and Get still reads only one.
//   - Checksums are verified at each read from disk, together with the form of the
//     block, so that what is in the cache can be read without doubt.
//
// # Rejected
//
//   - A hash index per block: the binary search over the heads of a block takes
//     about as long as one cache miss, which a hash index has too.
//   - Filters over whole files: they are cold as a whole or hot as a whole, and
//     their size grows with the file.
//   - mmap: a failing disk becomes a signal, and the memory is not ours to bound.
package sstable
