package command

import (
	"bytes"
	"cmp"
	"errors"
	"runtime/debug"
	"strings"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/reply"
)

// Bits of Server.gates: states of the server in which some commands wait or are refused.
const (
	gateLoading = 1 << iota // the log is being replayed
	gatePauseWrites
	gatePauseAll
	gateWritesRefused // the engine does not take writes
)

// Dispatch executes one command and appends its reply to w.
//
// args alias the caller's buffer and are not used after Dispatch has returned. It never panics;
// it blocks only where the command does (CLIENT PAUSE, DEBUG SLEEP). The reply must not be sent
// before EndUnit.
func (s *Server) Dispatch(sess *Session, args [][]byte, w *reply.Writer) {
	if len(args) == 0 {
		return
	}
	if !sess.unit.open {
		s.beginUnit(sess)
	}
	c := &sess.call
	c.Args, c.Out, c.Now = args, w, sess.unit.now
	c.start, c.redacted = len(w.Buf), 0
	c.Cmd = sess.names.find(s.table, args)
	c.led, c.copied = false, false
	write := false
	if s.admit(c) {
		if sess.unit.term != 0 && !c.staysHere() {
			c.led, write = true, c.effectiveFlags()&(Write|MayReplicate) != 0
		}
		s.execute(c)
	}
	if sess.replyMode != replyOn {
		sess.muteReply(w, c.start)
	}
	if dirty := sess.LastWrite > sess.unit.committed; (dirty || c.led || c.copied) && len(w.Buf) > c.start {
		sess.unit.marks = append(sess.unit.marks, mark{c.start, len(w.Buf), dirty, c.led, c.led && write, c.copied})
	}
	c.Args, c.Out, sess.Frame = nil, nil, nil
}

// beginUnit reads the clocks for a new unit.
func (s *Server) beginUnit(sess *Session) {
	u := &sess.unit
	now := s.now()
	u.open, u.now = true, now.UnixMilli()
	if s.cluster != nil {
		s.beginTerm(sess)
	}
	u.nanos = int64(now.Sub(s.start))
	u.exact = s.exactTimes()
	sess.lap.begin(u.nanos, s.tick.Load())
	sess.lastActive.Store(u.nanos)
	s.stats.units.Add(1)
}

// Wait waits until the session's last write is committed. It ends no unit.
func (s *Server) Wait(sess *Session) error {
	if sess.LastWrite == 0 || s.DB == nil || sess.LastWrite <= sess.unit.committed {
		return nil
	}
	if err := sess.unit.failed; err != nil {
		sess.unit.failed = nil
		return err
	}
	if err := s.DB.Wait(sess.LastWrite); err != nil {
		return err
	}
	sess.unit.committed = sess.LastWrite
	return nil
}

// EndUnit ends the unit: it waits until the unit's writes are committed, after
// which the replies in w may be sent. w.Buf must still hold all replies of the unit.
//
// When waiting fails, the replies of the unit's first write and of all later commands are
// replaced by an error which says that the outcome is unknown: a write may have happened, and a
// later read may have seen it. The error is also returned.
//
// In a cluster it waits for the replies of commands that were forwarded; and when this node does not lead any more,
// the replies of what it has executed as the leader are replaced.
func (s *Server) EndUnit(sess *Session, w *reply.Writer) error {
	s.finishUnit(sess)
	if sess.unit.term != 0 {
		defer sess.led.Store(false)
	}
	if sess.forwarding() {
		s.exchange(sess, w)
	}
	if sess.largeReply {
		defer s.endLargeReply(sess)
	}
	var err error
	if sess.Dirty() {
		err = s.waitCommit(sess)
	}
	if err != nil || !s.stillLeads(sess) || !s.wholeCopy(sess) {
		if errors.Is(err, engine.ErrReadOnly) {
			s.refuseWrites(err)
		}
		s.replaceReplies(sess, w, err)
		sess.unit.committed = sess.LastWrite // nothing is left to wait for
	}
	sess.unit.marks, sess.unit.copied = sess.unit.marks[:0], copied{}
	return err
}

