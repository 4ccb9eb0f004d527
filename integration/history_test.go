package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"
)

// A call is what a client asked for, on a key whose value is always a number.
type call struct {
	name string // get, set, del, incr, getset, casset
	key  string
	n    int64 // set, getset, casset: the new value
	old  int64 // casset: the value that must be there
}

func (c call) String() string {
	switch c.name {
	case "set", "getset":
		return fmt.Sprintf("%s %s %d", c.name, c.key, c.n)
	case "casset":
		return fmt.Sprintf("casset %s %d -> %d", c.key, c.old, c.n)
	}
	return c.name + " " + c.key
}

// outcome is what the client was told.
type outcome struct {
	unknown bool // nothing: it may have been executed, may be later, or never
	found   bool // get, getset: there was a value; del, casset: it had an effect
	n       int64
}

func (o outcome) String() string {
	switch {
	case o.unknown:
		return "?"
	case o.found:
		return fmt.Sprintf("yes %d", o.n)
	}
	return "no"
}

// cell is the value of one key.
type cell struct {
	there bool
	n     int64
}

// step applies a call to a cell and reports whether the outcome can be.
func (c call) step(v cell, o outcome) (bool, cell) {
	switch c.name {
	case "get":
		return o.unknown || o == outcome{found: v.there, n: v.n}, v
	case "set":
		return true, cell{true, c.n}
	case "getset":
		return o.unknown || o == outcome{found: v.there, n: v.n}, cell{true, c.n}
	case "del":
		return o.unknown || o.found == v.there, cell{}
	case "incr":
		return o.unknown || o.n == v.n+1, cell{true, v.n + 1}
	default: // casset
		fits := v.there && v.n == c.old
		if fits {
			v.n = c.n
		}
		return o.unknown || o.found == fits, v
	}
}

// registers is the sequential specification: keys are independent of each other.
var registers = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range all {
			key := op.Input.(call).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return cell{} },
	Step: func(state, in, out any) (bool, any) {
		ok, next := in.(call).step(state.(cell), out.(outcome))
		return ok, next
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%v: %v", in, out) },
}

// history is what several clients saw.
type history struct {
	begin time.Time
	mu    sync.Mutex
	all   []porcupine.Operation
	known int // calls with an outcome
}

func newHistory() *history { return &history{begin: time.Now()} }

func (h *history) now() int64 { return int64(time.Since(h.begin)) }

// record adds a call that began at a time and has ended now, unless it was certainly not executed. What is unknown never ends.
func (h *history) record(client int, c call, began int64, o outcome, err error) {
	ended := h.now()
	switch {
	case err == nil:
	case notExecuted(err) || c.name == "get":
		return
	default:
		o, ended = outcome{unknown: true}, math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, porcupine.Operation{ClientId: client, Input: c, Call: began, Output: o, Return: ended})
	if err == nil {
		h.known++
	}
}

// outcomes is how many calls had one so far.
func (h *history) outcomes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known
}

// notExecuted reports whether an error says so: there was no connection, or a reply with an error that is given before execution.
func notExecuted(err error) bool {
	var op *net.OpError
	if errors.Is(err, errAborted) {
		return true
	}
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	return slices.Contains([]string{"LOADING", "CLUSTERDOWN", "NOLEADER", "NOREPLICAS", "TRYAGAIN", "MISCONF", "EXECABORT"}, prefix(err))
}

// prefix is the first word of an error.
func prefix(err error) string {
	word, _, _ := strings.Cut(err.Error(), " ")
	return word
}

// check demands that there is an order of the calls which explains what everybody saw.
func (h *history) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Logf("%d calls, %d with an outcome", len(h.all), h.known)
	result, info := porcupine.CheckOperationsVerbose(registers, h.all, 2*time.Minute)
	if result == porcupine.Ok {
		return
	}
	t.Errorf("the history is not linearizable, or that could not be decided: %v", result)
	h.explain(t)
	file := t.ArtifactDir() + "/history.html"
	if err := porcupine.VisualizePath(registers, info, file); err != nil {
		t.Errorf("picture of it: %v", err)
	}
	t.Logf("see %s (kept with go test -artifacts)", file)
}

