package proxy

import "errors"

// batch is a connection that several sessions read their replies from, one after the other: what is left of a line when the replies are too
// long for it. Each session goes on in its own goroutine and waits for its turn.
type batch struct {
	c      *connection
	left   int     // exchanges that have not ended
	sent   int     // how much was written, unless writer still writes
	writer *writer // not nil: writes what is left
	err    error   // why no more replies come
	spent  bool    // the leader has refused something, as it does for ever on this connection
	unread bool    // the last replies are nobody's
}

// turn is a session's part in a batch.
type turn struct {
	batch *batch
	mine  <-chan struct{} // closed when it begins
	next  chan<- struct{} // to be closed when it is over
	skip  int             // replies in front that are nobody's any more
}

// take makes the members of a batch go on.
func (b *batch) take(p *Proxy, all []member) {
	mine, skip := make(chan struct{}), 0
	close(mine)
	for _, m := range all {
		if m.u == nil {
			skip += m.replies
			continue
		}
		next := make(chan struct{})
		m.u.ws.exchange.turn = turn{batch: b, mine: mine, next: next, skip: skip}
		mine, skip = next, 0
		b.left++
	}
	b.unread = skip > 0
	if b.left == 0 {
		b.left = 1
		b.leave(p, errAbandoned)
	}
}

// sharedAttempt is the first attempt of an exchange in a batch.
func (x *exchange) sharedAttempt() error {
	<-x.turn.mine
	b := x.turn.batch
	err := b.err
	if b.spent { // so are these, even if the leader has no words for them any more
		x.refused = refusedAt{x.next, len(x.w.Buf), x.spliced}
	}
	if err == nil {
		b.err = errAbandoned // should reading end in a panic, nobody else reads on
		x.conn, x.from = b.c, &b.c.input
		err = x.skipReplies(x.turn.skip)
		if err == nil {
			err = x.readAll()
		}
		x.unguard()
		b.err = nil
	}
	x.conn = nil
	b.spent = x.refused.entry >= 0
	sent := x.leaveBatch(err)
	return x.concluded(sent-x.share, err)
}

// skipReplies reads replies to those who have left.
func (x *exchange) skipReplies(n int) error {
	for range n {
		if _, _, err := x.read(discard); err != nil {
			return err
		}
	}
	return nil
}

// leaveBatch lets the next session have its turn.
func (x *exchange) leaveBatch(err error) (sent int) {
	t := x.turn
	x.turn, x.shared = turn{}, false
	sent = t.batch.leave(x.proxy, err)
	close(t.next)
	return sent
}

// leave is called by each exchange when its part is over. It returns how much was written, in case of an error.
func (b *batch) leave(p *Proxy, err error) (sent int) {
	b.left--
	if b.err == nil {
		b.err = err
	}
	if b.writer != nil && (b.err != nil || b.left == 0) {
		b.sent, b.err = b.writer.end(b.err)
		b.writer = nil
	}
	if b.left > 0 {
		return b.sent
	}
	if b.err != nil || b.spent || b.unread || b.c.r != b.c.w {
		p.drop(b.c)
	} else {
		p.give(b.c)
	}
	return b.sent
}

var errAbandoned = errors.New("proxy: a session has left a batch")
