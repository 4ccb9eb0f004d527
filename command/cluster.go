package command

import (
	"slices"

	"github.com/gtinside/corecache/reply"
)

// Cluster tells a node of a cluster who leads. Its methods are called for every unit: they neither block nor allocate.
type Cluster interface {
	// Self is the id of this node.
	Self() string
	// Leads returns the term in which this node leads and may execute commands now, its lease being valid; 0 means that it may not.
	Leads() (term uint64)
	// Holds reports whether this node still leads in term, with a valid lease: what it has executed in that term may be
	// told. A leader that hands over says 0 in Leads first, and keeps holding its term until everything under way has been answered.
	Holds(term uint64) bool
	// Leader returns the node that leads as far as this one knows, and the address (host:port) where it takes clients; addr is empty
	// when it is unknown.
	Leader() (id, addr string)
	// Changed returns a channel that is closed when what Leader says may have changed, or when this node begins or
	// ceases to lead. It must be called before Leader, so that no change is missed.
	Changed() <-chan struct{}
}

// Proxy makes upstreams, and lanes for many of them.
type Proxy interface {
	// NewUpstream is called when a session forwards its first command. It does not block.
	NewUpstream(*Session) Upstream
	// NewLane is called once for each event loop.
	NewLane(Loop) Lane
}

// Upstream carries the commands of one session to the node that leads. Only the goroutine that executes the session's commands calls it.
type Upstream interface {
	// Forward takes a request for the next Exchange. It copies what it keeps of it, and does not block.
	Forward(*Request)
	// Pending reports whether there are requests to exchange.
	Pending() bool
	// Quick reports whether a lane may take what is pending.
	Quick() bool
	// Arrived reports whether all replies are here already, so that Exchange does not wait.
	Arrived() bool
	// Exchange sends the pending requests, unless a lane has done so, waits for their replies and puts them at their places between the replies
	// in w, of which it may send parts (Conn.Send, Conn.Flush). Each request gets a reply, if only an error, as long as the client is there.
	Exchange(w *reply.Writer)
	// Watching reports whether the session watches keys by WATCH requests, also when the connection which knew of them is lost.
	Watching() bool
	// Unwatch forgets watched keys, those of pending requests as well.
	Unwatch()
	// Unblock ends the waiting of a command that blocks at the leader, as CLIENT UNBLOCK does there, and reports whether there was one. It may
	// be called from any goroutine, and waits for the leader, but not for long.
	Unblock(isError bool) bool
	// Close gives the connection up.
	Close()
}

// Lane carries what the sessions of an event loop forward, of many sessions at once, and never waits. It is used on the loop only.
type Lane interface {
	// Begin takes sessions whose upstreams are Quick. Nobody else uses them until Loop.Resume gives them back, which may come before
	// Begin returns. What remains to be done is then done by Exchange.
	Begin([]Upstream)
	// Leave takes a session out whose client is lost: its replies go nowhere. It reports false when the lane does not have it.
	Leave(Upstream) bool
}

// Loop is an event loop of the front end. Its methods are called on the loop only.
type Loop interface {
	// Watch calls event, on the loop, whenever a socket may have something to read or may take something to be written; ended says that there is an
	// end to be read, too. It is edge-triggered: one call for each change.
	Watch(fd int, event func(ended bool)) error
	// Again lets event be called once more for what is to be read now, after others had their turn.
	Again(fd int) error
	// Forget ends Watch, before the descriptor is closed.
	Forget(fd int)
	// Resume lets a session go on that a lane had.
	Resume(*Session)
}

// Request is a command on its way to the node that leads.
type Request struct {
	Frame []byte   // as the client has sent it; nil = to be encoded from Args
	Args  [][]byte // the command
	At    int      // where in the replies of the unit its own belongs
	DB    int      // the database it is for
	Proto int      // the version of RESP that its reply is to have

	Kind  RequestKind
	Mute  bool     // the client gets no reply
	Quick bool     // it takes no longer than others can wait
	Queue []Queued // RequestExec: what MULTI has queued; kept until it is answered

	// Done, if set, gets the complete reply instead of w and writes what the client gets. What the leader knows of
	// the session (database, version of RESP) may have changed with the request.
	Done func(w *reply.Writer, encoded []byte)
}

// RequestKind says what may be done when the outcome of a request is unknown.
type RequestKind uint8

const (
	RequestWrite   RequestKind = iota // must not be repeated
	RequestRead                       // may be repeated
	RequestWatch                      // WATCH: may be repeated
	RequestUnwatch                    // UNWATCH: may be repeated
	RequestExec                       // EXEC: goes with MULTI and the queue, must not be repeated
)

