package server

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Load is one run of redis-benchmark.
type Load struct {
	Test     string // set, get, incr, mset or mixed
	Pipeline int
	Size     int // of a value, bytes
	Fsync    string
	Clients  int
	Keys     int
	Requests int
}

// Name of the row in the report.
func (l Load) Name() string {
	return fmt.Sprintf("%s %s %dB P%d", l.Fsync, l.Test, l.Size, l.Pipeline)
}

// Result is what one load gave on one server.
type Result struct {
	Server    string
	Load      Load
	Round     int
	PerSecond float64
	P50Millis float64
	P99Millis float64
	CPUMicros float64 // of the server per request, with the background work that it leads to
	Memory    int64   // resident bytes of the server afterwards
}

// Loads lists what a comparison runs for one fsync policy and value size.
// requests is the number at pipeline 1; deeper pipelines get more.
func Loads(fsync string, size, keys, requests int) []Load {
	if fsync == "always" {
		requests /= 2
	}
	var all []Load
	for _, pipeline := range []int{1, 16, 128} {
		for _, test := range []string{"set", "get", "incr", "mset", "mixed"} {
			l := Load{Test: test, Pipeline: pipeline, Size: size, Fsync: fsync, Clients: 50, Keys: keys, Requests: requests}
			switch {
			case pipeline == 16:
				l.Requests *= 8
			case pipeline == 128:
				l.Requests *= 12
			}
			if test == "mset" {
				l.Requests /= 5
			}
			all = append(all, l)
		}
	}
	return all
}

// Fill sets each of the keys about once.
func Fill(p *Process, size, keys int) error {
	_, err := benchmark(p, Load{Test: "set", Pipeline: 128, Size: size, Clients: 50, Keys: keys, Requests: keys})
	p.settle(20 * time.Second)
	return err
}

// Run puts the load on the server, and lets it finish what that leaves to the background: it counts as CPU time of the load, and would
// disturb the next.
func Run(p *Process, l Load, round int) (Result, error) {
	cpu := p.CPU()
	var r Result
	var err error
	if l.Test == "mixed" {
		r, err = mixed(p, l)
	} else {
		r, err = benchmark(p, l)
	}
	r.Server, r.Load, r.Round = p.Name, l, round
	p.settle(20 * time.Second)
	r.CPUMicros = float64((p.CPU()-cpu)/time.Microsecond) / float64(l.Requests)
	r.Memory = p.Memory()
	return r, err
}

// mixed is half SET, half GET, by two load generators at once.
func mixed(p *Process, l Load) (Result, error) {
	tests := []string{"set", "get"}
	results, errs := make([]Result, len(tests)), make([]error, len(tests))
	start := time.Now()
	var group sync.WaitGroup
	for i, test := range tests {
		half := l
		half.Test, half.Clients, half.Requests = test, l.Clients/2, l.Requests/2
		group.Go(func() { results[i], errs[i] = benchmark(p, half) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return Result{}, err
		}
	}
	return Result{
		PerSecond: float64(l.Requests) / time.Since(start).Seconds(),
		P50Millis: max(results[0].P50Millis, results[1].P50Millis),
		P99Millis: max(results[0].P99Millis, results[1].P99Millis),
	}, nil
}

func benchmark(p *Process, l Load) (Result, error) {
	cmd := exec.Command("redis-benchmark", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port),
		"-t", l.Test, "-n", strconv.Itoa(l.Requests), "-c", strconv.Itoa(l.Clients),
		"-P", strconv.Itoa(l.Pipeline), "-d", strconv.Itoa(l.Size), "-r", strconv.Itoa(l.Keys), "--csv")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return Result{}, fmt.Errorf("redis-benchmark %s on %s: %w: %s", l.Name(), p.Name, err, &stderr)
	}
	return parse(out)
}

// parse reads the line under the header
// "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms".
func parse(out []byte) (Result, error) {
	rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 2 || len(rows[1]) != 8 || strings.HasPrefix(rows[0][0], "ERR") {
		return Result{}, fmt.Errorf("unexpected output of redis-benchmark: %q (%v)", out, err)
	}
	var r Result
	for i, dst := range map[int]*float64{1: &r.PerSecond, 4: &r.P50Millis, 6: &r.P99Millis} {
		if *dst, err = strconv.ParseFloat(rows[1][i], 64); err != nil {
			return Result{}, err
		}
	}
	return r, nil
}
