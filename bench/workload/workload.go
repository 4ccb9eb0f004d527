// Package workload runs one workload on one engine in this process and
// measures it. The caller gives each run a process of its own, so that
// memory, CPU time and garbage of two runs never mix.
//
// All values are verified when they are read, and after a run that writes,
// a sample of the keys must have exactly the newest version.
package workload

import (
	"fmt"
	"runtime"
	"time"

	"github.com/gtinside/corecache/bench/store"
)

// Scale is the size of a run.
type Scale struct {
	Name      string
	Keys      int     // records of the prepared data
	ValueSize int     // bytes
	Cache     int64   // bytes: a sixth of the prepared data
	Memtable  int64   // bytes
	Seconds   float64 // of workloads that are bounded by time
}

// Scales from a check that everything works to an hour.
func Scales() []Scale {
	return []Scale{
		sized("small", 150_000, 2<<20, 0.5),
		sized("medium", 1_000_000, 16<<20, 2),
		sized("full", 10_000_000, 64<<20, 10),
	}
}

func sized(name string, keys int, memtable int64, seconds float64) Scale {
	const valueSize = 128
	return Scale{
		Name: name, Keys: keys, ValueSize: valueSize,
		Cache:    int64(keys) * (keySize + valueSize) / 6,
		Memtable: memtable,
		Seconds:  seconds,
	}
}

// Spec is one run.
type Spec struct {
	Engine   string
	Workload string
	Dir      string // empty, or a copy of the prepared data
	Versions string // file with the versions of the prepared data
	Scale    Scale
	Round    int           // seeds the random choices
	Profile  string        // file for a CPU profile of the measured part, or empty
	Duration time.Duration // of the stall workload
}

// Result is what a run gave. Fields that a workload does not measure are zero.
type Result struct {
	Engine   string
	Workload string
	Round    int

	Ops       int64
	Seconds   float64
	OpsPerSec float64
	Micros    Latency // of one operation
	CPUMicros float64 // user and system time of an operation, with the background work it caused

	PeakMemory int64 // resident bytes above what the harness itself has, mapped files left out
	Budget     int64 // bytes of cache and memtables configured

	WriteAmp      float64 // bytes written to disk per byte put, until background work ended
	SpaceAmp      float64 // bytes on disk after close per byte of live records
	SettleSeconds float64 // background work after the last operation

	OpenMillis float64 // reopening after a kill, until the first read is answered
	Lost       int     // acknowledged but unsynced records that a kill lost

	SlowestSecond int64   // operations in the worst second of the run
	MedianSecond  int64   // and in the middle one
	PerSecond     []int64 `json:",omitempty"`
}

// Latency in microseconds.
type Latency struct{ P50, P99, P999, Max float64 }

// Workload is one row of the comparison.
type Workload struct {
	Name       string
	About      string
	Prepared   bool // starts from the prepared data
	Durability store.Durability
	Measure    Measure
	run        func(*run) error
}

// Measure says which number of a result decides the row.
type Measure int

const (
	Throughput Measure = iota // operations per second
	OpenTime                  // OpenMillis
	Steadiness                // SlowestSecond
)

// Prepare is the workload that builds the prepared data.
const Prepare = "prepare"

// Names of the two workloads that need the harness to kill a process.
const (
	KillLoad = "kill-load"
	Reopen   = "reopen"
)

// Stall is the long overwrite run.
const Stall = "stall"

var readers = runtime.NumCPU()

const clients = 4

// Rows returns the workloads in the order of the report.
func Rows() []Workload {
	return []Workload{
		{Name: "fillseq", About: "1 writer, ascending keys, empty store", Durability: store.Buffered, run: fillSeq},
		{Name: "fillrandom", About: "1 writer, random keys, empty store", Durability: store.Buffered, run: fillRandom},
		{Name: "fillrandom-written", About: "the same, each write handed to the operating system (Pebble: buffered)", Durability: store.Written, run: fillRandom},
		{Name: "overwrite", About: "4 writers, random keys of the prepared data", Prepared: true, Durability: store.Buffered, run: overwrite},
		{Name: "overwrite-written", About: "the same, each write handed to the operating system (Pebble: buffered)", Prepared: true, Durability: store.Written, run: overwrite},
		{Name: "fillsync-1", About: "1 writer, each write on disk", Durability: store.Synced, run: fillSync(1)},
		{Name: "fillsync-16", About: "16 writers, each write on disk", Durability: store.Synced, run: fillSync(16)},
		{Name: "fillsync-64", About: "64 writers, each write on disk", Durability: store.Synced, run: fillSync(64)},
		{Name: "readrandom", About: "uniform reads of 6 times the cache", Prepared: true, Durability: store.Buffered, run: readRandom},
		{Name: "readzipfian", About: "zipfian reads (0.99) of 6 times the cache", Prepared: true, Durability: store.Buffered, run: readZipfian},
		{Name: "readmissing", About: "reads of keys between the keys", Prepared: true, Durability: store.Buffered, run: readMissing},
		{Name: "readhot", About: "reads of 1000 scattered keys, all in the cache", Prepared: true, Durability: store.Buffered, run: readHot},
		{Name: "seek+10", About: "open an iterator, seek, 10 times next", Prepared: true, Durability: store.Buffered, run: seekNext},
		{Name: "readwhilewriting", About: "uniform reads beside 1 writer with 20,000 overwrites/s", Prepared: true, Durability: store.Buffered, run: readWhileWriting},
		{Name: "ycsb-a", About: "50 % read, 50 % update, zipfian", Prepared: true, Durability: store.Buffered, run: ycsbA},
		{Name: "ycsb-b", About: "95 % read, 5 % update, zipfian", Prepared: true, Durability: store.Buffered, run: ycsbB},
		{Name: "ycsb-c", About: "read only, zipfian", Prepared: true, Durability: store.Buffered, run: ycsbC},
		{Name: "ycsb-d", About: "95 % read of the latest, 5 % insert", Prepared: true, Durability: store.Buffered, run: ycsbD},
		{Name: "ycsb-e", About: "95 % scan of 1 to 100 records, 5 % insert", Prepared: true, Durability: store.Buffered, run: ycsbE},
		{Name: "ycsb-f", About: "50 % read, 50 % read-modify-write, zipfian", Prepared: true, Durability: store.Buffered, run: ycsbF},
		{Name: Reopen, About: "open and first read after a kill during overwrites", Prepared: true, Durability: store.Written, Measure: OpenTime, run: reopen},
	}
}

// hidden workloads are steps of others, or run on demand.
func hidden() []Workload {
	return []Workload{
		{Name: Prepare, Durability: store.Buffered, run: prepare},
		{Name: KillLoad, Prepared: true, Durability: store.Written, run: killLoad},
		{Name: Stall, About: "4 writers, random keys of the prepared data, minutes long", Prepared: true, Durability: store.Buffered, Measure: Steadiness, run: stall},
	}
}

// Find returns the workload of that name.
func Find(name string) (Workload, error) {
	for _, w := range append(Rows(), hidden()...) {
		if w.Name == name {
			return w, nil
		}
	}
	return Workload{}, fmt.Errorf("no workload %q", name)
}
