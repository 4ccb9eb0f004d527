package election

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/integration/zoo"
)

func TestNodeIDInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(w.options("n1"))
	o := w.options("n1")
	o.Timeout = time.Second
	w.refused(o, ErrNodeInUse, "n1 is registered by another process, at 127.0.0.1:6379")
	if !c.Status().Registered {
		t.Error("the first lost its entry")
	}
	if !strings.Contains(w.logs.String(), "waiting to join") {
		t.Error("the log does not say what it waits for")
	}
}

// crash leaves a node's entry behind, as the kill of its process does.
func crash(c *Cluster, p *zoo.Proxy) {
	p.Cut()
	_ = c.Close() // says that the entry stays
}

// crashed is a node that has crashed and whose session has not timed out yet. When the machine was so slow that it
// has, the node starts and crashes once more.
func (w *world) crashed(o Options, p *zoo.Proxy) *Cluster {
	w.t.Helper()
	for range 10 {
		p.Set(zoo.Fault{})
		c := w.open(o)
		crash(c, p)
		if w.exists(c.paths.incarnation(c.self.Incarnation)) {
			return c
		}
	}
	w.t.Fatalf("the session has expired within the moment after the crash, each time; it lasts %v", o.Timeout)
	return nil
}

// TestTakesOverFromACrashedRun: the same directory at the same place need not wait for the old session to time out.
func TestTakesOverFromACrashedRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proxy(w.zk.Server(0))
	o := w.options("", p)
	old := w.crashed(o, p)
	o.Servers = w.zk.Servers()
	c := w.open(o)
	if c.Self().ID != old.Self().ID || c.Self().Incarnation == old.Self().Incarnation || c.Identity().Data != old.Identity().Data {
		t.Errorf("%+v, before %+v", c.Self(), old.Self())
	}
	if w.exists(old.paths.incarnation(old.self.Incarnation)) {
		t.Error("the old incarnation may still claim")
	}
	if strings.Contains(w.logs.String(), "waiting to join") {
		t.Error("it has waited")
	}
}

// TestWaitsForAnEntryOfUnknownOrigin: the directory may be a copy of one that is in use. It waits until the session has gone.
func TestWaitsForAnEntryOfUnknownOrigin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proxy(w.zk.Server(0))
	o := w.options("n1", p)
	o.Timeout = 2 * time.Second
	old := w.open(o)
	copied := w.options("n1")
	id := old.Identity()
	if err := id.save(vfs.OS, copied.Dir); err != nil {
		t.Fatal(err)
	}
	short := copied
	short.Timeout = 500 * time.Millisecond
	w.refused(short, ErrNodeInUse, "")
	crash(old, p)
	c := w.open(copied)
	if c.Self().Incarnation == id.Incarnation || w.exists(old.paths.incarnation(id.Incarnation)) {
		t.Error("the old one is still there")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	base := w.chroot
	c := w.open(w.options("n1"))
	cluster := c.Identity().Cluster

	t.Run("another cluster's directory", func(t *testing.T) {
		o := w.options("n2")
		if err := (Identity{Cluster: "other", Node: "n2", Data: "d", Incarnation: "i"}).save(vfs.OS, o.Dir); err != nil {
			t.Fatal(err)
		}
		w.refused(o, ErrWrongCluster, "is of cluster other, and ZooKeeper's "+base+" is of cluster "+cluster)
	})
	t.Run("another node's directory", func(t *testing.T) {
		o := w.options("n2")
		if err := (Identity{Cluster: cluster, Node: "n3", Data: "d", Incarnation: "i"}).save(vfs.OS, o.Dir); err != nil {
			t.Fatal(err)
		}
		w.refused(o, ErrForeignData, "the data of node n3, and node-id is n2")
	})
	t.Run("data of a node that stood alone", func(t *testing.T) {
		o := w.options("n2")
		o.Standalone = true
		w.refused(o, ErrForeignData, "start with an empty directory")
	})
	t.Run("a damaged identity", func(t *testing.T) {
		o := w.options("n2")
		if err := os.WriteFile(filepath.Join(o.Dir, IdentityFile), []byte("{\"corecache\":1}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.refused(o, ErrIdentity, IdentityFile)
	})
	t.Run("a member of a cluster that ZooKeeper has lost", func(t *testing.T) {
		o := w.options("n2")
		o.Chroot += "-empty"
		if err := (Identity{Cluster: cluster, Node: "n2", Data: "d", Incarnation: "i"}).save(vfs.OS, o.Dir); err != nil {
			t.Fatal(err)
		}
		w.chroot = o.Chroot
		w.refused(o, ErrWrongCluster, "ZooKeeper has none at "+o.Chroot)
		w.chroot = base
	})
	for name, bad := range map[string]struct {
		child, data, text string
		want              error
	}{
		"another program's chroot": {"brokers", "", "holds brokers", ErrForeign},
		"another program's state":  {"state", "hello", "/state", ErrForeign},
		"a newer format":           {"state", `{"corecache":2}`, "format 2", ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			o := w.options("n2")
			o.Chroot = base + "-" + strings.ReplaceAll(name, " ", "-")
			o.Chroot = strings.ReplaceAll(o.Chroot, "'", "")
			w.chroot = o.Chroot
			w.create(o.Chroot, nil)
			w.create(o.Chroot+"/"+bad.child, []byte(bad.data))
			w.refused(o, bad.want, bad.text)
			w.chroot = base
		})
	}
	t.Run("options", func(t *testing.T) {
		_, err := Open(ctx, Options{NodeID: "a b", Chroot: "x", Auth: "me", Timeout: time.Hour, Servers: []string{"zk1"}})
		for _, want := range []string{"node-id", "path of ZooKeeper", "user:password", "time-out 1h", `server "zk1"`, "no data directory", "advertise", "peer", "no log"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in: %v", want, err)
			}
		}
	})
}

