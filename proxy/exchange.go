package proxy

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/reply"
)

// exchange is one Exchange: the requests of a unit are sent, and their replies read. It is over when each request has its reply, after as many
// attempts, on as many connections, as that takes.
//
// # When an attempt fails
//
// Requests are answered in order. An attempt that breaks at request i leaves those from i on, and for each of them:
//
//	not sent completely        it was not executed: it is sent again
//	reads, WATCH, UNWATCH      it does not matter whether it was executed: it is sent again
//	anything else              the client is told that the outcome is unknown
//
// A leader that does not lead any more says NOLEADER, to this request and to all behind it on that connection, so that the
// order of a client's commands stays: they are sent again, from the first of them on. A leader that stops says it once more, in the place
// of the next reply whichever that is, and closes the connection.
//
// # Watched keys
//
// They are known to the leader, by the connection. If that is lost, nobody knows whether the keys have changed, and EXEC fails as if
// they had.
type exchange struct {
	*Upstream
	w     *reply.Writer
	began time.Time

	// Of a first attempt that is shared with other sessions.
	shared  bool // it is, and not over
	share   int  // where what was sent for this one begins in what was sent for all
	arrival      // what a line has brought
	turn    turn // or, if that is set, when to read from the batch's connection

	next     int       // entries before are answered
	spliced  int       // bytes of local that are in w
	deadline time.Time // until when to wait for a leader; zero = there has been no need to wait
	failures int       // attempts that failed, also those to connect
	breaks   int       // connections that broke
	flushed  bool      // the front end looks whether the client goes away
	gone     bool      // the client has, but others wait for what comes behind

	// Of an attempt.
	from    *input // replies
	refused refusedAt
	at      int    // where in w the reply begins that is being read
	torn    bool   // a part of it has been passed on
	long    bool   // it is too long to be collected
	guard   *guard // not nil while a reply takes long
}

// arrival is what has become of a share of a line.
type arrival struct {
	came  bool
	odd   bool  // the replies need a closer look
	body  int   // where they begin, behind those to what brought the session's state up to date
	err   error // why not all are there
	sent  int   // bytes that were sent for all, in case of an error
	spent bool  // the leader had refused those before
}

// refusedAt is the first of the requests at the end of an attempt that the leader has refused.
type refusedAt struct {
	entry   int // -1 = none
	at      int // where its reply begins in w
	spliced int
}

const (
	sendAt      = 64 << 10 // replies are passed on when there are so many bytes of them
	holdBack    = 1 << 20  // a reply that is longer is passed on before it is complete, and can not be repeated any more
	writeAtOnce = 16 << 10 // what the kernel takes without waiting; more is written while replies are read already
	maxBreaks   = 4        // after so many a read is not repeated again
)

// Exchange implements command.Upstream.
func (u *Upstream) Exchange(w *reply.Writer) {
	if u.ws == nil {
		return
	}
	x := &u.ws.exchange
	if x.came && !x.odd && u.ws.plain && len(w.Buf) == 0 { // nearly always
		w.Buf = append(w.Buf, u.ws.in[x.body:]...)
		u.bulky = len(w.Buf) >= sendAt
		u.recycle()
		return
	}
	if x.Upstream == nil {
		x.begin(u, time.Now())
	}
	x.w = w
	if len(w.Buf) > 0 {
		u.ws.local = append(u.ws.local, w.Buf...)
		w.Buf = w.Buf[:0]
	}
	proto := w.Proto
	u.bulky = false
	x.end(x.run())
	w.Proto = proto
	x.splice(len(u.ws.local))
	u.recycle()
}

func (x *exchange) begin(u *Upstream, now time.Time) {
	*x = exchange{Upstream: u, began: now}
}

// run makes attempts until all is answered. An error says that the client is lost.
func (x *exchange) run() error {
	for x.next < len(x.ws.entries) {
		if !x.shared {
			if x.answerKnown() {
				continue
			}
			err := x.connect()
			switch {
			case errors.Is(err, errGone):
				return err
			case err != nil:
				x.giveUp(err)
				return nil
			}
		}
		if err := x.attempt(); err != nil {
			return err
		}
	}
	return nil
}

