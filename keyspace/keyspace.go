package keyspace

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/engine"
)

// Options configure a Keyspace. The zero value is valid.
type Options struct {
	// Databases is the number of logical databases (16), at most 65536.
	Databases int
	// Now reads the clock by which keys expire, unix milliseconds (the wall clock).
	Now func() int64
	// ExpireEvery is the period at which expired keys are looked for (100 ms).
	// Negative: no goroutine does; see Keyspace.ExpireDue.
	ExpireEvery time.Duration
	// Expired, if set, is told of each key that was deleted because its time was over.
	// It is called with locks held: it must return soon and not use the keyspace. key is valid
	// during the call only.
	Expired func(db int, key []byte)
	// Follows says that another node may write the store: Open creates nothing, that is left to Found.
	Follows bool
	// Failed, if set, is told when a background task failed; it is tried again.
	Failed func(error)
}

// Keyspace is the set of all keys of all databases. Its methods are safe for
// concurrent use.
//
// Lock order: horizon; search; the mutexes of stripes, in ascending order; then those of the engine. No stripe
// is held while a commit is awaited.
type Keyspace struct {
	db       *engine.DB
	options  Options
	stripes  [stripeCount]stripe
	counters [counterShards]shard

	// Self-synchronised.
	hasher       atomic.Pointer[hasher] // without keys while seeded is false
	seeded       atomic.Bool
	databases    atomic.Pointer[databases]
	due          []atomic.Int64 // per physical database: no deadline in the expiry index is earlier, but while search is held
	search       sync.Mutex     // held while one database is searched for expired keys
	expired      atomic.Int64   // keys deleted because their time was over
	activeExpire atomic.Bool
	readOnly     atomic.Bool
	loaded       atomic.Uint64 // engine.DB.Replacements when what is remembered of the store was read
	watchedKeys  atomic.Int64  // keys that somebody watches
	reclaims     atomic.Int32  // requests for a flush not yet served
	txns         sync.Pool

	mu struct {
		sync.Mutex
		closed bool
	}
	horizon struct {
		sync.Mutex
		at      int64  // when one was written last, or there was no reason to
		seq     uint64 // what the log ended with then
		expired int64  // what expired was then
	}
	quit       chan struct{}
	background sync.WaitGroup
}

const (
	counterShards    = 16
	defaultExpire    = 100 * time.Millisecond
	defaultDatabases = 16
)

// shard holds counters of its own cache line, so that cores do not fight for it.
type shard struct {
	hits, misses atomic.Int64
	_            [48]byte
}

// Open reads what the keyspace keeps in the system space of db, or creates it. The
// caller keeps owning db, and closes it after the keyspace.
func Open(db *engine.DB, o Options) (*Keyspace, error) {
	if o.Databases == 0 {
		o.Databases = defaultDatabases
	}
	if o.Databases < 0 || o.Databases > maxDatabases {
		return nil, fmt.Errorf("keyspace: %d databases, at most %d are possible", o.Databases, maxDatabases)
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixMilli() }
	}
	if o.ExpireEvery == 0 {
		o.ExpireEvery = defaultExpire
	}
	k := &Keyspace{db: db, options: o, quit: make(chan struct{})}
	k.txns.New = func() any { return &Txn{k: k} }
	k.activeExpire.Store(true)
	k.horizon.at = o.Now()
	if err := k.load(); err != nil {
		return nil, err
	}
	if o.ExpireEvery > 0 {
		k.background.Add(1)
		go k.expireLoop()
	}
	return k, nil
}

// source is a way to read a record of the store: GetLatest, or Get for what is committed.
type source func(dst, key []byte) ([]byte, error)

// load reads the system records.
func (k *Keyspace) load() error {
	k.loaded.Store(k.db.Replacements())
	if err := k.loadSeed(k.db.GetLatest); err != nil {
		return err
	}
	if !k.options.Follows {
		if err := k.Found(); err != nil {
			return err
		}
	}
	return k.loadDatabases(k.db.GetLatest)
}

// loadSeed reads the hash seed, if there is one.
func (k *Keyspace) loadSeed(get source) error {
	seed, err := get(nil, keySeed)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		k.hasher.Store(new(hasher)) // the store is empty
		k.seeded.Store(false)
		return nil
	case err != nil:
		return fmt.Errorf("keyspace: reading the hash seed: %w", err)
	case len(seed) != seedSize:
		return fmt.Errorf("%w: hash seed of %d bytes", ErrCorrupt, len(seed))
	}
	h := newHasher(seed)
	k.hasher.Store(&h)
	k.seeded.Store(true)
	return nil
}

