package command

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/gtinside/corecache/keyspace"
)

// processMemory is what the process uses, in bytes.
type processMemory struct {
	used     int64 // allocated and resident: a memtable's room counts as it fills
	runtime  int64 // all that the Go runtime has mapped and not returned
	resident int64
	peak     int64 // the largest resident size ever
	system   int64 // of the machine
}

// memoryUse reads the process' memory. It costs some microseconds.
func memoryUse() processMemory {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p := processMemory{resident: residentSize(), system: systemMemory()}
	p.runtime = int64(m.Sys - m.HeapReleased)
	if p.resident == 0 {
		p.resident = p.runtime
	}
	p.runtime = min(p.runtime, p.resident) // much of it is reserved only
	p.used = min(int64(m.HeapAlloc), p.resident)
	p.peak = max(peakResident(), p.resident)
	return p
}

// peakResident asks the system for the largest resident size, 0 when it does not tell.
func peakResident() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return int64(u.Maxrss) * 1024
}

// residentSize reads /proc/self/statm, 0 where there is none.
func residentSize() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// systemMemory reads /proc/meminfo, 0 where there is none.
func systemMemory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err == nil {
				return kb * 1024
			}
		}
	}
	return 0
}

// clientMemory is what sessions and their buffers take.
func (s *Server) clientMemory() (n int64) {
	for _, sess := range s.clients.all() {
		n += sess.memory(sess.Conn.Usage())
	}
	return n
}

// memoryUsage is MEMORY USAGE key [SAMPLES count].
func memoryUsage(c *Call) {
	for i := 3; i < len(c.Args); i += 2 {
		if !c.Is(i, "samples") || i+1 >= len(c.Args) {
			c.Out.Error(errSyntax)
			return
		}
		n, ok := keyspace.ParseInt(c.Args[i+1])
		if !ok {
			c.Out.Error(errNotInteger)
			return
		}
		if n < 0 {
			c.Out.Error(errSyntax)
			return
		}
	}
	o, found, ok := c.inspect(c.Args[2])
	switch {
	case !ok:
	case !found:
		c.Out.Null()
	default:
		c.Out.Int(o.Size)
	}
}

func memoryStats(c *Call) {
	p := memoryUse()
	keys := int64(0)
	for db := 0; db < int(c.set.databases.Int()); db++ {
		n, _ := c.Keyspace.Size(db)
		keys += n
	}
	m := c.DB.Metrics()
	clientBytes := c.clientMemory()
	dataset := min(m.MemTableBytes+m.Cache.Used, p.used)
	w := c.Out
	at, n := w.Len(), 0
	num := func(name string, v int64) {
		w.BulkString(name)
		w.Int(v)
		n++
	}
	ratio := func(name string, v float64) {
		w.BulkString(name)
		w.Double(v)
		n++
	}
	num("peak.allocated", p.peak)
	num("total.allocated", p.used)
	num("startup.allocated", 0)
	num("replication.backlog", 0)
	num("clients.slaves", 0)
	num("clients.normal", clientBytes)
	num("cluster.links", 0)
	num("aof.buffer", 0)
	num("lua.caches", 0)
	num("functions.caches", 0)
	num("overhead.total", p.used-dataset)
	num("keys.count", keys)
	num("keys.bytes-per-key", dataset/max(keys, 1))
	num("dataset.bytes", dataset)
	ratio("dataset.percentage", percent(dataset, p.used))
	ratio("peak.percentage", percent(p.used, p.peak))
	num("allocator.allocated", p.used)
	num("allocator.active", p.runtime)
	num("allocator.resident", p.resident)
	ratio("allocator-fragmentation.ratio", quotient(p.runtime, p.used))
	num("allocator-fragmentation.bytes", p.runtime-p.used)
	ratio("allocator-rss.ratio", quotient(p.resident, p.runtime))
	num("allocator-rss.bytes", p.resident-p.runtime)
	ratio("rss-overhead.ratio", 1)
	num("rss-overhead.bytes", 0)
	ratio("fragmentation", quotient(p.resident, p.used))
	num("fragmentation.bytes", p.resident-p.used)
	num("memtables.bytes", m.MemTableBytes)
	num("block-cache.bytes", m.Cache.Used)
	w.InsertMap(at, n)
}

