package zoo

import "syscall"

// procAttr lets a server die with the test, also when that is killed.
func procAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
