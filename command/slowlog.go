package command

import (
	"fmt"
	"sync"

	"github.com/gtinside/corecache/config"
	"github.com/gtinside/corecache/keyspace"
)

// slowlog keeps the last commands that took long, newest last.
type slowlog struct {
	maxLen *config.Setting

	mu struct {
		sync.Mutex
		nextID  int64
		entries []slowEntry
	}
}

type slowEntry struct {
	id     int64
	time   int64 // unix seconds
	micros int64
	args   []string
	addr   string
	name   string
}

const (
	slowlogMaxArgs   = 32
	slowlogMaxString = 128
)

func (l *slowlog) init(c *config.Config) { l.maxLen = c.Setting("slowlog-max-len") }

func (l *slowlog) add(c *Call, micros int64) {
	limit := int(l.maxLen.Int())
	if limit <= 0 {
		return
	}
	e := slowEntry{
		time: c.Now / 1000, micros: micros, args: slowArgs(c),
		addr: c.Session.RemoteAddr(), name: c.Session.Name(),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.id = l.mu.nextID
	l.mu.nextID++
	l.mu.entries = append(l.mu.entries, e)
	if extra := len(l.mu.entries) - limit; extra > 0 {
		l.mu.entries = append(l.mu.entries[:0], l.mu.entries[extra:]...)
	}
}

// slowArgs copies the arguments, shortened where they are many or long.
func slowArgs(c *Call) []string {
	n := min(len(c.Args), slowlogMaxArgs)
	out := make([]string, n)
	for i := range out {
		arg := c.shownArg(i)
		switch {
		case n < len(c.Args) && i == n-1:
			out[i] = fmt.Sprintf("... (%d more arguments)", len(c.Args)-n+1)
		case len(arg) > slowlogMaxString:
			out[i] = fmt.Sprintf("%s... (%d more bytes)", arg[:slowlogMaxString], len(arg)-slowlogMaxString)
		default:
			out[i] = string(arg)
		}
	}
	return out
}

// redact hides argument i from SLOWLOG and MONITOR.
func (c *Call) redact(i int) {
	if i < 64 {
		c.redacted |= 1 << i
	}
}

var redactedText = []byte("(redacted)")

// shownArg is argument i as logs may show it.
func (c *Call) shownArg(i int) []byte {
	if c.redacted != 0 && (i >= 64 || c.redacted&(1<<i) != 0) {
		return redactedText
	}
	return c.Args[i]
}

// newest returns up to n entries (all when negative), newest first.
func (l *slowlog) newest(n int) []slowEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.mu.entries
	if n < 0 || n > len(all) {
		n = len(all)
	}
	out := make([]slowEntry, 0, n)
	for i := len(all) - 1; i >= len(all)-n; i-- {
		out = append(out, all[i])
	}
	return out
}

func (l *slowlog) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.entries)
}

func (l *slowlog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.entries = nil
}

func slowlogGet(c *Call) {
	n := 10
	if len(c.Args) > 3 {
		c.wrongSub()
		return
	}
	if len(c.Args) > 2 {
		v, ok := keyspace.ParseInt(c.Args[2])
		if !ok || v < -1 {
			c.Out.Error("ERR count should be greater than or equal to -1")
			return
		}
		n = int(min(v, 1<<30))
	}
	entries := c.slowlog.newest(n)
	c.Out.Array(len(entries))
	for _, e := range entries {
		c.Out.Array(6)
		c.Out.Int(e.id)
		c.Out.Int(e.time)
		c.Out.Int(e.micros)
		c.Out.Array(len(e.args))
		for _, a := range e.args {
			c.Out.BulkString(a)
		}
		c.Out.BulkString(e.addr)
		c.Out.BulkString(e.name)
	}
}

func slowlogLen(c *Call) { c.Out.Int(int64(c.slowlog.len())) }

func slowlogReset(c *Call) {
	c.slowlog.reset()
	c.Out.OK()
}
