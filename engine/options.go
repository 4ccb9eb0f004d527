package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/gtinside/corecache/engine/sstable"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

// NumLevels is the number of levels of the tree, level 0 included.
const NumLevels = 7

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// Logger takes the engine's own messages. It is called from background
// goroutines and from Open, never on the path of a read or a write.
type Logger interface {
	Infof(format string, args ...any)
	Errorf(format string, args ...any)
}

// rowShare is the part of a cache that single records may take from the blocks, when
// there are point reads: the larger part of what such reads want, if records are small.
func rowShare(cache int64) int64 { return cache / 4 * 3 }

// Live are the settings that SetOptions changes while the store is open.
// Zero means the default.
type Live struct {
	// CacheSize bounds the memory for blocks, indexes, filters and rows, in bytes (64 MiB).
	CacheSize int64
	// MemTableSize is the size of one memtable in bytes (64 MiB); a new size
	// holds from the next memtable on.
	MemTableSize int64
	// Ack is what the log must have done before a write counts as acknowledged.
	Ack wal.Ack
	// SyncInterval bounds the time an acknowledged write may stay unsynced
	// when Ack is not AckSynced; 0: the operating system decides.
	SyncInterval time.Duration
	// CompactionRate bounds what compactions write, in bytes per second; 0: no bound.
	CompactionRate int64
	// LogKeepBytes is how much of the log stays on disk for log readers after it was flushed, in bytes (0).
	LogKeepBytes int64
	// LogPinBytes is how much of it stays as long as somebody has pinned it, LogKeepBytes
	// included (0); see DB.PinLog.
	LogPinBytes int64
	// MaxCompactions is the number of compactions that run at the same time (2).
	MaxCompactions int
}

// Options configure a store. Zero values mean the default, given in parentheses.
type Options struct {
	Live

	// FS is the file system (the operating system's).
	FS vfs.FS
	// Logger takes messages (none).
	Logger Logger
	// Now returns the time in unix milliseconds; it stamps log records.
	Now func() int64

	// MaxMemTables is the number of memtables in memory, the one being
	// written included; with all of them full, writes wait for a flush (4).
	MaxMemTables int
	// LogSegmentSize is the size of a log segment in bytes (64 MiB).
	LogSegmentSize int64

	// BlockSize is the size of a data block before compression (4 KiB).
	BlockSize int
	// FilterBits per key (10); negative: no filters.
	FilterBits int
	// Compression of the tables of each level; the last one given holds for
	// deeper levels (none, none, snappy).
	Compression []sstable.Compression
	// TableSize is the size at which a compaction starts the next table (32 MiB).
	TableSize int64
	// L0Tables is the number of level 0 tables that starts a compaction (4).
	L0Tables int
	// L0Slow is the number of level 0 tables from which writes are slowed down (12).
	L0Slow int
	// L0Max is the number of level 0 tables at which they are slowest (36).
	L0Max int
	// BaseLevelSize is the size of the first level below level 0 in use (64 MiB).
	BaseLevelSize int64
	// LevelMultiplier is how much larger each further level may be (10).
	LevelMultiplier float64
	// MaxOpenFiles bounds the open descriptors of tables (4096).
	MaxOpenFiles int

	// ExternalCommit: the committed position is set by SetCommitted, not by
	// the log. Records recovered from the log are not committed until then.
	ExternalCommit bool
	// MaxUncommitted bounds, with ExternalCommit, the memtables that hold what is not committed and can not be flushed: with
	// more of them Apply fails with ErrStalled (0: no bound).
	MaxUncommitted int
	// NewFilter, if set, is called at the start of a compaction; r reads at
	// the committed position and is valid until the compaction ends.
	NewFilter func(r Reader) Filter
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (l Live) withDefaults() Live {
	orDefault(&l.CacheSize, 64*mib)
	orDefault(&l.MemTableSize, 64*mib)
	orDefault(&l.MaxCompactions, 2)
	return l
}

func (o Options) withDefaults() Options {
	o.Live = o.Live.withDefaults()
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Logger == nil {
		o.Logger = noLogger{}
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixMilli() }
	}
	orDefault(&o.MaxMemTables, 4)
	orDefault(&o.LogSegmentSize, 64*mib)
	orDefault(&o.BlockSize, int(4*kib))
	orDefault(&o.FilterBits, 10)
	if len(o.Compression) == 0 {
		o.Compression = []sstable.Compression{sstable.None, sstable.None, sstable.Snappy}
	}
	orDefault(&o.TableSize, 32*mib)
	orDefault(&o.L0Tables, 4)
	orDefault(&o.L0Slow, max(12, o.L0Tables*3))
	orDefault(&o.L0Max, o.L0Slow*3)
	orDefault(&o.BaseLevelSize, 64*mib)
	orDefault(&o.LevelMultiplier, 10)
	orDefault(&o.MaxOpenFiles, 4096)
	return o
}

