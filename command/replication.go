package command

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// Replication is what INFO, ROLE, WAIT, WAITAOF and the gate of writes ask of a node of a cluster. Its methods do not block.
type Replication interface {
	// Writable reports whether there are as many followers in sync as writes need.
	Writable() bool
	// Acknowledged returns how many followers have the log up to seq: so that it survives the death of the process, and on disk.
	Acknowledged(seq uint64) (written, synced int)
	// Moved returns a channel that is closed when Acknowledged may say more.
	Moved() <-chan struct{}
	// Status describes the node; it may be a moment old.
	Status() ReplicationStatus
}

// ReplicationStatus is a node of a cluster, for people and exporters.
type ReplicationStatus struct {
	Role       string // of the protocol: waiting, follower, claiming, leader, stopping, resigned, gone
	Epoch      uint64
	Last       uint64 // sequence number of the last record of the log
	Committed  uint64
	ISR        []string      // ids of the nodes in sync
	InSync     bool          // this node is one of them
	Lease      time.Duration // how long it lasts; negative: it needs none or has none
	Uncertain  bool          // a change of the ISR has an unknown outcome
	Missing    []string      // while nobody leads: nodes in sync that do not answer
	Unequal    []string      // of a leader: followers whose acknowledgements mean more, or less, than its own (appendfsync)
	ZooKeeper  string        // how the node stands with it
	Followers  []ReplicaStatus
	Syncing    bool          // this node replaces its data by the leader's
	LinkUp     bool          // of a follower: it hears its leader
	LinkSilent time.Duration // since it heard it
	FullSyncs  uint64        // whole stores that this node has given to followers, since it started
	Streams    uint64        // streams of the log that it has given
}

// ReplicaStatus is a follower as its leader sees it.
type ReplicaStatus struct {
	ID     string
	Addr   string // where it takes clients, host:port
	InSync bool
	Online bool // it gets the log
	Offset uint64
	Lag    time.Duration // since it had all of the log; negative: it never had
	Behind int64         // bytes of the leader's log that it does not have yet, about
}

const errNoReplicas = "NOREPLICAS Not enough good replicas to write."

// admitReplicas is the gate for writes of a leader.
func (s *Server) admitReplicas(c *Call) bool {
	if c.effectiveFlags()&Write != 0 && c.lacksReplicas() {
		return s.reject(c, errNoReplicas)
	}
	return true
}

// lacksReplicas reports whether this node, leading, takes no writes for lack of followers in sync. It executes reads, but for those which find a
// key that has expired: they would have to delete it.
func (c *Call) lacksReplicas() bool {
	return c.replication != nil && c.Session.unit.term != 0 && !c.replication.Writable()
}

