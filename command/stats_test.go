package command

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for i := range histSize {
		top := bucketTop(i)
		if bucketOf(top) != i || int(top) <= last {
			t.Fatalf("bucket %d ends at %d, which is in bucket %d", i, top, bucketOf(top))
		}
		if i+1 < histSize && bucketOf(top+1) != i+1 {
			t.Fatalf("%d is in bucket %d, want %d", top+1, bucketOf(top+1), i+1)
		}
		last = int(top)
	}
	if got := bucketOf(1 << 40); got != histSize-1 {
		t.Errorf("a long time is in bucket %d of %d", got, histSize)
	}
	if bucketOf(-5) != 0 {
		t.Error("a negative time")
	}
}

func TestPercentiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []int64
	for range 10000 {
		v := int64(rng.ExpFloat64() * 50000)
		all = append(all, v)
		h.add(v, 1)
	}
	slices.Sort(all)
	for _, p := range []float64{1, 50, 90, 99, 99.9, 100} {
		exact := all[max(int(p/100*float64(len(all))+0.5)-1, 0)]
		if got := h.percentile(p); got < exact || float64(got) > float64(exact)*1.01+1 {
			t.Errorf("p%v = %d, exactly %d", p, got, exact)
		}
	}
}

// The bounds are those that LATENCY HISTOGRAM of Redis shows.
func TestCumulativeHistogram(t *testing.T) {
	var h histogram
	for _, v := range []int64{900, 3000, 30000, 33023, 33024, 400000} {
		h.add(v, 1)
	}
	want := [][2]int64{{1, 1}, {4, 2}, {33, 4}, {66, 5}, {528, 6}}
	if got := h.cumulative(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCommandStats(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	for range 3 {
		c.unit(slices.Repeat([]string{"echo a"}, 50)...)
	}
	c.do("echo")
	c.do("select 99")
	c.do("client setname x")
	c.do("nosuch")
	info := c.do("info commandstats")
	for _, want := range []string{"cmdstat_echo:calls=150,", ",rejected_calls=1,failed_calls=0\r\n", "cmdstat_select:calls=1,", ",rejected_calls=0,failed_calls=1\r\n", "cmdstat_client|setname:calls=1,"} {
		if !strings.Contains(info, want) {
			t.Errorf("%q is missing in %q", want, info)
		}
	}
	if info := c.do("info errorstats"); !strings.Contains(info, "errorstat_ERR:count=3\r\n") {
		t.Errorf("%q", info)
	}
	if got := c.do("info latencystats"); !strings.Contains(got, "latency_percentiles_usec_echo:p50=") {
		t.Errorf("%q", got)
	}
	if got := c.do("latency histogram echo"); !strings.HasPrefix(got, "*2\r\n$4\r\necho\r\n*4\r\n$5\r\ncalls\r\n:150\r\n$14\r\nhistogram_usec\r\n") {
		t.Errorf("%q", got)
	}
	c.do("config resetstat")
	info = c.do("info everything")
	if strings.Contains(info, "cmdstat_echo") || strings.Contains(info, "errorstat_") || !strings.Contains(info, "total_error_replies:0\r\n") {
		t.Error("RESETSTAT does not reset")
	}
}

func TestErrorPrefixesAreBounded(t *testing.T) {
	var st stats
	for i := range 1000 {
		st.countError(strings.Repeat("X", i+1) + " text")
	}
	if n := len(st.errorCounts()); n != maxErrorPrefixes || st.errors.Load() != 1000 {
		t.Errorf("%d prefixes, %d errors", n, st.errors.Load())
	}
}

func TestSlowlog(t *testing.T) {
	s := newServer(t, "--slowlog-log-slower-than 0", "--slowlog-max-len 3")
	c := newClient(t, s)
	c.do("client setname me")
	c.do("slowlog reset")
	c.do("echo " + strings.Repeat("x", 200))
	c.do("mget" + strings.Repeat(" k", 40))
	c.do("auth user pass")
	entries := s.slowlog.newest(-1)
	if len(entries) != 3 {
		t.Fatalf("%d entries", len(entries))
	}
	if got := entries[0].args; !slices.Equal(got, []string{"auth", "(redacted)", "(redacted)"}) {
		t.Errorf("credentials: %q", got)
	}
	if got := entries[1].args; len(got) != 32 || got[31] != "... (10 more arguments)" {
		t.Errorf("many arguments: %q", got)
	}
	if got := entries[2].args[1]; got != strings.Repeat("x", 128)+"... (72 more bytes)" {
		t.Errorf("long argument: %q", got)
	}
	if e := entries[2]; e.addr != c.conn.addr || e.name != "me" || entries[0].id != e.id+2 {
		t.Errorf("%+v", e)
	}
	if got := c.do("slowlog get 1"); !strings.HasPrefix(got, "*1\r\n*6\r\n:") {
		t.Errorf("%q", got)
	}
	c.want("slowlog len", ":3¦")
	c.do("config set slowlog-log-slower-than -1")
	c.do("slowlog reset")
	c.do("ping")
	c.want("slowlog get -1", "*0¦")
	c.want("slowlog get -2", "-ERR count should be greater than or equal to -1¦")
}

// A slow command in the middle of a pipeline of equal fast ones is the one that SLOWLOG shows.
func TestSlowlogFindsTheSlowOneInAPipeline(t *testing.T) {
	s := newServer(t, "--slowlog-log-slower-than 10000")
	c := newClient(t, s)
	slow := *s.table.lookup([]byte("echo"))
	slow.rowStats = new(rowStats)
	inner := slow.Handler
	slow.Handler = func(c *Call) {
		if string(c.Args[1]) == "slow" {
			start := time.Now()
			for ticks := s.tick.Load(); s.tick.Load() < ticks+4 || time.Since(start) < 20*time.Millisecond; {
				time.Sleep(time.Millisecond)
			}
		}
		inner(c)
	}
	s.table.byName["echo"] = &slow // before the session has seen the name
	c.unit("echo a", "echo b", "echo slow", "echo c", "echo d")
	entries := s.slowlog.newest(-1)
	if len(entries) != 1 || entries[0].args[1] != "slow" || entries[0].micros < 15000 {
		t.Errorf("%+v", entries)
	}
	if n := slow.calls.Load(); n != 5 {
		t.Errorf("%d calls", n)
	}
}

func TestDebugSleepIsInTheSlowlog(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	c.want("debug sleep 0.02", "+OK¦")
	if e := s.slowlog.newest(-1); len(e) != 1 || e[0].micros < 20000 {
		t.Errorf("%+v", e)
	}
}

func TestLatencyMonitor(t *testing.T) {
	s := newServer(t, "--latency-monitor-threshold 1")
	c := newClient(t, s)
	c.do("debug sleep 0.01")
	c.do("debug sleep 0.005")
	if got := c.do("latency latest"); !strings.HasPrefix(got, "*1\r\n*4\r\n$7\r\ncommand\r\n:") {
		t.Errorf("%q", got)
	}
	if got := c.do("latency history command"); !strings.HasPrefix(got, "*") || strings.HasPrefix(got, "*0") {
		t.Errorf("%q", got)
	}
	c.want("latency history nosuch", "*0¦")
	c.want("latency graph nosuch", "-ERR No samples available for event 'nosuch'¦")
	if got := c.do("latency graph command"); !strings.Contains(got, "command - high ") {
		t.Errorf("%q", got)
	}
	if got := c.do("latency doctor"); !strings.Contains(got, "1. command: ") {
		t.Errorf("%q", got)
	}
	c.want("latency reset nosuch command", ":1¦")
	c.want("latency latest", "*0¦")
}

func TestLatencySeriesIsBounded(t *testing.T) {
	var m latencyMonitor
	for i := range int64(1000) {
		m.add("e", i/2, i)
	}
	h := m.history("e")
	if len(h) != latencySamples || h[len(h)-1] != (latencySample{499, 999}) {
		t.Errorf("%d samples, last %v", len(h), h[len(h)-1])
	}
	if got := m.summaries(); got[0].max != 999 {
		t.Errorf("%+v", got)
	}
}

func TestMonitor(t *testing.T) {
	s := newServer(t)
	m, c := newClient(t, s), newClient(t, s)
	m.want("monitor", "+OK¦")
	m.want("monitor", "+OK¦")
	c.do("select 2")
	c.w.Reset()
	c.dispatch("ECHO", "a\"\\\n\r\t\a\b\x00\xffz")
	s.EndUnit(c.sess, &c.w)
	c.do("auth default secret")
	c.do("hello 2 auth default secret")
	c.do("config set requirepass secret")
	c.do("config set requirepass ")
	c.do("multi")
	c.do("echo in")
	c.do("exec")
	got := m.conn.pushedText()
	want := []string{`[2 127.0.0.1:50000] "select" "2"`, `[2 127.0.0.1:50000] "ECHO" "a\"\\\n\r\t\a\b\x00\xffz"`,
		`"auth" "(redacted)" "(redacted)"`, `"hello" "2" "auth" "(redacted)" "(redacted)"`, `"multi"`, `"echo" "in"`}
	for _, w := range want {
		if !strings.Contains(got, w+"\r\n") {
			t.Errorf("%s is missing in\n%s", w, got)
		}
	}
	if strings.Contains(got, "secret") || strings.Contains(got, "config") {
		t.Errorf("administrative commands are shown:\n%s", got)
	}
	m.want("get a", "-ERR Replica can't interact with the keyspace¦")
	m.want("reset", "+RESET¦")
	if s.monitors.any() {
		t.Error("RESET does not end MONITOR")
	}
}

func TestSlowMonitorIsCutOff(t *testing.T) {
	s := newServer(t)
	m, c := newClient(t, s), newClient(t, s)
	m.conn.mu.limit = 200
	m.do("monitor")
	for range 20 {
		c.do("ping")
	}
	if !m.conn.killed() {
		t.Error("still connected")
	}
	s.CloseSession(m.sess)
	if s.monitors.any() {
		t.Error("a closed session is still fed")
	}
}
