package proxy

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout makes the kernel give a connection up when the peer does not acknowledge what was sent.
func setUserTimeout(raw syscall.RawConn, d time.Duration) (err error) {
	rawErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
	if rawErr != nil {
		return rawErr
	}
	return err
}

// quiet reports whether there is nothing to read, neither bytes nor an end.
func quiet(raw syscall.RawConn) (yes bool) {
	err := raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		yes = err == unix.EAGAIN || err == unix.EINTR
	})
	return err == nil && yes
}
