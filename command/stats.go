package command

import (
	"bytes"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/keyspace"
)

// rowStats are the statistics of one command.
type rowStats struct {
	calls    atomic.Int64
	nanos    atomic.Int64
	rejected atomic.Int64
	failed   atomic.Int64
	latency  atomic.Pointer[histogram] // nil until the first call
}

func (r *rowStats) reset() {
	r.calls.Store(0)
	r.nanos.Store(0)
	r.rejected.Store(0)
	r.failed.Store(0)
	r.latency.Store(nil)
}

func (r *rowStats) histogram() *histogram {
	h := r.latency.Load()
	if h == nil {
		r.latency.CompareAndSwap(nil, new(histogram))
		h = r.latency.Load()
	}
	return h
}

// lapMax bounds the commands that share one clock reading.
const lapMax = 16

// lap is a run of equal commands of one session, fast ones or writes, timed together.
//
// Only the command that ends a lap can have been slow: a lap ends
// with the first command after which the tick has moved on, so whatever ran before
// it took less than a tick in sum. That command is the one SLOWLOG shows, its time being too
// long by less than a tick.
type lap struct {
	cmd   *Command
	n     int64
	start int64 // nanoseconds on the server's clock
	tick  uint32
}

func (l *lap) begin(nanos int64, tick uint32) {
	l.cmd, l.n, l.start, l.tick = nil, 0, nanos, tick
}

// beginCommand ends the lap when the next command does not belong to it.
func (s *Server) beginCommand(sess *Session, cmd *Command) {
	l := &sess.lap
	if l.n > 0 && l.cmd != cmd {
		s.endLap(sess, nil)
	}
	l.cmd = cmd
}

// endCommand counts the command which has just run, and ends the lap where it must.
func (s *Server) endCommand(c *Call, failed bool) {
	l := &c.Session.lap
	if l.cmd != c.Cmd { // EXEC: the queued commands had laps of their own
		s.endLap(c.Session, nil)
		l.cmd = c.Cmd
	}
	l.n++
	if failed {
		c.Cmd.failed.Add(1)
	}
	if c.Cmd.Flags&(Fast|Write) == 0 || l.n >= lapMax || l.tick != s.tick.Load() || c.Session.unit.exact {
		s.endLap(c.Session, c)
	}
}

// exactTimes reports whether each command is timed on its own, because SLOWLOG or the latency
// monitor wants to know of shorter times than a tick can tell.
func (s *Server) exactTimes() bool {
	const ticks = int64(2 * tickBusy / time.Microsecond)
	slow, spike := s.set.slowerThan.Int(), s.set.latencyThreshold.Int()
	return slow >= 0 && slow < ticks || spike > 0 && spike*1000 < ticks
}

// endLap reads the clock and adds the lap to the statistics of its command. last is
// the call which has just run, if that is why the lap ends.
func (s *Server) endLap(sess *Session, last *Call) {
	l := &sess.lap
	if l.n == 0 {
		return
	}
	now := s.nanos()
	cmd, elapsed := l.cmd, now-l.start
	cmd.calls.Add(l.n)
	cmd.nanos.Add(elapsed)
	if s.set.latencyTracking.Bool() {
		cmd.histogram().add(elapsed/l.n, l.n)
	}
	s.stats.commands.Add(l.n)
	if last != nil {
		s.noteSlow(last, elapsed)
	}
	sess.unit.now += (now - sess.unit.nanos) / 1e6
	sess.unit.nanos += (now - sess.unit.nanos) / 1e6 * 1e6
	l.begin(now, s.tick.Load())
}

// noteSlow tells the slow log and the latency monitor.
func (s *Server) noteSlow(c *Call, nanos int64) {
	if limit := s.set.slowerThan.Int(); limit >= 0 && nanos/1000 >= limit && c.Cmd.Flags&SkipSlowlog == 0 {
		s.slowlog.add(c, nanos/1000)
	}
	if limit := s.set.latencyThreshold.Int(); limit > 0 && nanos/1e6 >= limit {
		event := "command"
		if c.Cmd.Flags&Fast != 0 {
			event = "fast-command"
		}
		s.latency.add(event, c.Now/1000, nanos/1e6)
	}
}

// stats are the counters of a Server shown by INFO and reset by CONFIG RESETSTAT.
type stats struct {
	units     atomic.Uint64 // pipelines begun; never reset
	commands  atomic.Int64
	errors    atomic.Int64
	denied    atomic.Int64 // wrong passwords
	forwarded atomic.Int64 // commands passed on to the leader
	base      atomic.Pointer[statsBase]

	mu struct {
		sync.Mutex
		byPrefix map[string]*int64 // error replies by prefix
		rates    [3]rate
	}
}

// statsBase holds counters of other packages as they were at the last CONFIG RESETSTAT.
type statsBase struct {
	front FrontStats
	data  keyspace.Stats
}

// maxErrorPrefixes bounds the number of different prefixes counted.
const maxErrorPrefixes = 128

func (st *stats) countError(text string) { st.countErrorBytes([]byte(text)) }

