//go:build !linux

package replication

import "time"

// clock reads the monotonic clock, in nanoseconds.
func clock() int64 { return int64(time.Since(started)) }

var started = time.Now()
