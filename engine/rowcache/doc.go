// Package rowcache keeps single records of tables in memory, by user key, so that a
// point read of a record that was read or written lately needs one lookup, however many tables
// there are, and not the block around it.
//
// # What a row promises
//
// A row is the newest record that the tables have of its key, or one that is newer and on its
// way into a table. A reader looks into the memtables first. Then, if the row is visible at
// its sequence number, it is what the reader is looking for; if it is not, the tables have to be asked.
//
// Who keeps that promise are flushes, the only ones to bring newer records into tables. A flush
// begins a new generation (Begin), tells the cache of every key that it writes or drops (Flushed)
// and of its range tombstones (Cover), and only then makes the table part of a version. A
// reader adds a row with the generation of the version that it has read (Add), and is refused when
// another has begun, because what it has read may be old. Compactions change nothing about which record
// is the newest. What they drop without a newer record (expired, or not wanted by the owner of the
// data) may be seen for a while longer.
//
// # Memory
//
// Rows lie one behind the other in segments, in the order in which they came, in memory that the
// garbage collector does not look into. Segments are taken as they are needed, up to the capacity;
// then the oldest rows make room, but those that were read since they came, or came round, go to the
// other end (FIFO with reinsertion; Yang et al., "FIFO Queues are All You Need for Cache
// Eviction", SOSP 2023). The index is an array of buckets, one cache line each:
//
//	bucket = 8 slots; slot = tag:u32 position:u32; 0 is empty
//
// The upper half of the hash chooses the bucket, the lower is the tag; the position is in
// units of 8 bytes. A row is
//
//	 0  trailer   uint64  sequence number and kind; the top bit says that the row was read
//	 8  tag       uint32  not 0; 0 ends the segment
//	12  keyLen    uint16
//	14  valueLen  uint16  the top bit says that the value goes on: the row is a head
//	16  key, value, padding to 8 bytes
//
// So a hit costs the cache line of the slot and those of the row.
//
// # Admission
//
// While there is room, everything that is read goes in, and all that is flushed, if reads are made at all. When it is full, a record goes in when it is read a second time within a while; a
// flush then only keeps the rows that are there up to date.
//
// # Heads
//
// Who wants to know about a record and not what is in it (does it exist, of what kind is it?) asks for the first
// HeadSize bytes. Of a long value the row then is a head, so that overwriting values of a kilobyte needs 100 bytes of memory
// for each. A head is no answer to who wants more, and makes room for the whole row when that is added.
//
// # Locks
//
// log.mu, then one stripe. Stripes guard buckets and the rows that their slots name; log.mu
// guards what no slot names, and the order of rows.
//
// # Rejected
//
//   - Rows by table and key, as RocksDB has them: a read asks once per level, and each compaction
//     makes its rows worthless.
//   - Removing rows on every write: the memtable hides them anyway until the flush, which costs
//     the writers nothing.
//   - Readers without locks: a torn row would have to be noticed after it was copied. An uncontended
//     stripe costs less than the cache miss of its bucket.
package rowcache