func (o *Options) compression(level int) sstable.Compression {
	return o.Compression[min(level, len(o.Compression)-1)]
}

func (l Live) problems() (errs []error) {
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(l.CacheSize > 0, "CacheSize %d must be positive", l.CacheSize)
	check(l.MemTableSize >= 4*kib && l.MemTableSize <= gib, "MemTableSize %d must be in 4 KiB .. 1 GiB", l.MemTableSize)
	check(l.SyncInterval >= 0, "SyncInterval %v must not be negative", l.SyncInterval)
	check(l.CompactionRate >= 0, "CompactionRate %d must not be negative", l.CompactionRate)
	check(l.LogKeepBytes >= 0, "LogKeepBytes %d must not be negative", l.LogKeepBytes)
	check(l.LogPinBytes >= 0, "LogPinBytes %d must not be negative", l.LogPinBytes)
	check(l.MaxCompactions >= 1 && l.MaxCompactions <= 64, "MaxCompactions %d must be in 1 .. 64", l.MaxCompactions)
	return errs
}

// Validate reports all problems at once, wrapping ErrInvalidOptions. Zero values are valid.
func (o Options) Validate() error {
	o = o.withDefaults()
	errs := o.Live.problems()
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(o.MaxMemTables >= 2, "MaxMemTables %d must be at least 2", o.MaxMemTables)
	check(o.MaxUncommitted >= 0, "MaxUncommitted %d must not be negative", o.MaxUncommitted)
	check(o.LogSegmentSize >= 4*kib, "LogSegmentSize %d must be at least 4 KiB", o.LogSegmentSize)
	check(o.BlockSize >= 256 && int64(o.BlockSize) <= mib, "BlockSize %d must be in 256 .. 1 MiB", o.BlockSize)
	check(o.FilterBits <= 64, "FilterBits %d must be at most 64", o.FilterBits)
	check(len(o.Compression) <= NumLevels, "Compression names %d levels, there are %d", len(o.Compression), NumLevels)
	check(o.TableSize >= 4*kib && o.TableSize <= 4*gib, "TableSize %d must be in 4 KiB .. 4 GiB", o.TableSize)
	check(o.L0Tables >= 1, "L0Tables %d must be at least 1", o.L0Tables)
	check(o.L0Slow >= o.L0Tables, "L0Slow %d must not be below L0Tables %d", o.L0Slow, o.L0Tables)
	check(o.L0Max > o.L0Slow, "L0Max %d must be above L0Slow %d", o.L0Max, o.L0Slow)
	check(o.BaseLevelSize >= 4*kib, "BaseLevelSize %d must be at least 4 KiB", o.BaseLevelSize)
	check(o.LevelMultiplier >= 2, "LevelMultiplier %g must be at least 2", o.LevelMultiplier)
	check(o.MaxOpenFiles >= 1, "MaxOpenFiles %d must be positive", o.MaxOpenFiles)
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrInvalidOptions, errors.Join(errs...))
	}
	return nil
}

type noLogger struct{}

func (noLogger) Infof(string, ...any)  {}
func (noLogger) Errorf(string, ...any) {}
