package resp

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/tidwall/redcon"
)

const (
	flushAt     = 64 << 10         // replies of a long pipeline are sent whenever so many bytes have gathered
	unitBytes   = 1 << 20          // a unit takes no more requests once it has read so much
	roomAlways  = 1 << 20          // replies may wait for any client up to here before it is not read from
	roomNoLimit = 64 << 20         // the same when there is memory, and no bound for it is set
	stallTime   = 60 * time.Second // a client that takes nothing for so long while it must is closed
	lingerTime  = 5 * time.Second  // the same, for the last replies
)

// serve is the life of a client, on the goroutine that redcon has made for it.
func (c *client) serve() {
	defer c.finish()
	defer c.recovered()
	if !c.handshake() {
		return
	}
	c.sess = c.server.commands.NewSession(c)
	c.ready.Store(true)
	defer c.closeSession()
	if c.loop != nil {
		c.attend()
	} else {
		for c.receive() && c.unit() {
		}
	}
	c.dismiss()
	c.linger()
}

// dismiss says that requests which have not been read yet are not executed any more, to those who want to know. Replies come
// before: when one of them was lost, this is, too.
func (c *client) dismiss() {
	if c.server.stopped() && !c.isKilled() {
		c.sess.Dismiss(&c.w)
		_ = c.sendReplies() // an error ends the connection, and with it the session
	}
}

// recovered keeps a mistake in this package from ending the process.
func (c *client) recovered() {
	if r := recover(); r != nil {
		c.logPanic(r)
	}
}

func (c *client) logPanic(r any) {
	stack := debug.Stack()
	c.server.log.limited("panic", func() { c.server.log.WithField("stack", string(stack)).Errorf("panic in a session: %v", r) })
}

func (c *client) closeSession() {
	c.ready.Store(false)
	c.unblocked()
	c.server.commands.CloseSession(c.sess)
}

// finish gives back what the client holds. Nothing of it is running any more afterwards.
func (c *client) finish() {
	c.Kill()
	c.out.writer.Wait()
	if c.loop != nil {
		c.loop.forget(c)
	}
	c.to.close()
	c.charge(-c.charged)
	c.ws, c.in = nil, input{} // a chunk may be in use by what went wrong: it is not recycled
	c.server.forget(c)
}

// handshake completes TLS. It happens here and not where connections are accepted, so that a slow
// client holds up nobody.
func (c *client) handshake() bool {
	if c.tls == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.server.handshake)
	defer cancel()
	if err := c.tls.HandshakeContext(ctx); err != nil {
		c.server.log.limited("tls", func() { c.server.log.Debugf("TLS handshake with %s: %v", c.remote, err) })
		return false
	}
	return true
}

// receive waits until something has been read from a stream. It reports false when the session is over.
func (c *client) receive() bool {
	if c.server.stopped() {
		return false
	}
	c.workspace()
	space := c.in.space(c.ws, c.frame.need())
	var n int
	var err error
	if c.tls != nil {
		n, err = c.tls.Read(space)
	} else {
		n, err = c.stream.nc.Read(space)
	}
	if n > 0 {
		c.received(n)
		return true
	}
	c.logRead(err)
	return false
}

// fill reads from a socket without waiting; n is 0 when nothing has come. ok is false when the
// session is over.
func (c *client) fill() (n int, ok bool) {
	if c.server.stopped() || c.isKilled() {
		return 0, false
	}
	c.workspace()
	space := c.in.space(c.ws, c.frame.need())
	n, err := c.sock.tryRead(space)
	if err == syscall.EAGAIN {
		c.filled = false
		return 0, true
	}
	if n <= 0 {
		c.logRead(err)
		return 0, false
	}
	c.filled = n == len(space)
	c.received(n)
	return n, true
}

// workspace borrows memory for a unit.
func (c *client) workspace() {
	if c.ws == nil {
		c.ws = borrow()
		c.w.Buf = c.ws.out[:0]
	}
}

// park gives the workspace back.
func (c *client) park() {
	c.in.park(c.ws)
	c.ws.out = c.w.Buf[:0]
	c.w.Buf = nil
	c.ws.recycle()
	c.ws = nil
	c.account()
}

