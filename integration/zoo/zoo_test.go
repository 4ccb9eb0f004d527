package zoo

import (
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

// quiet keeps the client library from writing to the terminal.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

func connect(t *testing.T, servers []string) *zk.Conn {
	t.Helper()
	c, _, err := zk.Connect(servers, 4*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eventually repeats an operation that fails while a client reconnects.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	var last error
	if err := poll(what, func() bool { last = ok(); return last == nil }); err != nil {
		t.Fatalf("%v: %v", err, last)
	}
}

// TestEnsemble takes one ensemble through everything that the tests of other packages do to theirs.
func TestEnsemble(t *testing.T) {
	e, err := Start(3, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Log(e.Log())
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := connect(t, e.Servers())
	set := func(path string) func() error {
		return func() error {
			_, err := c.Create(path, nil, 0, zk.WorldACL(zk.PermAll))
			if err == zk.ErrNodeExists { // an earlier attempt, whose answer was lost
				return nil
			}
			return err
		}
	}
	eventually(t, "a write", set("/a"))

	leader := e.Leader()
	leader.Kill()
	if leader.Running() || leader.Mode() != "" {
		t.Fatal("killed, and it still serves")
	}
	eventually(t, "a write without the old leader", set("/b"))
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}

	follower := e.Follower()
	if err := follower.Pause(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a write while a follower is paused", set("/c"))
	if err := follower.Resume(); err != nil {
		t.Fatal(err)
	}

	e.Kill()
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/a", "/b", "/c"} {
		eventually(t, path+" after the restart", func() error {
			found, _, err := c.Exists(path)
			if err == nil && !found {
				err = zk.ErrNoNode
			}
			return err
		})
	}
	if err := follower.Stop(); err != nil || follower.Running() {
		t.Errorf("stop: %v", err)
	}
}

func TestProxy(t *testing.T) {
	e, err := Start(1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	direct := connect(t, e.Servers())
	p, err := NewProxy(e.Server(0).Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := connect(t, []string{p.Addr()})
	acl := zk.WorldACL(zk.PermAll)
	if _, err := c.Create("/x", nil, 0, acl); err != nil {
		t.Fatal(err)
	}

	// Replies are held: the request is executed, the answer comes when they are let go.
	p.Set(Fault{HoldReplies: true})
	answer := make(chan error, 1)
	go func() {
		_, err := c.Create("/held", nil, 0, acl)
		answer <- err
	}()
	eventually(t, "the held request to be executed", func() error {
		_, _, err := direct.Get("/held")
		return err
	})
	select {
	case err := <-answer:
		t.Fatalf("the held answer came: %v", err)
	default:
	}
	p.Set(Fault{})
	if err := <-answer; err != nil {
		t.Errorf("the answer let go: %v", err)
	}

	// Events are dropped: the watch stays silent, the reply to a later request comes.
	_, _, watch, err := c.GetW("/x")
	if err != nil {
		t.Fatal(err)
	}
	p.Set(Fault{DropEvents: true})
	if _, err := direct.Set("/x", []byte("1"), -1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event to be dropped", func() error {
		if p.DroppedEvents() == 0 {
			return zk.ErrNothing
		}
		return nil
	})
	if data, _, err := c.Get("/x"); err != nil || string(data) != "1" {
		t.Errorf("got %q, %v", data, err)
	}
	select {
	case ev := <-watch:
		t.Errorf("the dropped event came: %v", ev)
	default:
	}

	p.Cut()
	eventually(t, "the connection to be cut", func() error {
		if p.Connections() > 0 {
			return zk.ErrConnectionClosed
		}
		return nil
	})
	if _, _, err := c.Get("/x"); err == nil {
		t.Error("a request went through a cut connection")
	}
	p.Set(Fault{})
	eventually(t, "the connection to come back", func() error {
		_, _, err := c.Get("/x")
		return err
	})
}
