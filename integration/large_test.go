package integration

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// largeValue is the value of key number n: 512 to 3584 bytes that do not compress,
// made from the number alone, so that no copy has to be kept.
func largeValue(n int) []byte {
	h := fnv.New64a()
	_ = binary.Write(h, binary.LittleEndian, int64(n)) // a hash does not fail
	rnd := rand.New(rand.NewPCG(h.Sum64(), 1))
	v := make([]byte, 512+rnd.IntN(3072))
	for i := range v {
		v[i] = byte(rnd.Uint32())
	}
	return v
}

func largeKey(n int) string { return fmt.Sprintf("large:%08d", n) }

// TestLargerThanMemory loads several times more data than the memory budget, and
// proves reads, the bound of memory, and that a restart after kill -9 takes time by
// the log and not by the data.
func TestLargerThanMemory(t *testing.T) {
	const budget = 96 << 20
	total := int64(5 * budget)
	if os.Getenv("CORECACHE_SOAK") != "" {
		total = 40 * budget
	}
	rnd := seeded(t)
	s := startServer(t, "--maxmemory", fmt.Sprint(budget))
	begin := time.Now()
	n := loadLarge(t, s, total)
	t.Logf("loaded %d keys, %d MiB, in %v", n, total>>20, time.Since(begin))
	readLarge(t, s, rnd, n)
	checkMemory(t, s, budget)

	s.kill()
	begin = time.Now()
	s.start()
	restart := time.Since(begin)
	t.Logf("served again %v after kill -9", restart)
	if restart > 10*time.Second {
		t.Errorf("the restart took %v", restart)
	}
	readLarge(t, s, rnd, n)
	checkMemory(t, s, budget)
}

// loadLarge writes keys 0..n-1 by pipelines of 100 from four clients until there are
// total bytes of values.
func loadLarge(t testing.TB, s *server, total int64) (n int) {
	t.Helper()
	const average, clients, pipeline = 512 + 3071/2, 4, 100
	n = int(total / average)
	errs := make([]error, clients)
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() { errs[i] = loadRange(s, n*i/clients, n*(i+1)/clients, pipeline) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := s.client()
	defer c.Close()
	if size, err := c.DBSize(ctx).Result(); err != nil || size != int64(n) {
		t.Fatalf("DBSIZE = %d, %v; want %d", size, err, n)
	}
	return n
}

func loadRange(s *server, from, to, pipeline int) error {
	c := s.client()
	defer c.Close()
	for from < to {
		p := c.Pipeline()
		for range min(pipeline, to-from) {
			p.Set(ctx, largeKey(from), largeValue(from), 0)
			from++
		}
		if _, err := p.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readLarge reads random keys, and as many that do not exist.
func readLarge(t testing.TB, s *server, rnd *rand.Rand, n int) {
	t.Helper()
	c := s.client()
	defer c.Close()
	begin, reads := time.Now(), 0
	for range 200 {
		p := c.Pipeline()
		wants := map[int]*redis.StringCmd{}
		for range 50 {
			i := rnd.IntN(2 * n)
			wants[i] = p.Get(ctx, largeKey(i))
		}
		_, _ = p.Exec(ctx) // each command has its own error
		for i, cmd := range wants {
			checkLarge(t, i, n, cmd)
		}
		reads += len(wants)
	}
	t.Logf("%d reads in %v", reads, time.Since(begin))
}

func checkLarge(t testing.TB, i, n int, cmd *redis.StringCmd) {
	t.Helper()
	got, err := cmd.Result()
	switch {
	case i >= n && err != redis.Nil:
		t.Fatalf("%s exists: %d bytes, %v", largeKey(i), len(got), err)
	case i < n && (err != nil || got != string(largeValue(i))):
		t.Fatalf("%s: %d bytes, %v; not what was written", largeKey(i), len(got), err)
	}
}

// checkMemory holds the process to its budget plus 64 MiB.
func checkMemory(t testing.TB, s *server, budget int64) {
	t.Helper()
	now, peak := s.rss()
	t.Logf("resident memory %d MiB, at most %d MiB, budget %d MiB", now>>20, peak>>20, budget>>20)
	if peak > budget+64<<20 {
		t.Errorf("resident memory was %d MiB, over the budget of %d MiB plus 64 MiB", peak>>20, budget>>20)
	}
}
