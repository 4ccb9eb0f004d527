package protocol

import (
	"errors"
	"fmt"
	"time"
)

// Config is what a core is told at its start. With Beacon 100 ms, Silence 500 ms, Lag 1 s,
// Lease 800 ms and Grace 1 s another leader serves little more than a second after
// the death of one, and a dead follower stops writes for half a second.
type Config struct {
	Node        string // its id, the same for the life of the node
	Incarnation string // another one for each start of the process

	// Beacon is the time between two beacons of a leader.
	Beacon time.Duration
	// Silence is how long a follower may go without acknowledging a beacon
	// before the leader takes it out of the ISR.
	Silence time.Duration
	// Lag is how long a follower's log may be behind before the same happens.
	Lag time.Duration
	// Lease is how long a leader serves reads after it sent the oldest of the newest
	// beacons that its followers have acknowledged.
	Lease time.Duration
	// Grace is how long a follower hears no beacon before it claims.
	Grace time.Duration

	Settings
}

// Settings may change while the core runs (SetSettings).
type Settings struct {
	// MinReplicas is how many followers in sync a write needs.
	MinReplicas int
	// AckSynced: a record is acknowledged once it is synced; otherwise
	// as soon as it survives the end of the process.
	AckSynced bool
}

// Validate reports all problems at once.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("replication: "+format, args...))
		}
	}
	check(c.Node != "", "the node needs an id")
	check(c.Incarnation != "", "the incarnation needs an id")
	check(c.Beacon > 0, "the time between beacons (%v) must be positive", c.Beacon)
	check(c.Silence >= 2*c.Beacon, "silence (%v) must be at least two beacons (%v)", c.Silence, c.Beacon)
	check(c.Lease > c.Silence, "lease (%v) must be longer than silence (%v)", c.Lease, c.Silence)
	check(c.Lag >= c.Silence, "lag (%v) must be at least silence (%v)", c.Lag, c.Silence)
	check(c.Grace >= c.Lease+c.Lease/10, "grace (%v) must be a tenth longer than lease (%v), for clocks differ", c.Grace, c.Lease)
	check(c.MinReplicas >= 0, "the number of replicas (%d) must not be negative", c.MinReplicas)
	return errors.Join(errs...)
}

// Log describes the log with which a core starts. All of it is synced.
type Log struct {
	ID        LogID
	Base      Position     // of the record before the first one that the log still has
	Epochs    []EpochStart // of the records behind Base
	Last      uint64       // sequence number; Base.Seq if there are no records
	Committed uint64       // known to be committed, Base.Seq <= Committed <= Last
}

// history checks what must hold of the log and takes it over.
func (l Log) history() (history, error) {
	h := history{base: l.Base, last: l.Base.Seq}
	for i, s := range l.Epochs {
		end := l.Last
		if i+1 < len(l.Epochs) {
			end = l.Epochs[i+1].First - 1
		}
		if s.First != h.last+1 || s.Epoch < h.end().Epoch || end < s.First {
			return h, fmt.Errorf("replication: epoch %d of the log begins at %d, after epoch %d ended at %d", s.Epoch, s.First, h.end().Epoch, h.last)
		}
		h.extend(s.Epoch, end)
	}
	switch {
	case l.ID == LogID{}:
		return h, errors.New("replication: the log has no id")
	case h.last != l.Last:
		return h, fmt.Errorf("replication: the log ends at %d, its epochs at %d", l.Last, h.last)
	case l.Committed < l.Base.Seq || l.Committed > l.Last:
		return h, fmt.Errorf("replication: %d is committed in a log from %d to %d", l.Committed, l.Base.Seq, l.Last)
	}
	return h, nil
}
