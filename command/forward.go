package command

import "github.com/gtinside/corecache/reply"

// forward passes a call on to the node that leads, which replies at the end of the unit.
func (s *Server) forward(c *Call) {
	sess := c.Session
	r := &sess.request
	*r = Request{
		Frame: sess.Frame, Args: c.Args, At: len(c.Out.Buf), DB: sess.DB(), Proto: sess.Proto(),
		Kind: c.Cmd.requestKind(), Mute: sess.replyMode == replyOff || sess.replyMode == replySkip,
	}
	r.Quick = c.Cmd.quick && r.Kind <= RequestRead
	if r.Kind == RequestExec && !s.prepareExec(c, r) {
		return
	}
	if sess.up == nil {
		sess.up = s.proxy.NewUpstream(sess)
	}
	if sess.lastCmd.Load() != c.Cmd {
		sess.lastCmd.Store(c.Cmd)
	}
	sess.up.Forward(r)
	if s.monitors.any() {
		s.monitors.feed(c)
	}
	sess.forwarded++
	sess.blocksAway = sess.blocksAway || c.Cmd.waits
	if r.Done != nil { // what follows depends on how this ends
		sess.Conn.Yield()
		s.exchange(sess, c.Out)
		c.start = len(c.Out.Buf)
	}
	*r = Request{}
}

// exchange lets the leader answer what was forwarded.
func (s *Server) exchange(sess *Session, w *reply.Writer) {
	s.stats.forwarded.Add(sess.forwarded)
	sess.endsSoon.Store(!sess.blocksAway)
	if sess.blocksAway {
		sess.blockAway(sess.up)
		defer sess.setBlocked(false)
	}
	sess.forwarded, sess.blocksAway = 0, false
	sess.up.Exchange(w)
}

// NewLane returns what carries that which sessions of an event loop forward, nil when nothing is forwarded.
func (s *Server) NewLane(l Loop) Lane {
	if s.proxy == nil {
		return nil
	}
	return s.proxy.NewLane(l)
}

// Quick returns what a lane may take of the session, nil when there is nothing for it. The end of the unit then has to wait for the leader, but
// not for long.
func (sess *Session) Quick() Upstream {
	if sess.up != nil && sess.up.Quick() {
		return sess.up
	}
	return nil
}

// Upstream is what Quick has returned, also while a lane has it.
func (sess *Session) Upstream() Upstream { return sess.up }

// forwarding reports whether the leader has yet to answer commands of this unit.
func (sess *Session) forwarding() bool { return sess.up != nil && sess.up.Pending() }

// watchesAway reports whether keys were watched at another node.
func (sess *Session) watchesAway() bool { return sess.up != nil && sess.up.Watching() }

func (cmd *Command) requestKind() RequestKind {
	switch {
	case cmd.kind != RequestWrite:
		return cmd.kind
	case cmd.Flags&ReadOnly != 0:
		return RequestRead
	}
	return RequestWrite
}

// execStays: EXEC is for the leader when something in the queue is.
func execStays(c *Call) bool {
	m := &c.Session.Multi
	if !m.Open || m.Aborted {
		return true
	}
	if c.Session.watchesAway() || c.Session.watch.Len() > 0 { // only the leader knows whether the keys have changed
		return false
	}
	for _, q := range m.Queue {
		if q.Cmd.Flags&nodeLocal == 0 {
			return false
		}
	}
	return true
}

// watchStays: within MULTI it is an error.
func watchStays(c *Call) bool { return c.Session.Multi.Open }

// unwatchStays: there is nothing to forget at another node.
func unwatchStays(c *Call) bool { return !c.Session.watchesAway() }

// prepareExec makes a request of the open MULTI, which ends. It replies and returns false when that is not needed.
//
// Commands in the queue that concern this node are executed here, when the leader has executed the others; their replies
// go between those of the leader.
func (s *Server) prepareExec(c *Call, r *Request) bool {
	sess := c.Session
	queue := sess.Multi.Queue
	if sess.watch.Len() > 0 { // watched while this node led
		c.endMulti()
		c.Out.NullArray()
		return false
	}
	sess.resetMulti()
	r.Queue = queue
	for i, q := range queue {
		if q.Cmd.Flags&nodeLocal == 0 {
			continue
		}
		r.Queue = append([]Queued(nil), queue[:i]...)
		for _, q := range queue[i:] {
			if q.Cmd.goesToLeader() {
				r.Queue = append(r.Queue, q)
			}
		}
		sent := len(r.Queue)
		r.Done = func(w *reply.Writer, encoded []byte) { s.finishExec(sess, queue, sent, w, encoded) }
		break
	}
	return true
}

// goesToLeader reports whether the leader has to see a queued command.
func (cmd *Command) goesToLeader() bool {
	return cmd.Flags&nodeLocal == 0 || cmd.Flags&sessionState != 0
}

// finishExec joins the leader's replies to the commands it was sent with those of the others.
func (s *Server) finishExec(sess *Session, queue []Queued, sent int, w *reply.Writer, encoded []byte) {
	n, at := reply.Elements(encoded)
	if n != sent { // an error, or null because of a watched key
		w.Raw(encoded)
		return
	}
	c := &sess.call
	keep := *c
	defer func() { *c = keep }()
	c.Out, c.Now, c.splicing = w, sess.unit.now, true
	rest := encoded[at:]
	w.Array(len(queue))
	for _, q := range queue {
		var theirs []byte
		if q.Cmd.goesToLeader() {
			theirs, rest, _ = reply.First(rest)
		}
		if q.Cmd.Flags&nodeLocal != 0 {
			c.exec(q)
		} else {
			w.Raw(theirs)
		}
	}
}
