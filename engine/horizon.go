package engine

// Horizon names records that have expired: those written up to the sequence number Seq
// with a deadline (Batch.SetExpiring) up to Deadline, unix milliseconds. The owner of the data has deleted
// all of them by Seq.
//
// That is a fact about the log, so it holds for every store that has this log up to Seq, and for ever. What
// is written later is not concerned, whatever its deadline: another node may
// write it, whose clock is behind.
type Horizon struct {
	Deadline int64
	Seq      uint64
}

// covers reports whether a record with a deadline is behind the horizon.
func (h Horizon) covers(deadline int64, seq uint64) bool {
	return seq <= h.Seq && deadline <= h.Deadline
}

// SetExpiryHorizon lets flushes and compactions drop what is behind h. The log up to h.Seq must be committed, and
// on this node's disk (Sync): what they drop is gone at once, and after a loss of power the deletions must be there.
//
// cuts is what Truncations said before h was found out: if something was truncated or installed since, h may not be of this
// store, and is ignored, as is one with a Seq that is not greater than the present one's. Snapshots taken earlier keep what
// was alive for them. Reads do not look at deadlines.
func (db *DB) SetExpiryHorizon(h Horizon, cuts uint64) {
	db.commit.mu.Lock() // truncations and Install hold it
	changed := db.cuts.Load() == cuts && db.snaps.raise(h)
	db.commit.mu.Unlock()
	if changed {
		db.schedule() // tables may now be mostly garbage; nothing else may be going on
	}
}

// ExpiryHorizon is the horizon in force. It is not kept: a store that was opened, or installed, has none.
func (db *DB) ExpiryHorizon() Horizon {
	db.snaps.mu.Lock()
	defer db.snaps.mu.Unlock()
	return db.snaps.horizon
}

func (s *snapshots) raise(h Horizon) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.Seq <= s.horizon.Seq {
		return false
	}
	s.horizon = h
	return true
}

// forgetHorizon comes with another store, of which the horizons say nothing. No flush or compaction runs.
func (s *snapshots) forgetHorizon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.horizon = Horizon{}
	for _, o := range s.list {
		o.horizon = Horizon{}
	}
}
