package integration

import "syscall"

// dieWithTest lets a process die with the test, also when that is killed.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
