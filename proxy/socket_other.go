//go:build !linux

package proxy

import (
	"errors"
	"syscall"
	"time"
)

func setUserTimeout(syscall.RawConn, time.Duration) error { return nil } // the kernel's own limit applies

func quiet(int) bool { return true } // an end is met by the next exchange

// There are no event loops on this system, so nothing is ever detached.

var errNoLoops = errors.New("proxy: no event loops")

func duplicate(syscall.RawConn) (int, error) { return 0, errNoLoops }
func readNow(int, []byte) (int, error)       { return 0, errNoLoops }
func writeNow(int, []byte) (int, error)      { return 0, errNoLoops }
