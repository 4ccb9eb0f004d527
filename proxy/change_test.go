package proxy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// fate is what a client was told of a write.
type fate int

const (
	done fate = iota
	unknown
	refused
)

func fateOf(t *testing.T, reply string) fate {
	switch {
	case strings.HasPrefix(reply, ":"), strings.HasPrefix(reply, "*2\r\n:"):
		return done
	case strings.HasPrefix(reply, "-UNKNOWN"):
		return unknown
	case strings.HasPrefix(reply, "-CLUSTERDOWN"), strings.HasPrefix(reply, "-TRYAGAIN"), reply == "*-1\r\n":
		return refused
	}
	t.Errorf("what does this say of a write: %q", reply)
	return unknown
}

// While leaders change, connections are cut and leases end, each write is executed as often as its client is told: those
// acknowledged once, those refused not at all, and those of unknown outcome at most once.
func TestLeadersChange(t *testing.T) {
	s := seed(t)
	c := newCluster(t)
	nodes := []*node{c.start("one", nil), c.start("two", nil), c.start("three", nil)}
	c.lead("one")
	span := 3 * time.Second
	if testing.Short() {
		span = time.Second
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var mu sync.Mutex
	fates := map[string]fate{}
	counts := map[fate]int{}
	for i := range 8 {
		rng := rand.New(rand.NewPCG(s, uint64(i)))
		clients.Go(func() {
			cl := nodes[i%3].dial()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				for token, f := range writeOnce(t, cl, rng, fmt.Sprintf("<%d.%d>", i, n)) {
					mu.Lock()
					fates[token] = f
					counts[f]++
					mu.Unlock()
				}
			}
		})
	}
	disturb(c, nodes, rand.New(rand.NewPCG(s, 1000)), span)
	close(stop)
	clients.Wait()
	c.lead("one")
	all := nodes[0].dial()
	left, right := all.do("get left"), all.do("get right")
	for token, f := range fates {
		l, r := strings.Count(left, token), strings.Count(right, token)
		if l != r {
			t.Errorf("%s is there %d and %d times", token, l, r)
		}
		if f == done && l != 1 || f == refused && l != 0 || l > 1 {
			t.Errorf("%s was executed %d times, and the client was told %d", token, l, f)
		}
	}
	t.Logf("%d done, %d unknown, %d refused", counts[done], counts[unknown], counts[refused])
	if counts[done] == 0 || counts[unknown] == 0 {
		t.Error("nothing was tested")
	}
}

// writeOnce appends tokens to two keys, in one of several ways.
func writeOnce(t *testing.T, cl *client, rng *rand.Rand, token string) map[string]fate {
	a, b := token+"a", token+"b"
	switch rng.IntN(3) {
	case 0: // a transaction
		cl.send("multi", "append left "+a, "append right "+a, "exec")
		cl.reply()
		cl.reply()
		cl.reply()
		return map[string]fate{a: fateOf(t, cl.reply())}
	case 1: // two in a pipeline, with reads between
		cl.send("get nothing", "multi", "append left "+a, "append right "+a, "exec", "get nothing", "multi", "append left "+b, "append right "+b, "exec", "strlen left")
		var r [11]string
		for i := range r {
			r[i] = cl.reply()
		}
		for _, i := range []int{0, 5} {
			if r[i] != "$-1\r\n" && !strings.HasPrefix(r[i], "-CLUSTERDOWN") && !strings.HasPrefix(r[i], "-TRYAGAIN") {
				t.Errorf("a read gave %q", r[i])
			}
		}
		return map[string]fate{a: fateOf(t, r[4]), b: fateOf(t, r[9])}
	default: // watched
		cl.send("watch other")
		if r := cl.reply(); r != "+OK\r\n" && !strings.HasPrefix(r, "-CLUSTERDOWN") && !strings.HasPrefix(r, "-TRYAGAIN") {
			t.Errorf("WATCH gave %q", r)
		}
		cl.send("multi", "append left "+a, "append right "+a, "exec")
		cl.reply()
		cl.reply()
		cl.reply()
		return map[string]fate{a: fateOf(t, cl.reply())}
	}
}

