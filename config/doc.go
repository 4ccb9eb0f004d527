// Package config holds the one table of CoreCache's parameters and everything
// that works from it: the configuration file in the syntax of redis.conf, the
// command line, CONFIG GET, CONFIG SET and CONFIG REWRITE, and the generated
// corecache.conf.example.
//
// Decisions:
//
//   - A parameter is one row of the table (params*.go): name, kind, default, range,
//     unit, whether it may be changed live, and its text. Nothing else in the
//     program knows a default.
//   - Command-line flags are configuration lines (as in Redis): they are appended
//     to the file, and the later line wins.
//   - Parsing reports every problem at once, each with file and line, because an
//     operator should not have to restart once per mistake.
//   - Values are immutable and swapped atomically, so readers on hot paths take a
//     *Setting once and then read it without a lock or a map lookup.
//   - Parameters that Redis has and CoreCache has no use for are answered with a
//     fixed value, because tools ask for them; setting them otherwise in a file is
//     a warning (existing files keep working), by CONFIG SET an error.
//
// Rejected: struct tags and reflection (the table is shorter, and CONFIG GET, SET
// and REWRITE need names and texts anyway); YAML or TOML (operators of Redis have
// redis.conf files and tools for them).
//
// The package imports nothing of CoreCache.
package config
