package proxy

import (
	"time"

	"github.com/gtinside/corecache/command"
)

// batch is one connection that several sessions use together for one attempt: their requests go out with one write, and their replies
// come with few reads, in the same order. A system call and a packet cost more than all the rest that is done for a request.
//
// The sessions' exchanges take place one after the other. Only commands that do not take long are treated so, as each waits for
// those before it.
type batch struct {
	c      *connection
	ws     *workspace // holds what is written
	left   int        // exchanges that have not ended
	sent   int        // how much was written, unless writer still writes
	writer *writer
	err    error // why no more replies come
	spent  bool  // the leader has refused something, as it does for ever on this connection
}

const (
	maxShare = 16 << 10  // bytes that a session may send in a batch
	maxBatch = 256 << 10 // bytes of a batch, about
)

// Together implements command.Proxy.
func (p *Proxy) Together(all []command.Upstream) {
	if len(all) < 2 {
		return
	}
	now := time.Now()
	for _, up := range all {
		if u := up.(*Upstream); u.Quick() {
			x := &u.ws.exchange
			x.begin(u, now) // their waiting for a leader ends together, though one waits behind the other
			x.shared = true
		}
	}
	c, err := p.connect(p.o.Cluster.Changed(), nil)
	if err != nil {
		return // each tries on its own, and is told
	}
	b := &batch{c: c, ws: p.pool.Get().(*workspace)}
	for _, up := range all {
		u := up.(*Upstream)
		if !u.Quick() || len(b.ws.wire) > maxBatch {
			continue
		}
		x := &u.ws.exchange
		x.batch, x.share = b, len(b.ws.wire)
		b.ws.wire = x.prepare(b.ws.wire, c)
		b.left++
	}
	if b.left == 0 {
		p.give(c)
		b.ws.recycle(p)
		return
	}
	b.sent, b.writer, b.err = p.write(c, b.ws.wire)
}

// sharedAttempt is the attempt of an exchange in a batch.
func (x *exchange) sharedAttempt() error {
	b, err := x.batch, x.batch.err
	if b.spent { // so are these, even if the leader has no words for them any more
		x.refused = refusedAt{x.next, len(x.w.Buf), x.spliced}
	}
	if err == nil {
		b.err = errAbandoned // should reading end in a panic, nobody else reads on
		x.conn = b.c
		x.take(b.c)
		err = x.readAll()
		x.unguard()
		b.err = nil
	}
	x.conn = nil
	b.spent = b.spent || x.refused.entry >= 0
	x.batch = nil
	sent := b.leave(x.proxy, err)
	return x.concluded(sent-x.share, err)
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
	if b.err != nil || b.spent || b.c.r != b.c.w {
		p.drop(b.c)
	} else {
		p.give(b.c)
	}
	b.ws.recycle(p)
	return b.sent
}
