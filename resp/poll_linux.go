package resp

import (
	"encoding/binary"
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller tells which sockets have something to do. It is the kernel's epoll, used
// edge-triggered: one event for each change, so that nothing has to be armed again.
type poller struct {
	fd     int // of epoll
	waker  int // an eventfd; see wake
	events [256]unix.EpollEvent
}

// What an event says of a socket.
const (
	canRead  = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	canWrite = unix.EPOLLOUT | unix.EPOLLHUP | unix.EPOLLERR
	hasEnded = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	hasGone  = unix.EPOLLHUP | unix.EPOLLERR
)

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p := &poller{fd: fd}
	p.waker, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, p.waker, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(p.waker)})
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// add watches a descriptor until it is closed. Its events bear the tag, which tells them from those of an earlier owner of
// the descriptor that were taken from the kernel before that was closed.
func (p *poller) add(fd int, tag int32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, interest(fd, tag))
}

// renew makes the kernel tell once more what it has told of a descriptor, if that is so still.
func (p *poller) renew(fd int, tag int32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, interest(fd, tag))
}

func interest(fd int, tag int32) *unix.EpollEvent {
	return &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd), Pad: tag}
}

// remove ends add, for a descriptor that others may go on to use.
func (p *poller) remove(fd int) {
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) // it can only fail because that is not watched
}

// wait returns the number of events there are; with sleep it waits for one.
func (p *poller) wait(sleep bool) (int, error) {
	if !sleep {
		return pollNow(p.fd, p.events[:])
	}
	n, err := unix.EpollWait(p.fd, p.events[:], -1)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	return n, err
}

// event is one of those that wait has returned.
func (p *poller) event(i int) (fd int, tag int32, events uint32) {
	e := &p.events[i]
	return int(e.Fd), e.Pad, e.Events
}

// pollNow is epoll_wait(2) that does not sleep, and of which the scheduler is not told.
func pollNow(fd int, events []unix.EpollEvent) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		return 0, nil
	}
	return 0, errno
}

// wake ends the wait there is, and all that follow, with an event of waker.
func (p *poller) wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(p.waker, one[:]) // it can only fail because it was done before
}

func (p *poller) close() error {
	err := unix.Close(p.fd)
	if p.waker > 0 {
		err = errors.Join(err, unix.Close(p.waker))
	}
	return err
}

// detach takes the descriptor of a connection away from the library's own poller, which would
// otherwise be woken by every packet too.
func detach(nc syscallConn) (fd int, err error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var dupErr error
	err = raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err == nil {
		err = dupErr
	}
	if err == nil {
		err = nc.Close()
	}
	if err != nil && fd > 0 {
		closeSocket(fd)
	}
	return fd, err
}

// hungUp reports whether the peer has closed its end, however much it has sent before.
func hungUp(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

func shutdown(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RDWR) } // fails when the peer was faster

func shutdownWrite(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }

func closeSocket(fd int) { _ = unix.Close(fd) } // nothing is left to be told of a socket that is given up
