package command

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/gtinside/corecache/reply"
)

// latencyMonitor keeps the latest spikes of each event, one sample a second.
// See https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor/
type latencyMonitor struct {
	mu struct {
		sync.Mutex
		events map[string]*latencySeries
	}
}

const (
	latencySamples = 160
	latencyEvents  = 64 // different events kept; their names are constants of the program
)

type latencySeries struct {
	max     int64
	samples []latencySample // oldest first
}

type latencySample struct{ time, millis int64 }

// add notes that event took millis at the unix time in seconds.
func (m *latencyMonitor) add(event string, seconds, millis int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.events == nil {
		m.mu.events = make(map[string]*latencySeries)
	}
	series := m.mu.events[event]
	if series == nil {
		if len(m.mu.events) >= latencyEvents {
			return
		}
		series = &latencySeries{}
		m.mu.events[event] = series
	}
	series.add(latencySample{seconds, millis})
}

func (l *latencySeries) add(s latencySample) {
	l.max = max(l.max, s.millis)
	if n := len(l.samples); n > 0 && l.samples[n-1].time == s.time {
		l.samples[n-1].millis = max(l.samples[n-1].millis, s.millis)
		return
	}
	if len(l.samples) == latencySamples {
		l.samples = append(l.samples[:0], l.samples[1:]...)
	}
	l.samples = append(l.samples, s)
}

// NoteLatency tells the latency monitor that an event of the process took millis.
func (s *Server) NoteLatency(event string, millis int64) {
	if limit := s.set.latencyThreshold.Int(); limit > 0 && millis >= limit {
		s.latency.add(event, s.now().Unix(), millis)
	}
}

// history returns a copy of the samples of one event.
func (m *latencyMonitor) history(event string) []latencySample {
	m.mu.Lock()
	defer m.mu.Unlock()
	if series := m.mu.events[event]; series != nil {
		return slices.Clone(series.samples)
	}
	return nil
}

type latencySummary struct {
	event string
	last  latencySample
	max   int64
	sum   int64
	n     int
}

func (m *latencyMonitor) summaries() (out []latencySummary) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for event, series := range m.mu.events {
		l := latencySummary{event: event, last: series.samples[len(series.samples)-1], max: series.max, n: len(series.samples)}
		for _, s := range series.samples {
			l.sum += s.millis
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b latencySummary) int { return strings.Compare(a.event, b.event) })
	return out
}

// reset forgets the events, all when none is named, and returns how many there were.
func (m *latencyMonitor) reset(events []string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(events) == 0 {
		n = len(m.mu.events)
		clear(m.mu.events)
		return n
	}
	for _, e := range events {
		if m.mu.events[e] != nil {
			delete(m.mu.events, e)
			n++
		}
	}
	return n
}

func latencyHistory(c *Call) {
	samples := c.latency.history(string(c.Args[2]))
	c.Out.Array(len(samples))
	for _, s := range samples {
		c.Out.Array(2)
		c.Out.Int(s.time)
		c.Out.Int(s.millis)
	}
}

func latencyLatest(c *Call) {
	all := c.latency.summaries()
	c.Out.Array(len(all))
	for _, l := range all {
		c.Out.Array(4)
		c.Out.BulkString(l.event)
		c.Out.Int(l.last.time)
		c.Out.Int(l.last.millis)
		c.Out.Int(l.max)
	}
}

func latencyReset(c *Call) {
	c.Out.Int(int64(c.latency.reset(strs(c.Args[2:]))))
}

func latencyHistogram(c *Call) {
	var cmds []*Command
	if len(c.Args) == 2 {
		c.table.each(func(cmd *Command) { cmds = append(cmds, cmd) })
	}
	for _, name := range c.Args[2:] {
		cmds = append(cmds, c.histogramsOf(name)...)
	}
	at, n := c.Out.Len(), 0
	for _, cmd := range cmds {
		if h := cmd.latency.Load(); h != nil {
			c.Out.BulkString(cmd.full)
			writeHistogram(c.Out, h)
			n++
		}
	}
	c.Out.InsertMap(at, n)
}

// histogramsOf returns the command called name and its subcommands.
func (s *Server) histogramsOf(name []byte) (out []*Command) {
	cmd := s.table.lookupFull(name)
	if cmd == nil {
		return nil
	}
	out = append(out, cmd)
	return append(out, cmd.subList...)
}

func writeHistogram(w *reply.Writer, h *histogram) {
	points := h.cumulative()
	w.Map(2)
	w.BulkString("calls")
	w.Int(h.total.Load())
	w.BulkString("histogram_usec")
	w.Map(len(points))
	for _, p := range points {
		w.Int(p[0])
		w.Int(p[1])
	}
}

// latencyGraph draws the samples of an event, one column each, newest on the right.
func latencyGraph(c *Call) {
	event := string(c.Args[2])
	samples := c.latency.history(event)
	if len(samples) == 0 {
		c.Out.Error("ERR No samples available for event '" + cString(c.Args[2]) + "'")
		return
	}
	c.Out.Verbatim("txt", drawLatency(event, samples, c.Now/1000))
}

func drawLatency(event string, samples []latencySample, now int64) string {
	const rows = 4
	const columns = 80
	samples = samples[max(0, len(samples)-columns):]
	low, high := samples[0].millis, samples[0].millis
	for _, s := range samples {
		low, high = min(low, s.millis), max(high, s.millis)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s - high %d ms, low %d ms (all time high %d ms)\n", event, high, low, high)
	b.WriteString(strings.Repeat("-", columns) + "\n")
	for row := rows - 1; row >= 0; row-- {
		for _, s := range samples {
			b.WriteByte(bar(s.millis, low, high, rows, int64(row)))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\nfrom %ds ago to %ds ago\n", now-samples[0].time, now-samples[len(samples)-1].time)
	return b.String()
}

// bar is the character of a column's cell.
func bar(v, low, high, rows, row int64) byte {
	height := rows
	if high > low {
		height = 1 + (v-low)*(rows-1)/(high-low)
	}
	switch {
	case height-1 == row:
		return '_'
	case height-1 > row:
		return '|'
	}
	return ' '
}

func latencyDoctor(c *Call) {
	if c.set.latencyThreshold.Int() == 0 {
		c.Out.Verbatim("txt", "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. "+
			"You may use \"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order to enable it.")
		return
	}
	all := c.latency.summaries()
	if len(all) == 0 {
		c.Out.Verbatim("txt", "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the slightest bit. "+
			"I honestly think you ought to sit down calmly, take a stress pill, and think things over.\n")
		return
	}
	var b strings.Builder
	b.WriteString("Dave, I have observed latency spikes in this instance.\n\n")
	for i, l := range all {
		fmt.Fprintf(&b, "%d. %s: %d latency spikes (average %dms). Worst all time event %dms.\n", i+1, l.event, l.n, l.sum/int64(l.n), l.max)
	}
	b.WriteString("\nSLOWLOG GET shows which commands took long; INFO engine shows whether writes were slowed down by compaction.\n")
	c.Out.Verbatim("txt", b.String())
}

// strs copies arguments into strings.
func strs(args [][]byte) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = string(a)
	}
	return out
}
