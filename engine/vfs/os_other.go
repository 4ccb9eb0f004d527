//go:build !linux

package vfs

import (
	"errors"
	"os"
)

// Elsewhere the file system is used through package os alone, which is slower and
// has no lock; the project is developed and measured on Linux.

func fdatasync(f *osFile) error { return f.File.Sync() }

func fallocate(f *osFile, off, n int64) error { return f.grow(off + n) }

func flock(*os.File) error { return nil }

func statfs(string) (total, free uint64, err error) { return 0, 0, errors.ErrUnsupported }

func writeBack(*osFile, int64, int64) {}
