package replication

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock reads a clock, in nanoseconds, that never steps and runs while the machine sleeps: a leader that has slept must know.
func clock() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return int64(time.Since(started)) // older than Linux 2.6.39
	}
	return t.Nano()
}

var started = time.Now()
