package command

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// monitors are the sessions that see every command (MONITOR). Feeding them never
// blocks: a monitor that does not keep up is cut off by its output limit.
type monitors struct {
	n atomic.Int32

	mu struct {
		sync.Mutex
		sessions []*Session
		line     []byte
	}
}

func (m *monitors) any() bool { return m.n.Load() != 0 }

func (m *monitors) add(sess *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sess.monitor.Swap(true) {
		return
	}
	m.mu.sessions = append(m.mu.sessions, sess)
	m.n.Add(1)
}

func (m *monitors) remove(sess *Session) {
	if !sess.monitor.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.mu.sessions, sess); i >= 0 {
		m.mu.sessions = slices.Delete(m.mu.sessions, i, i+1)
		m.n.Add(-1)
	}
	sess.monitor.Store(false)
}

// feed shows the call to all monitors. Administrative commands are not shown.
func (m *monitors) feed(c *Call) {
	if c.Cmd.Flags&(SkipMonitor|Admin) != 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.line = appendMonitorLine(m.mu.line[:0], c, time.Now())
	for _, sess := range m.mu.sessions {
		if sess.Conn.Push(m.mu.line) != nil {
			sess.Kill()
		}
	}
	if cap(m.mu.line) > 1<<16 {
		m.mu.line = nil
	}
}

// appendMonitorLine appends `+1339518083.107412 [0 127.0.0.1:60866] "get" "x"`.
func appendMonitorLine(b []byte, c *Call, now time.Time) []byte {
	b = append(b, '+')
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, '.')
	micros := strconv.Itoa(now.Nanosecond() / 1000)
	b = append(b, "000000"[len(micros):]...)
	b = append(b, micros...)
	b = append(b, " ["...)
	b = strconv.AppendInt(b, int64(c.Session.DB()), 10)
	b = append(b, ' ')
	b = append(b, c.Session.RemoteAddr()...)
	b = append(b, ']')
	for i := range c.Args {
		b = append(b, ' ')
		b = appendQuoted(b, c.shownArg(i))
	}
	return append(b, '\r', '\n')
}

// appendQuoted appends b in double quotes, with the escapes of redis-cli.
func appendQuoted(dst, b []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, ch := range b {
		switch {
		case ch == '\\' || ch == '"':
			dst = append(dst, '\\', ch)
		case ch >= 7 && ch <= 13 && ch != 11 && ch != 12:
			dst = append(dst, '\\', "abtn\x00\x00r"[ch-7])
		case ch < ' ' || ch > '~':
			dst = append(dst, '\\', 'x', hex[ch>>4], hex[ch&15])
		default:
			dst = append(dst, ch)
		}
	}
	return append(dst, '"')
}

func monitor(c *Call) {
	c.monitors.add(c.Session)
	c.Out.OK()
}