// end puts the connection back, or down when something is wrong with it.
func (x *exchange) end(err error) {
	if !x.deadline.IsZero() {
		x.proxy.waiting.Add(-1)
	}
	c := x.conn
	switch {
	case c == nil:
	case err != nil, c.busy, c.r != c.w, c.watching && !x.wants: // bytes are left that nobody has asked for
		x.drop()
	case c.watching:
		x.proxy.release(c)
	default:
		x.conn = nil
		x.proxy.give(c)
	}
	if x.conn == nil && !x.wants {
		x.lost = false
	}
}

// answerKnown answers the next entry if that needs no leader.
func (x *exchange) answerKnown() bool {
	e := &x.ws.entries[x.next]
	if e.state == toSend || e.state == outOfLuck || e.state == noDB { // decided anew by the next attempt
		return false
	}
	x.splice(e.at)
	x.answerHere(e)
	x.answered(e, 0)
	return true
}

// giveUp answers all entries that are left: nobody leads.
func (x *exchange) giveUp(cause error) {
	x.proxy.complain(cause)
	text := command.ErrClusterDown + oneLine(cause)
	for x.next < len(x.ws.entries) {
		if x.answerKnown() {
			continue
		}
		e := &x.ws.entries[x.next]
		x.splice(e.at)
		x.error(e, text)
		x.answered(e, 0)
	}
}

func (x *exchange) error(e *entry, text string) {
	if !e.mute {
		x.w.Error(text)
	}
}

// answerHere answers an entry that the leader is not asked to answer.
func (x *exchange) answerHere(e *entry) {
	switch e.state {
	case isUnknown:
		x.error(e, command.ErrOutcomeUnknown+"the connection to the leader was lost")
	case isLost:
		x.error(e, "TRYAGAIN the connection to the leader was lost, again and again, while it answered")
	case noDB:
		x.error(e, "ERR DB index is out of range at the leader")
	case outOfLuck:
		if !e.mute {
			x.w.Proto = e.proto
			x.w.NullArray()
		}
	}
}

// answered notes that an entry has its reply, which begins with kind (0 = it is not the leader's).
func (x *exchange) answered(e *entry, kind byte) {
	x.next++
	c := x.conn
	if e.fresh || e.kind == command.RequestExec || e.kind == command.RequestUnwatch {
		x.lost = false
	}
	if c == nil || kind == 0 {
		return
	}
	switch {
	case e.kind == command.RequestWatch && kind == '+':
		c.watching = true
	case e.kind == command.RequestExec, e.kind == command.RequestUnwatch, e.fresh && e.kind != command.RequestWatch:
		c.watching = false
	}
	if e.done != nil {
		c.sess = nil // what the leader knows is not known here
	}
}

// splice puts the replies of this node, up to the given one, into w.
func (x *exchange) splice(upTo int) {
	if upTo > x.spliced {
		x.w.Buf = append(x.w.Buf, x.ws.local[x.spliced:upTo]...)
		x.spliced = upTo
	}
}

// connect sees to it that there is a connection to the leader.
func (x *exchange) connect() error {
	cluster := x.proxy.o.Cluster
	if x.conn != nil {
		if x.conn.usable(cluster) {
			return nil
		}
		x.drop()
	}
	for {
		changed := cluster.Changed()
		c, err := x.proxy.connect(changed, x.sess.Conn.Done())
		x.conn = c
		if err == nil || errors.Is(err, errGone) || errors.Is(err, errClosed) {
			return err
		}
		var r refusal
		if errors.As(err, &r) && r.final() {
			return err
		}
		x.failures++
		if err := x.await(changed, err); err != nil {
			return err
		}
	}
}

// await waits for a change of the leader, or for some time. The error is the cause when the time is over.
func (x *exchange) await(changed <-chan struct{}, cause error) error {
	now := time.Now()
	if x.deadline.IsZero() {
		x.proxy.waiting.Add(1)
		x.deadline = now.Add(x.proxy.o.Wait)
	}
	left := x.deadline.Sub(now)
	if left <= 0 {
		return cause
	}
	x.flush()
	err := x.proxy.sleep(x.sess, changed, min(pause(x.failures), left))
	select {
	case <-changed:
		x.failures = 0 // they were another leader's
	default:
	}
	return err
}

