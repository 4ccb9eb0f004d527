package keyspace

import (
	"bytes"
	"errors"
	"fmt"
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
	// horizonEvery is how often, in milliseconds, the engine may learn what has expired.
	horizonEvery = 10_000
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
// locked transaction the deletion becomes part of it; in a view it is a write of its own, for whose commit
// the replies wait as well: otherwise another node, which leads next with a clock that is behind, could show the key again.
func (t *Txn) expire(e *entry) error {
	if !t.locked {
		if t.passes() {
			return nil
		}
		seq, err := t.k.expireKey(e.db, t.now, e.key)
		t.seen = max(t.seen, seq)
		return err
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

// passes reports whether a view leaves expired keys where they are.
func (t *Txn) passes() bool {
	return t.replica || t.k.readOnly.Load() && !t.k.options.Follows
}

// expireKey deletes one key if its time is over, and returns what has to be committed before somebody is told so.
func (k *Keyspace) expireKey(db int, now int64, key []byte) (seq uint64, err error) {
	t := k.Begin(db, now, key)
	if _, err := t.lookup(key); err != nil {
		t.Discard()
		return 0, err
	}
	seq, err = t.Commit()
	return seq, k.alone(err)
}

// alone is told why expired keys could not be deleted that somebody has met. A node on its own goes without: by its clock they stay as invisible
// as they are. In a cluster the next leader has another clock, so nobody may be told that they have gone.
func (k *Keyspace) alone(err error) error {
	if err != nil && k.options.Follows {
		return fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	k.failed(err)
	return nil
}

// ErrUndecided marks why a key that has expired could not be deleted, so that nobody may be told that it has gone.
var ErrUndecided = errors.New("keyspace: an expired key can not be deleted")

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
		if err := k.learnHorizon(); err != nil {
			k.failed(err)
			wait = max(wait, expireRetry)
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
	return n, k.writeHorizon(now)
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
			_, err = k.expireKeys(phys, &step, now)
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

// pass is told of an expired key that a walk passes over. Like those that are looked up it goes; in a locked transaction only the
// first few of a walk do, the others are left to the background.
func (t *Txn) pass(phys uint16, p position, key []byte, m *meta) error {
	if !t.locked && t.passes() {
		return nil
	}
	if t.passed == nil {
		t.passed = new(expiryStep)
	}
	s := t.passed
	if s.full() {
		if t.locked {
			return nil
		}
		if err := t.expirePassed(); err != nil {
			return err
		}
	}
	s.buf = appendExpiryKey(s.buf, phys, m.deadline, p, key)
	s.end()
	return nil
}

// expirePassed deletes the keys that a walk has passed over. In a locked transaction no iterator may be open.
func (t *Txn) expirePassed() error {
	s := t.passed
	if s == nil || s.n == 0 {
		return nil
	}
	defer s.reset()
	if t.locked {
		for i := range s.n {
			if _, err := t.lookupHead(s.record(i)[expiryHeader:]); err != nil {
				return err
			}
		}
		return nil
	}
	phys, _, _, _, err := decodeExpiryKey(s.record(0))
	if err != nil {
		return err
	}
	seq, err := t.k.expireKeys(phys, s, t.now)
	t.seen = max(t.seen, seq)
	return t.k.alone(err)
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
	s.reset()
	for ; it.Valid(); it.Next() {
		_, next, _, _, err = decodeExpiryKey(it.Key())
		if err != nil || next >= now || s.full() {
			return next, err
		}
		s.buf = append(s.buf, it.Key()...)
		s.end()
	}
	return never, it.Error()
}

func (s *expiryStep) reset() { s.n, s.buf = 0, s.buf[:0] }

func (s *expiryStep) full() bool { return s.n == expireStep || len(s.buf) > maxScratch }

// end ends a record that was appended to buf.
func (s *expiryStep) end() {
	s.ends[s.n] = len(s.buf)
	s.n++
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
func (k *Keyspace) expireKeys(phys uint16, s *expiryStep, now int64) (seq uint64, err error) {
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
			return 0, err
		}
	}
	return t.Commit()
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

// writeHorizon writes to the log, now and then, that all keys with a deadline before now have been deleted, if they have. What was written
// up to that position of the log with such a deadline is dead then, on every node that has the log, see learnHorizon.
func (k *Keyspace) writeHorizon(now int64) error {
	k.horizon.Lock() // also against Reload: the position is one of the log that this node leads
	defer k.horizon.Unlock()
	k.horizon.at = min(k.horizon.at, now)
	if now < k.horizon.at+horizonEvery || k.db.Last() == k.horizon.seq {
		return nil
	}
	if k.unexpiring() {
		k.horizon.at = now
		return nil
	}
	h, ok := k.findHorizon(now)
	if !ok {
		return nil
	}
	b := k.db.NewBatch()
	defer b.Release()
	b.Set(keyHorizon, encodeHorizon(h))
	seq, err := k.db.Apply(b)
	if err == nil {
		k.horizon.at, k.horizon.seq, k.horizon.expired = now, seq, k.expired.Load()
	}
	return err
}

// unexpiring reports whether no key has a deadline, nor had one that has expired since the last horizon.
func (k *Keyspace) unexpiring() bool {
	for i := range k.due {
		if k.due[i].Load() != never {
			return false
		}
	}
	return k.expired.Load() == k.horizon.expired
}

// findHorizon returns the position up to which nothing is there any more that expired before now. It is not ok while something is, which was written
// since by a client with an old clock.
func (k *Keyspace) findHorizon(now int64) (h engine.Horizon, ok bool) {
	k.lockAll()
	defer k.unlockAll()
	for i := range k.due {
		if k.due[i].Load() < now {
			return h, false
		}
	}
	return engine.Horizon{Deadline: now - 1, Seq: k.db.Last()}, true
}

// learnHorizon lets the engine drop what the log says has expired. Compactions write to disk at once what they drop, and after a loss of power
// nobody would count the keys out: so the deletions come first to disk, too.
func (k *Keyspace) learnHorizon() error {
	cuts := k.db.Truncations()
	b, err := k.db.Get(nil, keyHorizon)
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keyspace: reading the expiry horizon: %w", err)
	}
	h, err := decodeHorizon(b)
	if err != nil || h.Seq <= k.db.ExpiryHorizon().Seq {
		return err
	}
	if err := k.db.Sync(); err != nil {
		return err
	}
	k.db.SetExpiryHorizon(h, cuts)
	return nil
}

// tooLate reports whether a key with this deadline is not worth writing.
func (t *Txn) tooLate(deadline int64) bool { return deadline != 0 && deadline < t.now }
