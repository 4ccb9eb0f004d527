//go:build !linux

package vfs

import "errors"

// Mapping is not there; see Map.
type Mapping struct{}

// Map is not supported here.
func Map(File, int64, int64) (*Mapping, error) { return nil, errors.ErrUnsupported }

func (*Mapping) Covers(int64, int) bool             { return false }
func (*Mapping) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (*Mapping) Close() error                       { return nil }
