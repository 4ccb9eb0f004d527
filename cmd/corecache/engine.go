package main

import (
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/config"
	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/sstable"
	"github.com/gtinside/corecache/engine/wal"
)

var compressions = map[string]sstable.Compression{
	"none": sstable.None, "snappy": sstable.Snappy, "lz4": sstable.LZ4, "zstd": sstable.Zstd,
}

// engineOptions are what the configuration says of the engine.
func engineOptions(c *config.Config, log *logrus.Logger, clustered bool) engine.Options {
	o := engine.Options{
		Live:            engineLive(c),
		Logger:          engineLog{log},
		MaxMemTables:    int(c.Int("memtable-count")),
		LogSegmentSize:  c.Int("log-segment-size"),
		BlockSize:       int(c.Int("block-size")),
		FilterBits:      filterBits(c),
		TableSize:       c.Int("target-file-size"),
		L0Tables:        int(c.Int("l0-compaction-trigger")),
		L0Slow:          int(c.Int("l0-slowdown-trigger")),
		BaseLevelSize:   c.Int("level-base-size"),
		LevelMultiplier: float64(c.Int("level-multiplier")),
		MaxOpenFiles:    int(c.Int("max-open-files")),
		ExternalCommit:  clustered,
		MaxUncommitted:  2 * int(c.Int("memtable-count")),
	}
	for _, name := range c.List("compression") {
		o.Compression = append(o.Compression, compressions[name])
	}
	return o
}

// filterBits: for the engine 0 means its default, and negative means none.
func filterBits(c *config.Config) int {
	if n := int(c.Int("filter-bits")); n > 0 {
		return n
	}
	return -1
}

// engineLive are the settings that may change while the server runs.
func engineLive(c *config.Config) engine.Live {
	b := newBudget(c)
	live := engine.Live{
		CacheSize:      b.cache,
		MemTableSize:   b.memtable,
		CompactionRate: c.Int("compaction-rate-limit"),
		MaxCompactions: int(c.Int("compaction-threads")),
		LogKeepBytes:   c.Int("log-keep-bytes"),
		LogPinBytes:    max(c.Int("log-pin-bytes"), c.Int("log-keep-bytes")),
	}
	switch c.String("appendfsync") {
	case "always":
		live.Ack = wal.AckSynced
	case "everysec":
		live.Ack, live.SyncInterval = wal.AckWritten, time.Second
	case "no":
		live.Ack = wal.AckWritten
	}
	return live
}

// followConfig passes changes by CONFIG SET on to the engine and the runtime.
func followConfig(c *config.Config, db *engine.DB) {
	names := []string{"appendfsync", "cache-size", "maxmemory", "maxmemory-clients", "memtable-size", "compaction-rate-limit", "compaction-threads", "log-keep-bytes", "log-pin-bytes"}
	c.OnSetAny(names, func(map[string]string) error {
		newBudget(c).limitMemory()
		return db.SetOptions(engineLive(c))
	})
}

// engineLog takes the engine's messages. Flushes and compactions are routine, many per
// minute, so they are for loglevel verbose.
type engineLog struct{ log *logrus.Logger }

func (l engineLog) Infof(format string, args ...any)  { l.log.Debugf(format, args...) }
func (l engineLog) Errorf(format string, args ...any) { l.log.Errorf(format, args...) }