// flush sends the replies there are, and lets the front end look whether the client goes away.
func (x *exchange) flush() {
	if !x.flushed || len(x.w.Buf) > 0 {
		x.flushed = true
		_ = x.sess.Conn.Flush() // a client that has gone is noticed by Done
		x.at = len(x.w.Buf)
	}
}

// attempt sends the requests that are left and reads replies as long as they come. An error says that the client is lost.
func (x *exchange) attempt() error {
	x.refused.entry = -1
	switch {
	case x.turn.batch != nil:
		return x.sharedAttempt()
	case x.shared:
		return x.lineAttempt()
	}
	c := x.conn
	x.take(c)
	c.busy = true
	if x.ws.slow {
		x.mayBlock(c)
		defer x.mayBlock(nil)
	}
	head, body := x.prepareAlone()
	sent, writer, err := x.proxy.write(c, head, body)
	if err == nil {
		err = x.readAll()
	}
	x.unguard()
	if writer != nil {
		sent, err = writer.end(err)
	}
	c.busy = err != nil
	return x.concluded(sent, err)
}

// lineAttempt takes what a line has brought.
func (x *exchange) lineAttempt() error {
	a := x.arrival
	if a.spent { // so are these, even if the leader has no words for them any more
		x.refused = refusedAt{x.next, len(x.w.Buf), x.spliced}
	}
	x.from = &input{in: x.ws.in, w: len(x.ws.in)}
	err := x.readAll()
	x.shared, x.arrival = false, arrival{}
	return x.concluded(a.sent-x.share, err)
}

// concluded goes on after an attempt of which so many bytes were written.
func (x *exchange) concluded(sent int, err error) error {
	switch {
	case errors.Is(err, errGone):
		return err
	case err != nil:
		return x.broken(sent, err)
	case x.refused.entry >= 0:
		x.goBack()
		x.drop()
		return x.tired(errors.New("the leader does not lead any more"))
	}
	return nil
}

func (x *exchange) readAll() error {
	for x.next < len(x.ws.entries) {
		if err := x.one(&x.ws.entries[x.next]); err != nil {
			return err
		}
	}
	return nil
}

// take borrows memory for reading.
func (x *exchange) take(c *connection) {
	if c.in == nil {
		c.in = x.proxy.buffers.Get().(*[inSize]byte)[:]
	}
	x.from = &c.input
}

// goBack goes back to the first of the requests that the leader has refused.
func (x *exchange) goBack() {
	x.w.Truncate(x.refused.at)
	x.next, x.spliced = x.refused.entry, x.refused.spliced
}

// broken decides what becomes of the requests that were under way when a connection broke, after so many bytes of theirs were written.
func (x *exchange) broken(sent int, cause error) error {
	x.drop()
	if x.clientGone() {
		return errGone
	}
	if x.refused.entry >= 0 {
		x.goBack()
	}
	x.breaks++
	for i := x.next; i < len(x.ws.entries); i++ {
		e := &x.ws.entries[i]
		switch {
		case e.state != toSend, e.wire > sent:
		case x.refused.entry >= 0: // all behind one that was refused are
		case e.kind == command.RequestWrite || e.kind == command.RequestExec:
			e.state = isUnknown
		case x.breaks >= maxBreaks:
			e.state = isLost
		}
	}
	return x.tired(cause)
}

// tired lets some time pass after each but the first failure.
func (x *exchange) tired(cause error) error {
	x.failures++
	if x.failures == 1 {
		return nil
	}
	err := x.await(x.proxy.o.Cluster.Changed(), cause)
	if err != nil && !errors.Is(err, errGone) {
		x.giveUp(err)
		return nil
	}
	return err
}

func (x *exchange) clientGone() bool {
	select {
	case <-x.sess.Conn.Done():
		return true
	default:
		return false
	}
}

