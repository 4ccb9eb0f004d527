//go:build !linux

package zoo

import "syscall"

func procAttr() *syscall.SysProcAttr { return nil }
