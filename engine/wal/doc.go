// Package wal is the write-ahead log: an ordered, durable sequence of records, each with
// an epoch and a range of sequence numbers. It is read at start to rebuild
// what was only in memory, and live by whoever ships it to other nodes.
//
// # Committing
//
// Append numbers a record, encodes it into a buffer in memory and returns;
// it does no I/O. Wait returns when the record is acknowledged: on disk (AckSynced),
// in the hands of the operating system (AckWritten), or at once (AckBuffered).
// Between the two the caller does what else it has to, such as inserting into a memtable.
//
// There is one token. Whoever waits and finds it free becomes the leader and commits for
// everybody:
//
//	gather   (AckSynced) wait a moment for those who are about to append
//	swap     take the buffer, leave an empty one to append to
//	write    one write of everything taken
//	sync     (AckSynced) one fdatasync
//	finish   wake those who are now acknowledged; hand the token to one of
//	         those who are not, because they came after the swap
//
// So a lone writer does its own write without any switch of goroutines, and
// many share one. No goroutine is dedicated to this: handing a lone
// writer's record to another goroutine and waiting for it costs more than the write.
//
// Writers that wait for fsyncs in a closed loop tend to split into two halves which take
// turns: while one half is being synced the other appends, and becomes
// the next group as soon as the fsync is over, before the first half is back. Each
// then waits for two fsyncs. The leader therefore foresees who will come: as many as the
// last group released plus those who already wait. It yields until they are there,
// for at most half of a usual fsync, and gives up more and more readily when they do not come.
//
// Invariants:
//
//   - last >= written >= synced; each only grows, except in TruncateAfter.
//   - Only the holder of the token writes to segments; the buffer that it took
//     belongs to one place in one segment. Appending needs only Log.mu.
//   - A record is in one segment. Segments are written one after the other, and
//     those before the last are sealed.
//   - A record is acknowledged only after the name of its segment is durable.
//
// Lock order: token, Log.trimMu, Log.syncMu, Log.mu; Reader.mu before Log.mu.
//
// Who has written for others tells those who watch the log (Watch), on his own goroutine and with no lock held: what hangs
// on a write, such as shipping it, follows at once.
//
// Two goroutines belong to each log (background.go): the writer, for records that nobody waits for,
// and the keeper, for the periodic fsync and for preparing segments. Where a write is enough for an
// acknowledgement, fsyncs are made without the token: they hold up nobody.
//
// # Failures
//
// A failed write or fsync is final: the log refuses everything from then on (ErrFailed), since after a
// failed fsync the kernel may have dropped pages it reported as written.
// A full disk is different: write(2) says so, the buffer stays and is written
// again to the same place, as often as needed. Until that works Append
// refuses records (ErrFull), so nothing is half taken; whoever waits already gets ErrFull too,
// with an unknown outcome.
//
// # Recovery
//
// Three things can follow the last record of a log: nothing; what a crash left of
// records that were never acknowledged as durable; or damage, behind which durable records
// would be lost. To tell the last two apart, each record says which
// sequence number was durable when it was written. If any header behind the place where
// the records end says that the missing one was durable, that is damage and
// Open refuses (base.ErrCorrupt, file and offset). Otherwise it is cut off.
//
// Stale bytes never become records: each use of a file has an id and a random salt
// that enter the checksums, so what a recycled file held before is void; and
// Open and TruncateAfter shorten the file, durably, before a new
// record can be appended, and continue in a new segment.
//
// # Rejected
//
// Groups of records under one header and one checksum: a reader, a truncation and the hash of what was acknowledged want single
// records. Short records cost nearly as little.
// Blocks of 32 KiB with fragments of records, as LevelDB has them: they allow
// skipping a damaged block, which is just what a database must not do.
// Finding the end of the log by zeros: they cost a pass over every recycled segment.
// A chain of checksums instead of shortening files: a record that is cut and then
// appended again, byte for byte, would bring back what followed it.
// O_DIRECT: fsync of the few pages in the cache is as fast for groups of this size,
// and readers find the tail in the cache.
package wal