// Await waits, without keeping the caller, for what EndUnit would wait for, for several sessions, whose holder the caller gives up to
// be. f is called when EndUnit will not wait for any of them: by whoever learns of it, or the caller if it is so already. f must not
// wait. It reports false, and does nothing, if there is more to wait for than the commit: a sync, or another node.
func (s *Server) Await(sessions []*Session, f func()) bool {
	if s.cluster == nil || s.DB == nil || !s.DB.LogsBriefly() {
		return false
	}
	last := uint64(0)
	for _, sess := range sessions {
		if sess.forwarding() && !sess.up.Arrived() {
			return false
		}
		if sess.Dirty() {
			last = max(last, sess.LastWrite)
		}
	}
	start, watched := int64(0), s.set.latencyThreshold.Int() != 0
	if watched {
		start = s.nanos()
	}
	s.DB.WhenCommitted(last, func(err error) {
		if watched {
			s.NoteLatency("commit-wait", (s.nanos()-start)/1e6)
		}
		committed := s.DB.Committed()
		for _, sess := range sessions {
			switch {
			case !sess.Dirty():
			case err == nil, sess.LastWrite <= committed:
				sess.unit.committed = sess.LastWrite
			default:
				sess.unit.failed = err
			}
		}
		f()
	})
	return true
}

// EndsAtOnce reports whether EndUnit will not wait for a disk or for other machines.
func (s *Server) EndsAtOnce(sess *Session) bool {
	return (!sess.forwarding() || sess.up.Arrived()) && (!sess.Dirty() || s.DB == nil || s.DB.WaitsBriefly(sess.LastWrite))
}

// waitCommit is Wait, watched by the latency monitor.
func (s *Server) waitCommit(sess *Session) error {
	if s.set.latencyThreshold.Int() == 0 {
		return s.Wait(sess)
	}
	start := s.nanos()
	err := s.Wait(sess)
	s.NoteLatency("commit-wait", (s.nanos()-start)/1e6)
	return err
}

// finishUnit accounts for the last lap of the unit.
func (s *Server) finishUnit(sess *Session) {
	if sess.unit.open {
		s.endLap(sess, nil)
		sess.unit.open = false
	}
}

const errLoading = "LOADING Redis is loading the dataset in memory"

// ErrOutcomeUnknown is the prefix of errors about writes which may or may not have happened.
const ErrOutcomeUnknown = "UNKNOWN the outcome of this command is unknown, it may have been executed: "

var errDeposed = errors.New("the leader has changed")

// replaceReplies replaces what must not be released. cause is the error of the commit; nil: the node leads no more, or what it has was replaced.
func (s *Server) replaceReplies(sess *Session, w *reply.Writer, cause error) {
	lost, mixed := !s.stillLeads(sess), !s.wholeCopy(sess)
	unknown, stale := ErrOutcomeUnknown+cmp.Or(cause, errDeposed).Error(), ErrLeaderMoved
	if lost && sess.origin.Load() != nil {
		stale, sess.refused = ErrNoLeader, true
	}
	// ErrNoLeader tells the other node that nothing from there on was executed, which a read that is followed by a write must not say.
	written := -1
	for i, m := range sess.unit.marks {
		if m.write {
			written = i
		}
	}
	old := append([]byte(nil), w.Buf...)
	pos := 0
	w.Buf = w.Buf[:0]
	for i, m := range sess.unit.marks {
		if m.start < pos || m.end > len(old) {
			continue // the front end cut the buffer; nothing sensible is left to replace
		}
		text := unknown
		switch {
		case lost && m.write, cause != nil && m.dirty:
		case lost && m.led && i < written:
			text = ErrLeaderMoved
		case lost && m.led:
			text = stale
		case mixed && m.copied:
			text = ErrReplaced
		default:
			continue
		}
		w.Buf = append(w.Buf, old[pos:m.start]...)
		w.Error(text)
		s.stats.countError(text)
		pos = m.end
	}
	w.Buf = append(w.Buf, old[pos:]...)
	if cause != nil {
		s.logError("commit", cause)
	}
}

