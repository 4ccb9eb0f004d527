package command

import (
	"sync"
	"sync/atomic"
	"time"
)

// Conn is what the front end gives a session. All methods but Flush, Send and
// Yield may be called from any goroutine and do not block.
type Conn interface {
	RemoteAddr() string // "127.0.0.1:53412", or "/path/to/socket:0"
	LocalAddr() string
	FD() int // the number shown by CLIENT LIST; -1 when unknown

	// Push queues an out-of-band message (already encoded) behind the replies sent
	// so far. It copies b and fails when the output limit is reached or the connection is closed.
	Push(b []byte) error
	// Flush sends the replies of the session's writer and empties it. Only
	// Dispatch and EndUnit call it, on the session's goroutine, before a command blocks.
	Flush() error
	// Send sends the bytes that are in the session's writer, which need not be complete replies, and empties it. If wait is
	// set it waits while the client does not read. Only EndUnit calls it, on the session's goroutine.
	Send(wait bool) error
	// Yield comes, on the session's goroutine, before it waits for something, so that other clients are not held up.
	Yield()
	// Charge counts so many more bytes that are held for the client in what all clients may hold (maxmemory-clients); it may be negative.
	Charge(delta int64)
	// Kill closes the connection at once.
	Kill()
	// Done is closed once the client has gone or was killed.
	Done() <-chan struct{}
	// Usage tells what CLIENT LIST and MEMORY show of buffers and traffic.
	Usage() Usage
}

// Usage describes the buffers and the traffic of one connection, in bytes.
type Usage struct {
	QueryBuffer, QueryFree int   // qbuf, qbuf-free
	OutputBuffer           int   // replies and pushed messages not yet sent (obl + omem)
	BytesIn, BytesOut      int64 // since the connection was opened
}

// Session is the protocol state of one client. Its commands run on one goroutine
// at a time; what others may read (CLIENT LIST, INFO) is atomic or under mu.
type Session struct {
	ID      int64 // unique, ascending
	Conn    Conn
	Created time.Time

	server *Server

	// Owned by the goroutine that runs the session's commands.
	LastWrite  uint64 // sequence number of the session's last write; see Call.Wrote
	wroteIn    uint64 // the term that LastWrite belongs to
	Multi      Multi
	watch      watchSet // see transaction.go
	call       Call     // reused for each command
	up         Upstream // nil until the first command is forwarded
	request    Request  // reused for each command that is
	forwarded  int64    // commands in this unit
	blocksAway bool     // one of them may block there
	readOnly   bool     // READONLY
	refused    bool     // proxied: a command was answered with ErrNoLeader
	offer      *proxyOffer
	names      nameCache
	unit       unit
	lap        lap
	replyMode  replyMode
	largeReply bool // this session's turn to build large replies, until the unit ends
	closing    bool // QUIT, SHUTDOWN: close after the replies are flushed

	// Frame is the request to be dispatched next as the client has sent it. A front end may set it, so that a request which is forwarded
	// need not be encoded again; Dispatch forgets it.
	Frame []byte

	// Self-synchronised.
	db            atomic.Int32
	proto         atomic.Int32
	authenticated atomic.Bool
	killed        atomic.Bool
	led           atomic.Bool            // a unit that has begun while this node led has not ended
	origin        atomic.Pointer[origin] // not nil: the session is that of a client of another node
	monitor       atomic.Bool
	noEvict       atomic.Bool
	noTouch       atomic.Bool
	lastCmd       atomic.Pointer[Command]
	lastActive    atomic.Int64 // monotonic nanoseconds since the start of the server
	queued        atomic.Int32 // commands in MULTI, -1 outside
	queuedBytes   atomic.Int64
	watched       atomic.Int32
	blocked       atomic.Bool
	endsSoon      atomic.Bool // see EndsSoon
	blocking      blocking

	mu struct {
		sync.Mutex
		name, libName, libVer string
	}
}

// Multi is the state of MULTI.
type Multi struct {
	Open    bool
	Aborted bool // a command was refused while queueing: EXEC fails with EXECABORT
	Queue   []Queued
	flags   Flags // of all queued commands
	bytes   int64
}

// Queued is a command waiting for EXEC. Args are the session's own copy.
type Queued struct {
	Cmd  *Command
	Args [][]byte
}

// replyMode is the state of CLIENT REPLY.
type replyMode uint8

const (
	replyOn replyMode = iota
	replyOff
	replySkipNext // CLIENT REPLY SKIP was executed: skip the next reply
	replySkip     // skip the reply of this command
)

// DB is the selected database.
func (sess *Session) DB() int { return int(sess.db.Load()) }

