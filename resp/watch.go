package resp

import (
	"sync/atomic"
	"time"
)

// watcher sees that a client goes away while one of its commands blocks and nobody
// reads from it. With an event loop that is all there is to do; otherwise a goroutine looks. It leaves unread requests where they are; when they are more than the kernel takes,
// the end of the connection can not arrive behind them and is seen only after the command.
type watcher struct {
	active  atomic.Bool // a command blocks
	stop    atomic.Bool
	stopped chan struct{} // closed when the goroutine has ended
}

// begin starts watching, until end. Only the holder of the client calls the two.
func (w *watcher) begin(c *client) {
	if w.active.Load() {
		w.mayWait(c)
		return
	}
	w.stop.Store(false)
	w.stopped = make(chan struct{})
	w.active.Store(true)
	w.mayWait(c)
	if c.sock == nil {
		go w.run(c)
	} else if hungUp(uintptr(c.fd)) { // the event loop has told before anybody wanted to know
		c.Kill()
	}
}

// mayWait closes the client when the server stops and its command blocks: interrupt may have looked before that was to be seen.
func (w *watcher) mayWait(c *client) {
	if c.server.stopped() && !c.sess.EndsSoon() {
		c.Kill()
	}
}

// run waits, without using processor time, for events on the connection. The error of Read is that
// the connection was closed or that end has interrupted it.
func (w *watcher) run(c *client) {
	defer close(w.stopped)
	gone := false
	_ = c.stream.raw.Read(func(fd uintptr) bool {
		gone = hungUp(fd)
		return gone || w.stop.Load()
	})
	if gone {
		c.Kill() // not inside of Read: closing waits for it
	}
}

// end stops watching, which was begun, and makes reading possible again.
func (w *watcher) end(c *client) {
	if c.sock != nil {
		w.active.Store(false)
		return
	}
	w.stop.Store(true)
	c.stream.nc.SetReadDeadline(past)
	<-w.stopped
	w.active.Store(false)
	// A stop of the server that comes now sets its deadline after this one, and one that came
	// before is seen by receive.
	c.stream.nc.SetReadDeadline(time.Time{})
}
