package integration

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gtinside/corecache/integration/zoo"
)

// TestClusterFaults has clients read, write, delete, increment, compare, transfer and append through random nodes while a
// nemesis breaks the cluster. At the end all nodes are killed at once and restarted. Then what everybody saw must have an explanation, no
// money may be missing, and what was acknowledged must be there.
func TestClusterFaults(t *testing.T) {
	rnd := seeded(t)
	args := append([]string{
		"--appendfsync", []string{"everysec", "everysec", "always", "no"}[rnd.IntN(4)],
		"--min-replicas-to-write", itoa(rnd.IntN(2)),
	}, smallTree...)
	t.Log(args[:4])
	net := newNetwork(t)
	c := newClusterIn(t, net, ownZooKeeper(t, zoo.Options{Host: net.host()}), args...).start(3)
	n := &nemesis{c: c, rnd: rnd}
	for left := soak(t, 25*time.Second); left > 0 && !t.Failed(); left -= faultsRound {
		n.play(min(left, faultsRound))
	}
}

// faultsRound is how long clients work before everything is checked: the longest history that is easily checked.
const faultsRound = time.Minute

// play is one round of all clients, on an empty cluster.
func (n *nemesis) play(d time.Duration) {
	t, c := n.c.t, n.c
	t.Helper()
	leader := c.leader().client()
	defer leader.Close()
	if err := leader.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	h, b, a := newHistory(), &bank{t: t}, newAppends(t)
	b.open(leader)

	stop, cancel := context.WithTimeout(ctx, d)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	client := func(run func(*rand.Rand, func() *redis.Client)) {
		rnd := rand.New(rand.NewPCG(n.rnd.Uint64(), 0))
		clients.Go(func() { run(rnd, func() *redis.Client { return c.procs[rnd.IntN(len(c.procs))].impatientClient() }) })
	}
	for id := range 4 {
		client(func(rnd *rand.Rand, dial func() *redis.Client) {
			(&caller{id: id, rnd: rnd, h: h, dial: dial}).run(stop)
		})
	}
	for id := range 2 {
		client(func(rnd *rand.Rand, dial func() *redis.Client) { b.run(stop, rnd, dial) })
		client(func(rnd *rand.Rand, dial func() *redis.Client) { a.run(stop, id, rnd, dial) })
	}
	for stop.Err() == nil {
		n.round()
		before := h.outcomes()
		c.waitFor("calls with an outcome", func() bool { return h.outcomes() > before+10 || stop.Err() != nil })
	}
	clients.Wait()

	(&victims{nemesis: n}).kill(c.procs...)()
	c.waitInSync(len(c.procs))
	c.same()
	h.check(t)
	b.check(c)
	last := c.leader().client()
	defer last.Close()
	a.check(last)
}