// Found makes what an empty store needs, once this node is the one that writes it, and does nothing otherwise. No
// transaction may be open.
func (k *Keyspace) Found() error {
	if k.seeded.Load() {
		return nil
	}
	if err := k.create(); err != nil {
		return fmt.Errorf("keyspace: making the hash seed: %w", err)
	}
	return k.loadSeed(k.db.GetLatest)
}

// Reload reads again what the keyspace remembers of the store, after records came into it, or
// were taken back, in other ways than by Commit. It locks all keys for a moment: when it returns, all transactions that
// began before have ended.
func (k *Keyspace) Reload() error { return k.reload(k.db.GetLatest) }

func (k *Keyspace) reload(get source) error {
	k.horizon.Lock() // none that is about what was there before is written any more
	defer k.horizon.Unlock()
	k.horizon.at, k.horizon.seq = k.options.Now(), 0
	k.lockAll()
	defer k.unlockAll()
	replaced := k.db.Replacements()
	if err := k.loadSeed(get); err != nil {
		return err
	}
	for i := range k.due {
		k.due[i].Store(0)
	}
	k.changedUnseen()
	if err := k.loadDatabases(get); err != nil {
		return err
	}
	k.loaded.Store(replaced)
	return nil
}

// Generation names the store that reads see; it is another one after the store was replaced (engine.DB.Install). It is not ok
// between the replacement and the Reload that follows: what is read then may be of either store, or by what the keyspace remembers of the old one. Whoever
// reads without leading compares it before and after.
func (k *Keyspace) Generation() (n uint64, ok bool) {
	n = k.db.Replacements()
	return n, n == k.loaded.Load()
}

// refresh notices what the node that writes the store has changed, and committed, of what the keyspace remembers.
func (k *Keyspace) refresh() error {
	seed, err := k.db.Get(nil, keySeed)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	_, whole := k.Generation()
	if seeded := err == nil; !whole || seeded != k.seeded.Load() || seeded && len(seed) == seedSize && newHasher(seed) != *k.hasher.Load() {
		return k.reload(k.db.Get)
	}
	b, err := k.db.Get(nil, keyDatabases)
	if err != nil {
		if errors.Is(err, engine.ErrNotFound) {
			return nil
		}
		return err
	}
	phys, err := decodeDatabases(b)
	if now := k.databases.Load().phys; err == nil && !slices.Equal(phys, now[:min(len(phys), len(now))]) {
		return k.reload(k.db.Get)
	}
	return err
}

// create makes the seed of a new store. It must be durable before a key is written.
func (k *Keyspace) create() error {
	seed := make([]byte, seedSize)
	rand.Read(seed)
	b := k.db.NewBatch()
	defer b.Release()
	b.Set(keySeed, seed)
	return k.db.Commit(b)
}

// Close stops the background goroutines. No transaction may be open. It may be called more than once.
func (k *Keyspace) Close() error {
	k.mu.Lock()
	first := !k.mu.closed
	k.mu.closed = true
	k.mu.Unlock()
	if first {
		close(k.quit)
	}
	k.background.Wait()
	return nil
}

// start runs f on a goroutine that Close waits for, unless the keyspace is closed.
func (k *Keyspace) start(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.closed {
		return false
	}
	k.background.Add(1)
	go func() {
		defer k.background.Done()
		f()
	}()
	return true
}

func (k *Keyspace) failed(err error) {
	if err != nil && k.options.Failed != nil {
		k.options.Failed(err)
	}
}

// Databases is the number of logical databases.
func (k *Keyspace) Databases() int { return k.options.Databases }

// Now reads the clock by which keys expire, unix milliseconds.
func (k *Keyspace) Now() int64 { return k.options.Now() }

// Stats counts since Open.
type Stats struct {
	Hits, Misses int64 // keys looked up for reading
	Expired      int64 // keys deleted because their time was over
}

// Stats returns the counters. Later calls never show less.
func (k *Keyspace) Stats() (s Stats) {
	for i := range k.counters {
		s.Hits += k.counters[i].hits.Load()
		s.Misses += k.counters[i].misses.Load()
	}
	s.Expired = k.expired.Load()
	return s
}

// SetReadOnly stops (or resumes) the deletion of expired keys, so that the keyspace
// writes nothing by itself. Expired keys stay invisible. Where another node may lead next (Options.Follows), a key that a lookup finds expired
// goes all the same: see Txn.Replica.
func (k *Keyspace) SetReadOnly(on bool) { k.readOnly.Store(on) }

// SetActiveExpire stops (or resumes) the search for expired keys in the background. Keys
// that are looked up still go.
func (k *Keyspace) SetActiveExpire(on bool) { k.activeExpire.Store(on) }
