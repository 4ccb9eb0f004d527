package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// appends are entries in journals that several clients write. Each entry is unique: one that was acknowledged is there exactly once, one of
// unknown outcome at most once, one that was refused not at all, and nothing else is there.
type appends struct {
	t  *testing.T
	mu sync.Mutex
	// What was said of each entry.
	acked, unknown, refused map[string]bool
	journals                map[string]bool
}

func newAppends(t *testing.T) *appends {
	return &appends{t: t, acked: map[string]bool{}, unknown: map[string]bool{}, refused: map[string]bool{}, journals: map[string]bool{}}
}

// perJournal keeps journals short: an append writes all of one anew.
const perJournal = 100

// run appends until stop is over, with another client after each error.
func (a *appends) run(stop context.Context, id int, rnd *rand.Rand, dial func() *redis.Client) {
	c := dial()
	for n := 0; stop.Err() == nil; n++ {
		journal, entry := fmt.Sprint("journal:", n/perJournal), fmt.Sprintf("%d.%d", id, n)
		err := c.Append(ctx, journal, entry+",").Err()
		a.tell(journal, entry, err)
		if err != nil || rnd.IntN(50) == 0 {
			_ = c.Close()
			c = dial()
		}
		if err != nil {
			rest(stop) // a server that is down refuses thousands of times a second
		}
	}
	_ = c.Close()
}

func (a *appends) tell(journal, entry string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.journals[journal] = true
	switch {
	case err == nil:
		a.acked[entry] = true
	case notExecuted(err):
		a.refused[entry] = true
	default:
		a.unknown[entry] = true
	}
}

func (a *appends) check(c *redis.Client) {
	a.t.Helper()
	found := map[string]int{}
	for journal := range a.journals {
		text, err := c.Get(ctx, journal).Result()
		if err != nil && err != redis.Nil {
			a.t.Fatal(err)
		}
		for entry := range strings.SplitSeq(strings.TrimSuffix(text, ","), ",") {
			if entry != "" {
				found[entry]++
			}
		}
	}
	there := 0
	for entry, n := range found {
		if n > 1 || a.refused[entry] || !a.acked[entry] && !a.unknown[entry] {
			a.t.Errorf("entry %s is there %d times; acknowledged: %v, refused: %v", entry, n, a.acked[entry], a.refused[entry])
		}
		if a.unknown[entry] {
			there++
		}
	}
	for entry := range a.acked {
		if found[entry] == 0 {
			a.t.Errorf("entry %s was acknowledged and is lost", entry)
		}
	}
	a.t.Logf("%d entries were acknowledged, %d refused; of %d of unknown outcome %d are there", len(a.acked), len(a.refused), len(a.unknown), there)
	if len(a.acked) == 0 {
		a.t.Error("nothing was appended")
	}
}