// quotient is a/b, 0 where b is 0.
func quotient(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func percent(a, b int64) float64 { return 100 * quotient(a, b) }

func memoryDoctor(c *Call) {
	p := memoryUse()
	budget := c.Config.Int("maxmemory")
	text := "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n"
	if budget > 0 && p.resident > budget+64<<20 {
		text = "Sam, I detected a few issues in this instance memory implants:\n\n * The process uses " +
			humanBytes(p.resident) + ", more than its budget (maxmemory) of " + humanBytes(budget) + " allows.\n"
	}
	c.Out.Verbatim("txt", text)
}

func memoryPurge(c *Call) {
	debug.FreeOSMemory()
	c.Out.OK()
}

func memoryMallocStats(c *Call) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var b strings.Builder
	b.WriteString("Go runtime " + runtime.Version() + "\n")
	for _, line := range []struct {
		name string
		n    uint64
	}{
		{"allocated", m.HeapAlloc}, {"in use spans", m.HeapInuse}, {"idle spans", m.HeapIdle}, {"returned", m.HeapReleased},
		{"stacks", m.StackInuse}, {"mapped", m.Sys}, {"next collection at", m.NextGC}, {"collections", uint64(m.NumGC)},
		{"pauses in ns", m.PauseTotalNs}, {"objects", m.HeapObjects},
	} {
		b.WriteString(line.name + ": " + strconv.FormatUint(line.n, 10) + "\n")
	}
	c.Out.Verbatim("txt", b.String())
}

// humanBytes prints a size with a unit, as INFO does: 1.50M.
func humanBytes(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + "B"
	}
	units := "KMGTP"
	f := float64(n) / 1024
	i := 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	return strconv.FormatFloat(math.Round(f*100)/100, 'f', 2, 64) + units[i:i+1]
}

var memoryTips = []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}

var memoryCommand = Command{
	Name: "memory", Arity: -2, Group: "server", Since: "4.0.0", Complexity: "Depends on subcommand.",
	Summary: "A container for commands about memory.",
	Sub: []Command{
		{Name: "usage", Arity: -3, Flags: ReadOnly, Keys: keys(2, 2, 1, KeyRO), Handler: memoryUsage, Since: "4.0.0",
			Complexity: "O(1)", Syntax: "key [SAMPLES count]", Summary: "Estimates what a key takes in bytes."},
		{Name: "stats", Arity: 2, Flags: nodeLocal, Handler: memoryStats, Since: "4.0.0", Complexity: "O(1)",
			Summary: "Describes the server's use of memory.", Tips: memoryTips},
		{Name: "doctor", Arity: 2, Flags: nodeLocal, Handler: memoryDoctor, Since: "4.0.0", Complexity: "O(1)",
			Summary: "Says in words what is wrong with the use of memory.", Tips: memoryTips},
		{Name: "purge", Arity: 2, Flags: nodeLocal, Handler: memoryPurge, Since: "4.0.0", Complexity: "Depends on how much memory is allocated",
			Summary: "Collects garbage and returns free memory to the system.",
			Tips:    []string{"request_policy:all_shards", "response_policy:all_succeeded"}},
		{Name: "malloc-stats", Arity: 2, Flags: nodeLocal, Handler: memoryMallocStats, Since: "4.0.0", Complexity: "Depends on how much memory is allocated",
			Summary: "Returns the figures of the memory allocator.", Tips: memoryTips},
		{Name: "help", Arity: 2, Flags: Loading | Stale | nodeLocal, Handler: helpOf(memoryHelp), Since: "4.0.0", Complexity: "O(1)",
			Summary: "Lists the subcommands."},
	},
}

var memoryHelp = []string{
	"DOCTOR", "    Return memory problems reports.",
	"MALLOC-STATS", "    Return internal statistics report from the memory allocator.",
	"PURGE", "    Attempt to purge dirty pages for reclamation by the allocator.",
	"STATS", "    Return information about the memory usage of the server.",
	"USAGE <key> [SAMPLES <count>]", "    Return memory in bytes used by <key> and its value. Nested values are",
	"    sampled up to <count> times (default: 5, 0 means sample all).",
}