// account tells the budget what the client holds besides its workspace.
func (c *client) account() {
	held := int64(c.in.held()) + int64(c.frame.scanned())*argumentMemory
	if c.sess != nil {
		held += c.sess.QueuedBytes()
	}
	if held == 0 && c.charged == 0 && c.qbuf.Load() == 0 {
		return // nearly always
	}
	c.charge(held - c.charged)
	c.charged = held
	c.qbuf.Store(int64(c.in.len()))
	c.qfree.Store(held - int64(c.in.len()))
}

func (c *client) received(n int) {
	c.in.end += n
	c.bytesIn.Add(int64(n))
	now := c.server.clock.Load()
	if c.progress.Load() != now {
		c.progress.Store(now)
	}
	if c.in.own {
		c.account()
	}
}

func (c *client) logRead(err error) {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) || c.isKilled() {
		return
	}
	c.server.log.limited("read", func() { c.server.log.Debugf("Reading from client %s: %v", c.remote, err) })
}

// unit executes what has arrived as one unit. It reports false when the session is over.
func (c *client) unit() bool { return c.endUnit(c.run()) }

// run executes the commands of a unit. It reports false when the session ends with their replies.
func (c *client) run() bool {
	c.inUnit.Store(true)
	c.executed = 0
	start := c.bytesIn.Load()
	goOn, err := c.execute()
	for goOn && err == nil && c.bytesIn.Load()-start < unitBytes && c.receiveMore() {
		goOn, err = c.execute()
	}
	if err != nil {
		c.protocolError(err)
	}
	return goOn && err == nil
}

// endUnit sends the replies of a unit. It reports false when the session is over.
func (c *client) endUnit(goOn bool) bool { return c.flushUnit() && goOn && c.settle() }

// receiveMore reads on without waiting when the last read has filled the buffer: a pipeline longer
// than that is still one unit. An end of the stream is met again by the next fill.
func (c *client) receiveMore() bool {
	if !c.filled {
		return false
	}
	n, _ := c.fill()
	return n > 0
}

// execute frames, parses and executes command by command. It returns false when the
// session ends with these replies, and an error for a violation of the protocol.
func (c *client) execute() (goOn bool, err error) {
	set := c.server.settings.Load()
	lim := limits{bulk: int(set.MaxBulk), query: int(set.MaxQuery)}
	for {
		lim.anonymous = set.Password && !c.sess.Authenticated()
		n, kind, err := c.frame.next(c.in.bytes(), lim)
		if kind == frameNone {
			if err == nil && c.overQueue(set) {
				err = errQueryBuffer
			}
			return true, err
		}
		if err := c.command(c.in.take(n), kind); err != nil {
			return false, err
		}
		if c.sess.Closing() {
			return false, nil
		}
		if len(c.w.Buf) >= flushAt && !(c.flushUnit() && c.settle() && !c.server.stopped()) {
			return false, nil
		}
	}
}

// command parses one frame and executes it.
func (c *client) command(frame []byte, kind frameKind) error {
	switch kind {
	case frameEmpty:
		return nil
	case frameInline:
		line, argc, err := appendInline(c.ws.inline[:0], frame)
		if argc == 0 {
			return err
		}
		c.ws.inline, frame = line, line
	}
	if n := argumentCount(frame); n > keepArgs {
		defer c.holdArguments(n)()
	}
	complete, args, _, _, err := redcon.ReadNextCommand(frame, c.ws.args[:0])
	if err != nil || !complete {
		return errMultibulkLength // the framer has let something pass that redcon does not take
	}
	c.ws.args = args
	c.w.Proto = c.sess.Proto()
	c.executed++
	c.sess.Frame = frame
	c.server.commands.Dispatch(c.sess, args, &c.w)
	c.unblocked()
	return nil
}

// holdArguments makes room for the arguments of a large command, at once and in the account. The
// function returned gives it back.
func (c *client) holdArguments(n int) (release func()) {
	c.account() // from here on they count as below, no longer as arguments to come
	size := int64(n) * argumentMemory
	c.charge(size)
	c.ws.args = make([][]byte, 0, n)
	return func() {
		c.ws.args = nil
		c.charge(-size)
	}
}

