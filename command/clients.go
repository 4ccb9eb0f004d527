package command

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// clients is the registry of connected sessions.
type clients struct {
	nextID  atomic.Int64
	blocked atomic.Int64

	mu struct {
		sync.Mutex
		byID map[int64]*Session
	}
}

func newClients() *clients {
	cl := &clients{}
	cl.mu.byID = make(map[int64]*Session)
	return cl
}

func (cl *clients) add(sess *Session) {
	sess.ID = cl.nextID.Add(1)
	cl.mu.Lock()
	cl.mu.byID[sess.ID] = sess
	cl.mu.Unlock()
}

func (cl *clients) remove(sess *Session) {
	cl.mu.Lock()
	delete(cl.mu.byID, sess.ID)
	cl.mu.Unlock()
}

func (cl *clients) get(id int64) *Session {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.mu.byID[id]
}

func (cl *clients) len() int {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return len(cl.mu.byID)
}

// watching counts the sessions with WATCHed keys.
func (cl *clients) watching() (n int) {
	for _, sess := range cl.all() {
		if sess.watched.Load() > 0 {
			n++
		}
	}
	return n
}

// proxied counts the connections of nodes that forward commands.
func (cl *clients) proxied() (n int) {
	for _, sess := range cl.all() {
		if sess.origin.Load() != nil {
			n++
		}
	}
	return n
}

// all returns the sessions in order of their IDs, without those which are being closed by CLIENT KILL.
func (cl *clients) all() []*Session {
	cl.mu.Lock()
	out := make([]*Session, 0, len(cl.mu.byID))
	for _, sess := range cl.mu.byID {
		if !sess.killed.Load() {
			out = append(out, sess)
		}
	}
	cl.mu.Unlock()
	slices.SortFunc(out, func(a, b *Session) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// clientType is a class of clients in CLIENT LIST TYPE and CLIENT KILL TYPE.
type clientType uint8

const (
	typeAny clientType = iota
	typeNormal
	typeMaster
	typeReplica
	typePubSub
)

var clientTypes = map[string]clientType{
	"normal": typeNormal, "master": typeMaster, "replica": typeReplica, "slave": typeReplica, "pubsub": typePubSub,
}

func (sess *Session) class() clientType {
	if sess.monitor.Load() {
		return typeReplica // as in Redis
	}
	return typeNormal
}

// clientFilter selects clients; zero fields select all.
type clientFilter struct {
	ids    map[int64]bool
	class  clientType
	addr   string
	laddr  string
	user   string
	skipMe bool
}

func (f *clientFilter) match(sess, me *Session) bool {
	switch {
	case f.ids != nil && !f.ids[sess.ID],
		f.class != typeAny && f.class != sess.class(),
		f.addr != "" && f.addr != sess.RemoteAddr(),
		f.laddr != "" && f.laddr != sess.LocalAddr(),
		f.user != "" && (f.user != defaultUser || !sess.authenticated.Load()),
		f.skipMe && sess == me:
		return false
	}
	return true
}

// Kill closes the session's connection, from any goroutine.
func (sess *Session) Kill() {
	sess.killed.Store(true)
	sess.Conn.Kill()
}

// defaultUser is the only user there is.
const defaultUser = "default"

// describe is the session's line of CLIENT LIST, without the newline.
func (sess *Session) describe() string {
	u := sess.Conn.Usage()
	sess.mu.Lock()
	name, libName, libVer := sess.mu.name, sess.mu.libName, sess.mu.libVer
	sess.mu.Unlock()
	cmd := "NULL"
	if last := sess.lastCmd.Load(); last != nil {
		cmd = last.full
	}
	now := sess.server.nanos()
	age := (now - int64(sess.Created.Sub(sess.server.start))) / 1e9
	idle := max(now-sess.lastActive.Load(), 0) / 1e9
	multiMem := sess.queuedBytes.Load()
	events := "r"
	if u.OutputBuffer > 0 {
		events = "rw"
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d sub=0 psub=0 ssub=0 multi=%d"+
		" qbuf=%d qbuf-free=%d argv-mem=0 multi-mem=%d rbs=%d rbp=%d obl=%d oll=0 omem=0 tot-mem=%d events=%s cmd=%s user=%s redir=-1 resp=%d lib-name=%s lib-ver=%s",
		sess.ID, sess.RemoteAddr(), sess.LocalAddr(), sess.Conn.FD(), name, age, idle, sess.flagLetters(), sess.DB(), sess.queued.Load(),
		u.QueryBuffer, u.QueryFree, multiMem, u.OutputBuffer, u.OutputBuffer, u.OutputBuffer,
		sess.memory(u), events, cmd, defaultUser, sess.Proto(), libName, libVer)
}

// sessionOverhead is about what a session and its connection take apart from buffers.
const sessionOverhead = 4096

func (sess *Session) memory(u Usage) int64 {
	return sessionOverhead + int64(u.QueryBuffer+u.QueryFree+u.OutputBuffer) + sess.queuedBytes.Load()
}

func (sess *Session) flagLetters() string {
	var b strings.Builder
	add := func(on bool, letter byte) {
		if on {
			b.WriteByte(letter)
		}
	}
	add(sess.monitor.Load(), 'O')
	add(sess.queued.Load() >= 0, 'x')
	add(sess.blocked.Load(), 'b')
	add(strings.HasPrefix(sess.RemoteAddr(), "/"), 'U')
	add(sess.noEvict.Load(), 'e')
	add(sess.noTouch.Load(), 'T')
	if b.Len() == 0 {
		return "N"
	}
	return b.String()
}

// describeAll is CLIENT LIST for the clients that the filter selects.
func (s *Server) describeAll(f *clientFilter, me *Session) string {
	var b strings.Builder
	for _, sess := range s.clients.all() {
		if f.match(sess, me) {
			b.WriteString(sess.describe())
			b.WriteByte('\n')
		}
	}
	return b.String()
}
