//go:build !linux

package resp

// poller does not exist on this system: each client is served by a goroutine of its own.
type poller struct{ waker int }

const canRead, canWrite, hasEnded, hasGone = 0, 0, 0, 0

func newPoller() (*poller, error)              { return nil, nil }
func (*poller) add(int, int32) error           { return errClosed }
func (*poller) renew(int, int32) error         { return errClosed }
func (*poller) remove(int)                     {}
func (*poller) wait(bool) (int, error)         { return 0, errClosed }
func (*poller) event(int) (int, int32, uint32) { return 0, 0, 0 }
func (*poller) wake()                          {}
func (*poller) close() error                   { return nil }
func detach(syscallConn) (int, error)          { return 0, errClosed }
func shutdown(int)                             {}
func shutdownWrite(int)                        {}
func closeSocket(int)                          {}

// hungUp can not tell on this system without reading: a disconnect is noticed when the command ends.
func hungUp(uintptr) bool { return false }