// admit passes a command through the gates, in the order of Redis. It replies
// and returns false when the command is not to be executed now.
func (s *Server) admit(c *Call) bool {
	cmd, sess := c.Cmd, c.Session
	if cmd == nil || cmd.subs != nil && len(c.Args) > 1 {
		return s.rejectUnknown(c)
	}
	if !cmd.arityOK(len(c.Args)) {
		return s.reject(c, "ERR wrong number of arguments for '"+cmd.full+"' command")
	}
	if cmd.Flags&Protected != 0 && !s.protectedAllowed(c) {
		return s.reject(c, protectedError(cmd))
	}
	if cmd.Flags&NoAuth == 0 && !sess.authenticated.Load() && s.set.requirePass.String() != "" {
		return s.reject(c, "NOAUTH Authentication required.")
	}
	if sess.Multi.Open && cmd.Flags&NoMulti != 0 {
		return s.reject(c, "ERR Command not allowed inside a transaction")
	}
	if sess.monitor.Load() && cmd.Flags&(Write|ReadOnly|MayReplicate) != 0 {
		return s.reject(c, "ERR Replica can't interact with the keyspace")
	}
	if s.gates.Load() != 0 && !s.admitSpecial(c) {
		return false
	}
	if sess.Multi.Open && cmd.Flags&anyTime == 0 {
		s.enqueue(c)
		return false
	}
	return s.cluster == nil || s.admitInCluster(c) && s.admitReplicas(c)
}

// enqueue puts the call off until EXEC. A client that queues more than a single request may hold
// is closed, as by Redis.
func (s *Server) enqueue(c *Call) {
	c.Session.enqueue(c.Cmd, c.Args)
	if c.Session.Multi.bytes > s.set.maxQuery.Int() {
		c.Session.resetMulti()
		c.Session.Kill()
		return
	}
	c.Out.Simple("QUEUED")
}

// admitSpecial holds the gates which are open on the normal path.
func (s *Server) admitSpecial(c *Call) bool {
	gates := s.gates.Load()
	flags := c.effectiveFlags()
	if c.goesAway() {
		return s.waitPause(c)
	}
	if gates&gateWritesRefused != 0 && (flags&Write != 0 || c.Cmd.full == "ping") {
		return s.reject(c, misconf(*s.refused.Load()))
	}
	if gates&gateLoading != 0 && flags&Loading == 0 {
		return s.reject(c, errLoading)
	}
	return s.waitPause(c)
}

// reject refuses a command before it ran. A refusal dooms an open MULTI.
func (s *Server) reject(c *Call, text string) bool {
	sess := c.Session
	if c.Cmd != nil {
		c.Cmd.rejected.Add(1)
	}
	s.stats.countError(text)
	if sess.Multi.Open {
		sess.Multi.Aborted = true
	}
	if c.Cmd != nil && c.Cmd.full == "exec" {
		text = "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(text, "ERR ")
		sess.resetMulti()
		s.unwatch(sess)
	}
	c.Out.Error(text)
	return false
}

// rejectUnknown answers a command, or the subcommand of a container, that does not exist.
func (s *Server) rejectUnknown(c *Call) bool {
	if c.Cmd != nil {
		name := cString(c.Args[1])
		text := "ERR unknown subcommand '" + clip(name, 128) + "'. Try " + c.Cmd.upper + " HELP."
		c.Cmd = nil // Redis counts no rejected call
		return s.reject(c, text)
	}
	if equalFold(c.Args[0], "host:") || equalFold(c.Args[0], "post") {
		return s.rejectHTTP(c)
	}
	var b strings.Builder
	b.WriteString("ERR unknown command '" + clip(cString(c.Args[0]), 128) + "', with args beginning with: ")
	n := 0
	for _, a := range c.Args[1:] {
		if n >= 128 {
			break
		}
		arg := "'" + clip(cString(a), 128-n) + "' "
		n += len(arg)
		b.WriteString(arg)
	}
	return s.reject(c, b.String())
}

// rejectHTTP closes a connection over which a browser was tricked to send a request, without the replies that wait.
func (s *Server) rejectHTTP(c *Call) bool {
	c.Session.Kill()
	if s.logged.allow(s.nanos()) {
		s.Log.WithField("addr", c.Session.RemoteAddr()).
			Warn("Possible SECURITY ATTACK detected: somebody sends an HTTP request, perhaps by cross protocol scripting. Connection closed.")
	}
	return false
}

