package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gtinside/corecache/bench/server"
)

// Servers is a whole comparison of servers.
type Servers struct {
	Environment Environment
	Rounds      int
	Rewrites    bool // redis-server rewrites its file
	Results     []server.Result
}

// Text prints the comparison as Markdown.
func (s *Servers) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# CoreCache beside redis-server\n\n%s\n\n", s.Environment)
	rewrites := "which only grows, as rewriting is off"
	if s.Rewrites {
		rewrites = "which it rewrites when it has doubled, its default"
	}
	fmt.Fprintf(&b, "redis-benchmark, 50 clients, random keys; redis-server with its append-only file, %s; CoreCache with maxmemory 4gb, as Redis has no bound. "+
		"Load generator and server share the machine; each run begins when the background work of the one before has ended, which its CPU time includes. "+
		"Medians of %d alternating rounds; a ratio above 1 means that CoreCache is better.\n\n", rewrites, s.Rounds)
	t := &table{}
	t.add("load", "corecache/s", "redis/s", "ratio", "corecache p99 ms", "redis p99 ms", "corecache CPU us", "redis CPU us", "corecache MiB", "redis MiB")
	for _, load := range s.loads() {
		t.add(s.row(load)...)
	}
	t.write(&b)
	return b.String()
}

func (s *Servers) row(load string) []string {
	value := func(name string, f func(server.Result) float64) float64 {
		var xs []float64
		for _, r := range s.Results {
			if r.Server == name && r.Load.Name() == load {
				xs = append(xs, f(r))
			}
		}
		return Median(xs)
	}
	perSecond := func(r server.Result) float64 { return r.PerSecond }
	row := []string{load, number(value("corecache", perSecond)), number(value("redis", perSecond)),
		ratio(value("corecache", perSecond), value("redis", perSecond), false)}
	for _, f := range []func(server.Result) float64{
		func(r server.Result) float64 { return r.P99Millis },
		func(r server.Result) float64 { return r.CPUMicros },
		func(r server.Result) float64 { return float64(r.Memory) / (1 << 20) },
	} {
		row = append(row, number(value("corecache", f)), number(value("redis", f)))
	}
	return row
}

func (s *Servers) loads() []string {
	var names []string
	for _, r := range s.Results {
		if n := r.Load.Name(); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}
