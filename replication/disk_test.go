package replication

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/replication/protocol"
)

// hang lets all operations of a disk for which which is true wait until the result is called; hit is closed when there is one.
func (n *testNode) hang(which func(vfs.Call) bool) (hit <-chan struct{}, goOn func()) {
	first, end := make(chan struct{}), make(chan struct{})
	var once, ended sync.Once
	n.disk.SetPolicy(func(c vfs.Call) error {
		if which(c) {
			once.Do(func() { close(first) })
			<-end
		}
		return nil
	})
	goOn = func() {
		ended.Do(func() {
			n.disk.SetPolicy(nil)
			close(end)
		})
	}
	n.c.t.Cleanup(goOn)
	return first, goOn
}

func inLog(c vfs.Call) bool { return strings.HasSuffix(c.Name, ".wal") }

// TestSlowDisk lets the disk of a follower hang while it appends: it goes on to take part in the protocol, does not acknowledge, and goes
// on where it was.
func TestSlowDisk(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start("a", "b", "c")
	c.inSync("a", "b", "c")
	l := c.leader()
	var slow *testNode
	for _, n := range c.nodes {
		if n != l {
			slow = n
		}
	}
	hit, goOn := slow.hang(func(c vfs.Call) bool { return inLog(c) && c.Op == vfs.OpWrite })
	large := strings.Repeat("x", 1<<20) // which is written by whoever appends it
	written := make(chan error, 1)
	go func() { written <- l.set("large", large) }()
	<-hit
	at := slow.node.Status().Now
	c.eventually("the protocol goes on", func() bool { return slow.node.Status().Now > at })
	if err := slow.node.SetSettings(protocol.Settings{}); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	c.eventually("it is not in sync", func() bool { return !slow.node.Status().InSync })
	goOn()
	c.inSync("a", "b", "c")
	c.must("last", "1")
	c.same("a", "b", "c")
}

// TestFullDisk fills the disk of a follower, which goes on when there is room again.
func TestFullDisk(t *testing.T) {
	c := newCluster(t, "a", "b")
	c.start("a")
	c.leader()
	c.start("b")
	c.inSync("a", "b")
	var full vfs.DiskFull
	b := c.nodes["b"]
	if c.leader() == b {
		b = c.nodes["a"]
	}
	full.Fill(0)
	b.disk.SetPolicy(full.Policy)
	for i := range 20 {
		c.must(fmt.Sprint("k", i), strings.Repeat("x", 300<<10))
	}
	full.Relieve()
	c.inSync("a", "b")
	c.must("last", "1")
	c.same("a", "b")
	select {
	case err := <-b.failed:
		t.Errorf("a full disk ended it: %v", err)
	default:
	}
}

// TestBrokenDisk fails an fsync: the leader hands over, and does not take its log for what it was when it comes back.
func TestBrokenDisk(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start("a", "b", "c")
	c.inSync("a", "b", "c")
	w := c.write(2, 100)
	l := c.leader()
	l.broken = true
	l.disk.SetPolicy(func(c vfs.Call) error {
		if inLog(c) && c.Op == vfs.OpSync {
			return vfs.ErrInjected
		}
		return nil
	})
	if err := <-l.failed; !errors.Is(err, vfs.ErrInjected) {
		t.Fatal(err)
	}
	c.eventually("another node leads", func() bool { return c.leader() != l })
	at := w.count.Load()
	c.eventually("writes flow", func() bool { return w.count.Load() > at+100 })
	before := l.node.Status().Log
	l.kill()
	c.r.leave(l.member)
	l.disk.SetPolicy(nil)
	l.broken = false
	l.start()
	if now := l.node.identity.id.logID(); now.Lineage != before.Lineage || now.Tears != before.Tears+1 {
		t.Errorf("the log was %v, and is %v", before, now)
	}
	c.inSync("a", "b", "c")
	w.end()
	c.must("last", "1")
	c.same("a", "b", "c")
	w.check(t, l)
}

// TestHungDisk lets the disk of the leader hang, which is no error: it hands over, and what it had alone is not acknowledged.
func TestHungDisk(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	for _, n := range c.nodes {
		n.stall = 2 * testLease
	}
	c.start("a", "b", "c")
	c.inSync("a", "b", "c")
	c.must("k", "before")
	l := c.leader()
	_, goOn := l.hang(func(c vfs.Call) bool { return inLog(c) && c.Op == vfs.OpWrite })
	lonely := make(chan error, 1)
	go func() { lonely <- l.set("k", "lonely") }()
	if err := <-l.failed; !errors.Is(err, errStall) {
		t.Fatal(err)
	}
	c.eventually("another node leads", func() bool { return c.leader() != l })
	c.must("k", "after")
	goOn()
	if err := <-lonely; err == nil {
		t.Error("a write that nobody else has is acknowledged")
	}
	l.kill()
	c.r.leave(l.member)
	l.start()
	c.inSync("a", "b", "c")
	c.must("last", "1")
	c.same("a", "b", "c")
	if got := dump(t, l.db)["k"]; got != "after" {
		t.Errorf("k is %q", got)
	}
}

// TestUnpin: the loop does not wait for the files that a pin has kept.
func TestUnpin(t *testing.T) {
	c := newCluster(t, "a")
	c.start("a")
	a := c.leader()
	pin := func(from uint64) {
		p, err := a.db.PinLog(from)
		if err != nil {
			t.Fatal(err)
		}
		a.node.enter(func() { a.node.pin("gone", p) })
	}
	pin(1)
	for i := range 8 {
		c.must(fmt.Sprint("k", i), strings.Repeat("x", 200<<10))
	}
	if err := errors.Join(a.db.Sync(), a.db.Flush()); err != nil {
		t.Fatal(err)
	}
	if a.db.LogFirst() != 1 {
		t.Fatal("the pin keeps nothing")
	}
	hit, goOn := a.hang(func(c vfs.Call) bool { return inLog(c) && (c.Op == vfs.OpRemove || c.Op == vfs.OpRename) })
	pin(a.db.Last())
	<-hit
	if err := a.node.SetSettings(protocol.Settings{}); err != nil {
		t.Fatal(err)
	}
	goOn()
	c.eventually("the log is released", func() bool { return a.db.LogFirst() > 1 })
}

// TestIdentityChanges: what one changes another one does not undo.
func TestIdentityChanges(t *testing.T) {
	o := Options{FS: vfs.NewMem(), Dir: "d"}
	if err := o.FS.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	id, err := o.openIdentity(1, "boot")
	if err != nil {
		t.Fatal(err)
	}
	k := kept{o: &o, id: id}
	var both sync.WaitGroup
	change := func(f func(*identity)) {
		both.Go(func() {
			if _, err := k.change(f); err != nil {
				t.Error(err)
			}
		})
	}
	change(func(id *identity) { id.Lineage, id.Syncing = 5, true })
	change(func(id *identity) { id.Boot = "" })
	both.Wait()
	if got, err := o.loadIdentity(); err != nil || got != k.id || got.Lineage != 5 || !got.Syncing || got.Boot != "" {
		t.Errorf("%+v, %v", got, err)
	}
}
