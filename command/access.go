package command

import (
	"errors"

	"github.com/gtinside/corecache/keyspace"
)

// read runs f on a view of the keyspace, without locks. An error of f becomes the reply.
//
// What f returns or keeps must not alias the transaction.
func (c *Call) read(f func(t *keyspace.Txn) error) {
	if c.Txn != nil {
		c.runInMulti(f)
		return
	}
	c.conclude(c.view(c.Session.Dirty()), f)
}

// view is a view of the keyspace, for a command that this node executes as the leader, or of what it has.
func (c *Call) view(latest bool) *keyspace.Txn {
	t := c.Keyspace.View(c.Session.DB(), c.Now, latest)
	if c.cluster != nil && !c.led {
		t.Replica()
		c.noteCopy()
	}
	return t
}

// noteCopy comes before a read of what this node has, which may be replaced under way.
func (c *Call) noteCopy() {
	c.copied = true
	generation, ok := c.Keyspace.Generation()
	u := &c.Session.unit.copied
	if !u.read {
		u.read, u.generation = true, generation
	}
	u.mixed = u.mixed || !ok || generation != u.generation
}

// wholeCopy reports whether all that the unit has read without leading was of one store.
func (s *Server) wholeCopy(sess *Session) bool {
	u := &sess.unit.copied
	if !u.read {
		return true
	}
	generation, ok := s.Keyspace.Generation()
	return ok && !u.mixed && generation == u.generation
}

// readTogether is read for commands that look up several keys, which others may change together.
func (c *Call) readTogether(keys [][]byte, f func(t *keyspace.Txn) error) {
	switch {
	case len(keys) == 1 || c.Txn != nil:
		c.read(f)
	case c.Session.Dirty():
		c.update(keys, f) // only locks keep what is not committed yet as it is
	default:
		t := c.view(false)
		t.Pin()
		c.conclude(t, f)
	}
}

// update runs f with the keys locked, and applies what it has written. An error of f becomes the reply,
// and nothing is written. f may be run twice, if the turn for a large reply has to be waited for between.
func (c *Call) update(keys [][]byte, f func(t *keyspace.Txn) error) {
	if c.Txn != nil {
		c.runInMulti(f)
		return
	}
	err := c.attempt(c.Keyspace.Begin(c.Session.DB(), c.Now, keys...), f)
	if errors.Is(err, errReplyBusy) { // nothing is written yet, and nothing locked any more: so it may wait
		if err = c.beginLargeReply(c.Session); err == nil {
			err = c.attempt(c.Keyspace.Begin(c.Session.DB(), c.Now, keys...), f)
		}
	}
	if err != nil {
		c.fail(err)
	}
}

// updateAll is update with all keys of all databases locked.
func (c *Call) updateAll(f func(t *keyspace.Txn) error) {
	if c.Txn != nil {
		c.runInMulti(f)
		return
	}
	c.conclude(c.Keyspace.BeginAll(c.Session.DB(), c.Now), f)
}

// runInMulti runs f within the transaction of EXEC, which ends it.
func (c *Call) runInMulti(f func(t *keyspace.Txn) error) {
	start := c.Out.Len()
	c.Txn.Select(c.Session.DB())
	if err := f(c.Txn); err != nil {
		c.Out.Truncate(start)
		c.fail(err)
		if replyText(err) == "" || errors.Is(err, errReplyBusy) {
			c.Txn.Fail(err)
		}
	}
}

// conclude runs f and ends t. An error of f becomes the reply.
func (c *Call) conclude(t *keyspace.Txn, f func(t *keyspace.Txn) error) {
	if err := c.attempt(t, f); err != nil {
		c.fail(err)
	}
}

// attempt runs f and ends t. An error of f is returned, and leaves no reply.
func (c *Call) attempt(t *keyspace.Txn, f func(t *keyspace.Txn) error) error {
	start := c.Out.Len()
	running := true
	defer func() {
		if running { // f has panicked
			t.Discard()
		}
	}()
	err := f(t)
	running = false
	if err != nil {
		c.Wrote(t.Discard())
		c.Out.Truncate(start)
		return err
	}
	seq, err := t.Commit()
	if err != nil {
		c.Out.Truncate(start)
		c.WriteFailed(err)
		return nil
	}
	c.Wrote(seq)
	return nil
}

// fail replies to an error of the keyspace.
func (c *Call) fail(err error) {
	if errors.Is(err, keyspace.ErrUndecided) {
		c.WriteFailed(err)
		return
	}
	text := replyText(err)
	if text == "" {
		text = "ERR " + err.Error()
		c.logError(c.Cmd.full, err)
	}
	c.Out.Error(text)
}

// replyText is the reply to an error that a client has caused, else empty.
func replyText(err error) string {
	for i := range replyTexts {
		if errors.Is(err, replyTexts[i].err) {
			return replyTexts[i].text
		}
	}
	return ""
}

var replyTexts = [...]struct {
	err  error
	text string
}{
	{keyspace.ErrWrongType, "WRONGTYPE Operation against a key holding the wrong kind of value"},
	{keyspace.ErrNotInteger, errNotInteger},
	{keyspace.ErrOverflow, "ERR increment or decrement would overflow"},
	{keyspace.ErrNotFloat, "ERR value is not a valid float"},
	{keyspace.ErrNotFinite, "ERR increment would produce NaN or Infinity"},
	{keyspace.ErrTooLong, "ERR string exceeds maximum allowed size (proto-max-bulk-len)"},
	{keyspace.ErrNoKey, "ERR no such key"},
	{errReplyTooLarge, "ERR reply exceeds what may be held in memory (proto-max-bulk-len)"},
	{errReplyBusy, "ERR too many large replies are being built, try again"},
}

// positiveArg reads argument i as a number that is not negative. It replies when it is none.
func (c *Call) positiveArg(i int) (int64, bool) {
	n, ok := keyspace.ParseInt(c.Args[i])
	if !ok || n < 0 {
		c.Out.Error("ERR value is out of range, must be positive")
		return 0, false
	}
	return n, true
}

// intArg reads argument i as a number of 64 bits. It replies when it is none.
func (c *Call) intArg(i int) (int64, bool) {
	n, ok := keyspace.ParseInt(c.Args[i])
	if !ok {
		c.Out.Error(errNotInteger)
	}
	return n, ok
}
