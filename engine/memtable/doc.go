// Package memtable is the sorted table in memory that takes the writes before
// they are flushed: a B+tree in an arena, with inserts and readers beside each
// other.
//
// # Invariants
//
//   - A record is written once and never moves. What a reader has found stays
//     valid until Reset.
//   - A leaf's records are those between the separator left of it in its parent,
//     which is its first record and stays so, and the one right of it. Leaves are
//     only ever split, never merged; only the first may be empty.
//   - A leaf changes visibly in two ways: a new record appears when the leaf's
//     order is stored, at once; or the leaf is split, which changes its version.
//   - Readers take no lock and write nothing (optimistic lock coupling: Leis,
//     Haubenschild, Neumann, "Optimistic Lock Coupling: A Scalable and Efficient
//     General-Purpose Synchronization Method", 2019). They read a node's version,
//     the node, and the version again.
//   - Splits hold one mutex and latch each node that they change from the leaf
//     upwards, until its parent is right. Other inserts lock just their leaf, for
//     five stores.
//
// # Decisions
//
//   - A search costs what it misses in the CPU's caches. The tree has the first 8
//     bytes of each key in arrays: inner nodes stay in the caches, a leaf has three
//     lines, and the record itself is looked at only when prefixes are equal.
//   - Records, in the order of arrival, and nodes grow towards each other in one
//     []byte, and refer to each other by 32-bit offsets in units of 8 bytes. The
//     garbage collector never looks into it, and a table is used again without
//     clearing it.
//   - Space is reserved before a batch is logged, so Add cannot fail: NodeSize
//     counts a record's share of leaves that are half full.
//   - Ascending keys go straight to the last leaf, and a split there leaves it full.
//   - A small blocked Bloom filter over the user keys lets a point read pass by a
//     table that does not hold the key with one cache miss.
//
// # Rejected
//
//   - A skiplist, with key prefixes in the nodes and links by compare-and-swap: it
//     was built and measured. It takes about a dozen cache misses per search where
//     this takes three; inserts and reads were three to four times slower.
//   - A hash index for point reads: the filter gives most of it for a tenth of
//     the memory, and cannot disagree with the tree.
package memtable
