package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// smallTree makes flushes and compactions happen all the time.
var smallTree = []string{"--maxmemory", "96mb", "--memtable-size", "1mb", "--log-segment-size", "1mb",
	"--target-file-size", "512kb", "--level-base-size", "2mb"}

// TestKillLosesNothing kills the server with -9 at random moments under load, and
// demands after each restart: every acknowledged write is there, counters are exact, nothing
// is invented, DBSIZE is the number of keys.
func TestKillLosesNothing(t *testing.T) {
	for _, policy := range []string{"everysec", "always"} {
		t.Run(policy, func(t *testing.T) {
			rnd := seeded(t)
			s := startServer(t, append([]string{"--appendfsync", policy}, smallTree...)...)
			k := newKiller(s, rnd, 8)
			rounds := 0
			for end := time.Now().Add(soak(t, 15*time.Second)); time.Now().Before(end); rounds++ {
				k.round(time.Duration(20+rnd.IntN(700)) * time.Millisecond)
			}
			t.Logf("%d rounds, %d writes acknowledged, %d keys", rounds, k.acked, k.exist)
			if k.acked == 0 {
				t.Error("no write was acknowledged: nothing was tested")
			}
		})
	}
}

// killer writes to a server from several clients, kills it, and looks what is left.
type killer struct {
	s       *server
	rnd     *rand.Rand
	writers []*writer
	acked   int
	exist   int
}

type writer struct {
	id    int
	rnd   *rand.Rand
	m     model
	acked int
	err   error
	n     int // makes values unique
}

func newKiller(s *server, rnd *rand.Rand, writers int) *killer {
	k := &killer{s: s, rnd: rnd}
	for i := range writers {
		k.writers = append(k.writers, &writer{id: i, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0)), m: model{}})
	}
	return k
}

// round loads the server for a while, kills and restarts it and verifies everything.
func (k *killer) round(load time.Duration) {
	k.s.t.Helper()
	stop, cancel := context.WithTimeout(ctx, load)
	defer cancel()
	var group sync.WaitGroup
	for _, w := range k.writers {
		group.Go(func() { w.run(stop, k.s) })
	}
	<-stop.Done()
	k.s.kill()
	group.Wait()
	k.s.start()
	k.verify()
}

func (k *killer) verify() {
	k.s.t.Helper()
	c := k.s.client()
	defer c.Close()
	k.acked, k.exist = 0, 0
	for _, w := range k.writers {
		if w.err != nil {
			k.s.t.Fatalf("writer %d: %v", w.id, w.err)
		}
		k.acked += w.acked
		k.exist += w.m.verify(k.s.t, c)
	}
	if n, err := c.DBSize(ctx).Result(); err != nil || n != int64(k.exist) {
		k.s.t.Fatalf("DBSIZE = %d, %v; there are %d keys", n, err, k.exist)
	}
}

// run writes until the connection breaks, which the kill after stop makes sure of.
func (w *writer) run(stop context.Context, s *server) {
	c := s.client()
	defer c.Close()
	for {
		b := newBatch(w.m, c)
		for range 1 + w.rnd.IntN(24) {
			w.add(b)
		}
		acked, err := b.run(ctx)
		w.acked += acked
		if err != nil {
			w.err = err
			return
		}
		if acked < len(b.ops) {
			if stop.Err() == nil {
				w.err = fmt.Errorf("the connection broke before the kill: %v", b.ops[acked].cmd.Err())
			}
			return
		}
	}
}

func (w *writer) add(b *batch) {
	w.n++
	key := fmt.Sprintf("w%d:%d", w.id, w.rnd.IntN(2000))
	switch w.rnd.IntN(10) {
	case 0, 1:
		b.incr(key + ":counter")
	case 2:
		b.del(key)
	case 3:
		b.append(fmt.Sprintf("w%d:log:%d", w.id, w.rnd.IntN(4)), fmt.Sprintf("%d,", w.n))
	default:
		size := w.rnd.IntN(400)
		if w.rnd.IntN(300) == 0 { // in many chunks, and by the log's way of its own
			size = 50_000 + w.rnd.IntN(600_000)
		}
		b.set(key, fmt.Sprintf("%d:%s", w.n, strings.Repeat("v", size)))
	}
}

// TestTransactionsAreWholeAfterKills writes the same number to three keys by MULTI/EXEC:
// after each kill they agree, and are at least what was acknowledged.
func TestTransactionsAreWholeAfterKills(t *testing.T) {
	rnd := seeded(t)
	s := startServer(t, smallTree...)
	const writers = 4
	var acked [writers]int64
	for end := time.Now().Add(soak(t, 5*time.Second)); time.Now().Before(end); {
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() { acked[w] = transact(s, w, acked[w]) })
		}
		timer := time.NewTimer(time.Duration(20+rnd.IntN(300)) * time.Millisecond)
		<-timer.C
		s.kill()
		group.Wait()
		s.start()
		for w := range acked {
			acked[w] = verifyTransactions(t, s, w, acked[w])
		}
	}
	t.Logf("transactions: %v", acked)
}

// transact goes on from n until the server is gone, and returns what was acknowledged.
func transact(s *server, w int, n int64) int64 {
	c := s.client()
	defer c.Close()
	for {
		_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, fmt.Sprintf("t%d:first", w), n+1, 0)
			p.Incr(ctx, fmt.Sprintf("t%d:counter", w))
			p.Del(ctx, fmt.Sprintf("t%d:key:%d", w, n))
			p.Set(ctx, fmt.Sprintf("t%d:key:%d", w, n+1), n+1, 0)
			return nil
		})
		if err != nil {
			return n
		}
		n++
	}
}

// verifyTransactions returns how many have happened: those acknowledged, and maybe
// the one that was under way.
func verifyTransactions(t *testing.T, s *server, w int, acked int64) int64 {
	t.Helper()
	c := s.client()
	defer c.Close()
	counter, err := c.IncrBy(ctx, fmt.Sprintf("t%d:counter", w), 0).Result()
	if err != nil || counter < acked || counter > acked+1 {
		t.Fatalf("writer %d: %d transactions, %v; %d were acknowledged", w, counter, err, acked)
	}
	if counter == 0 {
		return 0
	}
	want := fmt.Sprint(counter)
	first, last := c.Get(ctx, fmt.Sprintf("t%d:first", w)).Val(), c.Get(ctx, fmt.Sprintf("t%d:key:%d", w, counter)).Val()
	before := c.Exists(ctx, fmt.Sprintf("t%d:key:%d", w, counter-1)).Val()
	if first != want || last != want || before != 0 {
		t.Fatalf("writer %d: a transaction in part: counter %d, first %s, last %s, the one before %d", w, counter, first, last, before)
	}
	return counter
}

// TestStopLosesNothing ends the server with SIGTERM under load: what was acknowledged
// is there, also when nothing was ever synced, and the process says that all went well.
func TestStopLosesNothing(t *testing.T) {
	rnd := seeded(t)
	s := startServer(t, append([]string{"--appendfsync", "no"}, smallTree...)...)
	k := newKiller(s, rnd, 4)
	for range 3 {
		stop, cancel := context.WithCancel(ctx)
		var group sync.WaitGroup
		for _, w := range k.writers {
			group.Go(func() { w.run(stop, s) })
		}
		before := s.client()
		s.waitFor("some keys", startTimeout, func() bool { return before.DBSize(ctx).Val() > 500 })
		before.Close()
		cancel()
		if code := s.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		group.Wait()
		s.start()
		k.verify()
	}
}
