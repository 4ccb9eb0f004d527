package wal

import "slices"

// Watch tells when Written or Synced may have moved: forward, or back by
// TruncateAfter. There is none for Last: what was appended is written within two
// milliseconds, and nobody can read it before.
type Watch struct {
	l     *Log
	moved func()
}

// Watch has moved called when something has happened; also when the log failed, which Err tells. It is called by whoever
// has written for those who wait, once he holds no lock of the log: what hangs on a write follows without a change of goroutines.
// Calls may overlap, and one may be under way when Watch.Close returns. The caller must Close the result.
func (l *Log) Watch(moved func()) *Watch {
	w := &Watch{l: l, moved: moved}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.watches = append(slices.Clone(l.mu.watches), w)
	return w
}

// Close ends the watch.
func (w *Watch) Close() {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	w.l.mu.watches = slices.DeleteFunc(slices.Clone(w.l.mu.watches), func(x *Watch) bool { return x == w })
}

// movedLocked notes that there is something to tell. Whoever waits for it calls tell; for what nobody waits for the keeper does, which
// is woken.
func (l *Log) movedLocked() {
	for r := range l.mu.readers {
		wake(r.notify)
	}
	l.untold.Store(true)
}

// tell tells watches what they do not know.
func (l *Log) tell() {
	if !l.untold.Load() || !l.untold.Swap(false) {
		return
	}
	l.mu.Lock()
	watches := l.mu.watches
	l.mu.Unlock()
	for _, w := range watches {
		w.moved()
	}
}
