package resp

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
)

// Errors of an outbox.
var (
	errClosed      = errors.New("connection closed")
	errOutputLimit = errors.New("client-output-buffer-limit reached")
)

const (
	writeStep = 256 << 10 // a slow client is written to in steps, so that progress can be seen
	joinBelow = 16 << 10  // smaller pieces are joined in the queue
)

// outbox sends bytes to one client without ever making the sender wait for it. What the kernel
// takes at once is written directly by the sender. The rest is queued for a goroutine that exists
// only while there is a queue.
type outbox struct {
	to  transport
	acc account // told of how the queue grows and shrinks; it may refuse growth

	// Self-synchronised.
	pending  atomic.Int64  // bytes queued or being written by the goroutine
	sent     atomic.Int64  // bytes the kernel has taken
	progress chan struct{} // a token after each step of the goroutine
	writer   sync.WaitGroup

	mu struct {
		sync.Mutex
		busy  bool  // somebody writes to the connection
		err   error // set once; nothing is sent any more
		queue [][]byte
	}
}

// account is what an outbox needs to know of its connection's limits.
type account interface {
	// mayQueue reports whether the queue may be n bytes long. It must not block.
	mayQueue(n int64, push bool) bool
	// queued notes that the queue has changed by delta bytes.
	queued(delta int64)
}

func (o *outbox) init(to transport, acc account) {
	o.to, o.acc = to, acc
	o.progress = make(chan struct{}, 1)
}

// send writes b, or queues what the kernel does not take. taken means that the outbox
// has kept b, which the caller must not use any more; unless give is set, a copy is queued
// instead.
func (o *outbox) send(b []byte, give bool) (taken bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.mu.err != nil:
		return false, o.mu.err
	case o.mu.busy:
		o.appendLocked(b, give)
		return give, o.addedLocked(len(b), false)
	}
	n := o.tryLocked(b)
	switch {
	case o.mu.err != nil:
		return false, o.mu.err
	case n == len(b) && len(o.mu.queue) == 0:
		return false, nil
	case n == len(b):
		o.startLocked()
		return false, nil
	}
	o.prependLocked(b[n:], give)
	return give, o.addedLocked(len(b)-n, false)
}

// push queues a copy of b behind everything, without a system call.
func (o *outbox) push(b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.err != nil {
		return o.mu.err
	}
	o.appendLocked(b, false)
	return o.addedLocked(len(b), true)
}

// tryLocked writes as much of b as goes without waiting. It drops the lock meanwhile.
func (o *outbox) tryLocked(b []byte) int {
	o.mu.busy = true
	o.mu.Unlock()
	n, err := o.to.tryWrite(b)
	o.sent.Add(int64(n))
	o.mu.Lock()
	o.mu.busy = false
	if err != nil && err != syscall.EAGAIN {
		o.failLocked(err)
	}
	return n
}

// addedLocked accounts for n queued bytes and sees to it that somebody writes them.
func (o *outbox) addedLocked(n int, push bool) error {
	o.acc.queued(int64(n))
	if !o.acc.mayQueue(o.pending.Add(int64(n)), push) {
		o.failLocked(errOutputLimit)
		return errOutputLimit
	}
	if !o.mu.busy {
		o.startLocked()
	}
	return nil
}

// prependLocked puts the rest of a reply in front of what was pushed while it was written.
func (o *outbox) prependLocked(b []byte, give bool) {
	later := o.mu.queue
	o.mu.queue = nil
	o.appendLocked(b, give)
	o.mu.queue = append(o.mu.queue, later...)
}

func (o *outbox) appendLocked(b []byte, give bool) {
	if give {
		o.mu.queue = append(o.mu.queue, b)
		return
	}
	if n := len(o.mu.queue); n > 0 {
		last := o.mu.queue[n-1]
		if cap(last)-len(last) >= len(b) && cap(last) <= joinBelow {
			o.mu.queue[n-1] = append(last, b...)
			return
		}
	}
	piece := make([]byte, 0, max(len(b), min(joinBelow, 4*len(b))))
	o.mu.queue = append(o.mu.queue, append(piece, b...))
}

func (o *outbox) startLocked() {
	o.mu.busy = true
	o.writer.Add(1)
	go o.drain()
}

// drain writes the queue; it ends when that is empty or the connection fails.
func (o *outbox) drain() {
	defer o.writer.Done()
	for {
		queue := o.next()
		if queue == nil {
			o.signal()
			return
		}
		for _, b := range queue {
			if !o.writeAll(b) {
				break
			}
		}
	}
}

// next takes the queue; nil says that the goroutine is not needed any more.
func (o *outbox) next() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	queue := o.mu.queue
	o.mu.queue = nil
	if o.mu.err != nil {
		queue = nil
	}
	o.mu.busy = queue != nil
	return queue
}

func (o *outbox) writeAll(b []byte) bool {
	for len(b) > 0 {
		n, err := o.to.Write(b[:min(len(b), writeStep)])
		b = b[n:]
		o.sent.Add(int64(n))
		if !o.wrote(n, err) {
			return false
		}
		o.signal()
	}
	return true
}

func (o *outbox) wrote(n int, err error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.err != nil {
		return false
	}
	if err != nil {
		o.failLocked(err)
		return false
	}
	o.pending.Add(int64(-n))
	o.acc.queued(int64(-n))
	return true
}

// signal wakes whoever waits for progress.
func (o *outbox) signal() {
	select {
	case o.progress <- struct{}{}:
	default:
	}
}

// fail forgets the queue; nothing is sent from now on.
func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failLocked(err)
}

func (o *outbox) failLocked(err error) {
	if o.mu.err == nil {
		o.mu.err = err
	}
	o.mu.queue = nil
	o.acc.queued(-o.pending.Swap(0))
}
