package replication

import "sync/atomic"

// broadcast wakes everybody who waits for the next event.
type broadcast struct{ next atomic.Pointer[chan struct{}] }

// wait returns a channel that is closed by the next fire.
func (b *broadcast) wait() <-chan struct{} {
	for {
		if c := b.next.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		if b.next.CompareAndSwap(nil, &c) {
			return c
		}
	}
}

// fire costs one load when nobody waits.
func (b *broadcast) fire() {
	if b.next.Load() == nil {
		return
	}
	if c := b.next.Swap(nil); c != nil {
		close(*c)
	}
}
