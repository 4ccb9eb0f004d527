package command

import (
	"errors"
	"strings"
	"testing"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/keyspace"
)

// What others may wait for, and what not.
func TestQuickCommands(t *testing.T) {
	table := newTable(families(true))
	for name, want := range map[string]bool{
		"get": true, "set": true, "incr": true, "append": true, "setex": true, "getdel": true, "expire": true, "strlen": true, "setrange": true,
		"keys": false, "scan": false, "flushall": false, "wait": false, "copy": false, "mset": false, "lcs": false, "randomkey": false,
	} {
		if got := table.byName[name].quick; got != want {
			t.Errorf("%s: quick is %v", name, got)
		}
	}
}

// Reads of a node that follows are of one store: that before a full sync, or that after it.
func TestReplicaReadsOfAReplacedStore(t *testing.T) {
	fs := vfs.NewMem()
	from, err := engine.Open("from", engine.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	ks, err := keyspace.Open(from, keyspace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := ks.Begin(0, ks.Now(), []byte("k"))
	_, err = x.Set([]byte("k"), []byte("new"), keyspace.SetOptions{})
	seq, e := x.Commit()
	if err := errors.Join(err, e, from.Wait(seq), from.Checkpoint("checkpoint"), ks.Close(), from.Close()); err != nil {
		t.Fatal(err)
	}
	s := newServerOn(t, fs)
	cl := &testCluster{}
	other := "n2"
	cl.leader.Store(&other)
	cl.term.Store(7)
	cl.held.Store(7)
	cl.writable.Store(true)
	s.cluster, s.replication = cl, cl
	c := newClient(t, s)
	c.want("set k old", "+OK¦")
	cl.term.Store(0)
	c.sess.readOnly = true
	c.want("get k", "$3¦old¦")
	replaced := "-" + ErrReplaced + "\r\n"

	c.w.Reset()
	c.dispatch("echo", "x")
	c.dispatch("get", "k")
	if err := s.DB.Install("checkpoint"); err != nil {
		t.Fatal(err)
	}
	c.dispatch("get", "k")
	if err := s.EndUnit(c.sess, &c.w); err != nil {
		t.Error(err)
	}
	if got, want := string(c.w.Buf), "$1\r\nx\r\n"+strings.Repeat(replaced, 2); got != want {
		t.Errorf("over the replacement: %q", got)
	}
	if got := c.unit("get k", "mget k l", "echo x"); got != strings.Repeat(replaced, 2)+"$1\r\nx\r\n" {
		t.Errorf("before what is remembered of the old store is forgotten: %q", got)
	}
	if err := s.Keyspace.Reload(); err != nil {
		t.Fatal(err)
	}
	c.want("get k", "$3¦new¦")
}
