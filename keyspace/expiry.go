package keyspace

import (
	"bytes"
	"math"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/engine"
)

const (
	// expireStep is how many keys are deleted by one batch, with their locks held.
	expireStep = 64
	// expireSteps is how many batches one iterator serves. It keeps files and memtables alive.
	expireSteps = 64
	// horizonLag is how far, in milliseconds, the engine's horizon stays behind the clock.
	horizonLag = 10_000
	// expireRetry is how long the background waits after an error.
	expireRetry = time.Second
)

// never is the due time of a database in which no key expires.
const never = math.MaxInt64

func makeDue(n int) []atomic.Int64 { return make([]atomic.Int64, n) } // 0: not known yet

// noteDeadline says that a key with a deadline has been applied.
func (k *Keyspace) noteDeadline(phys uint16, deadline int64) {
	due := &k.due[phys]
	for old := due.Load(); deadline < old; old = due.Load() {
		if due.CompareAndSwap(old, deadline) {
			return
		}
	}
}

// expire deletes a key whose time is over and that a lookup has met. In a
// locked transaction the deletion becomes part of it.
func (t *Txn) expire(e *entry) error {
	if !t.locked {
		if t.k.readOnly.Load() {
			return nil
		}
		return t.k.expireKey(e.db, t.now, e.key)
	}
	if err := t.remove(e); err != nil {
		return err
	}
	t.noteExpired(e)
	return nil
}

func (t *Txn) noteExpired(e *entry) {
	if t.k.options.Expired != nil {
		t.nkeys = append(t.nkeys, e.key...)
	}
	t.notes = append(t.notes, note{db: e.db, end: len(t.nkeys)})
}

// expireKey deletes one key if its time is over. Nobody waits for the deletion: without
// it the key is just as invisible. An error means that the store can not be read.
func (k *Keyspace) expireKey(db int, now int64, key []byte) error {
	t := k.Begin(db, now, key)
	if _, err := t.lookup(key); err != nil {
		t.Discard()
		return err
	}
	_, err := t.Commit()
	k.failed(err)
	return nil
}

// expireLoop looks for expired keys until Close.
func (k *Keyspace) expireLoop() {
	defer k.background.Done()
	timer := time.NewTimer(k.options.ExpireEvery)
	defer timer.Stop()
	for {
		select {
		case <-k.quit:
			return
		case <-timer.C:
		}
		wait := k.options.ExpireEvery
		if k.activeExpire.Load() && !k.readOnly.Load() {
			if _, err := k.ExpireDue(); err != nil {
				k.failed(err)
				wait = max(wait, expireRetry)
			}
		}
		if k.options.Follows && k.readOnly.Load() {
			k.failed(k.refresh())
		}
		timer.Reset(wait)
	}
}

// ExpireDue deletes all keys whose time is over, a few at a time, and returns how many records of the
// time-ordered index it has worked off; it reads nothing else. Calls must not overlap.
func (k *Keyspace) ExpireDue() (n int, err error) {
	now := k.options.Now()
	for phys := range k.due {
		for k.due[phys].Load() < now {
			if k.closing() || k.readOnly.Load() {
				return n, nil
			}
			m, err := k.expireDatabase(uint16(phys), now)
			n += m
			if err != nil {
				return n, err
			}
		}
	}
	return n, k.raiseHorizon(now)
}

// expireDatabase deletes keys that are due in a physical database.
func (k *Keyspace) expireDatabase(phys uint16, now int64) (n int, err error) {
	k.search.Lock()
	defer k.search.Unlock()
	// A key applied from here on lowers due again. Those applied before are seen by the iterator.
	from := k.due[phys].Swap(never)
	rest := from
	defer func() { k.noteDeadline(phys, rest) }()
	lower := appendExpiryKey(nil, phys, from, position{}, nil)
	_, upper := spaceBounds(spaceExpiry, phys)
	it := k.db.NewIter(engine.IterOptions{Lower: lower, Upper: upper, Latest: true})
	defer it.Close()
	var step expiryStep
	it.First()
	for range expireSteps {
		if k.readOnly.Load() {
			break
		}
		next, err := step.fill(it, now)
		if err == nil && step.n > 0 {
			err = k.expireKeys(phys, &step, now)
		}
		if err != nil {
			return n, err
		}
		n += step.n
		rest = next
		if next >= now {
			break
		}
	}
	return n, nil
}

