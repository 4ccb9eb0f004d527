package integration

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/gtinside/corecache/config"
)

// missedBytes is how much is written while a node is away: 1 GiB with CORECACHE_SOAK.
func missedBytes() int64 {
	if os.Getenv("CORECACHE_SOAK") != "" {
		return 1 << 30
	}
	return 24 << 20
}

// write writes so many bytes, in values of 64 KiB that do not compress.
func (c *nodes) write(bytes int64) {
	c.t.Helper()
	const size, atOnce, keys = 64 << 10, 16, 400
	cl := c.leader().client()
	defer cl.Close()
	rnd := rand.NewChaCha8([32]byte{})
	value := make([]byte, size)
	for n := int64(0); n < bytes/size; n += atOnce {
		p := cl.Pipeline()
		for i := range int64(atOnce) {
			_, _ = rnd.Read(value) // it never fails
			p.Set(ctx, "big:"+strconv.FormatInt((n+i)%keys, 10), string(value), 0)
		}
		if _, err := p.Exec(ctx); err != nil {
			c.t.Fatal(err)
		}
	}
}

// syncs are counters of INFO stats: how often a leader has given the whole store, and streams of its log.
type syncs struct{ full, partial int }

func (s *server) syncs() (n syncs) {
	s.t.Helper()
	var err error
	for field, to := range map[string]*int{"sync_full": &n.full, "sync_partial_ok": &n.partial} {
		if *to, err = strconv.Atoi(s.infoOf("stats", field)); err != nil {
			s.t.Fatalf("%s: %v", field, err)
		}
	}
	return n
}

// TestClusterCatchUp has a follower away while much is written. As long as the log is kept for it, it gets what it missed, and no
// full sync. When the log is not kept, it gets the whole store, once, although much is written meanwhile; and writes flow on.
func TestClusterCatchUp(t *testing.T) {
	missed, tree := missedBytes(), smallTree
	if missed > 100<<20 {
		tree = []string{"--maxmemory", "256mb", "--log-segment-size", "16mb"}
	}
	c := startCluster(t, 3, append([]string{"--log-pin-bytes", strconv.FormatInt(2*missed, 10)}, tree...)...)
	c.wait = 10 * time.Minute // a busy machine writes a few MiB a second
	leader := c.leader()
	follower := c.others(leader)[0]

	before := leader.syncs()
	follower.stop()
	c.write(missed)
	begin := time.Now()
	follower.launch()
	c.waitInSync(3)
	now := leader.syncs()
	t.Logf("%s were caught up with in %v; before %+v, now %+v", config.FormatBytes(missed), time.Since(begin).Round(time.Millisecond), before, now)
	if now.full != before.full || now.partial <= before.partial {
		t.Errorf("the log was kept, and yet there was a full sync")
	}
	c.same()

	follower.stop()
	admin := leader.client()
	defer admin.Close()
	for name, value := range map[string]string{"log-pin-bytes": strconv.FormatInt(missed/4, 10), "full-sync-rate": strconv.FormatInt(missed/2, 10)} {
		if err := admin.ConfigSet(ctx, name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c.write(missed)
	l := c.load(3)
	l.flows(200)
	undisturbed := l.rate(func() { l.flows(5000) })
	l.pause.Store(0)
	begin = time.Now()
	meanwhile := l.rate(func() {
		follower.launch()
		c.waitInSync(3)
	})
	took, pause := time.Since(begin).Round(time.Millisecond), time.Duration(l.pause.Load())
	l.end()
	last := leader.syncs()
	t.Logf("a full sync, limited so that it lasts: %v; %.0f writes/s before, %.0f/s meanwhile, the longest pause %v; now %+v", took, undisturbed, meanwhile, pause, last)
	if last.full != now.full+1 {
		t.Errorf("%d full syncs instead of one", last.full-now.full)
	}
	if meanwhile < undisturbed/2 || pause > atMost(time.Second) {
		t.Error("writes were held up by a full sync")
	}
	if l.bad.Load()+l.cut.Load() > 0 {
		t.Errorf("writes failed:%s", l.errors())
	}
	c.same()
	l.check()
}

// rate returns acknowledged writes per second while something happens.
func (l *clusterLoad) rate(during func()) float64 {
	l.c.t.Helper()
	begin, at := time.Now(), l.count.Load()
	during()
	return float64(l.count.Load()-at) / time.Since(begin).Seconds()
}
