package resp

import (
	"sync/atomic"
	"time"
)

// watcher sees that a client goes away while one of its commands blocks and nobody
// reads from it. It leaves unread requests where they are; when they are more than the kernel takes,
// the end of the connection can not arrive behind them and is seen only after the command.
type watcher struct {
	active  atomic.Bool // a command blocks
	stop    atomic.Bool
	stopped chan struct{} // closed when the goroutine has ended
}

// begin starts watching, until end. Only the session's goroutine calls the two.
func (w *watcher) begin(c *client) {
	if w.active.Load() {
		return
	}
	w.stop.Store(false)
	w.stopped = make(chan struct{})
	w.active.Store(true)
	if c.server.stopped() { // interrupt may have looked before active was set
		c.Kill()
	}
	go w.run(c)
}

// run waits, without using processor time, for events on the connection. The error of Read is that
// the connection was closed or that end has interrupted it.
func (w *watcher) run(c *client) {
	defer close(w.stopped)
	gone := false
	_ = c.raw.Read(func(fd uintptr) bool {
		gone = hungUp(fd)
		return gone || w.stop.Load()
	})
	if gone {
		c.Kill() // not inside of Read: closing waits for it
	}
}

// end stops watching, which was begun, and makes reading possible again.
func (w *watcher) end(c *client) {
	w.stop.Store(true)
	c.nc.SetReadDeadline(past)
	<-w.stopped
	w.active.Store(false)
	// A stop of the server that comes now sets its deadline after this one, and one that came
	// before is seen by receive.
	c.nc.SetReadDeadline(time.Time{})
}
