package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/config"
)

const (
	logQueue = 1024            // messages that may wait for a slow disk or terminal
	logLast  = 2 * time.Second // how long the last ones may take: a terminal that nobody reads must not keep the process
)

// logFile is where the log goes. Messages are handed over to one goroutine, which Close
// ends, because logrus writes under a lock: without the queue a blocked terminal
// would stop everything that has something to say. When the queue is full, messages are
// dropped and counted.
type logFile struct {
	path  string // "" = standard error
	lines chan []byte
	done  chan struct{}

	dropped atomic.Int64

	mu struct {
		sync.Mutex
		out    io.WriteCloser
		closed bool
	}
}

// openLog directs the log to where the configuration says.
func openLog(log *logrus.Logger, c *config.Config) (*logFile, error) {
	f := &logFile{path: c.String("logfile"), lines: make(chan []byte, logQueue), done: make(chan struct{})}
	if err := f.Reopen(); err != nil {
		return nil, err
	}
	go f.run()
	log.SetOutput(f)
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: "2006-01-02T15:04:05.000Z07:00", DisableColors: f.path != ""})
	log.SetLevel(logLevel(c.String("loglevel")))
	c.OnSet("loglevel", func(_, level string) error {
		log.SetLevel(logLevel(level))
		return nil
	})
	return f, nil
}

func logLevel(name string) logrus.Level {
	switch name {
	case "debug":
		return logrus.TraceLevel
	case "verbose":
		return logrus.DebugLevel
	case "warning":
		return logrus.WarnLevel
	case "nothing":
		return logrus.PanicLevel
	}
	return logrus.InfoLevel
}

// Reopen opens the file anew, for logrotate; on an error the old one stays in use.
func (f *logFile) Reopen() error {
	out := io.WriteCloser(noClose{os.Stderr})
	if f.path != "" {
		file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return fmt.Errorf("logfile: %w", err)
		}
		out = file
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.mu.out
	f.mu.out = out
	if old != nil {
		return old.Close()
	}
	return nil
}

type noClose struct{ io.Writer }

func (noClose) Close() error { return nil }

// Write takes one message; it does not block and never fails.
func (f *logFile) Write(line []byte) (int, error) {
	select {
	case f.lines <- append([]byte(nil), line...):
	default:
		f.dropped.Add(1)
	}
	return len(line), nil
}

func (f *logFile) run() {
	for line := range f.lines {
		f.write(line)
		if n := f.dropped.Swap(0); n > 0 {
			f.write(fmt.Appendf(nil, "%d messages dropped here: the log could not be written fast enough\n", n))
		}
	}
	close(f.done)
}

// write drops what can not be written: there is nowhere left to say so.
func (f *logFile) write(line []byte) {
	f.mu.Lock()
	out := f.mu.out
	f.mu.Unlock()
	_, _ = out.Write(line)
}

// Close writes what waits, within logLast. The log must not be used afterwards, so it is redirected.
func (f *logFile) Close(log *logrus.Logger) {
	log.SetOutput(os.Stderr)
	f.mu.Lock()
	first := !f.mu.closed
	f.mu.closed = true
	f.mu.Unlock()
	if !first {
		return
	}
	close(f.lines)
	select {
	case <-f.done:
		_ = f.mu.out.Close() // every line is written; there is no log left to report to
	case <-time.After(logLast):
	}
}

// lastWords writes what the process has to say when it ends, within logLast.
func lastWords(out io.Writer, text []byte) {
	said := make(chan struct{})
	go func() {
		_, _ = out.Write(text) // there is nowhere left to say that it failed
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(logLast):
	}
}