// unblocked undoes what Flush has prepared, if the command has blocked.
func (c *client) unblocked() {
	if !c.watcher.active.Load() {
		return
	}
	c.watcher.end(c)
	c.charge(-c.blocked)
	c.blocked = 0
	c.inUnit.Store(true)
}

// protocolError answers behind the replies of the commands that were right.
func (c *client) protocolError(err error) {
	if errors.Is(err, errQueryBuffer) {
		c.server.stats.queryClosed.Add(1)
		c.server.log.limited("query", func() {
			c.server.log.Warnf("Closing client that reached max query buffer length: %s", c.remote)
		})
		return
	}
	c.commit()
	c.w.Error("ERR Protocol error: " + err.Error())
}

// flushUnit waits for the commit of the unit's writes and sends the replies. It reports false
// when the connection is lost.
func (c *client) flushUnit() bool {
	c.commit()
	return c.sendReplies() == nil && c.endReplies() == nil
}

// commit waits for the commit of the unit's writes. An error is in the replies already.
func (c *client) commit() {
	if !c.server.commands.EndsAtOnce(c.sess) {
		c.mayBlock()
	}
	_ = c.server.commands.EndUnit(c.sess, &c.w)
	c.unblocked()
}

// Yield implements command.Conn.
func (c *client) Yield() { c.mayBlock() }

// Send implements command.Conn.
func (c *client) Send(wait bool) error {
	c.mayBlock()
	if err := c.sendReplies(); err != nil {
		return err
	}
	if wait && !c.settle() {
		return errClosed
	}
	return nil
}

// Flush implements command.Conn: the session's replies are sent, and from now on until the command
// returns somebody looks whether the client is still there.
func (c *client) Flush() error {
	c.mayBlock()
	err := c.sendReplies()
	if err == nil {
		err = c.endReplies()
	}
	if err != nil {
		c.Kill() // nothing is worth waiting for
	}
	c.watcher.begin(c)
	if c.ws != nil {
		c.charge(c.ws.size() - c.blocked)
		c.blocked = c.ws.size()
	}
	return err
}

// sendReplies hands the collected replies to the outbox and empties the writer.
func (c *client) sendReplies() error {
	b := c.w.Buf
	if len(b) == 0 {
		return nil
	}
	if c.tls != nil {
		_, err := c.tls.Write(b)
		c.keepReplies(b)
		return err
	}
	taken, err := c.out.send(b, true)
	if taken {
		c.w.Buf = nil
		return err
	}
	c.keepReplies(b)
	return err
}

// keepReplies makes the memory of sent replies ready for the next ones, unless it is large.
func (c *client) keepReplies(b []byte) {
	if cap(b) > keepOut {
		b = nil
	}
	c.w.Buf = b[:0]
}

// overQueue reports whether the commands queued in MULTI take more than a request may.
func (c *client) overQueue(set *Settings) bool {
	queued := c.sess.QueuedBytes()
	if queued == 0 && c.charged == 0 {
		return false
	}
	c.account()
	return queued > set.MaxQuery
}

// settle waits while so many replies are unsent that nothing more should be read. Some may be
// unsent: clients exist that send a whole pipeline before they read the first reply.
func (c *client) settle() bool {
	if c.out.pending.Load() <= roomAlways {
		return true
	}
	room := c.server.outputRoom()
	if c.out.pending.Load() <= room {
		return true
	}
	c.mayBlock()
	if c.waitOutput(room/2, c.server.stall) {
		return true
	}
	c.Kill()
	return false
}

// linger waits until the last replies are sent, of which the kernel may not have taken all yet. What is lost does not wait.
func (c *client) linger() {
	if !c.waitOutput(0, c.server.linger) {
		return
	}
	if c.tls != nil {
		_ = c.tls.CloseWrite()
	}
	c.to.closeWrite()
}

// waitOutput waits until no more than n bytes are unsent. It reports false when the connection
// ends first or takes nothing for as long as patience.
func (c *client) waitOutput(n int64, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for c.out.pending.Load() > n {
		select {
		case <-c.out.progress:
			timer.Reset(patience)
		case <-c.done:
			return false
		case <-timer.C:
			return false
		}
	}
	return true
}
