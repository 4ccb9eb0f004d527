// Package vfs is the only way in which the engine touches files.
//
// There are four implementations of one small interface:
//
//	OS     the real thing
//	Mem    memory, for fast tests
//	Crash  memory that remembers what was synced: Crash() returns the file
//	       system as a machine might find it after losing power
//	Fault  any of the above, with failures where a policy wants them
//
// One acceptance suite (suite_test.go) runs on all of them, so that what a
// test proves on memory holds on a disk.
//
// Names are paths of the host; relative ones are relative to the working
// directory (Mem and Crash take them as they are). Errors are those of package
// os: errors.Is(err, fs.ErrNotExist), fs.ErrExist and so on work everywhere.
//
// # Durability
//
// The promise is the one POSIX gives and no more. File.Sync makes the content
// and the size of a file durable, not its name: a create, rename, link or remove is
// durable when SyncDir of its directory returned. Before that any of them may
// be there or not after a crash, in any combination. Callers which need an order write
// it down as a sequence of Sync and SyncDir.
//
// # Rejected
//
// Using io/fs or a library such as afero: they have no fsync, no fsync of
// directories and no preallocation, which is what this interface is about.
// Memory-mapped files: a read error would be a signal instead of an error.
package vfs