// execute runs the handler and accounts for it.
func (s *Server) execute(c *Call) {
	sess, cmd := c.Session, c.Cmd
	if sess.lastCmd.Load() != cmd {
		sess.lastCmd.Store(cmd)
	}
	s.beginCommand(sess, cmd)
	s.guarded(c)
	failed := len(c.Out.Buf) > c.start && c.Out.Buf[c.start] == '-'
	if failed {
		s.commandFailed(c)
	}
	s.endCommand(c, failed)
	if s.monitors.any() {
		s.monitors.feed(c)
	}
}

// guarded runs the handler; a panic becomes an error reply and a line in the log.
func (s *Server) guarded(c *Call) {
	defer func() {
		if r := recover(); r != nil {
			s.recovered(c, r)
		}
	}()
	c.Cmd.Handler(c)
}

var errPanic = errors.New("an internal error in a command")

func (s *Server) recovered(c *Call, r any) {
	c.Out.Buf = c.Out.Buf[:min(c.start, len(c.Out.Buf))]
	c.Out.Error("ERR internal error while executing '" + c.Cmd.full + "'")
	if c.Txn != nil {
		c.Txn.Fail(errPanic) // half of the command's writes may be in the transaction
	}
	if s.panics.allow(s.nanos()) {
		s.Log.WithField("command", c.Cmd.full).WithField("stack", string(debug.Stack())).Errorf("panic: %v", r)
	}
}

func (s *Server) commandFailed(c *Call) {
	text := c.Out.Buf[c.start+1:]
	if end := bytes.IndexByte(text, '\r'); end > 0 {
		s.stats.countErrorBytes(text[:end])
	}
}

// exec runs a queued command for EXEC: no gates, but with its own statistics. The reply is appended to c.Out.
// Between calls c stays that of EXEC.
func (c *Call) exec(q Queued) {
	cmd, args, start := c.Cmd, c.Args, c.start
	c.Cmd, c.Args, c.start = q.Cmd, q.Args, len(c.Out.Buf)
	c.redacted = 0
	c.Server.execute(c)
	c.Cmd, c.Args, c.start = cmd, args, start
}

// muteReply applies CLIENT REPLY OFF and SKIP to the reply that begins at start.
func (sess *Session) muteReply(w *reply.Writer, start int) {
	switch sess.replyMode {
	case replyOff, replySkip:
		w.Buf = w.Buf[:start]
	}
	switch sess.replyMode {
	case replySkipNext:
		sess.replyMode = replySkip
	case replySkip:
		sess.replyMode = replyOn
	}
}

// misconf is the refusal of a write of which nothing was executed.
func misconf(err error) string {
	return "MISCONF Errors writing to the AOF file: " + err.Error()
}

// WriteFailed replies to a write which the keyspace could not apply.
//
// Once the log has failed, every later write is refused at the gate. The write that
// met the failure itself may be in the log all the same.
func (c *Call) WriteFailed(err error) {
	if errors.Is(err, engine.ErrReadOnly) {
		c.refuseWrites(err)
		c.Out.Error(ErrOutcomeUnknown + err.Error())
		return
	}
	if errors.Is(err, engine.ErrRefused) {
		if c.lacksReplicas() && c.stillLeads(c.Session) {
			c.Out.Error(errNoReplicas)
		} else { // this node has ceased to lead since the command began
			c.deposed()
		}
		return
	}
	if errors.Is(err, errPanic) {
		c.Out.Error("EXECABORT Transaction discarded because of: " + errPanic.Error())
		return
	}
	if errors.Is(err, errReplyBusy) {
		c.Out.Error("EXECABORT Transaction discarded because of: " + strings.TrimPrefix(replyText(errReplyBusy), "ERR "))
		return
	}
	c.Out.Error(misconf(err))
}

// refuseWrites closes the gate for writes; the engine stays read-only until it is opened anew.
func (s *Server) refuseWrites(err error) {
	s.refused.CompareAndSwap(nil, &err)
	s.gates.Or(gateWritesRefused)
}

// cString cuts at the first zero byte, as C's %s does.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// logError logs what a client can cause, with a limit.
func (s *Server) logError(what string, err error) {
	if s.logged.allow(s.nanos()) {
		s.Log.WithError(err).Errorf("%s failed", what)
	}
}
