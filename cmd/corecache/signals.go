package main

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
)

// exitImpatient is the exit code after a second SIGINT or SIGTERM.
const exitImpatient = 130

// signals turns the signals of the process into calls. SIGPIPE is ignored: writing to
// a connection that is gone is an error like any other.
type signals struct {
	stop     chan os.Signal
	hangup   chan os.Signal
	stopping chan struct{} // closed when the process is to stop
	failed   chan error    // what makes it stop, if that is no signal
	once     sync.Once
	serving  atomic.Bool
}

// catchSignals starts the goroutine that takes SIGINT and SIGTERM; it ends with the process.
func catchSignals() *signals {
	s := &signals{stop: make(chan os.Signal, 2), hangup: make(chan os.Signal, 1), stopping: make(chan struct{}), failed: make(chan error, 1)}
	signal.Ignore(syscall.SIGPIPE)
	signal.Notify(s.stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(s.hangup, syscall.SIGHUP)
	go s.run()
	return s
}

func (s *signals) run() {
	<-s.stop
	s.requestStop()
	<-s.stop
	os.Exit(exitImpatient)
}

// requestStop begins an orderly stop and does not block. While the log is still being
// replayed nothing has been acknowledged, so there is nothing to be orderly about.
func (s *signals) requestStop() {
	if !s.serving.Load() {
		os.Exit(0)
	}
	s.once.Do(func() { close(s.stopping) })
}

// fail is requestStop for a process that can not go on. It ends with an exit code that makes a supervisor start it anew.
func (s *signals) fail(err error) {
	if !s.serving.Load() {
		die(err)
	}
	select {
	case s.failed <- err:
	default: // the first error says most
	}
	s.requestStop()
}

// failure returns what fail was told, nil when the process stops because somebody wants it to.
func (s *signals) failure() error {
	select {
	case err := <-s.failed:
		return fmt.Errorf("this node can not go on: %w", err)
	default:
		return nil
	}
}

// wait returns when the process is to stop; from then on a further signal ends it at once.
func (s *signals) wait(hangup func()) {
	s.serving.Store(true)
	for {
		select {
		case <-s.hangup:
			hangup()
		case <-s.stopping:
			return
		}
	}
}
