package command

import (
	"testing"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/keyspace"
)

// A write of a term is waited for, also when those of the session in an earlier term had higher numbers, which were taken back.
func TestWritesAfterATruncation(t *testing.T) {
	s := newLoadingServer(t)
	db, err := engine.Open("db", engine.Options{FS: vfs.NewMem(), ExternalCommit: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ks, err := keyspace.Open(db, keyspace.Options{Follows: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ks.Close()
	s.Attach(db, ks)
	cl := &testCluster{moved: make(chan struct{})}
	cl.term.Store(1)
	cl.held.Store(1)
	cl.writable.Store(true)
	s.cluster, s.replication = cl, cl
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
