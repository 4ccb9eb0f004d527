package proxy

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// A leader that stops in good order has not read what was sent in that instant. It says so, and another leader executes that, once.
func TestLeaderStops(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"write", []string{"append %s x"}, ":1¦"},
		{"pipeline", []string{"append %s x", "strlen %[1]s", "append %[1]s y"}, ":1¦:1¦:2¦"},
		{"database", []string{"select 3", "append %s x"}, "+OK¦:1¦"},
		{"transaction", []string{"multi", "append %s x", "append %[1]s y", "exec"}, "+OK¦+QUEUED¦+QUEUED¦*2¦:1¦:2¦"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t)
			c.start("two", nil)
			testLeaderStops(t, c, tc.lines, tc.want)
		})
	}
}

func testLeaderStops(t *testing.T, c *testCluster, lines []string, want string) {
	const clients = 8
	leader := c.start("old", nil)
	follower := c.start("follower", func(o *Options) { o.Watch = time.Minute })
	r := newRelay(t, leader.addr())
	c.setAddr("old", r.ln.Addr().String())
	c.lead("old")
	var all []*client
	for range clients {
		cl := follower.dial()
		cl.want("set before 1", "+OK¦")
		all = append(all, cl)
	}
	r.swallow()
	var asked sync.WaitGroup
	for i, cl := range all {
		var mine []string
		for _, line := range lines {
			if line != "multi" && line != "exec" && line != "select 3" {
				line = fmt.Sprintf(line, fmt.Sprintf("key%d", i))
			}
			mine = append(mine, line)
		}
		asked.Go(func() {
			if got := cl.do(mine...); got != want {
				t.Errorf("%q gave %q, not %q", mine, got, want)
			}
		})
	}
	eventually(t, "requests are under way", func() bool { return r.swallowed() > 0 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	leader.front.Shutdown(ctx)
	c.lead("two")
	asked.Wait()
}

// A node that stops while a command of one of its clients waits for the next leader lets it wait, and passes the reply on. A command that
// may block for longer than anybody wants to wait ends at once.
func TestNodeStopsWhileCommandsWait(t *testing.T) {
	for _, loops := range []int{1, -1} {
		t.Run(fmt.Sprint(loops), func(t *testing.T) {
			c := newCluster(t)
			c.loops = loops
			follower := c.start("follower", nil)
			c.start("leader", nil)
			cl, blocked := follower.dial(), follower.dial()
			cl.send("append k x")
			blocked.send("wait 9 0")
			eventually(t, "both wait", func() bool { return follower.proxy.waiting.Load() == 2 })
			ended := make(chan struct{})
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				follower.front.Shutdown(ctx)
				close(ended)
			}()
			if got, err := blocked.tryReply(); err == nil {
				t.Errorf("a command that blocks: %q", got)
			}
			c.lead("leader")
			if got := cl.reply(); got != ":1\r\n" {
				t.Errorf("a command that waited: %q", got)
			}
			if got, err := cl.tryReply(); err == nil {
				t.Errorf("the connection goes on: %q", got)
			}
			<-ended
		})
	}
}
