package replication

import (
	"cmp"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine/vfs"
)

// TestChaos lets things go wrong at random, one to three at a time: processes die, links and disks stand still, the registry is
// cut off or does not say what became of a write. In every other round little of the log is kept, so that who was away
// may need the whole store. Whatever was acknowledged is there in the end, and all nodes have the same.
// CORECACHE_CHAOS=10m prolongs it, CORECACHE_SEED repeats the choices of a run.
func TestChaos(t *testing.T) {
	length, _ := time.ParseDuration(cmp.Or(os.Getenv("CORECACHE_CHAOS"), "5s"))
	seed, _ := strconv.ParseUint(os.Getenv("CORECACHE_SEED"), 10, 64)
	seed = cmp.Or(seed, rand.Uint64())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	ids := []string{"a", "b", "c"}
	end := time.Now().Add(length)
	for round := 0; time.Now().Before(end); round++ {
		c := newCluster(t, ids...)
		size := 200
		if round%2 == 1 {
			size = 3000
			for _, n := range c.nodes {
				n.pin = 1 << 20
			}
		}
		c.start(ids...)
		c.inSync(ids...)
		w := c.write(3, size)
		for range 10 {
			c.disturb(rng)
		}
		c.inSync(ids...)
		w.end()
		c.must("last", "1")
		c.same(ids...)
		w.check(t, c.nodes["b"])
		for _, n := range c.nodes {
			n.kill()
			select {
			case err := <-n.failed:
				t.Errorf("%s: %v", n.id, err)
			default:
			}
		}
		t.Logf("%d writes of %d bytes", w.count.Load(), size)
	}
}

// disturb lets up to three nodes have their trouble, at the same time, and ends it.
func (c *cluster) disturb(rng *rand.Rand) {
	nodes := []*testNode{c.nodes["a"], c.nodes["b"], c.nodes["c"]}
	rng.Shuffle(3, func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	var all sync.WaitGroup
	for _, n := range nodes[:1+rng.IntN(8)/3%3] {
		what, begin, long := rng.IntN(6), rng.IntN(200), rng.IntN(900)
		all.Go(func() {
			time.Sleep(time.Duration(begin) * time.Millisecond)
			n.suffer(what, time.Duration(long)*time.Millisecond)
		})
	}
	all.Wait()
}

func (n *testNode) suffer(what int, d time.Duration) {
	switch what {
	case 0:
		n.kill()
		time.Sleep(d)
		n.start()
	case 1:
		n.gate.freeze()
		time.Sleep(d)
		n.gate.thaw()
	case 2:
		n.c.r.setCut(n.id, true)
		time.Sleep(d)
		n.c.r.setCut(n.id, false)
	case 3:
		_, goOn := n.hang(func(c vfs.Call) bool { return inLog(c) && (c.Op == vfs.OpWrite || c.Op == vfs.OpSync) })
		time.Sleep(d)
		goOn()
	case 4:
		n.gate.drop()
		n.c.r.mu.Lock()
		n.c.r.unknown = 3
		n.c.r.mu.Unlock()
	case 5:
		n.node.mu.Lock() // it does nothing, as a process that is stopped
		time.Sleep(d)
		n.node.mu.Unlock()
	}
}
