package command

import (
	"fmt"
	"runtime"
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

// A command that waits for its turn holds no lock meanwhile, and does its work once.
func TestLargeReplyWaitsWithoutLocks(t *testing.T) {
	s := newServer(t)
	c, other, third := newClient(t, s), newClient(t, s), newClient(t, s)
	third.unit("set a "+strings.Repeat("x", largeReply+1), "set n 1")
	for _, line := range []string{"getset a y", "set a y get", "getex a persist", "getdel a"} {
		third.unit("set a " + strings.Repeat("x", largeReply+1))
		c.w.Reset()
		c.dispatch("get", "a")
		hits := s.Keyspace.Stats().Hits
		done := make(chan int)
		go func() { done <- len(other.do(line)) }()
		for s.Keyspace.Stats().Hits == hits { // the command has its locks, or had them
			runtime.Gosched()
		}
		third.want("append a z", fmt.Sprintf(":%d¦", largeReply+2))
		s.EndUnit(c.sess, &c.w)
		if n := <-done; n < largeReply+2 {
			t.Errorf("%s: %d bytes", line, n)
		}
	}
	third.want("exists a", ":0¦")
}

// EXEC does all or nothing, without waiting.
func TestLargeReplyInExec(t *testing.T) {
	s := newServer(t)
	c, other := newClient(t, s), newClient(t, s)
	c.dispatch("set", "a", strings.Repeat("x", largeReply+1))
	s.EndUnit(c.sess, &c.w)
	c.w.Reset()
	c.dispatch("get", "a")
	lines := []string{"multi", "set n 1", "get a", "set n 2", "exec"}
	if got := other.unit(lines...); !strings.HasSuffix(got, "+QUEUED\r\n-EXECABORT Transaction discarded because of: too many large replies are being built, try again\r\n") {
		t.Errorf("%.200q", got)
	}
	other.want("get n", "$-1¦")
	s.EndUnit(c.sess, &c.w)
	if n := len(other.unit(lines...)); n < largeReply {
		t.Errorf("%d bytes", n)
	}
	other.want("get n", "$1¦2¦")
}