// prepareAlone is prepare for a connection that no other session uses meanwhile. What is to be sent are two parts, so that long requests need
// not be copied.
func (x *exchange) prepareAlone() (head, body []byte) {
	ws, c := x.ws, x.conn
	if !x.direct() {
		ws.wire = x.prepare(ws.wire[:0], c)
		if cap(ws.wire) > uncounted {
			x.charge(int64(cap(ws.out) + cap(ws.wire)))
		}
		return nil, ws.wire
	}
	rest := ws.entries[x.next:]
	first := &rest[0]
	ws.wire = ws.wire[:0]
	first.injected = 0
	if !c.serves(x.sess, x.sess.Name(), first.db, first.proto) {
		ws.wire = c.serve(ws.wire, x.sess, x.sess.Name(), first.db, first.proto)
		first.injected = 1
	}
	for i := range rest {
		e := &rest[i]
		e.wire = len(ws.wire) + e.end - first.start
	}
	return ws.wire, ws.out[first.start:]
}

// direct reports whether the requests that are left may go out as they are, with nothing between them.
func (x *exchange) direct() bool {
	rest := x.ws.entries[x.next:]
	if x.lost || rest[0].db >= x.conn.databases {
		return false
	}
	for i := range rest {
		e := &rest[i]
		if e.fresh || e.kind > command.RequestWatch && e.queued == 0 || e.state != toSend || e.injected > 0 && i > 0 || e.db != rest[0].db || e.proto != rest[0].proto {
			return false
		}
	}
	return true
}

// prepare appends to wire what is to be sent of the entries that are left. In front of a request goes whatever brings the leader's idea of
// the session up to date.
func (x *exchange) prepare(wire []byte, c *connection) []byte {
	ws, name, base := x.ws, x.sess.Name(), len(wire)
	lost, watching := x.lost, c.watching
	for i := x.next; i < len(ws.entries); i++ {
		e := &ws.entries[i]
		e.wire, e.injected = 0, 0
		lost = lost && !e.fresh
		e.decide(lost, c.databases)
		if e.state == toSend {
			if watching && e.fresh {
				wire = append(wire, "*1\r\n$7\r\nUNWATCH\r\n"...)
				e.injected++
				watching = false
			}
			if !c.serves(x.sess, name, e.db, e.proto) {
				wire = c.serve(wire, x.sess, name, e.db, e.proto)
				e.injected++
			}
			wire = append(wire, ws.out[e.start:e.end]...)
			e.wire = len(wire) - base
		}
		switch e.kind {
		case command.RequestExec, command.RequestUnwatch:
			lost = false
			switch {
			case e.state == toSend:
				watching = false
			case i+1 < len(ws.entries): // what was watched meanwhile is watched no more
				ws.entries[i+1].fresh = true
			default:
				x.fresh = true
			}
		case command.RequestWatch:
			watching = watching || e.state == toSend
		}
	}
	return wire
}

// decide says whether an entry can be sent. lost: watched keys may have changed.
func (e *entry) decide(lost bool, databases int) {
	switch {
	case e.state == isUnknown || e.state == isLost:
	case lost && e.kind == command.RequestExec:
		e.state = outOfLuck
	case e.db >= databases:
		e.state = noDB
	default:
		e.state = toSend
	}
}

// writer is a goroutine that writes what the kernel may not take at once, as the leader might not read on before its replies are read.
type writer struct {
	c    *connection
	sent chan int // how much was written
}

// write sends two parts. What it may have to wait for is done by a writer, which is to be ended.
func (p *Proxy) write(c *connection, head, body []byte) (sent int, w *writer, err error) {
	switch {
	case len(head)+len(body) > writeAtOnce:
		return 0, p.writeWith(c, func() (int, error) { return writeParts(c, head, body) }), nil
	case len(head) > 0:
		body = append(head, body...) // one packet costs less than two
	case len(body) == 0:
		return 0, nil, nil
	}
	sent, err = c.Write(body)
	return sent, nil, err
}

