package protocol

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSimulate runs random schedules. CORECACHE_SIMULATE says for how long
// ("10m") or how many ("5000000"); CORECACHE_SEED replays one schedule, or
// begins with it if CORECACHE_SIMULATE is given too.
func TestSimulate(t *testing.T) {
	first, given := envSeed(t)
	count, limit := int64(100_000), time.Duration(0)
	if testing.Short() {
		count = 5_000
	}
	v := os.Getenv("CORECACHE_SIMULATE")
	if d, err := time.ParseDuration(v); err == nil {
		count, limit = 1<<62, d
	} else if k, err := strconv.ParseInt(v, 10, 64); err == nil {
		count = k
	} else if given {
		count = 1
	}
	start := time.Now()
	var next, blocked, losses, acks, reads, epochs, steps atomic.Int64
	var mu sync.Mutex
	failed := uint64(0)
	var failure error
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 8) {
		wg.Go(func() {
			w := newWorld()
			for {
				k := next.Add(1) - 1
				if k >= count || limit > 0 && time.Since(start) > limit {
					return
				}
				seed := first + uint64(k)
				err := w.run(seed)
				if err != nil {
					mu.Lock()
					if failure == nil || seed < failed {
						failed, failure = seed, err
					}
					mu.Unlock()
					next.Store(1 << 62)
					return
				}
				c := &w.check
				if c.blocked {
					blocked.Add(1)
				}
				losses.Add(int64(c.losses))
				acks.Add(int64(c.acknowledged))
				reads.Add(int64(c.reads))
				epochs.Add(int64(c.epochs))
				steps.Add(int64(w.steps))
			}
		})
	}
	wg.Wait()
	if failure != nil {
		t.Fatalf("schedule %d: %v\nreplay with CORECACHE_SEED=%d\n%s", failed, failure, failed, explain(failed, 0, 0))
	}
	t.Logf("%d schedules from %d in %v: %d steps, %d writes acknowledged, %d reads, %d epochs, %d losses after power failures of all in sync, %d ended without a disk in sync",
		min(int64(count), next.Load()), first, time.Since(start).Round(time.Millisecond), steps.Load(), acks.Load(), reads.Load(), epochs.Load(), losses.Load(), blocked.Load())
}

func envSeed(t *testing.T) (uint64, bool) {
	v := os.Getenv("CORECACHE_SEED")
	if v == "" {
		return 1, false
	}
	seed, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed, true
}

// explain leaves out as many faults as it can while the schedule still fails, and
// returns what then happens.
func explain(seed uint64, broken rule, sim simRule) string {
	w := newWorld()
	w.broken, w.sim = broken, sim
	w.set.skip = map[int]bool{}
	w.run(seed)
	for k := range w.check.faults {
		w.set.skip[k] = true
		if w.run(seed) == nil {
			delete(w.set.skip, k)
		}
	}
	var lines []string
	w.trace = func(format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%9.3fms  ", float64(w.now)/1e6)+fmt.Sprintf(format, args...))
	}
	w.run(seed)
	const most = 300
	if len(lines) > most {
		lines = append([]string{fmt.Sprintf("... %d lines", len(lines)-most)}, lines[len(lines)-most:]...)
	}
	return fmt.Sprintf("%+v\n", w.set.cfg) + strings.Join(lines, "\n")
}

// describe prints an action for a trace.
func describe(a *Action) string {
	switch a.Do {
	case Send:
		return a.Node + " " + describeMessage(&a.Message)
	case CompareAndSet, Claim:
		return fmt.Sprintf("version %d: %+v", a.Version, a.State)
	}
	return strings.TrimSpace(fmt.Sprint(a.Node, nonZero("epoch", a.Epoch), nonZero("session", a.Session), nonZero("seq", a.Seq), nonZero("writable", a.Writable)))
}

func describeMessage(m *Message) string {
	return fmt.Sprint(m.Kind, nonZero("epoch", m.Epoch), nonZero("session", m.Session), nonZero("seq", m.Seq), nonZero("last", m.Last), nonZero("commit", m.Commit),
		nonZero("point", m.Point), nonZero("log", m.Log), nonZero("full", m.Full), nonZero("reply", m.Reply), nonZero("at", m.At))
}

func nonZero[T comparable](name string, v T) string {
	var zero T
	if v == zero {
		return ""
	}
	return fmt.Sprintf(" %s %v", name, v)
}
