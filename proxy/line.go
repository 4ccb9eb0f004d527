package proxy

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/reply"
)

// line is a connection to the leader that an event loop reads from. It carries one batch at a time: the requests of several sessions, one
// behind the other, whose replies come in the same order. All of a session's replies together are handed to its exchange. When they are longer
// than the line's memory, the line becomes an ordinary connection, which the sessions use one after the other.
type line struct {
	*connection
	lane  *lane
	busy  bool         // there is a batch
	since atomic.Int64 // when it was sent, in nanoseconds since Proxy.start; 0 = there is none

	// Of the batch.
	class   class
	queue   []member
	at      int // of queue: whose replies come next
	wire    []byte
	written int  // bytes of wire
	spent   bool // the leader has refused the last request, as it does for ever on this connection

	// Of replies.
	buf   input // those of the member whose replies come
	seen  int   // buf.in[buf.r:seen] was looked at
	start int   // where in it the reply begins that is being looked at
	scan  reply.Scanner
}

// member is a session with its share of a batch.
type member struct {
	u        *Upstream // nil: it has left
	replies  int       // of its requests, and of what brings the session's state up to date
	left     int       // of these: to come
	injected int       // of these: in front of the session's own
	body     int       // where in them those begin that are
	odd      bool      // they are more than can be passed on as they are
}

const (
	lineSize = 64 << 10
	readStep = 512 << 10 // bytes after which the sessions get their replies before more is read
)

// adopt makes a line of a connection, nil if that fails.
func (l *lane) adopt(c *connection) *line {
	ln := &line{connection: c, lane: l}
	c.deadline = time.Time{}
	l.proxy.release(c)
	err := c.sock.detach()
	if err == nil {
		err = l.loop.Watch(c.sock.fd, ln.event)
	}
	if err != nil {
		l.proxy.complain(err)
		l.proxy.drop(c)
		return nil
	}
	ln.buf.in = make([]byte, lineSize)
	l.lines = append(l.lines, ln)
	l.proxy.guard(ln, true)
	return ln
}

// end takes the line out of the lane; its connection is left to the caller.
func (ln *line) end() {
	l := ln.lane
	if ln.busy {
		l.classes[ln.class].busy--
	}
	l.proxy.guard(ln, false)
	l.loop.Forget(ln.sock.fd)
	l.lines = slices.DeleteFunc(l.lines, func(other *line) bool { return other == ln })
}

// begin makes a batch of the first n of those who wait.
func (ln *line) begin(waiting []*Upstream, k class) (n int) {
	ln.busy, ln.class = true, k
	ln.lane.classes[k].busy++
	now := time.Now()
	ln.since.Store(int64(now.Sub(ln.lane.proxy.start)))
	for ; n < len(waiting) && len(ln.wire) < maxBatch; n++ {
		u := waiting[n]
		x := &u.ws.exchange
		x.begin(u, now)
		x.shared, x.share = true, len(ln.wire)
		ln.wire = x.prepare(ln.wire, ln.connection)
		m := member{u: u}
		for i := range u.ws.entries {
			e := &u.ws.entries[i]
			if e.state != toSend {
				m.odd = true // it is answered here
				continue
			}
			m.injected += e.injected
			m.replies += e.injected + 1
		}
		m.left = m.replies
		ln.queue = append(ln.queue, m)
	}
	var err error
	if len(ln.wire) > 0 {
		ln.written, err = ln.Write(ln.wire)
	}
	ln.goOn(err)
	return n
}

// sent is how many bytes of wire the leader may have got.
func (ln *line) sent() int {
	if ln.Conn != ln.sock {
		return ln.written // of what TLS has made of it nobody knows better
	}
	return ln.written - len(ln.sock.out)
}

