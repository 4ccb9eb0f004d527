package election

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-zookeeper/zk"
)

// bareSession executes requests without a connection behind it.
func bareSession() *session {
	s := &session{timeout: time.Second, notify: func() {}, jobs: make(chan *job, maxQueued), closing: make(chan struct{}), dialer: &dialer{}}
	s.mu.armed, s.mu.changed = map[string]bool{}, make(chan struct{})
	s.event(zk.Event{Type: zk.EventSession, State: zk.StateHasSession, Server: "here"})
	s.worker.Go(s.work)
	return s
}

// TestRequestsKeepTheirOrder: what comes after a request that hangs begins after it has ended, though its caller has left.
func TestRequestsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareSession()
		release, hung := make(chan struct{}), false
		_, err := do(ctx, s, func(*zk.Conn) (int, error) {
			<-release
			hung = true
			return 0, nil
		})
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("a request that hangs for longer than a session: %v", err)
		}
		go func() {
			time.Sleep(300 * time.Millisecond)
			close(release)
		}()
		if after, err := do(ctx, s, func(*zk.Conn) (bool, error) { return hung, nil }); err != nil || !after {
			t.Errorf("the next one: after it %v, %v", after, err)
		}
		close(s.closing)
		s.worker.Wait()
	})
}

func TestRequestsHaveAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareSession()
		release := make(chan struct{})
		block := func(*zk.Conn) (int, error) {
			<-release
			return 0, nil
		}
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if _, err := do(short, s, block); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("begun: %v", err)
		}
		for i := range 2 * maxQueued { // the queue fills up with those given up
			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			_, err := do(short, s, func(*zk.Conn) (int, error) {
				t.Errorf("request %d was executed after it had been given up", i)
				return 0, nil
			})
			cancel()
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("request %d, not begun: %v", i, err)
			}
		}
		close(release)
		if _, err := do(ctx, s, func(*zk.Conn) (int, error) { return 0, nil }); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		s.event(zk.Event{Type: zk.EventSession, State: zk.StateDisconnected})
		_, err := do(ctx, s, func(*zk.Conn) (int, error) {
			t.Error("a request was sent without a connection")
			return 0, nil
		})
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("without a connection: %v", err)
		}
		close(s.closing)
		s.worker.Wait()
		if _, err := do(ctx, s, block); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUnavailable) {
			t.Errorf("closed: %v", err)
		}
	})
}

// TestLinkFollowsTheEvents plays what the library says, with its silence about a session that expires unreachable.
func TestLinkFollowsTheEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareSession()
		session := func(st zk.State) { s.event(zk.Event{Type: zk.EventSession, State: st, Server: "there"}) }
		check := func(when string, want Link) {
			t.Helper()
			if got := s.status().Link; got != want {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		check("at first", Connected)
		s.arm("/x")
		session(zk.StateDisconnected)
		check("connection lost", Disconnected)
		time.Sleep(s.timeout)
		check("for as long as a session lasts", Disconnected)
		time.Sleep(time.Millisecond)
		check("for longer", Expired)
		session(zk.StateHasSession)
		check("back", Connected)
		if !s.mu.armed["/x"] {
			t.Error("the watch was forgotten, though the session lives")
		}
		session(zk.StateDisconnected)
		session(zk.StateExpired)
		session(zk.StateDisconnected)
		session(zk.StateConnecting)
		check("ZooKeeper said so", Expired)
		if s.mu.armed["/x"] {
			t.Error("the watch outlived the session")
		}
		session(zk.StateHasSession)
		check("a new session", Connected)
		if s.status().Server != "there" {
			t.Errorf("server is %s", s.status().Server)
		}
		close(s.closing)
		s.worker.Wait()
	})
}
