package engine

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Epoch is a stretch of the log whose records were numbered by one leader. Each
// record carries the number of its epoch; the numbers never decrease along the log. Epoch
// and sequence number together name one record in the whole cluster: two logs
// that have it are the same up to it.
type Epoch struct {
	Number uint64
	First  uint64 // sequence number of its first record
}

// maxEpochs bounds the table; the oldest epochs are forgotten. A log that ends in one that
// is forgotten has nothing to be compared by.
const maxEpochs = 1024

// epochs is the table of epochs: those up to the flushed position stand in the manifest, as the
// log from which they come may be released; the others come from the log.
type epochs struct {
	last atomic.Uint64 // number

	mu struct {
		sync.Mutex
		list []Epoch // ascending; never changed in place
	}
}

// firstEpoch is where every log begins, also one that has no record of epoch 0.
var firstEpoch = Epoch{Number: 0, First: 1}

// set replaces the table.
func (t *epochs) set(list []Epoch) {
	if len(list) == 0 {
		list = []Epoch{firstEpoch}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.list = list
	t.last.Store(list[len(list)-1].Number)
}

// note takes notice of a record.
func (t *epochs) note(number, seq uint64) {
	if number == t.last.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	list := append(slices.Clone(t.mu.list), Epoch{number, seq})
	t.mu.list = list[max(0, len(list)-maxEpochs):]
	t.last.Store(number)
}

func (t *epochs) all() []Epoch {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.list
}

// upTo returns the epochs that begin at or before seq; nil if there is only the first.
func (t *epochs) upTo(seq uint64) []Epoch {
	list := t.all()
	n := len(list)
	for n > 0 && list[n-1].First > seq {
		n--
	}
	if n == 0 || n == 1 && list[0] == firstEpoch {
		return nil
	}
	return list[:n:n]
}

func checkEpochs(list []Epoch) error {
	for i, e := range list {
		if e.First == 0 || i > 0 && (e.Number <= list[i-1].Number || e.First < list[i-1].First) {
			return fmt.Errorf("%w: the table of epochs is not in order at %v", ErrEpoch, e)
		}
	}
	return nil
}

// Epoch returns the epoch of the last record, which is that of the next one too.
func (db *DB) Epoch() uint64 { return db.epochs.last.Load() }

// Epochs returns the table of epochs, ascending; it starts with epoch 0 at 1, or is
// cut there to the newest 1024. The result must not be modified.
func (db *DB) Epochs() []Epoch { return db.epochs.all() }

// BeginEpoch appends a record that does nothing and begins an epoch, and returns its
// sequence number. Every later Apply is of this epoch. The number must be greater than Epoch(), else the error
// wraps ErrEpoch. The epoch is durable when the record is (Wait, WaitLogged).
func (db *DB) BeginEpoch(number uint64) (seq uint64, err error) {
	now := db.opts.Now()
	db.commit.mu.Lock()
	mem, err := db.reserveLocked(&epochBatch)
	if last := db.Epoch(); err == nil && number <= last {
		err = fmt.Errorf("%w: %d, the log is in epoch %d", ErrEpoch, number, last)
	}
	if err == nil {
		seq, err = db.log.Load().Append(number, epochBatch.count, now, epochBatch.data)
		err = writeError(err)
	}
	if err != nil {
		db.commit.mu.Unlock()
		return 0, err
	}
	db.epochs.note(number, seq)
	ticket := db.commit.takeLocked()
	db.commit.mu.Unlock()
	db.finish(mem, &epochBatch, ticket, seq)
	return seq, nil
}

// CommonEnd returns up to which sequence number two logs are the same, by their tables of
// epochs and the sequence number of their last records. It is not ok if the tables have no
// epoch in common.
//
// An epoch has one leader, who numbered its records; so where both logs have records of an
// epoch, these are the same. The newest epoch that both have ends at different places, or
// goes on into different epochs: they are the same up to the first of these ends, and no further.
func CommonEnd(a []Epoch, aLast uint64, b []Epoch, bLast uint64) (seq uint64, ok bool) {
	for i, j := len(a)-1, len(b)-1; i >= 0 && j >= 0; {
		switch {
		case a[i] == b[j]:
			return min(endOfEpoch(a, i, aLast), endOfEpoch(b, j, bLast)), true
		case a[i].Number >= b[j].Number:
			i--
		default:
			j--
		}
	}
	return 0, false
}

func endOfEpoch(list []Epoch, i int, last uint64) uint64 {
	if i+1 < len(list) {
		return list[i+1].First - 1
	}
	return last
}
