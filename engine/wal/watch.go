package wal

// Watch tells when Written or Synced may have moved: forward, or back by
// TruncateAfter. Whoever waits for more than one thing at a time uses it
// instead of Wait. There is none for Last: what was appended is written within a
// millisecond, and nobody can read it before.
type Watch struct {
	// C has a value when something happened since it was last received from; also when the
	// log failed or was closed, which Err tells.
	C <-chan struct{}

	l      *Log
	notify chan struct{}
}

// Watch begins to watch. C has a value at once. The caller must Close the result.
func (l *Log) Watch() *Watch {
	c := make(chan struct{}, 1)
	c <- struct{}{}
	w := &Watch{C: c, l: l, notify: c}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.watches[w] = struct{}{}
	return w
}

// Close ends the watch. C is not closed.
func (w *Watch) Close() {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	delete(w.l.mu.watches, w)
}

// notifyLocked wakes readers and watches.
func (l *Log) notifyLocked() {
	for r := range l.mu.readers {
		wake(r.notify)
	}
	l.notifyWatchesLocked()
}

func (l *Log) notifyWatchesLocked() {
	for w := range l.mu.watches {
		wake(w.notify)
	}
}
