package keyspace

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gtinside/corecache/engine"
)

// databases maps logical databases, which clients SELECT, to physical ones, which
// stand in the keys. SWAPDB exchanges two of them. Immutable.
type databases struct {
	phys []uint16
	// seq is the write that made the map. A view of an earlier position has to use older, which is
	// nil once no such view can begin.
	seq   uint64
	older *databases
}

func (k *Keyspace) loadDatabases(get source) error {
	b, err := get(nil, keyDatabases)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("keyspace: reading the map of databases: %w", err)
	}
	phys, err := decodeDatabases(b)
	if err != nil {
		return err
	}
	for i := len(phys); i < k.options.Databases; i++ {
		phys = append(phys, uint16(i))
	}
	if len(k.due) != len(phys) {
		k.due = makeDue(len(phys))
	}
	k.databases.Store(&databases{phys: phys})
	return nil
}

// at returns the map that a view of the committed position seq uses.
func (d *databases) at(seq uint64) *databases {
	for d.seq > seq && d.older != nil {
		d = d.older
	}
	return d
}

// installDatabases makes phys the map from the write seq on. All stripes are held.
func (k *Keyspace) installDatabases(phys []uint16, seq uint64) {
	older := k.databases.Load()
	if older.older != nil && older.seq <= k.db.Committed() {
		older = &databases{phys: older.phys, seq: older.seq}
	}
	k.databases.Store(&databases{phys: phys, seq: seq, older: older})
}

// logical is the reverse of the map: the logical database that shows a physical one.
func (k *Keyspace) logical(phys uint16) int {
	return slices.Index(k.databases.Load().phys, phys)
}

// Each physical database has two counters of the engine.
func keysCounter(phys uint16) uint32    { return 2 * uint32(phys) }
func expiresCounter(phys uint16) uint32 { return 2*uint32(phys) + 1 }

// Size is the number of keys of a database, and how many of them have a deadline. Keys count until
// they are deleted, which for those whose time is over takes a moment.
func (k *Keyspace) Size(db int) (keys, expires int64) {
	phys := k.databases.Load().phys[db]
	return k.db.Counter(keysCounter(phys)), k.db.Counter(expiresCounter(phys))
}

// Size is Keyspace.Size of the selected database, with the changes of the transaction.
func (t *Txn) Size() (keys, expires int64) {
	phys := t.phys(t.db)
	return t.counter(keysCounter(phys)), t.counter(expiresCounter(phys))
}

func (t *Txn) counter(id uint32) int64 {
	if t.indexed != nil {
		return t.indexed.Counter(id)
	}
	return t.k.db.Counter(id)
}

// Flush deletes all keys of the selected database. The transaction must hold all keys.
func (t *Txn) Flush() error {
	if err := t.touchDatabase(t.db); err != nil {
		return err
	}
	phys := t.phys(t.db)
	for _, space := range []byte{spaceMeta, spaceElement, spaceExpiry} {
		lower, upper := spaceBounds(space, phys)
		t.w.DeleteRange(lower, upper)
	}
	t.resetCounters(phys)
	t.flushed = true
	return nil
}

// FlushAll deletes all keys. The transaction must hold all keys.
func (t *Txn) FlushAll() error {
	for db := range t.k.options.Databases {
		if err := t.touchDatabase(db); err != nil {
			return err
		}
	}
	t.w.DeleteRange([]byte{spaceMeta}, []byte{spaceEnd})
	for _, phys := range t.physAll() {
		t.resetCounters(phys)
	}
	t.flushed = true
	return nil
}

func (t *Txn) resetCounters(phys uint16) {
	for _, id := range []uint32{keysCounter(phys), expiresCounter(phys)} {
		if n := t.counter(id); n != 0 {
			t.w.Add(id, -n)
		}
	}
}

// Swap exchanges two logical databases. The transaction must hold all keys.
func (t *Txn) Swap(a, b int) error {
	if a == b {
		return nil
	}
	if err := t.touchSwapped(a, b); err != nil {
		return err
	}
	if err := t.touchSwapped(b, a); err != nil {
		return err
	}
	phys := slices.Clone(t.physAll())
	phys[a], phys[b] = phys[b], phys[a]
	t.swapped = phys
	t.w.Set(keyDatabases, encodeDatabases(phys))
	return nil
}

// reclaim gives the disk space of flushed databases back soon: the engine lets
// tables go once the tombstones over them have left the memtable.
func (k *Keyspace) reclaim() {
	if k.reclaims.Add(1) > 1 {
		return // the running one goes round again
	}
	started := k.start(func() {
		for n := int32(1); n > 0; n = k.reclaims.Add(-n) {
			k.failed(k.db.Flush())
		}
	})
	if !started {
		k.reclaims.Store(0)
	}
}
