package keyspace

import "sync/atomic"

// Watcher is the set of keys that one client watches. The zero value watches nothing. Its methods are for the
// goroutine that runs the client's commands.
//
// The keys are registered at the stripe that locks them. Whoever changes a key
// holds that lock and tells the watchers; a transaction that locks the watched
// keys as well as its own therefore knows for sure whether they have changed.
type Watcher struct {
	changed atomic.Bool
	keys    map[watchedKey]*watch
}

// watchedKey is a key of a logical database.
type watchedKey struct {
	db  int
	key string
}

// watch is a key watched by one client. Its fields are guarded by the stripe of the key.
type watch struct {
	owner *Watcher
	pos   position
	// deadline of the key, which holds for as long as nobody changes the key; 0: none.
	deadline int64
	// expired: the time of the key was over when it was watched, so that its deletion changes nothing.
	expired bool
}

// Len is the number of keys watched.
func (w *Watcher) Len() int { return len(w.keys) }

func (w *Watcher) reset() {
	w.keys = nil
	w.changed.Store(false)
}

func (w *Watcher) appendLocks(s lockSet) lockSet {
	if w != nil {
		for _, x := range w.keys {
			s = s.add(x.pos)
		}
	}
	return s
}

// Watch adds a key of a database to those that w watches. The client must not read the key, nor be told that it is watched, before seq is
// committed: a write that was applied before, and is not told of any more, would be missing from what it reads.
func (k *Keyspace) Watch(w *Watcher, db int, now int64, key []byte) (seq uint64, err error) {
	id := watchedKey{db, string(key)}
	if w.keys[id] != nil {
		return 0, nil
	}
	t := k.Begin(db, now, key)
	defer func() { seq = t.Discard() }()
	e, err := t.peek(db, key, headSize)
	if err != nil {
		return 0, err
	}
	x := &watch{owner: w, pos: e.pos}
	if e.found {
		x.deadline, x.expired = e.meta.deadline, e.meta.expired(now)
	}
	if w.keys == nil {
		w.keys = make(map[watchedKey]*watch)
	}
	w.keys[id] = x
	s := k.stripe(e.pos)
	if s.watched == nil {
		s.watched = make(map[watchedKey][]*watch)
	}
	if len(s.watched[id]) == 0 {
		k.watchedKeys.Add(1)
	}
	s.watched[id] = append(s.watched[id], x)
	return 0, nil
}

// Watched is the number of keys that somebody watches.
func (k *Keyspace) Watched() int64 { return k.watchedKeys.Load() }

// Unwatch forgets all keys that w watches.
func (k *Keyspace) Unwatch(w *Watcher) {
	for id, x := range w.keys {
		s := k.stripe(x.pos)
		s.Lock()
		k.unregister(s, id, x)
		s.Unlock()
	}
	w.reset()
}

func (k *Keyspace) unregister(s *stripe, id watchedKey, x *watch) {
	list := s.watched[id]
	for i := range list {
		if list[i] == x {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) > 0 {
		s.watched[id] = list
		return
	}
	delete(s.watched, id)
	k.watchedKeys.Add(-1)
	if len(s.watched) == 0 {
		s.watched = nil
	}
}

// Changed reports whether a key that w watches has changed, or has expired since it was watched. The
// transaction must have been begun with w.
func (t *Txn) Changed(w *Watcher) bool {
	if w.changed.Load() {
		return true
	}
	for _, x := range w.keys {
		if !x.expired && x.deadline != 0 && t.now > x.deadline {
			return true
		}
	}
	return false
}

// Unwatch is Keyspace.Unwatch for a transaction that was begun with w: the keys are locked already.
func (t *Txn) Unwatch(w *Watcher) {
	for id, x := range w.keys {
		t.k.unregister(t.k.stripe(x.pos), id, x)
	}
	w.reset()
}

// changedUnseen tells all watchers that their keys may have changed without anybody noticing. All stripes are locked.
func (k *Keyspace) changedUnseen() {
	for i := range k.stripes {
		for _, list := range k.stripes[i].watched {
			for _, x := range list {
				x.owner.changed.Store(true)
			}
		}
	}
}

// touch tells those who watch the key that it was written (e.found) or deleted.
func (t *Txn) touch(e *entry) {
	s := t.k.stripe(e.pos)
	if s.watched == nil {
		return
	}
	for _, x := range s.watched[watchedKey{e.db, string(e.key)}] {
		if x.expired && !e.found {
			x.expired, x.deadline = false, 0 // it was gone before
			continue
		}
		x.owner.changed.Store(true)
	}
}

// watchedIn calls f for each key of a database that is watched. All stripes are locked.
func (t *Txn) watchedIn(db int, f func(key []byte, list []*watch) error) error {
	for i := range t.k.stripes {
		for id, list := range t.k.stripes[i].watched {
			if id.db != db {
				continue
			}
			if err := f([]byte(id.key), list); err != nil {
				return err
			}
		}
	}
	return nil
}

// touchDatabase tells the watchers of a database that all its keys are about to be deleted.
func (t *Txn) touchDatabase(db int) error {
	return t.watchedIn(db, func(key []byte, list []*watch) error {
		e, err := t.peek(db, key, headSize)
		if err != nil || !e.found {
			return err
		}
		e.found = false
		t.touch(&e)
		return nil
	})
}

// touchSwapped tells the watchers of a database that another is about to take its place.
func (t *Txn) touchSwapped(db, with int) error {
	return t.watchedIn(db, func(key []byte, list []*watch) error {
		before, err := t.peek(db, key, headSize)
		if err != nil {
			return err
		}
		after, err := t.peek(with, key, headSize)
		if err != nil {
			return err
		}
		for _, x := range list {
			x.swap(&before, &after, t.now)
		}
		return nil
	})
}

// swap decides whether the exchange of a key's database is a change. One key that
// is missing or expired is as good as another.
func (x *watch) swap(before, after *entry, now int64) {
	gone := !after.found
	expired := after.found && after.meta.expired(now)
	switch {
	case !before.found && gone:
	case x.expired && gone:
		x.expired, x.deadline = false, 0
	case x.expired && expired:
	case !before.found && expired:
		x.expired = true
	default:
		x.owner.changed.Store(true)
	}
}