func writeParts(to io.Writer, parts ...[]byte) (sent int, err error) {
	for _, b := range parts {
		if len(b) == 0 {
			continue
		}
		n, err := to.Write(b)
		if sent += n; err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// writeWith starts a writer.
func (p *Proxy) writeWith(c *connection, write func() (sent int, err error)) *writer {
	w := &writer{c, make(chan int, 1)}
	p.tasks.Go(func() {
		n, err := write()
		if err != nil {
			_ = c.Close() // so that nobody waits for replies
		}
		w.sent <- n
	})
	return w
}

// writeRest writes what the socket of a connection has not taken yet, so many bytes having been sent before.
func (p *Proxy) writeRest(c *connection, rest []byte, before int) *writer {
	return p.writeWith(c, func() (int, error) {
		n, err := c.sock.Write(rest)
		if c.Conn != c.sock {
			n = 0 // what TLS has made of the requests counts as sent
		}
		return before + n, err
	})
}

// end waits for the writer. Once all replies are there it has nothing left to do, and without a connection it can not go on. err is
// that of reading.
func (w *writer) end(err error) (sent int, _ error) {
	if err == nil {
		err = w.c.SetWriteDeadline(time.Now().Add(time.Second))
	}
	if err != nil {
		_ = w.c.Close() // it is dropped anyway
	}
	sent = <-w.sent
	if err == nil {
		err = w.c.SetWriteDeadline(time.Time{})
	}
	return sent, err
}

// one reads the reply of an entry.
func (x *exchange) one(e *entry) error {
	x.splice(e.at)
	if e.state != toSend {
		x.answerHere(e)
		x.answered(e, 0)
		return nil
	}
	refused := false
	for i := range e.injected + e.queued {
		kind, head, err := x.read(discard)
		switch {
		case err != nil && refused:
			x.refuse(e) // the rest of its replies does not come, as the leader has stopped
			return err
		case err != nil:
			return err
		case isRefusal(head):
			refused = true
		case i < e.injected && kind == '-':
			return errProtocol
		}
	}
	how := keep
	if e.done != nil {
		how = collect
	} else if e.mute || x.gone {
		how = discard
	}
	kind, head, err := x.read(how)
	switch {
	case err != nil && x.torn:
		x.sess.Kill() // half a reply can not be taken back
		return err
	case err != nil && refused:
		x.refuse(e)
		return err
	case err != nil:
		x.w.Truncate(x.at)
		return err
	case isRefusal(head):
		x.refuse(e)
		return nil
	}
	x.refused.entry = -1
	if e.done != nil {
		x.finish(e)
	}
	x.answered(e, kind)
	if len(x.w.Buf) >= sendAt {
		x.bulky = true
		return x.send()
	}
	return nil
}

// refuse notes that the leader has refused an entry. The client sees that only if the leader then executes others.
func (x *exchange) refuse(e *entry) {
	x.w.Truncate(x.at)
	if x.refused.entry < 0 {
		x.refused = refusedAt{x.next, x.at, x.spliced}
	}
	x.error(e, command.ErrLeaderMoved)
	x.next++
}

var (
	refusals    = [][]byte{[]byte("-" + command.ErrNoLeader), []byte("-" + command.ErrNoLeaderExec)}
	errProtocol = errors.New("the leader has sent what it must not")
)

func isRefusal(head []byte) bool {
	return bytes.HasPrefix(head, refusals[0]) || bytes.HasPrefix(head, refusals[1])
}

// finish lets the session make its own of a complete reply.
func (x *exchange) finish(e *entry) {
	if x.long {
		x.error(e, "ERR the transaction was executed, but its replies are too long to be joined with those of this node")
		return
	}
	encoded := bytes.Clone(x.w.Buf[x.at:])
	x.w.Truncate(x.at)
	x.w.Proto = e.proto
	e.done(x.w, encoded)
	if e.mute {
		x.w.Truncate(x.at)
	}
}

// send passes on what there is.
func (x *exchange) send() error {
	err := x.sess.Conn.Send(!x.shared)
	switch {
	case err == nil:
	case x.turn.batch != nil:
		x.gone = true
		x.w.Reset()
	default:
		return errGone
	}
	x.at = len(x.w.Buf)
	return nil
}

func oneLine(err error) string {
	return strings.NewReplacer("\r", " ", "\n", "; ").Replace(err.Error())
}