// explain prints what happened before the first moment at which the history of a key can not be explained any more.
func (h *history) explain(t *testing.T) {
	for _, part := range registers.Partition(h.all) {
		slices.SortFunc(part, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
		n := sort.Search(len(part), func(n int) bool { return !porcupine.CheckOperations(registers, until(part, part[n].Return)) })
		if n == len(part) {
			continue
		}
		for _, op := range part[max(0, n-20) : n+1] {
			t.Logf("client %d  %v - %v  %v: %v", op.ClientId, time.Duration(op.Call), time.Duration(op.Return), op.Input, op.Output)
		}
		for _, op := range part[n+1:] {
			if op.Call < part[n].Return {
				t.Logf("client %d  %v - later  %v", op.ClientId, time.Duration(op.Call), op.Input)
			}
		}
		t.Log("--")
	}
}

// until is the part of a history that is known at a time.
func until(part []porcupine.Operation, now int64) (known []porcupine.Operation) {
	for _, op := range part {
		if op.Call > now {
			continue
		}
		if op.Return > now {
			op.Return, op.Output = math.MaxInt64, outcome{unknown: true}
		}
		known = append(known, op)
	}
	return known
}

// caller is one client of a history. Which server it talks to, dial decides anew for each connection.
type caller struct {
	id   int
	rnd  *rand.Rand
	h    *history
	dial func() *redis.Client

	made   int
	client *redis.Client
	seen   map[string]int64 // the newest value seen of a key, for casset
}

// keysAtOnce is how many keys all callers use at a time; each is in use for callsPerKeys calls of a caller, so that
// the history of one key stays short enough to be checked.
const (
	keysAtOnce   = 4
	callsPerKeys = 400
)

func (c *caller) run(stop context.Context) {
	c.seen = map[string]int64{}
	defer c.close()
	for stop.Err() == nil {
		if c.rnd.IntN(20) == 0 {
			c.close()
		}
		if c.client == nil {
			c.client = c.dial()
		}
		one := c.pick()
		began := c.h.now()
		o, err := c.execute(one)
		c.h.record(c.id, one, began, o, err)
		if err != nil {
			c.close()
			rest(stop) // a server that is down refuses thousands of times a second
			continue
		}
		c.made++
	}
}

// rest keeps a client from trying again at once.
func rest(stop context.Context) {
	select {
	case <-stop.Done():
	case <-time.After(5 * time.Millisecond):
	}
}

func (c *caller) close() {
	if c.client != nil {
		_ = c.client.Close()
		c.client = nil
	}
}

func (c *caller) pick() call {
	key := fmt.Sprintf("r%d:%d", c.made/callsPerKeys, c.rnd.IntN(keysAtOnce))
	one := call{name: "get", key: key, n: c.rnd.Int64N(1 << 40)}
	switch r := c.rnd.IntN(10); {
	case r < 2:
		one.name = "set"
	case r < 3:
		one.name = "getset"
	case r < 4:
		one.name = "del"
	case r < 6:
		one.name = "incr"
	case r < 7:
		one.name, one.old = "casset", c.seen[key]
	}
	return one
}

func (c *caller) execute(one call) (o outcome, err error) {
	switch one.name {
	case "get":
		o, err = number(c.client.Get(ctx, one.key))
	case "set":
		err = c.client.Set(ctx, one.key, one.n, 0).Err()
	case "getset":
		o, err = number(c.client.SetArgs(ctx, one.key, one.n, redis.SetArgs{Get: true}))
	case "del":
		var n int64
		n, err = c.client.Del(ctx, one.key).Result()
		o.found = n == 1
	case "incr":
		o.n, err = c.client.Incr(ctx, one.key).Result()
		o.found = true
	case "casset":
		o.found, err = c.compareAndSet(one)
	}
	if err == nil && o.found {
		c.seen[one.key] = o.n
	}
	return o, err
}

var errAborted = errors.New("the transaction was aborted")

// compareAndSet is WATCH, GET, MULTI, SET, EXEC.
func (c *caller) compareAndSet(one call) (done bool, err error) {
	err = c.client.Watch(ctx, func(tx *redis.Tx) error {
		now, err := number(tx.Get(ctx, one.key))
		if err != nil || !now.found || now.n != one.old {
			return err
		}
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, one.key, one.n, 0).Err() })
		done = err == nil
		return err
	}, one.key)
	if errors.Is(err, redis.TxFailedErr) {
		return false, errAborted // somebody else came between, perhaps with the value that was to be found: no outcome of the model
	}
	return done, err
}

