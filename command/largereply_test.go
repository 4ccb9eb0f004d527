package command

import (
	"strings"
	"testing"
)

func TestReplyTooLarge(t *testing.T) {
	c := newClient(t, newServer(t, "--proto-max-bulk-len", "1mb"))
	c.dispatch("set", "a", strings.Repeat("x", 5<<20))
	c.want("mget a a a a", "-ERR reply exceeds what may be held in memory (proto-max-bulk-len)¦")
	if n := len(c.do("mget a a a")); n < 15<<20 {
		t.Errorf("%d bytes", n)
	}
}

// Large replies are built one at a time.
func TestLargeRepliesTakeTurns(t *testing.T) {
	s := newServer(t)
	c, other := newClient(t, s), newClient(t, s)
	c.dispatch("set", "a", strings.Repeat("x", largeReply+1))
	s.EndUnit(c.sess, &c.w)
	c.w.Reset()
	c.dispatch("get", "a")
	done := make(chan int)
	go func() { done <- len(other.do("get a")) }()
	select {
	case <-done:
		t.Fatal("two at once")
	default:
	}
	if !c.sess.largeReply || len(s.largeReplies) != 1 {
		t.Fatal("the turn is not taken")
	}
	s.EndUnit(c.sess, &c.w)
	if n := <-done; n < largeReply {
		t.Errorf("%d bytes", n)
	}
	c.w.Reset()
	c.dispatch("get", "a")
	other.conn.Kill()
	other.want("get a", "-ERR too many large replies are being built, try again¦")
	s.EndUnit(c.sess, &c.w)
	if len(s.largeReplies) != 0 {
		t.Error("a turn is not given back")
	}
}
