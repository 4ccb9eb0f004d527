package resp

import (
	"context"
	"sync"
	"testing"
)

// TestPanicWhileReplying has the end of a unit panic where no Dispatch is running any more: on the event loop, on an answerer, and on the
// client's own goroutine.
func TestPanicWhileReplying(t *testing.T) {
	for _, slow := range []bool{false, true} {
		s := startServer(t, nil)
		s.fake.slow.Store(slow)
		done := make(chan struct{})
		var commits sync.WaitGroup
		commits.Go(func() { // what a slow disk does in the end
			for {
				select {
				case <-s.fake.running:
				case s.fake.commits <- struct{}{}:
				case <-done:
					return
				}
			}
		})
		for range 3 {
			c := s.dial()
			c.ping() // from now on it is idle, and the loop takes it
			c.send(array("PING") + array("WRITE") + array("PANIC-AT-END"))
			c.expectEnd()
		}
		s.dial().ping()
		eventually(t, "one client left", func() bool { return s.count.Load() == 1 })
		close(done)
		commits.Wait()
	}
}

func TestShutdownTwiceAtOnce(t *testing.T) {
	for range 20 {
		s := startServer(t, nil)
		s.dial().ping()
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() { s.Shutdown(context.Background()) })
		}
		group.Wait()
	}
}