// countErrorBytes counts an error reply by its prefix. text has no leading '-'.
func (st *stats) countErrorBytes(text []byte) {
	st.errors.Add(1)
	if i := bytes.IndexByte(text, ' '); i >= 0 {
		text = text[:i]
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if n := st.mu.byPrefix[string(text)]; n != nil {
		*n++
		return
	}
	if len(st.mu.byPrefix) >= maxErrorPrefixes {
		return
	}
	if st.mu.byPrefix == nil {
		st.mu.byPrefix = make(map[string]*int64)
	}
	n := int64(1)
	st.mu.byPrefix[string(text)] = &n
}

type errorCount struct {
	prefix string
	n      int64
}

func (st *stats) errorCounts() []errorCount {
	st.mu.Lock()
	defer st.mu.Unlock()
	var out []errorCount
	for p, n := range st.mu.byPrefix {
		out = append(out, errorCount{p, *n})
	}
	slices.SortFunc(out, func(a, b errorCount) int { return strings.Compare(a.prefix, b.prefix) })
	return out
}

// rate is a counter's change per second, averaged over the last samples.
type rate struct {
	last    int64
	samples [16]int64
	next    int
}

func (r *rate) add(value int64, elapsed time.Duration) {
	if elapsed > 0 {
		r.samples[r.next%len(r.samples)] = (value - r.last) * int64(time.Second) / int64(elapsed)
		r.next++
	}
	r.last = value
}

func (r *rate) average() int64 {
	sum := int64(0)
	for _, v := range r.samples {
		sum += v
	}
	return max(sum/int64(len(r.samples)), 0)
}

const (
	rateCommands = iota
	rateInput
	rateOutput
)

// sample is called by the cron.
func (st *stats) sample(s *Server, elapsed time.Duration) {
	front := s.front()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.mu.rates[rateCommands].add(st.commands.Load(), elapsed)
	st.mu.rates[rateInput].add(front.BytesIn, elapsed)
	st.mu.rates[rateOutput].add(front.BytesOut, elapsed)
}

func (st *stats) rate(i int) int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.mu.rates[i].average()
}

// front asks the front end for its counters.
func (s *Server) front() FrontStats {
	if s.hooks.Front == nil {
		return FrontStats{}
	}
	return s.hooks.Front()
}

// dataStats are the counters of the keyspace since the last CONFIG RESETSTAT.
func (s *Server) dataStats() (d keyspace.Stats) {
	if s.Loading() {
		return d
	}
	d = s.Keyspace.Stats()
	if base := s.stats.base.Load(); base != nil {
		d.Hits -= base.data.Hits
		d.Misses -= base.data.Misses
		d.Expired -= base.data.Expired
	}
	return d
}

// resetStats is CONFIG RESETSTAT.
func (s *Server) resetStats() {
	s.table.each(func(cmd *Command) { cmd.reset() })
	s.stats.commands.Store(0)
	s.stats.errors.Store(0)
	s.stats.denied.Store(0)
	s.stats.forwarded.Store(0)
	base := &statsBase{front: s.front()}
	if !s.Loading() {
		base.data = s.Keyspace.Stats()
	}
	s.stats.base.Store(base)
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	s.stats.mu.byPrefix = nil
	s.stats.mu.rates = [3]rate{}
	s.stats.mu.rates[rateInput].last = base.front.BytesIn
	s.stats.mu.rates[rateOutput].last = base.front.BytesOut
}

// The buckets of a histogram are those of Redis' (HDR, two significant digits): exact below
// 256 ns, then 128 buckets for each doubling.
const (
	histSub     = 128
	histMaxBits = 30 // times from 2^30 ns on are counted as 2^30-1
	histSize    = 2*histSub + (histMaxBits-8)*histSub
)

// histogram counts times in nanoseconds. It is safe for concurrent use.
type histogram struct {
	total   atomic.Int64
	buckets [histSize]atomic.Int64
}

func bucketOf(nanos int64) int {
	v := uint64(max(nanos, 0))
	v = min(v, 1<<histMaxBits-1)
	if v < 2*histSub {
		return int(v)
	}
	shift := bits.Len64(v) - 8
	return shift*histSub + int(v>>shift)
}

// bucketTop is the largest time counted in bucket i.
func bucketTop(i int) int64 {
	if i < 2*histSub {
		return int64(i)
	}
	shift := i/histSub - 1
	return (int64(i-shift*histSub)+1)<<shift - 1
}

func (h *histogram) add(nanos, n int64) {
	h.buckets[bucketOf(nanos)].Add(n)
	h.total.Add(n)
}

// percentile returns the time that p percent of the calls did not exceed.
func (h *histogram) percentile(p float64) int64 {
	want := max(int64(p/100*float64(h.total.Load())+0.5), 1)
	seen := int64(0)
	for i := range h.buckets {
		seen += h.buckets[i].Load()
		if seen >= want {
			return bucketTop(i)
		}
	}
	return 0
}

// cumulative returns, for doubling times from 1024 ns on, the time in microseconds
// and how many calls took no longer, from the first time any call reached to the last one.
func (h *histogram) cumulative() (out [][2]int64) {
	seen, i := int64(0), 0
	total := h.total.Load()
	for limit := int64(1024); seen < total && i < histSize; limit *= 2 {
		top := bucketTop(bucketOf(limit))
		for ; i < histSize && bucketTop(i) <= top; i++ {
			seen += h.buckets[i].Load()
		}
		if len(out) == 0 && seen > 0 || len(out) > 0 && seen > out[len(out)-1][1] {
			out = append(out, [2]int64{top / 1000, seen})
		}
	}
	return out
}

// rateLimit lets one event in a second through.
type rateLimit struct{ next atomic.Int64 }

func (r *rateLimit) allow(nanos int64) bool {
	next := r.next.Load()
	return nanos >= next && r.next.CompareAndSwap(next, nanos+int64(time.Second))
}
