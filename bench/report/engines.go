package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/gtinside/corecache/bench/store"
	"github.com/gtinside/corecache/bench/workload"
)

// Engines is a whole comparison of engines.
type Engines struct {
	Environment Environment
	Scale       workload.Scale
	Rounds      int
	Results     []workload.Result
}

// LoadEngines reads a saved comparison.
func LoadEngines(file string) (*Engines, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	e := new(Engines)
	if err := json.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return e, nil
}

// aspect is one number of a result, compared over all workloads.
type aspect struct {
	title string
	lower bool // the smaller the better
	plain bool // ratios make no sense
	value func(workload.Result) float64
	rows  []string // only these workloads; nil: all that have a value
}

var aspects = []aspect{
	{title: "operations per second", value: func(r workload.Result) float64 { return r.OpsPerSec }},
	{title: "CPU microseconds per operation, with the background work", lower: true, value: func(r workload.Result) float64 { return r.CPUMicros }},
	{title: "median latency, microseconds", lower: true, value: func(r workload.Result) float64 { return r.Micros.P50 }},
	{title: "99.9 % latency, microseconds", lower: true, value: func(r workload.Result) float64 { return r.Micros.P999 }},
	{title: "write amplification: bytes to disk per byte put", lower: true, value: func(r workload.Result) float64 { return r.WriteAmp },
		rows: []string{"fillseq", "fillrandom", "overwrite"}},
	{title: "space amplification: bytes on disk per byte of live records", lower: true, value: func(r workload.Result) float64 { return r.SpaceAmp },
		rows: []string{"fillseq", "fillrandom", "overwrite", "readrandom"}},
	{title: "seconds of background work after the last operation", lower: true, value: func(r workload.Result) float64 { return r.SettleSeconds },
		rows: []string{"fillseq", "fillrandom", "overwrite"}},
	{title: "opening after a kill, milliseconds until the first read", lower: true, value: func(r workload.Result) float64 { return r.OpenMillis },
		rows: []string{workload.Reopen}},
	{title: "peak resident memory above cache + 4 memtables, MiB (mapped files left out)", plain: true,
		value: func(r workload.Result) float64 { return float64(r.PeakMemory-r.Budget) / (1 << 20) }},
	{title: "slowest second of the long overwrite, operations", value: func(r workload.Result) float64 { return float64(r.SlowestSecond) },
		rows: []string{workload.Stall}},
}

// Text prints the comparison as Markdown.
func (e *Engines) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# CoreCache's engine beside its peers\n\n%s\n\n", e.Environment)
	s := e.Scale
	fmt.Fprintf(&b, "Scale %s: %s records of %d-byte values, cache %s KiB, memtable %s KiB, snappy, 4 KiB blocks, filters of 10 bits per key. "+
		"Median of %d alternating rounds, each run in a process of its own. A ratio above 1 means that CoreCache is better; "+
		"'best' is the best peer.\n\n", s.Name, group(int64(s.Keys)), s.ValueSize, group(s.Cache>>10), group(s.Memtable>>10), e.Rounds)
	for _, engine := range store.Engines() {
		fmt.Fprintf(&b, "- **%s**: %s\n", engine.Name, engine.Settings)
	}
	b.WriteString("\n")
	for _, a := range aspects {
		e.aspect(&b, a)
	}
	return b.String()
}

func (e *Engines) aspect(b *strings.Builder, a aspect) {
	names := e.engines()
	t := &table{}
	if a.plain {
		t.add(append([]string{"workload"}, names...)...)
	} else {
		t.add(header(names)...)
	}
	for _, w := range e.workloads() {
		if a.rows != nil && !slices.Contains(a.rows, w) {
			continue
		}
		row := []string{w}
		values := map[string]float64{}
		for _, n := range names {
			values[n] = e.median(w, n, a.value)
			row = append(row, number(values[n]))
		}
		if !slices.ContainsFunc(row[1:], func(c string) bool { return c != "-" }) {
			continue
		}
		if !a.plain {
			row = append(row, ratios(names, values, a.lower)...)
		}
		t.add(row...)
	}
	if len(t.rows) > 1 {
		fmt.Fprintf(b, "## %s\n\n", a.title)
		t.write(b)
	}
}

func header(names []string) []string {
	h := append([]string{"workload"}, names...)
	for _, n := range names[1:] {
		h = append(h, "/"+n)
	}
	return append(h, "/best")
}

func ratios(names []string, values map[string]float64, lower bool) []string {
	ours, best := values[names[0]], 0.0
	var cells []string
	for _, n := range names[1:] {
		v := values[n]
		cells = append(cells, ratio(ours, v, lower))
		if v != 0 && (best == 0 || (v < best) == lower) {
			best = v
		}
	}
	return append(cells, ratio(ours, best, lower))
}

func (e *Engines) median(w, engine string, value func(workload.Result) float64) float64 {
	return Median(e.samples(w, engine, value))
}

func (e *Engines) samples(w, engine string, value func(workload.Result) float64) []float64 {
	var xs []float64
	for _, r := range e.Results {
		if r.Workload == w && r.Engine == engine {
			xs = append(xs, value(r))
		}
	}
	return xs
}

// engines are those that ran, in the order of the list, CoreCache first even
// when it did not run.
func (e *Engines) engines() []string {
	var names []string
	for i, s := range store.Engines() {
		if i == 0 || slices.ContainsFunc(e.Results, func(r workload.Result) bool { return r.Engine == s.Name }) {
			names = append(names, s.Name)
		}
	}
	return names
}

func (e *Engines) workloads() []string {
	var names []string
	for _, r := range e.Results {
		if !slices.Contains(names, r.Workload) {
			names = append(names, r.Workload)
		}
	}
	return names
}

// Compare prints engine's medians of two saved comparisons side by side:
// B/A above 1 means that B is better. "noise" is the larger spread of the two
// sides' rounds relative to their median.
func Compare(a, b *Engines, engine string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "# %s\n\nA: %s\nB: %s\n\n", engine, a.Environment, b.Environment)
	for _, aspect := range aspects {
		t := &table{}
		t.add("workload", "A", "B", "B/A", "noise")
		for _, w := range a.workloads() {
			x, y := a.samples(w, engine, aspect.value), b.samples(w, engine, aspect.value)
			ma, mb := Median(x), Median(y)
			if ma == 0 || mb == 0 || aspect.plain || aspect.rows != nil && !slices.Contains(aspect.rows, w) {
				continue
			}
			t.add(w, number(ma), number(mb), ratio(mb, ma, aspect.lower), fmt.Sprintf("%.0f %%", 100*max(Spread(x), Spread(y))))
		}
		if len(t.rows) > 1 {
			fmt.Fprintf(&out, "## %s\n\n", aspect.title)
			t.write(&out)
		}
	}
	return out.String()
}
