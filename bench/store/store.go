// Package store gives the engines under comparison one small face, and holds
// for each of them the settings that its authors advise, with the same memory,
// durability, compression, block size and filter bits for all.
//
// Each adapter does the least its engine needs for an operation: single puts
// go through the engine's own single-put call, reads copy the value into the
// caller's buffer, scans open an iterator, walk and close it.
package store

import (
	"errors"
	"fmt"
)

// ErrNotFound is returned by Get for a key that is not there.
var ErrNotFound = errors.New("not found")

// Durability says what a Put has reached when it returns.
type Durability string

const (
	// Buffered: the write is ordered in the log's buffer and goes to the
	// operating system in the background. A kill may lose the last
	// milliseconds. Pebble knows only this mode and Synced.
	Buffered Durability = "buffered"
	// Written: the operating system has it; it survives a kill of the process.
	Written Durability = "written"
	// Synced: it is on the disk.
	Synced Durability = "synced"
)

// Options are the same for all engines.
type Options struct {
	Durability Durability
	// Cache is the memory for blocks, index blocks and filters, in bytes.
	Cache int64
	// Memtable is the size of one memtable in bytes.
	Memtable int64
	// Compactions is the largest number of concurrent compactions.
	Compactions int
}

const (
	blockSize  = 4 << 10
	filterBits = 10
)

// Store is one open engine. All methods may be called concurrently.
type Store interface {
	Put(key, value []byte) error
	// Get appends the value to dst.
	Get(dst, key []byte) ([]byte, error)
	// Scan visits up to n records from the first key >= start. The slices
	// are valid during the visit only.
	Scan(start []byte, n int, visit func(key, value []byte) error) error
	// Compact merges the whole tree.
	Compact() error
	Close() error
}

// Engine is an entry of the list of engines.
type Engine struct {
	Name     string
	Settings string // what deviates from the engine's own defaults
	// MayLose: the engine has no mode in which an unsynced write is with the
	// operating system when it returns.
	MayLose bool
	Open    func(dir string, o Options) (Store, error)
}

// Engines lists CoreCache first; every ratio is CoreCache against the others.
func Engines() []Engine {
	return []Engine{coreCache, pebbleEngine, badgerEngine, goleveldbEngine}
}

// Find returns the engine of that name.
func Find(name string) (Engine, error) {
	for _, e := range Engines() {
		if e.Name == name {
			return e, nil
		}
	}
	return Engine{}, fmt.Errorf("no engine %q", name)
}