// disturb does to a cluster what can be done to one.
func disturb(c *testCluster, nodes []*node, rng *rand.Rand, span time.Duration) {
	killer := make([]*client, len(nodes))
	for i, n := range nodes {
		killer[i] = n.dial()
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); time.Since(begin) < span; <-tick.C {
		switch rng.IntN(6) {
		case 0, 1:
			c.lead(nodes[rng.IntN(len(nodes))].id)
		case 2:
			c.lead("")
			<-tick.C
			c.lead(nodes[rng.IntN(len(nodes))].id)
		case 3:
			c.loseLease(true)
			<-tick.C
			c.loseLease(false)
		default: // all connections by which other nodes forward to this one
			i := rng.IntN(len(nodes))
			for _, line := range strings.Split(killer[i].do("client list"), "\n") {
				if !strings.Contains(line, "laddr="+nodes[i].addr()) && strings.Contains(line, "addr=127") {
					id, _, _ := strings.Cut(line[strings.Index(line, "id=")+3:], " ")
					killer[i].do("client kill id " + id)
				}
			}
		}
	}
}

func TestWaitsForALeader(t *testing.T) {
	c := newCluster(t)
	one := c.start("one", nil)
	two := c.start("two", func(o *Options) { o.Wait = patience })
	_ = one
	cl := two.dial()
	cl.send("set a 1", "get a")
	eventually(t, "a command that waits", func() bool { return strings.Contains(two.dial().do("info clients"), "connected_clients") })
	c.lead("one")
	if got := cl.reply() + cl.reply(); got != "+OK\r\n$1\r\n1\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestNoLeader(t *testing.T) {
	c := newCluster(t)
	two := c.start("two", func(o *Options) { o.Wait = 50 * time.Millisecond })
	cl := two.dial()
	if got := cl.do("ping", "set a 1", "multi", "get a", "exec", "echo x"); got != "+PONG¦-CLUSTERDOWN no node leads: nobody is known to lead¦+OK¦+QUEUED¦"+
		"-CLUSTERDOWN no node leads: nobody is known to lead¦$1¦x¦" {
		t.Errorf("got %q", got)
	}
	cl.want("dbsize", "-CLUSTERDOWN no node leads: nobody is known to lead¦")
	cl.want("unwatch", "+OK¦")
	cl.want("readonly", "+OK¦")
	cl.want("dbsize", ":0¦")
	cl.want("readwrite", "+OK¦")
	cl.wantPrefix("dbsize", "-CLUSTERDOWN")
}

// The replies of a leader that loses its lease while it executes are not released: reads are repeated by the proxy.
func TestLeaseIsLost(t *testing.T) {
	c := newCluster(t)
	c.start("one", nil)
	two := c.start("two", func(o *Options) { o.Wait = 100 * time.Millisecond })
	c.lead("one")
	cl := two.dial()
	cl.want("set a 1", "+OK¦")
	c.loseLease(true)
	cl.wantPrefix("get a", "-CLUSTERDOWN")
	c.loseLease(false)
	cl.want("get a", "$1¦1¦")
	c.lead("two")
	cl.want("get a", "$1¦1¦")
}

func TestMultiOutlivesAChange(t *testing.T) {
	c, _, two := pair(t)
	cl := two.dial()
	three := c.start("three", nil)
	cl.want("multi", "+OK¦")
	cl.want("set a 1", "+QUEUED¦")
	c.lead("three")
	cl.want("exec", "*1¦+OK¦")

	cl.want("watch a", "+OK¦")
	cl.want("multi", "+OK¦")
	cl.want("set a 2", "+QUEUED¦")
	c.lead("one")
	cl.want("exec", "*-1¦")
	cl.want("get a", "$1¦1¦")

	cl.want("watch a", "+OK¦") // at one
	c.lead("two")              // the client's own node
	cl.want("multi", "+OK¦")
	cl.want("set a 3", "+QUEUED¦")
	cl.want("exec", "*-1¦")
	cl.want("watch a", "+OK¦") // here
	c.lead("three")
	cl.want("multi", "+OK¦")
	cl.want("set a 4", "+QUEUED¦")
	cl.want("exec", "*-1¦")
	cl.want("watch a", "+OK¦")
	cl.want("unwatch", "+OK¦")
	c.lead("one")
	if got := cl.do("multi", "set a 5", "exec", "get a"); got != "+OK¦+QUEUED¦*1¦+OK¦$1¦5¦" {
		t.Errorf("got %q", got)
	}
	// Forgotten keys are forgotten, in all the ways there are.
	for _, forget := range []string{"discard", "reset", "exec"} {
		cl.do("watch a")
		three.dial().do("set a changed")
		if got := cl.do("multi", forget, "multi", "get a", "exec"); !strings.HasSuffix(got, "*1¦$7¦changed¦") {
			t.Errorf("%s: %q", forget, got)
		}
		if got := cl.do("watch a", "multi", forget, "set a x", "multi", "get a", "exec"); !strings.HasSuffix(got, "*1¦$1¦x¦") {
			t.Errorf("%s: %q", forget, got)
		}
	}
}
