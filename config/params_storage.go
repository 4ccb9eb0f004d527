package config

import "math"

var storageParams = []Param{
	{Name: "block-size", Group: "Storage", Kind: Bytes, Default: "4kb", Min: 512, Max: mb, Unit: "bytes",
		Doc: "Uncompressed size of a data block, the unit of reads from disk."},
	{Name: "compression", Group: "Storage", Kind: List, Default: "none none snappy", Choices: []string{"none", "snappy", "lz4", "zstd"}, Max: 7, Unit: "per level",
		Doc: "Compression of the tables of level 0, 1, ...; the last one named holds for the deeper levels. Tables are rewritten only as compaction reaches them."},
	{Name: "filter-bits", Group: "Storage", Kind: Int, Default: "10", Max: 32, Unit: "bits per key",
		Doc: "Size of the filters that keep a read from looking into tables that do not have the key; 0 = no filters. 10 lets about 1 % through."},
	{Name: "l0-compaction-trigger", Group: "Storage", Kind: Int, Default: "4", Min: 1, Max: 1000, Unit: "tables",
		Doc: "Level 0, where memtables are flushed to, is compacted when it has so many tables."},
	{Name: "l0-slowdown-trigger", Group: "Storage", Kind: Int, Default: "12", Min: 1, Max: 10000, Unit: "tables",
		Doc: "From so many tables in level 0 on, writes are slowed down, more with each table, so that compaction catches up."},
	{Name: "level-base-size", Group: "Storage", Kind: Bytes, Default: "64mb", Min: mb, Max: math.MaxInt64, Unit: "bytes",
		Doc: "Size of the first level below level 0, over which it is compacted."},
	{Name: "level-multiplier", Group: "Storage", Kind: Int, Default: "10", Min: 2, Max: 100, Unit: "times",
		Doc: "How much larger each further level may be."},
	{Name: "target-file-size", Group: "Storage", Kind: Bytes, Default: "32mb", Min: 64 * kb, Max: 4 * gb, Unit: "bytes",
		Doc: "Size at which a compaction begins the next table."},
	{Name: "compaction-threads", Group: "Storage", Kind: Int, Default: "2", Min: 1, Max: 64, Live: true,
		Doc: "Compactions that run at the same time."},
	{Name: "compaction-rate-limit", Group: "Storage", Kind: Bytes, Default: "0", Max: math.MaxInt64, Unit: "bytes per second", Live: true,
		Doc: "How fast compactions may write; 0 = no limit. A limit that is too low for the writes slows them down."},
	{Name: "max-open-files", Group: "Storage", Kind: Int, Default: "4096", Min: 16, Max: 1 << 20, Unit: "files",
		Doc: "Tables that are kept open. The limit of open files of the process applies."},
}