func (k *Keyspace) closing() bool {
	select {
	case <-k.quit:
		return true
	default:
		return false
	}
}

// expiryStep is a few records of the expiry index, copied.
type expiryStep struct {
	n    int
	buf  []byte
	ends [expireStep]int
	keys [expireStep][]byte
}

// fill takes records that are due from the iterator, and returns the deadline of the one that follows them.
func (s *expiryStep) fill(it *engine.Iterator, now int64) (next int64, err error) {
	s.n, s.buf = 0, s.buf[:0]
	for ; it.Valid(); it.Next() {
		_, next, _, _, err = decodeExpiryKey(it.Key())
		if err != nil || next >= now || s.n == expireStep || len(s.buf) > maxScratch {
			return next, err
		}
		s.buf = append(s.buf, it.Key()...)
		s.ends[s.n] = len(s.buf)
		s.n++
	}
	return never, it.Error()
}

// record is a record of the index, as a key of the engine.
func (s *expiryStep) record(i int) []byte {
	start := 0
	if i > 0 {
		start = s.ends[i-1]
	}
	return s.buf[start:s.ends[i]]
}

// expireKeys deletes the keys of a step, in one batch, and index records that belong to no key.
func (k *Keyspace) expireKeys(phys uint16, s *expiryStep, now int64) error {
	for i := range s.n {
		s.keys[i] = s.record(i)[expiryHeader:]
	}
	t := k.Begin(0, now, s.keys[:s.n]...)
	t.db = k.logical(phys) // only now, when SWAPDB is kept out
	for i, key := range s.keys[:s.n] {
		e, err := t.peek(t.db, key, headSize)
		if err == nil {
			err = t.expireRecord(&e, s.record(i))
		}
		if err != nil {
			t.Discard()
			return err
		}
	}
	_, err := t.Commit()
	return err
}

func (t *Txn) expireRecord(e *entry, record []byte) error {
	t.index = appendExpiryKey(t.index[:0], e.phys, e.meta.deadline, e.pos, e.key)
	if !e.found || !bytes.Equal(t.index, record) {
		t.w.Delete(record) // the key has changed since the iterator was made
		return nil
	}
	if err := t.remove(e); err != nil {
		return err
	}
	t.noteExpired(e)
	return nil
}

// raiseHorizon allows the engine to drop records whose deadline has passed long
// ago, in two steps. First no key with a deadline up to the new horizon may be written
// any more (see Txn.allowed); all that were written have been deleted by then. Once these
// deletions are committed, in a later call, and on disk, the engine is told: compactions write
// to disk at once what they drop, and after a loss of power nobody would count the key out.
func (k *Keyspace) raiseHorizon(now int64) error {
	k.raising.Lock()
	defer k.raising.Unlock()
	if k.raising.seq != 0 {
		if k.raising.seq > k.db.Committed() {
			return nil
		}
		if err := k.db.Sync(); err != nil {
			return err
		}
		k.db.SetExpiryHorizon(k.horizon.Load())
		k.raising.seq = 0
		return nil
	}
	horizon := now - horizonLag
	if horizon < k.horizon.Load()+horizonLag {
		return nil
	}
	k.lockAll()
	defer k.unlockAll()
	for i := range k.due {
		if k.due[i].Load() <= horizon {
			return nil // written since by a client with an old clock
		}
	}
	k.horizon.Store(horizon)
	k.raising.seq = k.db.Last()
	return nil
}

// tooLate reports whether a key with this deadline is not worth writing.
func (t *Txn) tooLate(deadline int64) bool { return deadline != 0 && deadline < t.now }

// allowed is a deadline, 0 for none, that may be written: up to the horizon nothing may be, as the engine
// would drop it uncounted. Only when the clock has stepped back can a deadline be ahead of it and not of the
// horizon; then the key lives a little longer instead of not at all.
func (t *Txn) allowed(deadline int64) int64 {
	if deadline == 0 {
		return 0
	}
	return max(deadline, t.k.horizon.Load()+1)
}
