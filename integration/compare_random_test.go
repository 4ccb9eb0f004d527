package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestCompareRandom runs calls from a grammar, valid and broken ones, on three
// connections to each server. CORECACHE_CALLS sets their number (make soak: a
// million). A round that fails prints its seed; CORECACHE_ROUND repeats it.
func TestCompareRandom(t *testing.T) { startPair(t).randomly(t, callsWanted(t)) }

// TestCompareRandomFollower does so through a node that forwards to its leader.
func TestCompareRandomFollower(t *testing.T) { startFollowerPair(t).randomly(t, callsWanted(t)/10) }

func (p pair) randomly(t *testing.T, calls int) {
	const perRound, failures = 1000, 5
	t.Helper()
	if seed := os.Getenv("CORECACHE_ROUND"); seed != "" {
		n, err := strconv.ParseUint(seed, 10, 64)
		if err != nil {
			t.Fatalf("CORECACHE_ROUND: %v", err)
		}
		p.round(t, n, perRound)
		return
	}
	rng := seeded(t)
	failed := 0
	for ; calls > 0 && failed < failures; calls -= perRound {
		if !p.round(t, rng.Uint64(), perRound) {
			failed++
		}
	}
}

// round starts with empty databases and ends at the first difference.
func (p pair) round(t *testing.T, seed uint64, calls int) bool {
	r := &round{t: t, pair: p, rng: rand.New(rand.NewPCG(seed, 1)), ours: newPlayer(t, p.ours, 2), redis: newPlayer(t, p.redis, 2)}
	defer r.close()
	for n := 0; n < calls && !r.failed; n++ {
		r.compare(r.rng.IntN(3), r.generate())
	}
	if !r.failed {
		r.compareData()
	}
	if r.failed {
		r.report(seed)
	}
	return !r.failed
}

func callsWanted(t *testing.T) int {
	calls := 20_000
	if os.Getenv("CORECACHE_SOAK") != "" {
		calls = 1_000_000
	}
	if text := os.Getenv("CORECACHE_CALLS"); text != "" {
		var err error
		if calls, err = strconv.Atoi(text); err != nil {
			t.Fatalf("CORECACHE_CALLS: %v", err)
		}
	}
	return calls
}

// round is a run of calls from one seed, starting with empty databases.
type round struct {
	t           *testing.T
	pair        pair
	rng         *rand.Rand
	ours, redis *player
	history     []string
	queued      [3][][]string // per connection, what MULTI holds
	failed      bool
}

// comparison of the replies of the commands whose replies are not determined.
var comparisons = map[string]func(a, b *reply) bool{
	"TTL": sameTime, "PTTL": sameTime, "EXPIRETIME": sameTime, "PEXPIRETIME": sameTime,
	"KEYS": sameElements, "SCAN": sameShape,
	"RANDOMKEY": sameShape, "HELLO": sameShape, "CLIENT ID": sameShape,
	"OBJECT IDLETIME": sameShape, "MEMORY USAGE": sameShape, "TIME": sameShape,
}

func comparison(args []string) func(a, b *reply) bool {
	name := strings.ToUpper(args[0])
	if name == "SCAN" && len(args) > 3 && args[1] == "0" && slices.Contains(args, "10000") { // a COUNT that reaches the end
		return sameElements
	}
	if same, ok := comparisons[name]; ok {
		return same
	}
	if len(args) > 1 {
		if same, ok := comparisons[name+" "+strings.ToUpper(args[1])]; ok {
			return same
		}
	}
	return sameBytes
}

// compare runs a call on both servers.
func (r *round) compare(conn int, args []string) {
	r.history = append(r.history, fmt.Sprintf("@%d %s", conn+1, quoted(args)))
	s := step{conn: conn, args: args}
	want, got := r.redis.run(s), r.ours.run(s)
	if !r.same(conn, args, want, got) && !r.pair.accepts(args, want, got) {
		r.failed = true
		r.t.Errorf("%s\nRedis     %s\nCoreCache %s", quoted(args), want, got)
	}
	r.follow(conn, args, want)
}

func (r *round) same(conn int, args []string, want, got *reply) bool {
	queued := r.queued[conn]
	if !strings.EqualFold(args[0], "EXEC") || len(want.parts) != len(queued) || len(got.parts) != len(queued) {
		return comparison(args)(want, got)
	}
	for i, q := range queued {
		a, b := want.parts[i], got.parts[i]
		if !comparison(q)(a, b) && !r.pair.accepts(q, a, b) {
			return false
		}
	}
	return true
}

// follow keeps track of queued calls and ended connections.
func (r *round) follow(conn int, args []string, reply *reply) {
	switch {
	case string(reply.raw) == "+QUEUED\r\n":
		r.queued[conn] = append(r.queued[conn], args)
	case strings.EqualFold(args[0], "MULTI") && reply.kind == '-':
	case strings.EqualFold(args[0], "EXEC"), strings.EqualFold(args[0], "DISCARD"), strings.EqualFold(args[0], "RESET"):
		r.queued[conn] = nil
	}
	if strings.EqualFold(args[0], "QUIT") {
		r.ours.conns[conn], r.redis.conns[conn], r.queued[conn] = nil, nil, nil
	}
}

// compareData reads everything that is in the databases that calls use.
func (r *round) compareData() {
	r.compare(0, []string{"RESET"})
	r.compare(0, []string{"DEBUG", "DIGEST"})
	for db := range databases {
		r.compare(0, []string{"SELECT", strconv.Itoa(db)})
		r.compare(0, []string{"DBSIZE"})
		all := r.redis.conn(0).do("KEYS", "*")
		r.compare(0, []string{"KEYS", "*"})
		for _, key := range all.parts {
			r.compare(0, []string{"GET", string(key.text)})
			r.compare(0, []string{"PTTL", string(key.text)})
		}
	}
}

func (r *round) close() {
	r.ours.close()
	r.redis.close()
}

func (r *round) report(seed uint64) {
	const last = 40
	h := r.history[max(0, len(r.history)-last):]
	r.t.Logf("CORECACHE_ROUND=%d, the last %d of %d calls:\n%s", seed, len(h), len(r.history), strings.Join(h, "\n"))
}

func quoted(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if a == "" || strings.ContainsFunc(a, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' || c == '\'' }) {
			a = strconv.Quote(a)
		}
		b.WriteString(a)
	}
	return b.String()
}