func number(cmd interface{ Result() (string, error) }) (outcome, error) {
	text, err := cmd.Result()
	if errors.Is(err, redis.Nil) {
		return outcome{}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return outcome{found: true, n: n}, err
}

// TestHistoryChecker makes sure that the checker notices what must not be.
func TestHistoryChecker(t *testing.T) {
	at := func(client int, from, to int64, c call, o outcome) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Call: from, Return: to, Input: c, Output: o}
	}
	set := func(n int64) call { return call{name: "set", key: "k", n: n} }
	get, incr, del := call{name: "get", key: "k"}, call{name: "incr", key: "k"}, call{name: "del", key: "k"}
	for name, test := range map[string]struct {
		all  []porcupine.Operation
		want bool
	}{
		"a stale read":       {[]porcupine.Operation{at(1, 0, 1, set(1), outcome{}), at(1, 2, 3, set(2), outcome{}), at(2, 4, 5, get, outcome{found: true, n: 1})}, false},
		"concurrent":         {[]porcupine.Operation{at(1, 0, 1, set(1), outcome{}), at(1, 2, 9, set(2), outcome{}), at(2, 4, 5, get, outcome{found: true, n: 1})}, true},
		"a lost write":       {[]porcupine.Operation{at(1, 0, 1, set(1), outcome{}), at(2, 2, 3, get, outcome{})}, false},
		"twice incremented":  {[]porcupine.Operation{at(1, 0, 1, incr, outcome{found: true, n: 1}), at(2, 2, 3, get, outcome{found: true, n: 2})}, false},
		"an unknown outcome": {[]porcupine.Operation{at(1, 0, math.MaxInt64, incr, outcome{unknown: true}), at(2, 2, 3, get, outcome{}), at(2, 4, 5, get, outcome{found: true, n: 1})}, true},
		"it came and went":   {[]porcupine.Operation{at(1, 0, math.MaxInt64, incr, outcome{unknown: true}), at(2, 2, 3, get, outcome{found: true, n: 1}), at(2, 4, 5, get, outcome{})}, false},
		"deleted, and back":  {[]porcupine.Operation{at(1, 0, 1, set(1), outcome{}), at(1, 2, 3, del, outcome{found: true}), at(2, 4, 5, get, outcome{found: true, n: 1})}, false},
	} {
		if got := porcupine.CheckOperations(registers, test.all); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestLinearizableUnderKills has clients read, write, delete, increment and compare while the server is stopped, continued, killed
// and restarted, and looks for an order that explains all they saw.
func TestLinearizableUnderKills(t *testing.T) {
	rnd := seeded(t)
	s := startServer(t, append([]string{"--appendfsync", "everysec"}, smallTree...)...)
	h := newHistory()
	stop, cancel := context.WithTimeout(ctx, soak(t, 8*time.Second))
	defer cancel()
	var group sync.WaitGroup
	for id := range 6 {
		c := &caller{id: id, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0)), h: h, dial: s.client}
		group.Go(func() { c.run(stop) })
	}
	for s.pauseOrKill(stop, rnd) {
	}
	group.Wait()
	h.check(t)
	if h.known < 1000 {
		t.Errorf("%d calls had an outcome: too few to say anything", h.known)
	}
}