// Quiet returns when no command is being executed that has begun while this node led, at the latest when ctx ends.
func (s *Server) Quiet(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.underWay() && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (s *Server) underWay() bool {
	for _, sess := range s.clients.all() {
		if sess.led.Load() {
			return true
		}
	}
	return false
}

// beginTerm looks whether this node leads, for a unit that begins. Whoever waits in Quiet sees the unit, or the unit
// that it may not.
func (s *Server) beginTerm(sess *Session) {
	sess.led.Store(true)
	if sess.unit.term = s.cluster.Leads(); sess.unit.term == 0 {
		sess.led.Store(false)
		return
	}
	s.forgetWrites(sess)
}

// forgetWrites comes with another term. Sequence numbers of an earlier one may have been taken back and be below those that are given now:
// the session would not wait for its writes. What is left of the earlier ones is committed.
func (s *Server) forgetWrites(sess *Session) {
	if term := sess.unit.term; term != sess.wroteIn && !s.Loading() {
		sess.wroteIn = term
		if sess.LastWrite != 0 {
			sess.LastWrite = s.DB.Committed()
			sess.unit.committed = sess.LastWrite
		}
	}
}

// waitFollowers waits until n followers have the session's writes as count says, until d is over (0 = for ever), or until nothing can
// be waited for. It returns how many have. False: the reply is done.
func (c *Call) waitFollowers(n int64, d time.Duration, count func(written, synced int) int) (have int64, ok bool) {
	if c.replication == nil {
		return 0, n <= 0 || c.waitInVain(d)
	}
	seq, term, begin := c.ownWrites(), c.Session.unit.term, time.Now()
	if term == 0 {
		c.Out.Error("ERR " + strings.ToUpper(c.Cmd.full) + " cannot be used with replica instances")
		return 0, false
	}
	for {
		moved := c.replication.Moved()
		have = int64(count(c.replication.Acknowledged(seq)))
		left := time.Duration(0)
		if d > 0 {
			left = d - time.Since(begin)
		}
		switch {
		case c.Txn == nil && c.termOver(term): // first: seq may be that of another write by now
			c.refuseDeposed()
			return 0, false
		case have >= n, c.Txn != nil, d > 0 && left <= 0:
			return have, true
		}
		switch c.wait(moved, left) {
		case waitUnblocked:
			c.Out.Error("UNBLOCKED client unblocked via CLIENT UNBLOCK")
			return 0, false
		case waitDeposed:
			c.refuseDeposed()
			return 0, false
		case waitGone:
			c.Session.CloseAfterReply()
			return 0, false
		case waitTimeout:
			return int64(count(c.replication.Acknowledged(seq))), true
		}
	}
}

// ownWrites is the position of the client's last write, or one behind it. What the client of another node has written
// over other connections was acknowledged, so it is committed.
func (c *Call) ownWrites() uint64 {
	if c.Session.origin.Load() != nil {
		return max(c.Session.LastWrite, c.DB.Committed())
	}
	return c.Session.LastWrite
}

func infoReplication(w *infoWriter) {
	if w.replication == nil {
		infoAlone(w)
		return
	}
	st := w.replication.Status()
	_, leader := w.cluster.Leader()
	if w.follows() {
		infoFollower(w, &st, leader)
	} else {
		w.line("role", "master")
	}
	online := 0
	for i := range st.Followers {
		f := &st.Followers[i]
		state := "wait_bgsave"
		if f.Online {
			state = "online"
			online++
		}
		host, port := splitAddr(f.Addr)
		fmt.Fprintf(&w.b, "slave%d:ip=%s,port=%s,state=%s,offset=%d,lag=%d,id=%s,in_sync=%d,records_behind=%d,lag_ms=%d,lag_bytes=%d\r\n",
			i, host, port, state, f.Offset, lagSeconds(f.Lag), f.ID, bit(f.InSync), st.Last-min(st.Last, f.Offset), f.Lag.Milliseconds(), f.Behind)
	}
	w.line("connected_slaves", online)
	if !w.follows() {
		w.line("min_slaves_good_slaves", max(0, len(st.ISR)-1))
	}
	infoOffsets(w, st.Committed)
	w.line("cluster_node", w.cluster.Self())
	w.line("cluster_role", st.Role)
	w.line("cluster_epoch", st.Epoch)
	w.line("cluster_committed", st.Committed)
	w.line("cluster_last", st.Last)
	fmt.Fprintf(&w.b, "cluster_isr:%s\r\n", join(st.ISR))
	w.line("cluster_in_sync", bit(st.InSync))
	w.line("cluster_isr_uncertain", bit(st.Uncertain))
	w.line("cluster_lease_ms", st.Lease.Milliseconds())
	w.line("cluster_writable", bit(w.replication.Writable()))
	fmt.Fprintf(&w.b, "cluster_missing:%s\r\n", join(st.Missing))
	fmt.Fprintf(&w.b, "cluster_unequal_fsync:%s\r\n", join(st.Unequal))
	w.line("cluster_zookeeper", st.ZooKeeper)
}

// infoAlone is for a node without a cluster.
func infoAlone(w *infoWriter) {
	w.line("role", "master")
	w.line("connected_slaves", 0)
	infoOffsets(w, w.replicationOffset())
}

func infoFollower(w *infoWriter, st *ReplicationStatus, leader string) {
	host, port := splitAddr(leader)
	w.line("role", "slave")
	w.line("master_host", host)
	w.line("master_port", port)
	up := "down"
	if st.LinkUp {
		up = "up"
	}
	w.line("master_link_status", up)
	w.line("master_last_io_seconds_ago", int64(st.LinkSilent/time.Second))
	w.line("master_sync_in_progress", bit(st.Syncing))
	w.line("slave_read_repl_offset", st.Last)
	w.line("slave_repl_offset", st.Committed)
	if !st.LinkUp {
		w.line("master_link_down_since_seconds", int64(st.LinkSilent/time.Second))
	}
	w.line("slave_priority", 100)
	w.line("slave_read_only", 1)
	w.line("replica_announced", 1)
}

func infoOffsets(w *infoWriter, offset uint64) {
	w.line("master_failover_state", "no-failover")
	w.line("master_replid", *w.replID.Load())
	w.line("master_replid2", zeroID)
	w.line("master_repl_offset", offset)
	w.line("second_repl_offset", -1)
	w.line("repl_backlog_active", 0)
	w.line("repl_backlog_size", w.Config.String("repl-backlog-size"))
	w.line("repl_backlog_first_byte_offset", 0)
	w.line("repl_backlog_histlen", 0)
}

const zeroID = "0000000000000000000000000000000000000000"

func join(list []string) (s string) {
	for i, x := range list {
		if i > 0 {
			s += ","
		}
		s += x
	}
	return s
}

// lagSeconds is what exporters expect: whole seconds, -1 = not yet in sync.
func lagSeconds(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return int64(d / time.Second)
}

func splitAddr(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "?", "0"
	}
	return host, port
}

// role is ROLE, in the form that sentinels and clients know.
func role(c *Call) {
	if c.replication == nil || !c.follows() {
		c.Out.Array(3)
		c.Out.BulkString("master")
		c.Out.Int(int64(c.replicationOffset()))
		if c.replication == nil {
			c.Out.Array(0)
			return
		}
		st := c.replication.Status()
		c.Out.Array(len(st.Followers))
		for _, f := range st.Followers {
			host, port := splitAddr(f.Addr)
			c.Out.Array(3)
			c.Out.BulkString(host)
			c.Out.BulkString(port)
			c.Out.BulkString(fmt.Sprint(f.Offset))
		}
		return
	}
	_, addr := c.cluster.Leader()
	host, port := splitAddr(addr)
	st, state := c.replication.Status(), "connect"
	if st.LinkUp {
		state = "connected"
	}
	n, _ := net.LookupPort("tcp", port)
	c.Out.Array(5)
	c.Out.BulkString("slave")
	c.Out.BulkString(host)
	c.Out.Int(int64(n))
	c.Out.BulkString(state)
	c.Out.Int(int64(st.Committed))
}
