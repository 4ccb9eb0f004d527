package command

import (
	"strings"
	"testing"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/keyspace"
)

// newLeader returns a server that leads a cluster in term 1; what is committed the test says.
func newLeader(t *testing.T) (*Server, *testCluster) {
	t.Helper()
	s := newLoadingServer(t)
	o := engine.Options{FS: vfs.NewMem(), ExternalCommit: true}
	o.Ack = wal.AckWritten
	db, err := engine.Open("db", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	ks, err := keyspace.Open(db, keyspace.Options{Follows: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ks.Close() })
	s.Attach(db, ks)
	cl := &testCluster{moved: make(chan struct{})}
	cl.term.Store(1)
	cl.held.Store(1)
	cl.writable.Store(true)
	s.cluster, s.replication = cl, cl
	return s, cl
}

// A write of a term is waited for, also when those of the session in an earlier term had higher numbers, which were taken back.
func TestWritesAfterATruncation(t *testing.T) {
	s, cl := newLeader(t)
	db := s.DB
	c := newClient(t, s)
	for range 5 {
		c.dispatch("set", "k", "v")
	}
	db.RefuseWaits(errDeposed)()
	cl.held.Store(0)
	if s.EndUnit(c.sess, &c.w) == nil {
		t.Fatal("committed")
	}
	if err := db.TruncateAfter(0); err != nil {
		t.Fatal(err)
	}
	db.RefuseWaits(nil)()
	cl.term.Store(3)
	cl.held.Store(3)
	c.w.Reset()
	c.dispatch("set", "k", "w")
	if !c.sess.Dirty() || s.EndsAtOnce(c.sess) {
		t.Error("a write is answered that is not committed")
	}
	db.SetCommitted(db.Last())
	if err := s.EndUnit(c.sess, &c.w); err != nil || string(c.w.Buf) != "+OK\r\n" {
		t.Errorf("%q, %v", c.w.Buf, err)
	}
}

// TestAwait: nobody is kept, and several sessions learn together what has become of their writes.
func TestAwait(t *testing.T) {
	s, _ := newLeader(t)
	a, b := newClient(t, s), newClient(t, s)
	sessions := []*Session{a.sess, b.sess}
	ends := func() (string, string) {
		s.EndUnit(a.sess, &a.w)
		s.EndUnit(b.sess, &b.w)
		defer a.w.Reset()
		defer b.w.Reset()
		return string(a.w.Buf), string(b.w.Buf)
	}
	calls := 0
	a.dispatch("set", "k", "v")
	b.dispatch("set", "l", "v")
	if !s.Await(sessions, func() { calls++ }) || calls != 0 {
		t.Fatalf("%d calls before anything is committed", calls)
	}
	if p := s.DB.LogPositions(); p.Written < b.sess.LastWrite {
		t.Errorf("%d is written of %d", p.Written, b.sess.LastWrite)
	}
	s.DB.SetCommitted(s.DB.Last() - 1)
	if calls != 0 {
		t.Error("called for a part of it")
	}
	s.DB.SetCommitted(s.DB.Last())
	if x, y := ends(); calls != 1 || x != "+OK\r\n" || y != x {
		t.Errorf("%d calls, %q, %q", calls, x, y)
	}

	a.dispatch("set", "k", "w")
	s.DB.WaitLogged(a.sess.LastWrite)
	s.DB.SetCommitted(s.DB.Last())
	b.dispatch("set", "l", "w")
	s.Await(sessions, func() { calls++ })
	s.DB.RefuseWaits(errDeposed)()
	if x, y := ends(); calls != 2 || x != "+OK\r\n" || !strings.HasPrefix(y, "-"+ErrOutcomeUnknown) {
		t.Errorf("%d calls, %q, %q", calls, x, y)
	}
	b.dispatch("set", "l", "x")
	if s.Await(sessions[1:], func() { calls++ }); calls != 3 {
		t.Error("somebody may wait")
	}
}

// TestLastWordOfADeposedLeader: for another node, which sends again what is behind a refusal, a read is refused only when nothing behind it was
// executed.
func TestLastWordOfADeposedLeader(t *testing.T) {
	s, cl := newLeader(t)
	for _, test := range []struct {
		lines string
		want  []string
	}{
		{"get k", []string{ErrNoLeader}},
		{"get k;set k v;get k;get l", []string{ErrLeaderMoved, ErrOutcomeUnknown, ErrNoLeader, ErrNoLeader}},
	} {
		cl.held.Store(1)
		c := newClient(t, s)
		c.sess.origin.Store(&origin{})
		for _, line := range strings.Split(test.lines, ";") {
			c.dispatch(strings.Fields(line)...)
		}
		s.DB.SetCommitted(s.DB.Last() - 1)
		s.DB.RefuseWaits(errDeposed)()
		cl.held.Store(0)
		s.EndUnit(c.sess, &c.w)
		s.DB.RefuseWaits(nil)()
		replies := strings.Split(strings.TrimSuffix(string(c.w.Buf), "\r\n"), "\r\n")
		if len(replies) != len(test.want) {
			t.Fatalf("%s: %q", test.lines, replies)
		}
		for i, want := range test.want {
			if !strings.HasPrefix(replies[i], "-"+want) {
				t.Errorf("%s: reply %d is %q, want %q", test.lines, i, replies[i], want)
			}
		}
	}
}

// A transaction of commands for this node alone does not wait for the log of a leader.
func TestExecOfAFollower(t *testing.T) {
	s, cl, c := newClusterServer(t)
	newClient(t, s).want("set k v", "+OK¦")
	cl.term.Store(0)
	other := "n2"
	cl.leader.Store(&other)
	c.w.Reset()
	for _, line := range []string{"multi", "ping", "exec"} {
		c.dispatch(line)
	}
	if c.sess.Dirty() || c.sess.LastWrite > c.sess.unit.committed {
		t.Error("it waits for a commit")
	}
}
