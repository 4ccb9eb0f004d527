package command

import (
	"sync"
	"time"
)

// blocking is the part of a session that lets others end its waiting.
type blocking struct {
	mu struct {
		sync.Mutex
		wake chan bool // not nil while CLIENT UNBLOCK may end the waiting; true: with ERROR
		away Upstream  // not nil while a command may block at the leader
	}
}

// waitResult says why a blocked call goes on.
type waitResult int

const (
	waitDone      waitResult = iota // the event came
	waitTimeout                     // time is over, or CLIENT UNBLOCK ... TIMEOUT
	waitUnblocked                   // CLIENT UNBLOCK ... ERROR
	waitGone                        // the client has gone or the server closes
	waitDeposed                     // the command was executed because this node led, which is over: see refuseDeposed
)

// wait blocks the call until event is closed or sends, at most for d (0 = without end), or until CLIENT UNBLOCK
// ends it. The unit so far is committed and its replies are sent first; afterwards c.Now is read anew. It must not
// be called inside EXEC.
func (c *Call) wait(event <-chan struct{}, d time.Duration) waitResult {
	return c.waitFor(event, d, c.Session.unblockable())
}

// waitFor is wait with the channel on which CLIENT UNBLOCK wakes the call, nil where it has no say.
func (c *Call) waitFor(event <-chan struct{}, d time.Duration, wake <-chan bool) waitResult {
	sess, term := c.Session, c.Session.unit.term
	if c.splicing {
		return waitTimeout
	}
	c.EndUnit(sess, c.Out)
	sess.endsSoon.Store(false)
	sess.Conn.Flush()
	c.start = len(c.Out.Buf)
	defer func() {
		c.beginUnit(sess)
		c.Now = sess.unit.now
	}()
	sess.setBlocked(true)
	defer sess.setBlocked(false)
	var timeout <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	for {
		var changed <-chan struct{}
		if term != 0 && wake != nil && !c.staysHere() { // after a pause it is decided anew who executes the call
			if changed = c.cluster.Changed(); c.termOver(term) {
				c.led = false // it had no effect
				return waitDeposed
			}
		}
		select {
		case <-changed:
			continue
		case <-event:
			return waitDone
		case <-timeout:
			return waitTimeout
		case isError := <-wake:
			if isError {
				return waitUnblocked
			}
			return waitTimeout
		case <-sess.Conn.Done():
		case <-c.quit:
		}
		return waitGone
	}
}

// termOver reports whether the term in which the call began is over: another node leads, or this one again, in a later term. A leader
// that only does not know for a moment whether it still leads goes on.
func (c *Call) termOver(term uint64) bool {
	now := c.cluster.Leads()
	return now != term && (now != 0 || c.follows())
}

// refuseDeposed replies to a command that has waited in vain and had no effect: another node leads now. A node that has forwarded
// the command sends it there.
func (c *Call) refuseDeposed() {
	if c.Session.origin.Load() != nil {
		c.Session.refused = true
		c.Out.Error(ErrNoLeader)
		return
	}
	c.Out.Error("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)")
}

// unblockable lets CLIENT UNBLOCK wake the session once, until it is no longer blocked.
func (sess *Session) unblockable() <-chan bool {
	wake := make(chan bool, 1)
	sess.blocking.mu.Lock()
	sess.blocking.mu.wake = wake
	sess.blocking.mu.Unlock()
	return wake
}

func (sess *Session) setBlocked(on bool) {
	sess.blocked.Store(on)
	if on {
		sess.server.clients.blocked.Add(1)
		return
	}
	sess.server.clients.blocked.Add(-1)
	sess.blocking.mu.Lock()
	sess.blocking.mu.wake, sess.blocking.mu.away = nil, nil
	sess.blocking.mu.Unlock()
}

// blockAway says that the session waits for a command which may block at the leader, until setBlocked(false).
func (sess *Session) blockAway(up Upstream) {
	sess.blocking.mu.Lock()
	sess.blocking.mu.away = up
	sess.blocking.mu.Unlock()
	sess.setBlocked(true)
}

// blocksAt returns the way to the leader where a command of the session may block, nil if there is none.
func (sess *Session) blocksAt() Upstream {
	sess.blocking.mu.Lock()
	defer sess.blocking.mu.Unlock()
	return sess.blocking.mu.away
}

// unblock ends the waiting of a session that is blocked here, and reports whether there was one to end.
func (sess *Session) unblock(isError bool) bool {
	sess.blocking.mu.Lock()
	defer sess.blocking.mu.Unlock()
	if sess.blocking.mu.wake == nil {
		return false
	}
	select {
	case sess.blocking.mu.wake <- isError:
		sess.blocking.mu.wake = nil
		return true
	default:
		return false
	}
}

// pause is the state of CLIENT PAUSE.
type pause struct {
	mu struct {
		sync.Mutex
		until time.Time
		all   bool
		over  chan struct{} // closed when the pause ends; nil when there is none
		timer *time.Timer
	}
}

// begin starts a pause or extends the one there is; a pause never becomes shorter or laxer.
func (p *pause) begin(s *Server, d time.Duration, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(d)
	if p.mu.over == nil {
		p.mu.over = make(chan struct{})
	} else {
		p.mu.timer.Stop()
		all = all || p.mu.all
		if until.Before(p.mu.until) {
			until = p.mu.until
		}
	}
	p.keepLocked(s)
	over := p.mu.over
	p.mu.until, p.mu.all = until, all
	p.mu.timer = time.AfterFunc(time.Until(until), func() { p.expire(s, over) })
	if all {
		s.gates.Or(gatePauseAll)
	} else {
		s.gates.Or(gatePauseWrites)
	}
}

// expire ends the pause to which over belongs, unless it was extended meanwhile.
func (p *pause) expire(s *Server, over chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.over == over && !time.Now().Before(p.mu.until) {
		p.endLocked(s)
	}
}

// end ends the pause, if there is one.
func (p *pause) end(s *Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.over != nil {
		p.endLocked(s)
	}
}

func (p *pause) endLocked(s *Server) {
	p.mu.timer.Stop()
	close(p.mu.over)
	p.mu.over, p.mu.all = nil, false
	p.keepLocked(s)
	s.gates.And(^uint32(gatePauseAll | gatePauseWrites))
}

// keepLocked lets the keyspace delete expired keys by itself only when there is no pause, during which the
// data must not change, and when no other node decides what changes. What clients of a leader are told to have expired is deleted also in a pause.
func (p *pause) keepLocked(s *Server) {
	if !s.Loading() {
		s.Keyspace.SetReadOnly(p.mu.over != nil || s.follows())
	}
}

func (p *pause) channel() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.over
}

// waitPause holds the call back until no pause concerns it any more. It reports false when the client has gone.
func (s *Server) waitPause(c *Call) bool {
	for c.pausedNow() {
		over := s.pause.channel()
		if over == nil {
			continue
		}
		if c.waitFor(over, 0, nil) == waitGone {
			c.Session.CloseAfterReply()
			return false
		}
	}
	return true
}

func (c *Call) pausedNow() bool {
	gates := c.gates.Load()
	return gates&gatePauseAll != 0 || gates&gatePauseWrites != 0 && c.effectiveFlags()&(Write|MayReplicate) != 0
}

// effectiveFlags are the flags of the command; EXEC has those of its queue as well.
func (c *Call) effectiveFlags() Flags {
	if c.Cmd.full == "exec" {
		return c.Cmd.Flags | c.Session.Multi.flags&(Write|MayReplicate)
	}
	return c.Cmd.Flags
}
