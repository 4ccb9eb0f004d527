package election

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gtinside/corecache/integration/zoo"
)

// The tests of this file stop servers of the shared ensemble, so none of them is parallel. Each leaves it whole.

func restored(t *testing.T, e *zoo.Ensemble) {
	t.Cleanup(func() {
		if err := e.Restart(); err != nil {
			t.Fatal(err)
		}
	})
}

// serverOf finds the server that a node is connected to.
func serverOf(t *testing.T, e *zoo.Ensemble, c *Cluster) *zoo.Server {
	t.Helper()
	at := c.Status().Server
	for i := range e.Len() {
		if e.Server(i).Addr() == at {
			return e.Server(i)
		}
	}
	t.Fatalf("connected to %s, which is none of %v", at, e.Servers())
	return nil
}

// writes proves that c can still write, and returns the state after it.
func writes(t *testing.T, c *Cluster) {
	t.Helper()
	eventually(t, "a compare-and-set", func() bool {
		s, v := read(t, c)
		next := s.Clone()
		if len(next.ISR) > 1 {
			next.ISR = next.ISR[:1]
		} else {
			next = grown(s, "other")
		}
		got, err := c.CompareAndSet(context.Background(), v, next)
		if err == nil && got != v+1 {
			t.Errorf("version %d after %d", got, v)
		}
		return err == nil
	})
}

// TestZooKeepersLeaderIsKilled: one node was connected to it, another was not.
func TestZooKeepersLeaderIsKilled(t *testing.T) {
	w := newWorld(t)
	restored(t, w.zk)
	leader := w.zk.Leader()
	if leader == nil {
		t.Fatal("the ensemble has no leader")
	}
	c := w.open(w.options("n1"))
	session := c.session.id()
	p, q := w.proxy(leader), w.proxy(w.zk.Follower())
	other := w.open(w.options("n2", p, q))
	q.Set(zoo.Fault{Refuse: true})
	q.Break()
	eventually(t, "a connection to the leader", func() bool { s := other.Status(); return s.Link == Connected && s.Server == p.Addr() })
	q.Set(zoo.Fault{})
	leader.Kill()
	writes(t, c)
	writes(t, other)
	eventually(t, "the registration", isRegistered(other))
	eventually(t, "the registration", isRegistered(c))
	if c.session.id() != session {
		t.Log("the session did not outlive it: the machine is slow") // then the registration was renewed
	}
	if n, ok := c.View().Node("n1"); !ok || n != c.Self() {
		t.Errorf("registered is %+v", n)
	}
}

func TestEnsembleRestarts(t *testing.T) {
	w := newWorld(t)
	restored(t, w.zk)
	c := w.open(w.options("n1"))
	before, version := read(t, c)
	w.zk.Kill()
	eventually(t, "the loss of the connection", func() bool { return c.Status().Link != Connected })
	if _, err := c.CompareAndSet(context.Background(), version, grown(before, "x")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without servers: %v", err)
	}
	if c.Status().Problem == nil || c.Status().Registered {
		t.Errorf("status without servers: %+v", c.Status())
	}
	if v := c.View(); v.Version != version || !v.State.Equal(before) {
		t.Errorf("what was seen last is lost: %+v", v)
	}
	if err := w.zk.Restart(); err != nil {
		t.Fatal(err)
	}
	if after, v := read(t, c); v != version || !after.Equal(before) {
		t.Errorf("version %d, then %d", version, v)
	}
	writes(t, c)
	eventually(t, "the registration", isRegistered(c))
}

// TestServerHangs: the kernel of a hung server goes on taking connections and requests.
func TestServerHangs(t *testing.T) {
	w := newWorld(t)
	c := w.open(w.options("n1"))
	before, version := read(t, c)
	hung := serverOf(t, w.zk, c)
	if err := hung.Pause(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hung.Resume(); err != nil {
			t.Error(err)
		}
		if err := w.zk.Restart(); err != nil {
			t.Error(err)
		}
	})
	next := grown(before, "n2")
	begin := time.Now()
	_, err := c.CompareAndSet(context.Background(), version, next)
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("compare-and-set at a hung server: %v", err)
	}
	got, v := read(t, c)
	t.Logf("known after %v", time.Since(begin))
	if v == version && !got.Equal(before) || v != version && (v != version+1 || !got.Equal(next)) {
		t.Errorf("version %d, then %d: %+v", version, v, got)
	}
	if serverOf(t, w.zk, c) == hung || !strings.Contains(w.logs.String(), hung.Addr()+" has said nothing") {
		t.Error("the hung server was not given up")
	}
	writes(t, c)
}
