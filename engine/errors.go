package engine

import (
	"errors"

	"github.com/gtinside/corecache/engine/base"
)

var (
	// ErrNotFound is returned by Get for a key that has no value.
	ErrNotFound = errors.New("engine: not found")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("engine: closed")
	// ErrReadOnly wraps the reason why no write is accepted any more: a failed
	// write or fsync of the log, after which nobody knows what is on disk.
	// Reads go on. The write that met it has an unknown outcome; writes
	// refused later did not happen.
	ErrReadOnly = errors.New("engine: writes are refused")
	// ErrStalled wraps the reason why memtables can not be flushed (for
	// example a full disk) once there is no memory left to write to. The
	// write did not happen; writes go on when the reason is gone.
	ErrStalled = errors.New("engine: memtables are full and can not be flushed")
	// ErrRefused wraps the reason given to RefuseWrites. The write did not happen.
	ErrRefused = errors.New("engine: the store is not to be written")
	// ErrTruncated is returned by Wait for a sequence number that TruncateAfter dropped.
	ErrTruncated = errors.New("engine: truncated")
	// ErrEpoch is returned for a record or a beginning of an epoch that is older than the log.
	ErrEpoch = errors.New("engine: old epoch")
	// ErrInvalidBatch marks a batch that can not be decoded or holds what a batch may not hold.
	ErrInvalidBatch = errors.New("engine: invalid batch")
	// ErrInvalidOptions wraps all that is wrong with Options.
	ErrInvalidOptions = errors.New("engine: invalid options")
	// ErrCorrupt marks damage on disk; the error names file and offset.
	ErrCorrupt = base.ErrCorrupt
)