// event reads what has come.
func (ln *line) event(ended bool) {
	err, total := ln.sock.flush(), 0
	for err == nil {
		space := ln.buf.in[ln.buf.w:]
		var n int
		n, err = ln.Read(space)
		ln.buf.w += n
		if n == 0 {
			continue
		}
		if broken := ln.take(); broken != nil {
			err = broken
			break
		}
		if ln.full() {
			ln.handOver()
			return
		}
		if n < len(space) && !ended && ln.Conn == ln.sock {
			break // there will be another event
		}
		if total += n; total >= readStep {
			err = ln.lane.loop.Again(ln.sock.fd)
			break
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	ln.goOn(err)
}

// goOn sees to it that the batch ends when it is over, or when the line is.
func (ln *line) goOn(err error) {
	if err == nil {
		err = ln.take()
	}
	k, busy := ln.class, ln.busy
	switch {
	case err != nil:
		ln.fail(err)
	case ln.at < len(ln.queue), !busy:
		return
	default:
		ln.conclude()
	}
	if busy {
		ln.lane.send(k)
	}
}

// conclude ends a batch that is answered.
func (ln *line) conclude() {
	if ln.spent {
		ln.end()
		ln.lane.proxy.drop(ln.connection)
		return
	}
	ln.busy = false
	ln.since.Store(0)
	ln.lane.classes[ln.class].busy--
	clear(ln.queue)
	ln.queue, ln.at, ln.written, ln.wire = ln.queue[:0], 0, 0, emptied(ln.wire)
}

// take looks at the replies that have come, and gives each session its own.
func (ln *line) take() error {
	for ; ln.at < len(ln.queue); ln.at++ {
		m := &ln.queue[ln.at]
		for m.left > 0 {
			n, done, err := ln.scan.Scan(ln.buf.in[ln.seen:ln.buf.w])
			if err != nil {
				return fmt.Errorf("%w: %w", errProtocol, err)
			}
			ln.seen += n
			if !done {
				return nil
			}
			if err := ln.reply(m, ln.buf.in[ln.start:ln.seen]); err != nil {
				return err
			}
			ln.scan.Reset()
			ln.start = ln.seen
		}
		ln.deliver(m)
	}
	if ln.seen < ln.buf.w {
		return errProtocol // nobody has asked for that
	}
	ln.buf.r, ln.buf.w, ln.seen, ln.start = 0, 0, 0, 0
	return nil
}

// reply counts one.
func (ln *line) reply(m *member, b []byte) error {
	if ln.scan.Push() {
		m.odd = true
		return nil
	}
	ln.spent = b[0] == '-' && isRefusal(b)
	m.odd = m.odd || ln.spent
	if m.replies-m.left < m.injected {
		if b[0] == '-' && !ln.spent {
			return errProtocol
		}
		m.body = ln.seen - ln.buf.r
	}
	m.left--
	return nil
}

// deliver hands a session its replies.
func (ln *line) deliver(m *member) {
	if m.u != nil {
		x := &m.u.ws.exchange
		x.arrival = arrival{came: true, odd: m.odd, body: m.body}
		x.ws.in = append(x.ws.in[:0], ln.buf.in[ln.buf.r:ln.seen]...)
		ln.lane.loop.Resume(m.u.sess)
	}
	ln.buf.r = ln.seen
}

// full makes room for more, and reports whether that is not possible.
func (ln *line) full() bool {
	b := &ln.buf
	if b.w < len(b.in) {
		return false
	}
	moved := b.r
	copy(b.in, b.in[b.r:b.w])
	b.r, b.w, ln.seen, ln.start = 0, b.w-moved, ln.seen-moved, ln.start-moved
	return b.w == len(b.in)
}

// fail ends the line.
func (ln *line) fail(err error) {
	sent := ln.sent()
	ln.end()
	ln.lane.proxy.drop(ln.connection)
	ln.giveUp(sent, err)
}

// giveUp lets those go on who have not got all of their replies: they decide for themselves what to do about it.
func (ln *line) giveUp(sent int, err error) {
	rest := ln.buf.in[ln.buf.r:ln.buf.w]
	for ; ln.at < len(ln.queue); ln.at++ {
		if u := ln.queue[ln.at].u; u != nil {
			x := &u.ws.exchange
			x.arrival = arrival{came: true, odd: true, err: err, sent: sent, spent: ln.spent}
			x.ws.in = append(x.ws.in[:0], rest...)
			ln.lane.loop.Resume(u.sess)
		}
		rest = nil
	}
}

// handOver makes an ordinary connection of the line, for the sessions that are left to use one after the other.
func (ln *line) handOver() {
	p, c, sent, left := ln.lane.proxy, ln.connection, ln.sent(), ln.queue[ln.at:]
	ln.end()
	rest, err := c.sock.attach()
	if err != nil {
		p.drop(c)
		ln.giveUp(sent, err)
		ln.lane.send(ln.class)
		return
	}
	c.input = ln.buf
	b := &batch{c: c, sent: sent, spent: ln.spent}
	if len(rest) > 0 {
		b.writer = p.writeRest(c, rest, sent)
	}
	b.take(p, left)
	for _, m := range left {
		if m.u != nil {
			ln.lane.loop.Resume(m.u.sess)
		}
	}
	ln.lane.send(ln.class)
}
