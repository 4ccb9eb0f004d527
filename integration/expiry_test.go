package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// shortLife is the longest time to live that TestExpiryUnderKills gives.
const shortLife = 400 * time.Millisecond

// TestExpiryUnderKills writes keys that soon expire and kills the server all the while. After each
// restart every one of them goes by itself: from DBSIZE, from SCAN, and from the number of
// keys with a deadline, none of which may drift. Keys that were made persistent stay.
func TestExpiryUnderKills(t *testing.T) {
	rnd := seeded(t)
	s := startServer(t, smallTree...)
	const writers = 4
	var kept [writers][]string
	rounds := 0
	for end := time.Now().Add(soak(t, 6*time.Second)); time.Now().Before(end); rounds++ {
		stop, cancel := context.WithTimeout(ctx, time.Duration(20+rnd.IntN(500))*time.Millisecond)
		var group sync.WaitGroup
		for w := range writers {
			seed := rnd.Uint64()
			group.Go(func() { kept[w] = shortLives(s, rand.New(rand.NewPCG(seed, 0)), w, kept[w]) })
		}
		<-stop.Done()
		cancel()
		s.kill()
		group.Wait()
		s.start()
		verifyExpired(t, s, slices.Concat(kept[:]...))
	}
	t.Logf("%d rounds, %d keys kept", rounds, len(slices.Concat(kept[:]...)))
}

// shortLives writes until the server is gone, and returns the keys that were made persistent.
// Those that may have been have names of their own, which no check looks for.
func shortLives(s *server, rnd *rand.Rand, w int, kept []string) []string {
	c := s.client()
	defer c.Close()
	for {
		p := c.Pipeline()
		for range 1 + rnd.IntN(20) {
			key := fmt.Sprintf("short:%d:%d", w, rnd.IntN(500))
			life := time.Millisecond * time.Duration(1+rnd.Int64N(shortLife.Milliseconds()))
			switch rnd.IntN(6) {
			case 0:
				p.Set(ctx, key, "", shortLife)
				p.PExpire(ctx, key, life)
			case 1:
				p.Rename(ctx, key, fmt.Sprintf("short:%d:%d", w, rnd.IntN(500)))
			case 2:
				p.Del(ctx, key)
			default:
				p.Set(ctx, key, strings.Repeat("x", rnd.IntN(300)), life)
			}
		}
		keep := fmt.Sprintf("kept:%d:%d", w, len(kept))
		p.Set(ctx, keep, "", shortLife)
		persisted := p.Persist(ctx, keep) // unless it takes longer than that
		cmds, _ := p.Exec(ctx)            // each command has its own error; RENAME fails without a key
		if broken(cmds) {
			return kept
		}
		if persisted.Val() {
			kept = append(kept, keep)
		}
	}
}

// broken tells whether the connection ended before all commands were answered.
func broken(cmds []redis.Cmder) bool {
	return slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool {
		var reply redis.Error
		return cmd.Err() != nil && !errors.As(cmd.Err(), &reply)
	})
}

// verifyExpired waits until only persistent keys are left.
func verifyExpired(t *testing.T, s *server, kept []string) {
	t.Helper()
	c := s.client()
	defer c.Close()
	var keyspace string
	s.waitFor("keys to expire", 20*shortLife, func() bool {
		keyspace = c.Info(ctx, "keyspace").Val()
		return !strings.Contains(keyspace, "expires=") || strings.Contains(keyspace, "expires=0,")
	})
	var left []string
	for it := c.Scan(ctx, 0, "*", 1000).Iterator(); it.Next(ctx); {
		left = append(left, it.Val())
	}
	if size, err := c.DBSize(ctx).Result(); err != nil || size != int64(len(left)) {
		t.Fatalf("DBSIZE = %d, %v; SCAN finds %d keys; %s", size, err, len(left), keyspace)
	}
	slices.Sort(left)
	for _, key := range kept {
		if _, found := slices.BinarySearch(left, key); !found {
			t.Fatalf("%s was made persistent and is gone", key)
		}
	}
	for _, key := range left {
		if strings.HasPrefix(key, "short:") {
			t.Fatalf("%s has not expired; %s", key, keyspace)
		}
	}
}