// TestEmptyChroot: an administrator may have made the chroot beforehand, and the root is one, too, if nothing else is there.
func TestEmptyChroot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(w.chroot, []byte("made by hand"))
	c := w.open(w.options("n1"))
	if s, _ := read(t, c); s.Cluster != c.Identity().Cluster {
		t.Errorf("%+v", s)
	}
	o := w.options("n1")
	o.Chroot = ""
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := Open(ctx, o); !errors.Is(err, ErrForeign) { // the other tests' chroots are there
		t.Errorf("the root: %v", err)
	}
}

// TestFounderCrashesHalfway: the state names the founder, which could not write down the cluster any more.
func TestFounderCrashesHalfway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options("n1")
	o.Standalone = true
	id := Identity{Node: "n1", Data: "d1", Incarnation: "i1"}
	if err := id.save(vfs.OS, o.Dir); err != nil {
		t.Fatal(err)
	}
	w.create(w.chroot, nil)
	p := newPaths(w.chroot)
	w.create(p.nodes, nil)
	w.create(p.incarnations, nil)
	w.create(p.state, State{Cluster: "c1", ISR: []Member{{ID: "n1", Data: "d1"}}}.encode())
	c := w.open(o)
	if got := c.Identity(); got.Cluster != "c1" || got.Data != "d1" {
		t.Errorf("%+v", got)
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proxy(w.zk.Server(0))
	o := w.options("n1", p)
	o.Auth, o.Timeout = "corecache:s3cret", time.Second
	c := w.open(o)
	if _, _, err := w.raw.Get(c.paths.state); !errors.Is(err, zk.ErrNoAuth) {
		t.Errorf("a stranger reads the state: %v", err)
	}
	wrong := w.options("n2")
	wrong.Auth = "corecache:guess"
	w.refused(wrong, ErrAuth, "denies access")
	w.refused(w.options("n2"), ErrAuth, "denies access")
	right := w.options("n2")
	right.Auth = o.Auth
	other := w.open(right)

	// The credentials are sent again with each connection and each session.
	p.Break()
	read(t, c)
	p.Set(zoo.Stall)
	p.Break()
	eventually(t, "the entry to go", func() bool { return len(other.View().Nodes) == 1 })
	p.Set(zoo.Fault{})
	p.Break()
	eventually(t, "the entry to come back", func() bool { return len(other.View().Nodes) == 2 })
	writes(t, c)
	if strings.Contains(w.logs.String(), "s3cret") {
		t.Error("the log has the password")
	}
}

// TestAuthComesLater: the cluster was founded open; adding credentials does not close it, and that is said.
func TestAuthComesLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(w.options("n1"))
	o := w.options("n2")
	o.Auth = "corecache:s3cret"
	w.open(o)
	if !strings.Contains(w.logs.String(), "without zookeeper-auth") {
		t.Error("the log does not warn")
	}
}

func TestWaitsForZooKeeper(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proxy(w.zk.Server(0))
	p.Set(zoo.Fault{Refuse: true})
	o := w.options("n1", p)
	told := make(chan error, 100)
	o.Waiting = func(err error) { told <- err }

	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := Open(short, o); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("with an end: %v", err)
	}
	opened := make(chan *Cluster, 1)
	go func() { opened <- w.open(o) }()
	if err := <-told; !errors.Is(err, ErrUnavailable) {
		t.Errorf("told: %v", err)
	}
	eventually(t, "the log to say it", func() bool { return strings.Contains(w.logs.String(), "waiting to join the cluster") })
	if n := strings.Count(w.logs.String(), "waiting to join the cluster"); n != 1 {
		t.Errorf("said %d times", n)
	}
	p.Set(zoo.Fault{})
	if c := <-opened; !c.Status().Registered {
		t.Errorf("%+v", c.Status())
	}
}

// TestSilentServer: one of the servers takes connections and says nothing, ever. The library alone would wait for it for
// 13 seconds here.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	o := w.options("n1")
	o.Timeout = 2 * time.Second
	o.Servers = []string{silent.Addr().String(), w.zk.Server(0).Addr()}
	var tries atomic.Int32
	for range 4 { // the library begins with a random one
		begin := time.Now()
		o.Dir, o.NodeID = t.TempDir(), ""
		c := w.open(o)
		if took := time.Since(begin); took > 8*time.Second {
			t.Errorf("took %v", took)
		} else if took >= minHandshakeWait {
			tries.Add(1)
		}
		_ = c.Close()
	}
	t.Logf("met the silent server in %d of 4 tries", tries.Load())
}
