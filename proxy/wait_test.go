package proxy

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// blocked is the id of the session that blocks at a node, once there is one.
func (n *node) blocked(cl *client) (id string) {
	n.t.Helper()
	eventually(n.t, "a blocked session", func() bool {
		for line := range strings.SplitSeq(string(cl.doRaw("client list")), "\n") {
			if strings.Contains(line, " flags=b ") {
				id, _, _ = strings.Cut(line[strings.Index(line, "id=")+3:], " ")
				return true
			}
		}
		return false
	})
	return id
}

// The replies in front of a command that blocks come before it ends, however many of them there are in a pipeline.
func TestBlocks(t *testing.T) {
	_, leader, follower := pair(t)
	cl, direct := follower.dial(), leader.dial()
	cl.send("set a 1", "wait 1 0", "ping", "append a 2", "wait 1 0", "get a")
	for _, want := range []string{"+OK\r\n", ":0\r\n+PONG\r\n:2\r\n", ":0\r\n$2\r\n12\r\n"} {
		if want[0] == ':' {
			direct.want("client unblock "+leader.blocked(direct), ":1¦")
		}
		for got := ""; got != want; {
			if got += cl.reply(); !strings.HasPrefix(want, got) {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}
	others := follower.dial() // a client that blocks holds up nobody
	cl.send("wait 1 0")
	id := leader.blocked(direct)
	for range 100 {
		others.want("get a", "$2¦12¦")
	}
	direct.want("client unblock "+id+" error", ":1¦")
	if got := cl.reply(); !strings.HasPrefix(got, "-UNBLOCKED") {
		t.Errorf("got %q", got)
	}
}

func TestLeaderChangesWhileACommandBlocks(t *testing.T) {
	c, leader, follower := pair(t)
	three := c.start("three", nil)
	cl := follower.dial()
	cl.send("get a", "wait 1 0", "get b")
	leader.blocked(leader.dial())
	c.lead("three")
	if got := cl.reply(); got != "$-1\r\n" {
		t.Errorf("got %q", got)
	}
	direct := three.dial() // WAIT goes on there
	direct.want("client unblock "+three.blocked(direct), ":1¦")
	if got := cl.reply() + cl.reply(); got != ":0\r\n$-1\r\n" {
		t.Errorf("got %q", got)
	}
}

// The leader learns that a client of another node has gone.
func TestClientGoesWhileACommandBlocks(t *testing.T) {
	_, leader, follower := pair(t)
	direct := leader.dial()
	cl := follower.dial()
	cl.send("wait 1 0")
	leader.blocked(direct)
	cl.Close()
	eventually(t, "the leader notices", func() bool { return !strings.Contains(string(direct.doRaw("client list")), "cmd=wait") })
	eventually(t, "the connection is closed", func() bool { return follower.proxy.Connections() == 0 })
}

// Clients that go away while replies are on their way leave nothing behind.
func TestClientsGoAway(t *testing.T) {
	_, leader, follower := pair(t)
	leader.dial().want("setrange big 1000000 x", ":1000001¦")
	leader.dial().want("setrange small 3000 x", ":3001¦")
	before := runtime.NumGoroutine()
	for i := range 60 {
		cl := follower.dial()
		for range 40 {
			cl.send([]string{"get big", "get small", "watch a"}[i%3])
		}
		cl.Close()
	}
	cl := follower.dial()
	cl.want("get none", "$-1¦")
	eventually(t, "sessions end", func() bool { return strings.Count(string(cl.doRaw("client list")), "id=") == 1 })
	// One goroutine for each idle connection is there at the leader.
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+follower.proxy.Connections()+8 })
}

// A client that does not read makes neither the follower nor the leader hold much for it, and holds up nobody. When it reads, all is
// there.
func TestSlowClient(t *testing.T) {
	c := newCluster(t)
	leader, follower := c.start("one", nil, "--maxmemory-clients", "32mb"), c.start("two", nil, "--maxmemory-clients", "32mb")
	c.lead("one")
	const size, requests = 1 << 20, 120
	leader.dial().want(fmt.Sprintf("setrange big %d x", size-1), fmt.Sprintf(":%d¦", size))
	others := follower.dial()
	others.want("set a 1", "+OK¦")
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	slow := follower.dial()
	for range requests {
		slow.send("get big")
	}
	for range 300 {
		others.want("get a", "$1¦1¦")
	}
	runtime.GC()
	runtime.ReadMemStats(&now)
	if held := int64(now.HeapAlloc) - int64(before.HeapAlloc); held > 80<<20 {
		t.Errorf("%d MB are held for a client that does not read", held>>20)
	}
	for i := range requests {
		if got := slow.reply(); len(got) != size+len("$1048576\r\n\r\n") {
			t.Fatalf("reply %d: %.40q", i, got)
		}
	}
	others.want("get a", "$1¦1¦")
}

