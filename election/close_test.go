package election

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/gtinside/corecache/integration/zoo"
)

// TestCloseEndsEverything opens and closes nodes in every state of the connection. No goroutine of theirs may remain. It is not
// parallel, so that all goroutines there are can be counted.
func TestCloseEndsEverything(t *testing.T) {
	w := newWorld(t)
	w.exists("/") // the raw connection has all of its goroutines now
	for name, fault := range map[string]func(*zoo.Proxy){
		"connected": func(*zoo.Proxy) {},
		"cut":       (*zoo.Proxy).Cut,
		"stalled":   func(p *zoo.Proxy) { p.Set(zoo.Stall) },
		"stalled while connecting": func(p *zoo.Proxy) {
			p.Set(zoo.Stall)
			p.Break()
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := goroutines()
			p := w.proxy(w.zk.Server(0))
			c := w.open(w.options("", p))
			s, v := read(t, c)
			fault(p)
			err := c.Close()
			if left := w.exists(c.paths.node(c.self.ID)); left && err == nil || (err != nil) != (name != "connected") {
				t.Errorf("the entry is left: %v, error: %v", left, err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("a second close: %v", err)
			}
			if _, err := c.CompareAndSet(ctx, v, s); !errors.Is(err, ErrClosed) {
				t.Errorf("compare-and-set afterwards: %v", err)
			}
			if _, _, err := c.Read(ctx); !errors.Is(err, ErrClosed) {
				t.Errorf("read afterwards: %v", err)
			}
			if after := goroutines(); len(after) > len(before) {
				t.Errorf("%d goroutines before, %d after:\n%s", len(before), len(after), strings.Join(after, "\n\n"))
			}
		})
	}
}

// goroutines are the stacks of those which belong to a Cluster or to the library.
func goroutines() (stacks []string) {
	buf := make([]byte, 4<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		for _, owner := range []string{"go-zookeeper/zk.", "election.(*Cluster)", "election.(*session)", "election.(*dialer)"} {
			if strings.Contains(stack, owner) {
				stacks = append(stacks, stack)
				break
			}
		}
	}
	return stacks
}
