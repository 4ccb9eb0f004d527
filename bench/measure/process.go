// Package measure reads what a run costs: latencies, CPU time, memory and
// bytes written by this process. It reads /proc and so needs Linux.
package measure

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// CPU returns the user and system time of this process so far.
func CPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BytesWritten returns what this process has given to block devices so far,
// counted when a page becomes dirty, so that mapped files count too.
func BytesWritten() int64 { return procField("/proc/self/io", "write_bytes") }

// Anonymous returns the resident memory that is not a mapped file, in bytes.
func Anonymous() int64 { return procField("/proc/self/status", "RssAnon") << 10 }

// procField returns a number of a "name: number" file, or 0.
func procField(file, name string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		rest, ok := bytes.CutPrefix(line, []byte(name+":"))
		if !ok {
			continue
		}
		if f := bytes.Fields(rest); len(f) > 0 {
			n, _ := strconv.ParseInt(string(f[0]), 10, 64)
			return n
		}
	}
	return 0
}

// DirSize returns the disk space that the files below dir take, in bytes.
func DirSize(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", dir, err)
	}
	return sum, nil
}

// Settle waits until the process has used less than 4 % of a core for half a
// second, so background work has ended, but not longer than limit. It
// returns the time until then.
func Settle(limit time.Duration) time.Duration {
	const step, quiet = 100 * time.Millisecond, 5
	start := time.Now()
	last, idle := CPU(), 0
	tick := time.NewTicker(step)
	defer tick.Stop()
	for idle < quiet && time.Since(start) < limit {
		<-tick.C
		now := CPU()
		idle++
		if now-last > step/25 {
			idle = 0
		}
		last = now
	}
	return max(0, time.Since(start)-time.Duration(idle)*step)
}

// PeakMemory samples Anonymous until ctx ends; the returned function gives
// the peak so far.
func PeakMemory(ctx context.Context) func() int64 {
	var peak atomic.Int64
	sample := func() { peak.Store(max(peak.Load(), Anonymous())) }
	sample()
	go func() {
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				sample()
			}
		}
	}()
	return peak.Load
}