// Everything ends with its owner.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("cluster", func(t *testing.T) {
		c, leader, follower := pair(t)
		direct := leader.dial()
		for range 20 {
			cl := follower.dial()
			cl.do("set a 1", "get a", "watch a")
			cl.send("wait 1 0")
		}
		eventually(t, "commands block", func() bool { return strings.Count(string(direct.doRaw("client list")), "flags=b") == 20 })
		c.lead("")
		follower.dial().send("get a")
	})
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

// TestSettle: as long as a command waits for a leader, a node that stops waits too, and no longer than it wants.
func TestSettle(t *testing.T) {
	c, _, follower := pair(t)
	cl := follower.dial()
	cl.want("set a 1", "+OK¦")
	follower.proxy.Settle(t.Context())
	c.lead("")
	cl.send("get a")
	eventually(t, "the command waits", func() bool { return follower.proxy.waiting.Load() == 1 })
	short, cancel := context.WithTimeout(t.Context(), 2*calm)
	defer cancel()
	follower.proxy.Settle(short)
	if short.Err() == nil {
		t.Error("it did not wait for a command that waits")
	}
	c.lead("one")
	if got := cl.reply(); got != "$1\r\n1\r\n" {
		t.Errorf("got %q", got)
	}
	follower.proxy.Settle(t.Context())
	if n := follower.proxy.waiting.Load(); n != 0 {
		t.Errorf("%d commands wait", n)
	}
}

// Requests under way count in what all clients may hold, as often as they are held.
func TestRequestsAreCounted(t *testing.T) {
	c := newCluster(t)
	leader, follower := c.start("leader", nil), c.start("follower", nil, "--maxmemory-clients", "16mb")
	r := newRelay(t, leader.addr())
	c.setAddr("leader", r.ln.Addr().String())
	c.lead("leader")
	const clients, size = 12, 1 << 20 // held by the front end alone they would not be too much
	var all []*client
	for range clients {
		cl := follower.dial()
		cl.want("append k x", fmt.Sprintf(":%d¦", len(all)+1))
		all = append(all, cl)
	}
	r.swallow()
	for _, cl := range all {
		cl.Write(appendCommand(nil, "SET", "k", strings.Repeat("x", size))) // the connection may end
	}
	eventually(t, "some are closed", func() bool { return follower.front.Stats().Evicted > 0 })
	if n := follower.front.Stats().Evicted; n == clients {
		t.Error("nobody is left")
	}
}

// A command that waits at the leader is seen, and can be made to go on, at the client's own node.
func TestUnblockAtTheClientsNode(t *testing.T) {
	_, _, follower := pair(t)
	cl, others := follower.dial(), follower.dial()
	id := strings.Trim(cl.do("client id"), ":¦")
	others.want("client unblock "+id, ":0¦")
	for _, tc := range [][2]string{{"", ":0\r\n"}, {" timeout", ":0\r\n"}, {" error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"}} {
		cl.send("append k x", "wait 9 0", "get k")
		if got := follower.blocked(others); got != id {
			t.Fatalf("client %s is shown as blocked", got)
		}
		eventually(t, "it is unblocked", func() bool { return others.do("client unblock "+id+tc[0]) == ":1¦" })
		cl.reply()
		if got := cl.reply(); got != tc[1] {
			t.Errorf("unblock%s: %q", tc[0], got)
		}
		cl.reply()
		others.want("client unblock "+id, ":0¦")
	}
	cl.send("wait 9 0")
	eventually(t, "it blocks", func() bool { return follower.blocked(others) == id })
	others.want("client kill id "+id, ":1¦")
	eventually(t, "the connection is closed", func() bool { return follower.proxy.Connections() == 1 })
}
