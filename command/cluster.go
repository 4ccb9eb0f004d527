package command

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

const (
	// ErrClusterDown is the beginning of the reply when no leader was found in time. The command was not executed.
	ErrClusterDown = "CLUSTERDOWN no node leads: "
	// ErrLeaderMoved is the reply to a read whose result may be stale, as the leader has changed meanwhile.
	ErrLeaderMoved = "TRYAGAIN the leader changed while the command was executed, which had no effect"
)

// staysHere reports whether a call concerns only this node.
func (c *Call) staysHere() bool {
	flags := c.effectiveFlags()
	if c.Cmd.full == "exec" {
		flags |= c.Session.Multi.flags
	}
	return flags&(Write|ReadOnly|MayReplicate) == 0 && c.Cmd.full != "watch"
}

// admitInCluster is the last gate of a node in a cluster: what needs the leader is executed only by the leader.
func (s *Server) admitInCluster(c *Call) bool {
	if c.staysHere() || c.Session.unit.term != 0 {
		return true
	}
	id, addr := s.cluster.Leader()
	if id == "" || id == s.cluster.Self() {
		return s.reject(c, ErrClusterDown+"try again")
	}
	return s.reject(c, ErrClusterDown+"this node follows "+id+" at "+addr)
}

// stillLeads is asked before the replies of a unit are released. Whatever was executed in a term that is over is not told: reads
// may be stale, and the positions of writes may belong to other writes by now.
func (s *Server) stillLeads(sess *Session) bool {
	return sess.unit.term == 0 || s.cluster.Holds(sess.unit.term)
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
