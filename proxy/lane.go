package proxy

import (
	"slices"

	"github.com/gtinside/corecache/command"
)

// lane carries what the sessions of one event loop forward. A system call and a packet cost more than all the rest that is done for a
// request, so what has gathered in a round of the loop goes out with one write, and the replies come with few reads.
//
// It has a few lines to the leader. Each carries one batch at a time. While all are busy, sessions gather for the next one, so that the
// batches grow with the load. Sessions that only read have lines of their own: a leader answers what has come together when the writes
// among it are committed.
//
// The lane makes no connections. It takes idle ones, and when there are none the sessions go to the leader on their own, each in its own
// goroutine, and leave connections behind. So they do when a line breaks.
type lane struct {
	proxy   *Proxy
	loop    command.Loop
	lines   []*line // those that are free, and those that carry something
	classes [2]struct {
		waiting []*Upstream
		busy    int  // lines that carry a batch
		sending bool // they are being looked for
	}
}

// class says which sessions share lines.
type class int

const (
	reading class = iota
	writing
)

// maxBusy is how many lines of a class carry something at a time. Reads come back at once; writes wait for the commit, and others for them.
var maxBusy = [2]int{reading: 2, writing: 4}

const (
	maxShare = 64 << 10  // bytes that a session may send by a lane
	maxBatch = 256 << 10 // bytes of a batch, about
)

// Begin implements command.Lane.
func (l *lane) Begin(all []command.Upstream) {
	for _, up := range all {
		u := up.(*Upstream)
		c := &l.classes[u.class()]
		c.waiting = append(c.waiting, u)
	}
	l.send(reading)
	l.send(writing)
}

// send makes batches of those who wait, as long as there are lines for them.
func (l *lane) send(k class) {
	c := &l.classes[k]
	if c.sending {
		return
	}
	c.sending = true
	defer func() { c.sending = false }()
	for len(c.waiting) > 0 && c.busy < maxBusy[k] {
		n := 1
		if ln := l.free(); ln != nil {
			n = ln.begin(c.waiting, k)
		} else {
			if c.busy == 0 { // nobody would come back to those who wait
				n = len(c.waiting)
			}
			for _, u := range c.waiting[:n] {
				l.loop.Resume(u.sess)
			}
		}
		c.waiting = slices.Delete(c.waiting, 0, n)
	}
}

// free returns a line that carries nothing, nil when there is none.
func (l *lane) free() *line {
	for i := 0; i < len(l.lines); {
		ln := l.lines[i]
		switch {
		case ln.busy:
			i++
		case ln.current(l.proxy.o.Cluster) && ln.sock.quiet():
			return ln
		default:
			ln.end()
			l.proxy.drop(ln.connection)
		}
	}
	if c := l.proxy.take(); c != nil {
		return l.adopt(c)
	}
	return nil
}

// Leave implements command.Lane.
func (l *lane) Leave(up command.Upstream) bool {
	u := up.(*Upstream)
	for k := range l.classes {
		c := &l.classes[k]
		if i := slices.Index(c.waiting, u); i >= 0 {
			c.waiting = slices.Delete(c.waiting, i, i+1)
			u.recycle()
			return true
		}
	}
	for _, ln := range l.lines {
		for i := ln.at; i < len(ln.queue); i++ {
			if ln.queue[i].u == u {
				ln.queue[i].u = nil
				u.recycle()
				return true
			}
		}
	}
	return false
}

// close comes when the loop has ended.
func (l *lane) close() {
	for _, ln := range l.lines {
		l.proxy.drop(ln.connection)
	}
	l.lines = nil
}
