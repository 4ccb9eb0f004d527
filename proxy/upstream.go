package proxy

import (
	"crypto/subtle"
	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/reply"
	"strings"
	"sync"
	"time"
)

// Upstream is a session's way to the leader. It implements command.Upstream, and is used by the goroutine that executes the
// session's commands.
type Upstream struct {
	proxy *Proxy
	sess  *command.Session

	conn  *connection // nil unless an exchange goes on, or keys are watched
	lost  bool        // keys were watched on a connection that is lost: EXEC must fail
	wants bool        // keys are watched, once what is pending has been executed
	fresh bool        // watched keys are to be forgotten before the next request
	bulky bool        // the replies of the last exchange were long
	held  int64       // bytes of requests that the client is charged with
	ws    *workspace  // nil while there is nothing to exchange

	// On which connection a command may block.
	blocks struct {
		sync.Mutex
		on *connection
	}
}

// workspace is what an exchange needs; it is borrowed.
type workspace struct {
	entries  []entry
	out      []byte // the requests
	in       []byte // the replies that a line has brought
	wire     []byte // what is sent, where that is not out
	local    []byte // the replies of this node, between which those of the leader belong
	slow     bool   // one of the requests may take long, or needs a connection of its own for another reason
	writes   bool   // one of them writes
	plain    bool   // their replies go to the client as they are
	scan     reply.Scanner
	head     []byte // of a reply
	exchange exchange
}

// Larger buffers are not kept.
const (
	keepOut     = 64 << 10
	keepEntries = 1 << 10
)

// entry is a request that waits for its reply.
type entry struct {
	start, end int // of the request in out
	at         int // where in local the reply belongs
	db, proto  int
	kind       command.RequestKind
	mute       bool
	fresh      bool // forget watched keys before
	queued     int  // replies in front of its own: of MULTI and the queue
	done       func(w *reply.Writer, encoded []byte)

	state    entryState
	injected int // replies in front of these: of what brings the session's state up to date
	wire     int // where it ends in what was sent, 0 = it was not sent
}

type entryState uint8

const (
	toSend    entryState = iota
	outOfLuck            // EXEC: a watched key may have changed
	isUnknown            // may have been executed; is not sent again
	isLost               // a read that was repeated in vain
	noDB                 // the leader does not have that database
)

// Forward implements command.Upstream.
func (u *Upstream) Forward(r *command.Request) {
	if u.ws == nil {
		u.ws = u.proxy.pool.Get().(*workspace)
	}
	ws := u.ws
	ws.look(r, u.fresh)
	e := entry{
		start: len(ws.out), at: r.At, db: r.DB, proto: r.Proto, kind: r.Kind, mute: r.Mute, done: r.Done, fresh: u.fresh,
	}
	u.fresh = false
	switch {
	case r.Kind == command.RequestExec:
		ws.out = appendCommand(ws.out, "MULTI")
		for _, q := range r.Queue {
			ws.out = appendCommand(ws.out, q.Args...)
		}
		ws.out = appendCommand(ws.out, "EXEC")
		e.queued = 1 + len(r.Queue)
	case r.Frame != nil:
		ws.out = append(ws.out, r.Frame...)
	default:
		ws.out = appendCommand(ws.out, r.Args...)
	}
	switch r.Kind {
	case command.RequestWatch:
		u.wants = true
	case command.RequestExec, command.RequestUnwatch:
		u.wants = false
	}
	e.end = len(ws.out)
	ws.entries = append(ws.entries, e)
	if cap(ws.out) > uncounted {
		u.charge(int64(cap(ws.out)))
	}
}

// uncounted is what a session may forward in a unit without being charged with it, in bytes.
const uncounted = 4 << 10

// charge counts what is held of the session's requests besides what its front end has read.
func (u *Upstream) charge(n int64) {
	if n != u.held {
		u.sess.Conn.Charge(n - u.held)
		u.held = n
	}
}

