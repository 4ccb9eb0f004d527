package keyspace

import "testing"

// watchCase says what happens to a watched key, and whether EXEC has to notice.
type watchCase struct {
	name    string
	before  func(s *store) // before WATCH k
	after   func(s *store) // between WATCH and EXEC
	changed bool
}

func (s *store) del(key string) {
	s.update(key, func(t *Txn) { s.must(t.Delete([]byte(key))) })
}

func (s *store) all(f func(t *Txn) error) {
	s.commit(s.BeginAll(0, s.now), func(t *Txn) { s.must(true, f(t)) })
}

func (s *store) later(ms int64) { s.now += ms }

func (s *store) expireDue() {
	s.Helper()
	if _, err := s.ExpireDue(); err != nil {
		s.Fatal(err)
	}
}

// expired leaves k behind with its time over, but not yet deleted.
func expired(s *store) {
	s.set("k", "v", SetOptions{Deadline: s.now + 5})
	s.later(10)
}

func present(s *store)  { s.set("k", "v", SetOptions{}) }
func expiring(s *store) { s.set("k", "v", SetOptions{Deadline: s.now + 5}) }
func swap(s *store)     { s.all(func(t *Txn) error { return t.Swap(0, 1) }) }
func flush(s *store)    { s.all((*Txn).Flush) }

func inOther(f func(s *store)) func(s *store) {
	return func(s *store) {
		f(s)
		swap(s)
	}
}

// The cases follow multi.c of Redis 7.2.
var watchCases = []watchCase{
	{"nothing", present, func(*store) {}, false},
	{"other key", present, func(s *store) { s.set("other", "v", SetOptions{}) }, false},
	{"set", present, present, true},
	{"created", nil, present, true},
	{"deleted", present, func(s *store) { s.del("k") }, true},
	{"deleted, not there", nil, func(s *store) { s.del("k") }, false},
	{"created and deleted", nil, func(s *store) { present(s); s.del("k") }, true},
	{"expires", expiring, func(s *store) { s.later(10) }, true},
	{"in the last millisecond", expiring, func(s *store) { s.later(5) }, false},
	{"expires and is deleted", expiring, func(s *store) { s.later(10); s.expireDue() }, true},
	{"was expired", expired, func(*store) {}, false},
	{"was expired, is deleted", expired, (*store).expireDue, false},
	{"was expired, is deleted and created", expired, func(s *store) { s.expireDue(); present(s) }, true},
	{"was expired, is set", expired, present, true},
	{"persist", expiring, func(s *store) { s.update("k", func(t *Txn) { s.must(t.Persist([]byte("k"))) }) }, true},
	{"flush", present, flush, true},
	{"flush, not there", nil, flush, false},
	{"flush all", present, func(s *store) { s.all((*Txn).FlushAll) }, true},
	{"flush, was expired", expired, flush, false},
	{"flush, was expired, created", expired, func(s *store) { flush(s); present(s) }, true},
	{"swap, in none", nil, swap, false},
	{"swap, in this", present, swap, true},
	{"swap, in other", inOther(present), swap, true},
	{"swap, was expired here, not there", expired, swap, false},
	{"swap, nothing here, expired there", inOther(expired), swap, false},
	{"swap, nothing here, expired there, deleted", inOther(expired), func(s *store) { swap(s); s.expireDue() }, false},
	{"swap, nothing here, expiring there", inOther(expiring), swap, true},
	{"swap twice", present, func(s *store) { swap(s); swap(s) }, true},
	{"rename away", present, func(s *store) {
		s.commit(s.Begin(0, s.now, []byte("k"), []byte("l")), func(t *Txn) { s.must(t.Rename([]byte("k"), []byte("l"), false)) })
	}, true},
	{"lost write", present, func(s *store) {
		t := s.Begin(0, s.now, []byte("other"))
		s.must(t.Set([]byte("other"), nil, SetOptions{}))
		t.Discard()
	}, false},
}

func TestWatch(t *testing.T) {
	for _, c := range watchCases {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			if c.before != nil {
				c.before(s)
			}
			var w, idle Watcher
			for range 2 { // watching twice is watching once
				s.watch(&w, 0, s.now, []byte("k"))
			}
			s.watch(&idle, 1, s.now, []byte("unrelated"))
			c.after(s)
			x := s.BeginMulti(0, s.now, &w, false)
			s.expect("changed", x.Changed(&w), c.changed)
			x.Unwatch(&w)
			x.Discard()
			s.expect("keys watched", w.Len(), 0)
			s.expect("idle watcher", idle.changed.Load(), false)
			s.Unwatch(&idle)
			for i := range s.stripes {
				if s.stripes[i].watched != nil {
					t.Fatal("a watch is left behind")
				}
			}
			s.check()
		})
	}
}

// watch is Watch, and returns what the client has to wait for.
func (s *store) watch(w *Watcher, db int, now int64, key []byte) (seq uint64) {
	s.Helper()
	seq, err := s.Watch(w, db, now, key)
	s.must(true, err)
	return seq
}

// TestWatchWaits writes a key and watches it before anybody has waited for the write: who watches must see it.
func TestWatchWaits(t *testing.T) {
	s := newStore(t)
	x := s.Begin(0, s.now, []byte("k"))
	s.must(x.Set([]byte("k"), []byte("v"), SetOptions{}))
	written, err := x.Commit()
	s.must(true, err)
	var w Watcher
	if seq := s.watch(&w, 0, s.now, []byte("k")); seq < written {
		t.Errorf("whoever watches waits for %d, the key was written by %d", seq, written)
	}
	s.Unwatch(&w)
}

// TestReloadTouches: what has come into the store in another way than by Commit may have changed any key that is watched.
func TestReloadTouches(t *testing.T) {
	s := newStore(t)
	s.setIn(0, "k", "v")
	var w Watcher
	_, err := s.Watch(&w, 0, s.Now(), []byte("k"))
	s.must(true, err)
	s.must(true, s.Reload())
	txn := s.BeginMulti(0, s.Now(), &w, false)
	if !txn.Changed(&w) {
		t.Error("a change would go unseen")
	}
	txn.Discard()
	s.Unwatch(&w)
}
