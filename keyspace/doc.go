// Package keyspace lays Redis' keys and data types onto the ordered keys of an
// engine: databases, metadata, expiry, strings, and the locks and transactions that make
// commands atomic. It knows no RESP and no sockets.
//
// # Where to start reading
//
// encoding.go draws what is stored. txn.go is how a command reads and writes, with Commit, the one
// place through which every change goes; entry.go finds, writes and deletes one key. Then one file per
// concern: string.go and chunk.go, key.go, database.go (SELECT, FLUSHDB, SWAPDB), expiry.go, watch.go, scan.go, lock.go.
// check.go says what always holds.
//
// # Invariants
//
//   - The counters of a database equal the number of its metadata records, and of those with a
//     deadline. They change in the same batch as the records.
//   - The expiry index has one record for each key with a deadline, and no other.
//   - Every element belongs to the metadata record that names its home and id.
//   - A key is changed by a holder of its stripe only, who tells those who watch it.
//   - A locked transaction reads everything that is applied; its replies, even those of
//     commands that wrote nothing, wait until what they saw is committed.
//
// # Expiry
//
// A key expires when the node that leads says so, by its clock; for everybody else it has expired when that is in the log. Three rules make this
// true whatever the clocks of the nodes show:
//
//   - What has expired is deleted by the leader, by ordinary writes: by a search along the time-ordered index, or by whoever looks the key up.
//   - Whoever is told that a key has gone waits for the commit of that deletion (Txn.seen), as for a write of his own. So the next leader, whose
//     clock may be behind, can not show the key again. If the deletion can not be written, the read fails (ErrUndecided).
//   - Compactions drop what has expired only where the log says that it has: the leader writes, now and then, that at a position of the
//     log everything with a deadline up to a time was deleted (writeHorizon), and each node lets its engine drop what was written up
//     to there (learnHorizon). A leader whose clock is behind writes behind that position, so nothing of it is concerned.
//
// Replicas that are read (READONLY) hide what has expired by their own clock, and write nothing: such reads may be old, or ahead.
//
// Rejected: a clock that never runs behind the newest time in the log. Where a leader's clock was wrong by an hour, either nothing
// would expire for an hour, or all that follow would have to be wrong as well; nor would it help those who were told of an expiry that is not in the log.
// Rejected: dropping by deadline alone up to a time, as the engine of one node could. It takes keys away, uncounted, that a leader with a slower clock
// has written; and to keep those from being written, all leaders would have to stay ahead of the fastest clock there ever was.
//
// # Decisions
//
//   - Reads take no locks. A single lookup reads the newest committed state; commands that need
//     several records to belong together read a snapshot.
//   - The database stands before the slot in a key, so FLUSHDB is one range. Cluster mode has
//     only database 0, where a slot is a range all the same.
//   - Elements are keyed by the place and an id of their value, not by the name of their key. RENAME of
//     a value of any size writes three records. Rejected: the user key in front of every
//     element, with a version; longer, and RENAME would have to rewrite the value.
//   - The elements of a long string are deleted with it, one by one or, when there are many, by a range
//     tombstone, so that disk space comes back by ordinary compaction. Rejected for strings: a
//     compaction filter, which drops elements only where compaction happens to pass.
//   - SCAN walks the keys in the order of slot and keyed hash. Its cursor is the place of
//     the next key, and needs no state in the server.
//   - The expiry index is kept exact when a deadline changes. Rejected: leaving old records to be found
//     out later; a session store that refreshes its deadlines would keep one for each refresh.
//   - WATCH is a registry at the stripes, not a comparison of versions: writers look at one
//     pointer when nobody watches, and the rules of Redis for keys that had expired
//     before they were watched can be followed to the letter.
package keyspace