// look finds out how the requests together may be sent.
func (ws *workspace) look(r *command.Request, fresh bool) {
	if len(ws.entries) == 0 {
		ws.plain = true
	} else if first := &ws.entries[0]; r.DB != first.db || r.Proto != first.proto {
		ws.slow = true // the leader has to be told between them
	}
	ws.slow = ws.slow || !r.Quick || r.Done != nil || fresh
	ws.writes = ws.writes || r.Kind == command.RequestWrite
	ws.plain = ws.plain && !r.Mute && r.At == 0
}

// Pending implements command.Upstream.
func (u *Upstream) Pending() bool { return u.ws != nil }

// Quick implements command.Upstream.
func (u *Upstream) Quick() bool {
	return u.ws != nil && !u.ws.slow && u.conn == nil && !u.bulky && len(u.ws.out) <= maxShare
}

func (u *Upstream) class() class {
	if u.ws.writes {
		return writing
	}
	return reading
}

// Arrived implements command.Upstream.
func (u *Upstream) Arrived() bool {
	return u.ws != nil && u.ws.exchange.came && !u.ws.exchange.odd
}

// Watching implements command.Upstream.
func (u *Upstream) Watching() bool { return u.wants }

// Unwatch implements command.Upstream.
func (u *Upstream) Unwatch() {
	if !u.wants {
		return
	}
	u.wants = false
	if u.ws != nil {
		u.fresh = true
		return
	}
	u.drop()
	u.lost = false
}

// mayBlock says on which connection a command may block, nil = on none any more. It waits for Unblock, so that no other session's command
// is meant.
func (u *Upstream) mayBlock(on *connection) {
	u.blocks.Lock()
	defer u.blocks.Unlock()
	u.blocks.on = on
}

// Unblock implements command.Upstream. It asks over another connection.
func (u *Upstream) Unblock(isError bool) bool {
	u.blocks.Lock()
	defer u.blocks.Unlock()
	on := u.blocks.on
	if on == nil {
		return false
	}
	c, err := u.proxy.connect(u.proxy.o.Cluster.Changed(), u.sess.Conn.Done())
	if err != nil {
		return false
	}
	if c.id != on.id || c.addr != on.addr { // the command does not wait there any more
		u.proxy.give(c)
		return false
	}
	reason := "TIMEOUT"
	if isError {
		reason = "ERROR"
	}
	_ = c.SetDeadline(time.Now().Add(u.proxy.o.Dial)) // an error is met by ask
	answer, err := c.ask("CLIENT", "UNBLOCK", on.client, reason)
	if err == nil {
		c.deadline = time.Time{}
		err = c.SetDeadline(c.deadline)
	}
	if err != nil {
		u.proxy.drop(c)
		return false
	}
	u.proxy.give(c)
	return strings.HasPrefix(string(answer), ":1")
}

// Close implements command.Upstream.
func (u *Upstream) Close() {
	if u.ws != nil && u.ws.exchange.turn.batch != nil { // something has gone wrong
		u.conn = nil // it is the batch's
		<-u.ws.exchange.turn.mine
		u.ws.exchange.leaveBatch(errAbandoned)
	}
	u.drop()
	if u.ws != nil {
		u.recycle()
	}
}

// drop closes the connection, if there is one.
func (u *Upstream) drop() {
	if c := u.conn; c != nil {
		u.lost = u.lost || c.watching
		u.conn = nil
		u.proxy.drop(c)
	}
}

// recycle gives the workspace back.
func (u *Upstream) recycle() {
	u.charge(0)
	u.ws.recycle(u.proxy)
	u.ws = nil
}

func (ws *workspace) recycle(p *Proxy) {
	clear(ws.entries) // they refer to closures
	ws.exchange = exchange{}
	ws.entries, ws.slow, ws.writes = ws.entries[:0], false, false
	if cap(ws.entries) > keepEntries {
		ws.entries = nil
	}
	ws.out, ws.in, ws.wire, ws.local = emptied(ws.out), emptied(ws.in), emptied(ws.wire), emptied(ws.local)
	p.pool.Put(ws)
}

func emptied(b []byte) []byte {
	if cap(b) > keepOut {
		return nil
	}
	return b[:0]
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
