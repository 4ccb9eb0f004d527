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

// Who may not be told that a key has expired, as it can not be deleted, is told why.
func TestReadOfAnExpiredKeyThatCanNotBeDeleted(t *testing.T) {
	s := newLoadingServer(t)
	db, err := engine.Open("db", engine.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	ks, err := keyspace.Open(db, keyspace.Options{Follows: true, ExpireEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	cl := &testCluster{}
	cl.term.Store(7)
	cl.held.Store(7)
	cl.writable.Store(true)
	s.cluster, s.replication = cl, cl
	s.Attach(db, ks)
	t.Cleanup(func() {
		s.Close()
		if err := errors.Join(ks.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := ks.Found(); err != nil {
		t.Fatal(err)
	}
	now := ks.Now()
	for _, key := range []string{"k", "l"} {
		x := ks.Begin(0, now-2000, []byte(key))
		_, err = x.Set([]byte(key), []byte("v"), keyspace.SetOptions{Deadline: now - 1000})
		seq, e := x.Commit()
		if err := errors.Join(err, e, db.Wait(seq)); err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(t, s)
	c.want("get k", "$-1¦")
	db.RefuseWrites(errors.New("not now"))
	cl.writable.Store(false)
	c.wantAll([][2]string{{"get k", "$-1¦"}, {"get l", "-" + errNoReplicas + "¦"}, {"exists l", "-" + errNoReplicas + "¦"}, {"keys *", "-" + errNoReplicas + "¦"}})
	cl.writable.Store(true)
	cl.held.Store(0)
	c.want("get l", "-"+ErrLeaderMoved+"¦")
}
