package protocol

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// mutations are the rules of the protocol, each with what switches it off: in the core, or
// in the runtime around it.
var mutations = []struct {
	name   string
	broken rule
	sim    simRule
}{
	{"reads without a lease", noLease, 0},
	{"grace shorter than the lease", shortGrace, 0},
	{"claim at once after a start", forgetBeacons, 0},
	{"acknowledge before the append", ackBeforeAppend, 0},
	{"acknowledge the old epoch while claiming", ackWhileClaiming, 0},
	{"removed member counts no more before the compare-and-set", countRemovedEarly, 0},
	{"added member counts only after the compare-and-set", countAddedLate, 0},
	{"added member needs no lease before the compare-and-set", addingNeedsNoLease, 0},
	{"unknown compare-and-set taken for applied", unknownIsApplied, 0},
	{"unknown compare-and-set taken for refused", unknownIsRefused, 0},
	{"claim from outside the ISR", claimFromOutside, 0},
	{"claim of an earlier incarnation counts", trustOldIncarnation, 0},
	{"torn log claims alone", tornAlone, 0},
	{"log cut before its commit position", cutCommitted, 0},
	{"log cut to its commit position", cutToCommit, 0},
	{"log cut by sequence number only", cutBySequence, 0},
	{"no fencing", noFencing, 0},
	{"commit without the replicas asked for", noMinReplicas, 0},
	{"follower enters the ISR without what the leader inherited", enterBehindEpoch, 0},
	{"serve before the epoch's record is committed", serveUncommitted, 0},
	{"commit position believed before the logs agree", commitUnmatched, 0},
	{"what was acknowledged with a log that is gone counts", keepAcked, 0},
	{"lease counts from the acknowledgement's arrival", countFromReply, 0},
	{"acknowledgements of an earlier leadership count", keepSessions, 0},
	{"reading the same version settles an unknown compare-and-set", rereadSettles, 0},
	{"reading the same version ends an unknown claim", claimForgotten, 0},
	{"old knowledge of torn logs counts", tornStale, 0},
	{"resigned leader serves on", resignServing, 0},
	{"lease not checked when the reply leaves", 0, noRecheck},
	{"tables hold uncommitted records", 0, flushUncommitted},
	{"wiped disk keeps its identity", 0, wipedTrusted},
	{"torn log keeps its identity", 0, tornTrusted},
	{"compare-and-set does not compare", 0, versionIgnored},
}

// TestBrokenRules shows that the simulator can fail: without any one of the rules
// it finds a schedule that goes wrong. CORECACHE_MUTATE bounds the schedules for each.
func TestBrokenRules(t *testing.T) {
	most := 300_000
	if v, err := strconv.Atoi(os.Getenv("CORECACHE_MUTATE")); err == nil {
		most = v
	}
	if testing.Short() {
		t.Skip("takes a while under the race detector")
	}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			seed, err := hunt(m.broken, m.sim, most)
			if err == nil {
				t.Fatalf("not noticed in %d schedules", most)
			}
			t.Logf("schedule %d: %v", seed, err)
			if testing.Verbose() && os.Getenv("CORECACHE_EXPLAIN") != "" {
				t.Log(explain(seed, m.broken, m.sim))
			}
		})
	}
}

// hunt returns the first schedule that goes wrong, and does not without the breach.
func hunt(broken rule, sim simRule, most int) (uint64, error) {
	var next, found atomic.Int64
	found.Store(1 << 62)
	var mu sync.Mutex
	var failure error
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 8) {
		wg.Go(func() {
			w := newWorld()
			for {
				seed := next.Add(1)
				if seed > int64(most) || seed > found.Load() {
					return
				}
				w.broken, w.sim = broken, sim
				err := w.run(uint64(seed))
				if err == nil {
					continue
				}
				w.broken, w.sim = 0, 0
				if w.run(uint64(seed)) != nil {
					continue
				}
				mu.Lock()
				if seed < found.Load() {
					found.Store(seed)
					failure = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return uint64(found.Load()), failure
}
