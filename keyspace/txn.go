package keyspace

import (
	"bytes"
	"errors"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/base"
)

// Txn is what one command, or a whole MULTI, reads and writes.
//
// There are two kinds. A view (View) takes no locks and writes nothing; each
// lookup reads the newest committed state, unless Pin fixes one. A locked
// transaction (Begin, BeginAll) holds the locks of its keys, reads everything
// that is applied, and collects its writes in one batch, which Commit applies.
//
// Every Txn ends with Commit or Discard, after which it must not be used: it serves
// another command. Slices that its methods return alias its buffers: they are
// valid until Select, Commit or Discard. Slices given to it are copied. It is
// used by one goroutine at a time.
type Txn struct {
	k   *Keyspace
	db  int   // logical
	now int64 // unix milliseconds

	latest  bool    // reads what is applied, not only what is committed
	locked  bool    // holds locks, may write
	all     bool    // holds all locks
	replica bool    // see Replica
	locks   lockSet // else these
	batch   *engine.Batch
	indexed *engine.Txn // instead of batch where later reads have to see earlier writes
	w       writer      // batch or indexed
	placed  []byte      // the last key given to Begin, so that it is not hashed twice
	place   position    // where it stands
	snap    *engine.Snapshot
	pinned  *engine.Iterator // a fixed view of everything applied
	mapped  *databases       // the map of databases that belongs to snap or pinned

	seen    uint64      // a view: what has to be committed, as it has shown in what was read
	passed  *expiryStep // expired keys that a walk has met, nil: none
	err     error       // why the transaction can not be committed
	swapped []uint16    // the map of databases after a Swap in this transaction
	flushed bool
	notes   []note              // of keys that have got a deadline or were expired
	nkeys   []byte              // the keys of notes
	gone    map[string]struct{} // metadata keys of expired keys that a plain batch has deleted

	key, index []byte // scratch for keys of the engine
	enc        []byte // scratch for metadata
	val        []byte // what lookups read
}

// writer takes the operations of a batch.
type writer interface {
	Grow(n int)
	Set(key, value []byte)
	SetExpiring(key, value []byte)
	Delete(key []byte)
	DeleteRange(start, end []byte)
	Add(counter uint32, delta int64)
}

// note is something to be done once the batch is applied.
type note struct {
	phys     uint16
	deadline int64 // not 0: the key has got this deadline
	db       int   // else: the key expired
	end      int   // of the key in nkeys
}

// maxScratch bounds the buffers that a pooled Txn keeps.
const maxScratch = 256 << 10

// View returns a transaction that only reads, without locks. latest makes it see writes that are
// not committed yet: for a client that has written itself.
func (k *Keyspace) View(db int, now int64, latest bool) *Txn {
	t := k.txns.Get().(*Txn)
	t.db, t.now, t.latest = db, now, latest
	return t
}

// Replica makes a view one of a node that does not lead, of what it has: keys that have expired by this node's clock are not
// found, but left for the leader to delete.
func (t *Txn) Replica() { t.replica = true }

// Begin locks the keys, of any database, and returns a transaction over them.
func (k *Keyspace) Begin(db int, now int64, keys ...[]byte) *Txn {
	t := k.View(db, now, true)
	for _, key := range keys {
		t.placed, t.place = key, k.locate(key)
		t.locks = t.locks.add(t.place)
	}
	t.begin(t.locks.sort())
	return t
}

func (t *Txn) locate(key []byte) position {
	if len(key) > 0 && len(key) == len(t.placed) && &key[0] == &t.placed[0] {
		return t.place
	}
	return t.k.locate(key)
}

// BeginMulti is Begin for a transaction of several commands: each sees the writes of those before it. With all, every
// key is locked. w may be nil; the keys that it watches are locked, too.
func (k *Keyspace) BeginMulti(db int, now int64, w *Watcher, all bool, keys ...[]byte) *Txn {
	t := k.View(db, now, true)
	t.all = all
	if !all {
		for _, key := range keys {
			t.locks = t.locks.add(k.locate(key))
		}
		t.locks = w.appendLocks(t.locks)
		t.locks.sort()
	}
	t.begin(true)
	return t
}

// BeginAll locks all keys of all databases: for the commands that change them all at once.
func (k *Keyspace) BeginAll(db int, now int64) *Txn {
	t := k.View(db, now, true)
	t.all = true
	t.begin(false)
	return t
}

func (t *Txn) begin(indexed bool) {
	if t.all {
		t.k.lockAll()
	} else {
		t.locks.lock(t.k)
	}
	t.locked = true
	if indexed {
		t.indexed = t.k.db.NewTxn()
		t.w = t.indexed
	} else {
		t.batch = t.k.db.NewBatch()
		t.w = t.batch
	}
}

// Locked reports whether the transaction holds locks, so that its owner must not wait for anybody.
func (t *Txn) Locked() bool { return t.locked }

// DB is the database selected.
func (t *Txn) DB() int { return t.db }

// Select makes db the database that keys belong to. What was returned before is not valid any more.
func (t *Txn) Select(db int) {
	t.db = db
	t.val = t.val[:0]
}

// Pin makes all further lookups of a view read one state: for commands that read several
// records which others may change together.
func (t *Txn) Pin() {
	if t.fixed() {
		return
	}
	for d := t.k.databases.Load(); ; {
		if t.latest {
			t.pinned = t.k.db.NewIter(engine.IterOptions{Lower: []byte{spaceMeta}, Upper: []byte{spaceEnd}, Latest: true})
			t.mapped = d
		} else {
			t.snap = t.k.db.NewSnapshot()
			t.mapped = d.at(t.snap.Seq())
		}
		again := t.k.databases.Load()
		if again == d {
			return
		}
		d = again // a SWAPDB came between the choice of the map and the view
		t.unpin()
	}
}