// SetDB selects a database; the caller has checked the range.
func (sess *Session) SetDB(n int) { sess.db.Store(int32(n)) }

// Proto is the RESP version of the session, 2 or 3.
func (sess *Session) Proto() int { return int(sess.proto.Load()) }

// Authenticated reports whether the session may run commands that need it. Front ends grant
// larger requests to authenticated sessions.
func (sess *Session) Authenticated() bool { return sess.authenticated.Load() }

// Closing reports whether the connection is to be closed once the replies are flushed.
func (sess *Session) Closing() bool { return sess.closing || sess.killed.Load() }

// CloseAfterReply makes the front end close the connection after the current unit's replies.
func (sess *Session) CloseAfterReply() { sess.closing = true }

// EndsSoon reports whether the session, if it waits with its replies flushed (Conn.Flush), does so for the next leader or a reply of
// the leader, and not in a command that blocks. A front end that stops lets it get its reply. It may be called from any goroutine.
func (sess *Session) EndsSoon() bool { return sess.endsSoon.Load() }

// Dirty reports whether the session has writes of this unit that may not be committed
// yet, so that it must read Latest to see its own writes.
func (sess *Session) Dirty() bool { return sess.LastWrite > sess.unit.committed }

// Name is the name given by CLIENT SETNAME.
func (sess *Session) Name() string {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.mu.name
}

func (sess *Session) setName(name string) {
	sess.mu.Lock()
	sess.mu.name = name
	sess.mu.Unlock()
}

// queuedOverhead is about what a queued command takes besides its arguments, in bytes.
const queuedOverhead = 64

// enqueue adds a command to the open MULTI; args are copied into one buffer. Nothing
// is kept for a transaction which has failed already.
func (sess *Session) enqueue(cmd *Command, args [][]byte) {
	if sess.Multi.Aborted {
		return
	}
	q := Queued{Cmd: cmd, Args: cloneArgs(args)}
	sess.Multi.Queue = append(sess.Multi.Queue, q)
	sess.Multi.flags |= cmd.Flags
	sess.Multi.bytes += queuedOverhead
	for _, a := range args {
		sess.Multi.bytes += int64(len(a)) + 24
	}
	sess.queued.Store(int32(len(sess.Multi.Queue)))
	sess.queuedBytes.Store(sess.Multi.bytes)
}

// QueuedBytes is the memory taken by the commands queued in MULTI.
func (sess *Session) QueuedBytes() int64 { return sess.queuedBytes.Load() }

// NoEvict reports whether CLIENT NO-EVICT protects the client from maxmemory-clients.
func (sess *Session) NoEvict() bool { return sess.noEvict.Load() }

// Streaming reports whether the client waits for messages (MONITOR), or is a node that has nothing to forward, and may
// therefore be idle for longer than timeout.
func (sess *Session) Streaming() bool { return sess.monitor.Load() || sess.origin.Load() != nil }

// OpenMulti starts queueing.
func (sess *Session) OpenMulti() {
	sess.Multi = Multi{Open: true}
	sess.queued.Store(0)
}

// resetMulti leaves MULTI and forgets the queue.
func (sess *Session) resetMulti() {
	sess.Multi = Multi{}
	sess.queued.Store(-1)
	sess.queuedBytes.Store(0)
}

// cloneArgs copies args, which alias a read buffer, into one allocation of their own.
func cloneArgs(args [][]byte) [][]byte {
	size := 0
	for _, a := range args {
		size += len(a)
	}
	buf := make([]byte, 0, size)
	out := make([][]byte, len(args))
	for i, a := range args {
		start := len(buf)
		buf = append(buf, a...)
		out[i] = buf[start:len(buf):len(buf)]
	}
	return out
}

// unit is what a session knows of the commands since the last EndUnit.
type unit struct {
	open      bool
	term      uint64 // in which this node leads, 0 = it does not or is on its own
	copied    copied // what was read here although this node does not lead
	committed uint64 // the session's writes up to here need no waiting
	failed    error  // why those behind are not committed, if Await has learned it
	marks     []mark
	exact     bool  // time each command on its own
	now       int64 // unix milliseconds, moved on by laps
	nanos     int64 // the same moment on the server's monotonic clock
}

// mark is the reply of a command, as offsets into the writer's buffer, that must not be released just so.
type mark struct {
	start, end int
	dirty      bool // tells of a write of this unit or may have read one
	led        bool // of a command that was executed because this node leads
	write      bool // likewise, and it writes
	copied     bool // of a command that has read what this node has, although it does not lead
}

// copied says which store the unit has read without leading, see keyspace.Generation.
type copied struct {
	read       bool
	generation uint64
	mixed      bool // there was no telling
}
