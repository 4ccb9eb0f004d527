//go:build !linux

package proxy

import (
	"syscall"
	"time"
)

func setUserTimeout(syscall.RawConn, time.Duration) error { return nil } // the kernel's own limit applies

func quiet(syscall.RawConn) bool { return true } // an end is met by the next exchange