func (t *Txn) unpin() {
	if t.snap != nil {
		t.snap.Close()
	}
	if t.pinned != nil {
		t.pinned.Close()
	}
	t.snap, t.pinned, t.mapped = nil, nil, nil
}

// Commit applies the writes, releases the locks and ends the transaction. The
// transaction's replies must not be sent before seq is committed; 0 means that they
// hold nothing uncommitted. After an error nothing has been applied, unless the
// error wraps engine.ErrReadOnly.
//
// This is the choke point: every change of a key, by whatever command or by
// expiry, is applied here and nowhere else.
func (t *Txn) Commit() (seq uint64, err error) {
	defer t.end()
	switch {
	case t.err != nil:
		return 0, t.err
	case t.locked && !t.pending().Empty():
		if seq, err = t.k.db.Apply(t.pending()); err == nil {
			t.applied(seq)
		}
		return seq, err
	case t.latest:
		return t.k.db.Last(), nil // what has been read may not be committed
	}
	return t.seen, nil
}

// Discard ends the transaction without applying its writes. Replies are held back until
// seq, as with Commit.
func (t *Txn) Discard() (seq uint64) {
	seq = t.seen
	if t.latest {
		seq = t.k.db.Last()
	}
	t.end()
	return seq
}

func (t *Txn) pending() *engine.Batch {
	if t.indexed != nil {
		return t.indexed.Batch()
	}
	return t.batch
}

// applied does what has to follow a write, while the locks are still held.
func (t *Txn) applied(seq uint64) {
	if t.swapped != nil {
		t.k.installDatabases(t.swapped, seq)
	}
	start := 0
	for _, n := range t.notes {
		if n.deadline != 0 {
			t.k.noteDeadline(n.phys, n.deadline)
			continue
		}
		t.k.expired.Add(1)
		if f := t.k.options.Expired; f != nil {
			f(n.db, t.nkeys[start:n.end])
		}
		start = n.end
	}
	if t.flushed {
		t.k.reclaim()
	}
}

func (t *Txn) end() {
	switch {
	case t.all:
		t.k.unlockAll()
	case t.locked:
		t.locks.unlock(t.k)
	}
	if t.batch != nil {
		t.batch.Release()
	}
	if t.indexed != nil {
		t.indexed.Release()
	}
	t.unpin()
	k := t.k
	*t = Txn{
		k: k, locks: t.locks[:0], notes: t.notes[:0], nkeys: t.nkeys[:0],
		key: t.key[:0], index: t.index[:0], enc: t.enc[:0], val: t.val[:0],
	}
	if cap(t.key)+cap(t.enc)+cap(t.val)+cap(t.nkeys)+8*cap(t.locks) <= maxScratch {
		k.txns.Put(t)
	}
}

// databases is the map that the next read has to use.
func (t *Txn) databases() *databases {
	switch {
	case t.mapped != nil:
		return t.mapped
	case t.latest:
		return t.k.databases.Load()
	}
	return t.k.databases.Load().at(t.k.db.Committed())
}

// phys is the physical database of a logical one.
func (t *Txn) phys(db int) uint16 { return t.physAll()[db] }

func (t *Txn) physAll() []uint16 {
	if t.swapped != nil {
		return t.swapped
	}
	return t.databases().phys
}

// get appends the value of an engine key to dst.
func (t *Txn) get(dst, key []byte) (_ []byte, ok bool, err error) {
	return t.getHead(dst, key, base.Whole)
}

// getHead is get of at least the first n bytes; see engine.DB.GetHead.
func (t *Txn) getHead(dst, key []byte, n int) (_ []byte, ok bool, err error) {
	switch {
	case t.indexed != nil:
		dst, err = t.indexed.Get(dst, key)
	case t.snap != nil:
		dst, err = t.snap.Get(dst, key)
	case t.pinned != nil:
		return t.getPinned(dst, key)
	case t.latest:
		dst, err = t.k.db.GetHeadLatest(dst, key, n)
	default:
		dst, err = t.k.db.GetHead(dst, key, n)
	}
	if err == nil {
		return dst, true, nil
	}
	if errors.Is(err, engine.ErrNotFound) {
		err = nil
	}
	return dst, false, err
}

func (t *Txn) getPinned(dst, key []byte) (_ []byte, ok bool, err error) {
	if t.pinned.SeekGE(key) && bytes.Equal(t.pinned.Key(), key) {
		return append(dst, t.pinned.Value()...), true, nil
	}
	return dst, false, t.pinned.Error()
}

// iterate returns an iterator over a space of the selected database, from
// lower on. The caller closes it.
func (t *Txn) iterate(space byte, from []byte) *engine.Iterator {
	for {
		d := t.databases()
		phys := d.phys[t.db]
		if t.swapped != nil {
			phys = t.swapped[t.db]
		}
		lower, upper := spaceBounds(space, phys)
		o := engine.IterOptions{Lower: append(lower, from...), Upper: upper, Latest: t.latest}
		var it *engine.Iterator
		switch {
		case t.indexed != nil:
			it = t.indexed.NewIter(o)
		case t.snap != nil:
			it = t.snap.NewIter(o)
		default:
			it = t.k.db.NewIter(o)
		}
		if t.locked || t.databases() == d {
			return it
		}
		it.Close()
	}
}

// Fail makes Commit return err instead of applying anything: for errors from which the commands of a MULTI
// can not go on.
func (t *Txn) Fail(err error) {
	if t.err == nil {
		t.err = err
	}
}