const (
	// ErrNoLeader is the reply of a node that does not lead to a proxied session. The command was not executed, and none that comes
	// behind it on this connection will be. It is also the last word of a node that stops, see Session.Dismiss.
	ErrNoLeader = "NOLEADER this node does not lead"
	// ErrNoLeaderExec is the same for EXEC.
	ErrNoLeaderExec = "EXECABORT Transaction discarded because of: " + ErrNoLeader
	// ErrClusterDown is the beginning of the reply when no leader was found in time. The command was not executed.
	ErrClusterDown = "CLUSTERDOWN no node leads: "
	// ErrLeaderMoved is the reply to a read whose result may be stale, as the leader has changed meanwhile.
	ErrLeaderMoved = "TRYAGAIN the leader changed while the command was executed, which had no effect"
	// ErrReplaced is the reply to a read of what this node has (READONLY) whose data were replaced by those of the leader meanwhile.
	ErrReplaced = "TRYAGAIN the data of this node were replaced while they were read"
)

// staysHere reports whether a call concerns only this node.
func (c *Call) staysHere() bool {
	if c.Cmd.stays != nil {
		return c.Cmd.stays(c)
	}
	return c.Cmd.Flags&nodeLocal != 0
}

// goesAway reports whether a call is executed by another node.
func (c *Call) goesAway() bool {
	sess := c.Session
	return c.cluster != nil && sess.unit.term == 0 && sess.origin.Load() == nil && !c.staysHere() && !c.readsReplica()
}

// Dismiss writes, behind the last reply of a session that ends because the front end stops, what the node behind a proxied session
// needs to know: of what it has sent and got no reply to, nothing was executed or will be. For clients there is nothing to say.
func (sess *Session) Dismiss(w *reply.Writer) {
	if sess.origin.Load() != nil {
		w.Error(ErrNoLeader)
	}
}

// readsReplica reports whether READONLY lets the call read what this node has. Behind a command of the same pipeline that was
// forwarded it is forwarded, too, so that it does not overtake that.
func (c *Call) readsReplica() bool {
	return c.Session.readOnly && c.Cmd.Flags&ReadOnly != 0 && !c.Session.forwarding()
}

// admitInCluster is the last gate of a node in a cluster: what needs the leader is executed only by the leader.
func (s *Server) admitInCluster(c *Call) bool {
	sess := c.Session
	switch {
	case c.staysHere():
		return true
	case sess.refused: // an earlier command of the session was: the order must stay
	case sess.unit.term != 0, c.readsReplica():
		return true
	case sess.origin.Load() == nil && s.proxy != nil:
		s.forward(c)
		return false
	case sess.origin.Load() == nil:
		return s.reject(c, ErrClusterDown+"this node has no proxy")
	default:
		sess.refused = true
	}
	return s.reject(c, ErrNoLeader)
}

// deposed replies to a write that was admitted because this node led, and refused by the store because it does not any more.
func (c *Call) deposed() {
	switch {
	case c.Session.origin.Load() == nil:
		c.Out.Error(ErrLeaderMoved)
	case c.Cmd.full == "exec":
		c.Session.refused = true
		c.Out.Error(ErrNoLeaderExec)
	default:
		c.Session.refused = true
		c.Out.Error(ErrNoLeader)
	}
}

// stillLeads is asked before the replies of a unit are released. Whatever was executed in a term that is over is not told: reads
// may be stale, and the positions of writes may belong to other writes by now.
//
// A command that was admitted because this node led may have blocked, and gone on when it did not lead any more.
func (s *Server) stillLeads(sess *Session) bool {
	if sess.unit.term != 0 {
		return s.cluster.Holds(sess.unit.term)
	}
	return !slices.ContainsFunc(sess.unit.marks, func(m mark) bool { return m.led })
}

// followCluster lets the keyspace delete expired keys by itself only while this node leads.
func (s *Server) followCluster() {
	defer s.cron.Done()
	for {
		changed := s.cluster.Changed()
		s.pause.mu.Lock()
		s.pause.keepLocked(s)
		s.pause.mu.Unlock()
		select {
		case <-changed:
		case <-s.quit:
			return
		}
	}
}

// follows reports whether another node leads, or nobody as far as this one knows.
func (s *Server) follows() bool {
	if s.cluster == nil {
		return false
	}
	id, _ := s.cluster.Leader()
	return id != s.cluster.Self()
}

func readOnly(c *Call) {
	c.Session.readOnly = true
	c.Out.OK()
}

func readWrite(c *Call) {
	c.Session.readOnly = false
	c.Out.OK()
}

// clusterOnlyCommands are rows that a node on its own does not have.
var clusterOnlyCommands = []Command{
	{Name: "readonly", Arity: 1, Flags: Loading | Stale | Fast | nodeLocal, Categories: CatConnection, Handler: readOnly,
		Group: "cluster", Since: "3.0.0", Complexity: "O(1)", Summary: "Lets the connection read what this node has, which may be old."},
	{Name: "readwrite", Arity: 1, Flags: Loading | Stale | Fast | nodeLocal, Categories: CatConnection, Handler: readWrite,
		Group: "cluster", Since: "3.0.0", Complexity: "O(1)", Summary: "Ends what READONLY began."},
}
