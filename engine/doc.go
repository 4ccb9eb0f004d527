// Package engine is a durable, ordered key-value store: a log-structured
// merge tree with a write-ahead log that can also be replicated.
//
// # Reading the source
//
// db.go holds the struct, its invariants and the lock order. A write goes
// through batch.go and commit.go into the log (package wal) and a memtable
// (package memtable). A full memtable goes through flush.go into a table
// (package sstable) of level 0; picker.go and compaction.go move tables down
// the levels; version.go and manifest.go say which tables there are; get.go
// and iter.go read; recovery.go opens. epoch.go, truncate.go, checkpoint.go and
// install.go are for replication.
//
// # Decisions
//
// Committed position. Everything up to it is decided: acknowledged by the log
// at the configured level, or, with Options.ExternalCommit, by whoever
// replicates. Reads are taken there; tables hold committed records only, so
// that what replication takes back (TruncateAfter) is never further than the
// memtables. Rejected: applying after commit. It needs a second memtable for
// what is pending as soon as a read-modify-write follows another one.
//
// Replication. The log is what other nodes read (NewLogReader, PinLog) and what they append
// (ApplyRecord). Each record carries its epoch; where epochs begin stands in a table (epoch.go),
// of which the flushed part is in the manifest, as the log goes. LogPositions and WatchLog tell how far
// this node's own log is; how far the cluster is, SetCommitted says. CheckpointTables and Install
// move a whole store. Rejected: a file for the epochs beside the log, which could disagree with it.
//
// Expired records. The engine does not decide what has expired. It is told by a Horizon, a time and a position of the log, and drops what
// was written up to the position with a deadline up to the time. Sequence numbers of expiring records
// are therefore never forgotten. Rejected: a time alone; see package keyspace.
//
// Range tombstones do not live in tables. They live in the memtable they were
// written to and, after its flush, in the version. Normally there is none, so
// that reads pay nothing, and tables that one covers entirely leave the
// version with no I/O. Rejected: tombstones in tables, truncated at table
// bounds; they cost every read of every table and free space late.
//
// Reference counts stand on the read state (memtables and version together),
// not on each table: a point read touches one counter. Tables are opened once
// and stay open while their version lives; only file descriptors are bounded.
//
// Point reads look into the memtables, then into the row cache (package rowcache), which has
// single records under one lookup whatever the number of tables, and only then into tables and blocks. It
// takes its memory from the block cache as point reads come, up to three quarters of it.
//
// Levels below 0 are sorted runs; the first of them in use moves with the size
// of the data, so that about 90% of it stands in the last level and space
// amplification stays near 1.1. Rejected: tiered compaction (twice the space),
// and separation of values (the server cuts large values into chunks).
package engine
