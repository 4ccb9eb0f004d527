package command

import (
	"errors"
	"testing"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/keyspace"
	"github.com/gtinside/corecache/reply"
)

// A handler that panics, or fails, leaves no key locked and nothing written.
func TestFailingHandlersReleaseLocks(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	c.want("set a 1", "+OK¦")
	key := []byte("a")
	call := &Call{Server: s, Session: c.sess, Cmd: s.table.lookup([]byte("set")), Args: [][]byte{key, key}, Out: &reply.Writer{}, Now: 1}
	call.update([][]byte{key}, func(x *keyspace.Txn) error {
		x.Set(key, []byte("2"), keyspace.SetOptions{})
		call.Out.OK()
		return errors.New("disk\r\non fire")
	})
	if got := string(call.Out.Buf); got != "-ERR disk  on fire\r\n" {
		t.Errorf("reply %q", got)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		call.updateAll(func(x *keyspace.Txn) error {
			x.FlushAll()
			panic("bug")
		})
	}()
	c.want("get a", "$1¦1¦")
	c.want("set a 3", "+OK¦")
	c.want("flushall", "+OK¦")
}

// An error from which EXEC can not go on takes all its writes back.
func TestExecStopsAtErrors(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	bad := Command{Name: "bad", Flags: Write, Handler: func(c *Call) {
		c.update(nil, func(*keyspace.Txn) error { return errors.New("disk on fire") })
	}}
	s.table.add(bad)
	c.want("multi", "+OK¦")
	c.want("set a 1", "+QUEUED¦")
	c.sess.enqueue(s.table.lookup([]byte("bad")), [][]byte{[]byte("bad")})
	if got := c.do("exec"); got[0] != '-' {
		t.Errorf("reply %q", got)
	}
	c.want("exists a", ":0¦")
}

// A write to a store that is closed fails, and so does all that follows, without blocking.
func TestClosedStore(t *testing.T) {
	s := newLoadingServer(t)
	db, err := engine.Open("db", engine.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	ks, err := keyspace.Open(db, keyspace.Options{})
	if err := errors.Join(err, ks.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	s.Attach(db, ks)
	c := newClient(t, s)
	for range 2 {
		for _, line := range []string{"set a 1", "get a", "mget a b", "keys *", "randomkey", "scan 0", "flushall", "watch a"} {
			if got := c.do(line); got[0] != '-' {
				t.Errorf("%s: %q", line, got)
			}
		}
	}
}
