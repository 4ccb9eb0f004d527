package wal

import "errors"

var (
	// ErrClosed is returned by everything after Close.
	ErrClosed = errors.New("the log is closed")
	// ErrFailed marks the errors of a log that saw a write or an fsync fail and
	// therefore takes no more records. Reopening may repair it.
	ErrFailed = errors.New("the log refuses writes after a failure")
	// ErrFull marks the errors of a log that waits for space on the disk. From
	// Append it says that the record was not taken. From Wait it says that
	// the record is not acknowledged yet, and may be once there is space.
	ErrFull = errors.New("the log has no space on disk")
	// ErrGone says that the log does not reach back as far as asked.
	ErrGone = errors.New("the log does not reach back so far")
	// ErrTruncated says that the position asked for was cut off, or is beyond
	// the end of the log.
	ErrTruncated = errors.New("the log was cut before this position")
	// ErrVersion says that a newer program wrote the log.
	ErrVersion = errors.New("unknown log format")
)
