package command

import (
	"errors"
	"time"

	"github.com/gtinside/corecache/keyspace"
)

const (
	// largeReply is the size in bytes from which on replies are built by one client at a time. Replies count in
	// maxmemory-clients only once they are built: many at once would take memory that nobody has agreed to.
	largeReply = 16 << 20
	// largeReplyWait is how long a client waits for its turn.
	largeReplyWait = 10 * time.Second
)

var (
	errReplyTooLarge = errors.New("command: reply too large")
	errReplyBusy     = errors.New("command: too many large replies")
)

// replyRoom is asked before n more bytes of reply are written, where n depends on the data that t reads. Not only the
// reply of this command counts, but all that the unit has not sent yet.
//
// Unless t holds locks it may wait for other clients' large replies. With locks it never waits: update releases
// them and tries again; EXEC, whose other commands can not be taken back, writes nothing and fails.
func (c *Call) replyRoom(t *keyspace.Txn, n int64) error {
	size := int64(c.Out.Len()) + n
	switch {
	case size <= largeReply:
		return nil
	case size > c.maxString()+largeReply:
		return errReplyTooLarge
	case c.Session.largeReply:
		return nil
	case t.Locked():
		return c.tryLargeReply(c.Session)
	}
	return c.beginLargeReply(c.Session)
}

// tryLargeReply is beginLargeReply without waiting.
func (s *Server) tryLargeReply(sess *Session) error {
	select {
	case s.largeReplies <- struct{}{}:
		sess.largeReply = true
		return nil
	default:
		return errReplyBusy
	}
}

// beginLargeReply waits until no other client builds a large reply. The end of the unit lets the next one go on.
func (s *Server) beginLargeReply(sess *Session) error {
	timer := time.NewTimer(largeReplyWait)
	defer timer.Stop()
	select {
	case s.largeReplies <- struct{}{}:
		sess.largeReply = true
		return nil
	case <-timer.C:
	case <-sess.Conn.Done():
	case <-s.quit:
	}
	return errReplyBusy
}

func (s *Server) endLargeReply(sess *Session) {
	if sess.largeReply {
		sess.largeReply = false
		<-s.largeReplies
	}
}
