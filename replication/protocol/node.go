package protocol

import (
	"math"
	"time"
)

// Role is what a node does at the moment.
type Role uint8

// Roles.
const (
	// Waiting: /state was not read yet; the node takes part in nothing.
	Waiting Role = iota
	// Follower of the leader of the epoch, or of nobody while that is not known.
	Follower
	// Claiming: a claim is under way. The node acknowledges nothing.
	Claiming
	// Leader of the epoch.
	Leader
	// Stopping: deposed; waits for what clients are appending.
	Stopping
	// Resigned: handed leadership over, and waits for somebody to take it.
	Resigned
	// Gone: may end.
	Gone
)

var roleNames = [...]string{"waiting", "follower", "claiming", "leader", "stopping", "resigned", "gone"}

func (r Role) String() string { return roleNames[min(int(r), len(roleNames)-1)] }

// never is a time before all others that leaves room for arithmetic.
const never = math.MinInt64 / 4

// Node is the protocol core of one node. Its methods are the events. Each
// takes the node's monotonic clock in nanoseconds and returns what is to be done, in order;
// the slice and what it refers to are valid until the next call. A Node is not
// safe for concurrent use.
type Node struct {
	cfg    Config
	broken rule // rules that a test has switched off

	now int64
	out []Action

	// The log.
	log     LogID // zero while a full sync replaces it
	history history
	written uint64 // appended, survives the end of the process
	synced  uint64
	commit  uint64

	// What is known of the cluster.
	role    Role
	epoch   uint64 // the highest seen anywhere
	leader  string // of epoch; "" if unknown, or if that incarnation is dead
	state   State  // the newest /state seen
	version int32  // of state
	stateAt int64  // when this version was first seen
	readAt  int64  // /state is not read again before
	members []string
	peers   []*peer // all other nodes

	call       call   // the CompareAndSet or Claim that has not been reported
	claimEpoch uint64 // the newest epoch claimed by this incarnation
	forced     bool   // claim, even if this node is not in the ISR
	ledEpoch   uint64 // the newest epoch led by this incarnation

	follow   follower
	lead     leader
	leaving  bool  // Shutdown was called
	reread   bool  // and /state was read since
	deadline int64 // of leaving
}

// call is a compare-and-set under way.
type call struct {
	open    bool
	claim   bool
	state   State
	version int32
}

// peer is another node.
type peer struct {
	node string

	// From its newest answer to this incarnation's Standing.
	askedAt int64 // when the answered question was asked; never: no answer
	log     LogID
	last    Position

	follow session // while this node leads
}

// New returns the core of a node that starts now. It does nothing before the
// first StateRead.
func New(now int64, cfg Config, log Log) (*Node, error) {
	return newNode(now, cfg, log, 0)
}

func newNode(now int64, cfg Config, log Log, broken rule) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	h, err := log.history()
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, broken: broken, now: now,
		log: log.ID, history: h, written: log.Last, synced: log.Last, commit: log.Committed,
		epoch: h.end().Epoch, version: math.MinInt32, readAt: never,
	}
	return n, nil
}

func (n *Node) begin(now int64) {
	n.now = max(n.now, now)
	n.out = n.out[:0]
}

func (n *Node) do(a Action) { n.out = append(n.out, a) }

func (n *Node) send(to string, m Message) {
	m.Epoch = n.epoch
	n.do(Action{Do: Send, Node: to, Message: m})
}

func (n *Node) after(d time.Duration) int64 { return n.now + int64(d) }

// since reports whether d has passed since t.
func (n *Node) since(t int64, d time.Duration) bool { return n.now-t > int64(d) }

// Tick is called at least twice per Beacon.
func (n *Node) Tick(now int64) []Action {
	n.begin(now)
	switch n.role {
	case Waiting:
		n.readState()
	case Follower:
		n.tickFollower()
	case Claiming:
		n.tickClaim()
	case Leader:
		n.tickLeader()
	case Stopping:
		if n.leaving && n.now >= n.deadline { // a disk that hangs may never say that it has stopped
			n.leave()
		}
	case Resigned:
		n.tickResigned()
	}
	return n.out
}

// Received is a message from another node, whose name the link vouches for.
func (n *Node) Received(now int64, from string, m Message) []Action {
	n.begin(now)
	if n.role == Waiting || n.role == Gone || from == n.cfg.Node || from == "" {
		return n.out
	}
	switch {
	case n.broken.has(noFencing) && m.Kind == Ack:
	case m.Epoch > n.epoch:
		n.adopt(m.Epoch, m.leader(from))
	case m.Epoch < n.epoch && !n.broken.has(noFencing):
		n.refuse(from, m)
		return n.out
	}
	switch m.Kind {
	case Beacon, Answer, Records, Resign:
		n.fromLeader(from, m)
	case Ack, Join, Leave:
		n.fromFollower(from, m)
	case Standing:
		n.standing(from, m)
	}
	return n.out
}

// leader returns the leader of the message's epoch as far as the message says it.
func (m *Message) leader(from string) string {
	switch m.Kind {
	case Beacon, Answer, Records:
		return from
	}
	return ""
}

// refuse answers a message of the past. What it says of the sender's log holds
// nevertheless.
func (n *Node) refuse(from string, m Message) {
	switch m.Kind {
	case Fenced:
	case Standing:
		n.standing(from, m)
	default:
		n.send(from, Message{Kind: Fenced})
	}
}

// adopt turns to a later epoch.
func (n *Node) adopt(epoch uint64, leader string) {
	if epoch < n.epoch {
		return
	}
	if epoch == n.epoch {
		if n.leader == "" && n.role != Leader && n.role != Resigned {
			n.leader = leader
		}
		return
	}
	switch n.role {
	case Leader:
		n.stopLeading()
	case Claiming:
		n.role = Follower
	case Resigned:
		n.leave()
	}
	n.epoch, n.leader, n.forced = epoch, leader, false
	n.follow = follower{heard: n.now, busy: n.follow.busy, joinAt: n.now, progress: n.now}
}

// StateRead is the content of /state, with its version: after a ReadState, and
// whenever it has changed. If /state does not exist, the state is zero and the version -1.
func (n *Node) StateRead(now int64, s State, version int32) []Action {
	n.begin(now)
	if n.role == Gone || version < n.version {
		return n.out // an old view of it
	}
	n.reread = n.leaving
	moved := version > n.version
	if moved {
		n.state, n.version, n.stateAt = s, version, n.now
	}
	if n.role == Waiting {
		n.role = Follower
		n.follow.heard = n.now // an earlier incarnation may have acknowledged a beacon just now
		if n.broken.has(forgetBeacons) {
			n.follow.heard = never
		}
	}
	n.adopt(s.Epoch, n.livingLeader())
	switch {
	case s.Epoch == n.epoch && n.isMine(s) && n.role != Leader && n.role != Resigned && n.role != Stopping:
		n.startLeading()
	case n.role == Claiming:
		n.claimRead(moved)
	case n.role == Leader:
		n.membershipRead(moved)
	}
	return n.out
}

// isMine reports whether s is a claim of this incarnation that it has
// not acted on.
func (n *Node) isMine(s State) bool {
	if n.broken.has(trustOldIncarnation) && s.Leader == n.cfg.Node && n.ledEpoch < s.Epoch {
		return true
	}
	return s.Leader == n.cfg.Node && s.Incarnation == n.cfg.Incarnation && n.ledEpoch < s.Epoch
}

// livingLeader returns the leader that the state names, unless it is an
// earlier incarnation of this node.
func (n *Node) livingLeader() string {
	if n.state.Leader == n.cfg.Node {
		return ""
	}
	return n.state.Leader
}

// readState asks for /state, not too often.
func (n *Node) readState() {
	if n.now < n.readAt {
		return
	}
	n.readAt = n.after(2 * n.cfg.Beacon)
	n.do(Action{Do: ReadState})
}

// Swapped is the outcome of the CompareAndSet or Claim under way. version is
// the new one, if it was Applied.
func (n *Node) Swapped(now int64, r Result, version int32) []Action {
	n.begin(now)
	c := n.call
	n.call = call{}
	if !c.open || n.role == Gone {
		return n.out
	}
	if n.broken.has(unknownIsApplied) && r == Unknown {
		r, version = Applied, c.version+1
	}
	if n.broken.has(unknownIsRefused) && r == Unknown {
		r = Refused
	}
	if r == Applied && version > n.version {
		n.state, n.version, n.stateAt = c.state, version, n.now
	}
	switch {
	case c.claim:
		n.claimed(c, r)
	case n.role == Leader:
		n.membershipSet(c, r)
	}
	return n.out
}

// Members are the nodes that are registered, this one or not among them. Who is in the ISR is
// talked to even if it is not registered.
func (n *Node) Members(now int64, nodes []string) []Action {
	n.begin(now)
	n.members = append(n.members[:0], nodes...)
	n.updatePeers()
	return n.out
}

// updatePeers keeps a peer for each member, registered or in the ISR.
func (n *Node) updatePeers() {
	known := func(node string) bool {
		for _, m := range n.members {
			if m == node {
				return true
			}
		}
		_, ok := n.state.member(node)
		return ok
	}
	kept := n.peers[:0]
	for _, p := range n.peers {
		if known(p.node) || p.follow.counts() {
			kept = append(kept, p)
		} else if p.follow.id != 0 {
			n.do(Action{Do: StopStream, Node: p.node})
		}
	}
	clear(n.peers[len(kept):])
	n.peers = kept
	for _, m := range n.members {
		n.peer(m)
	}
	for _, m := range n.state.ISR {
		n.peer(m.Node)
	}
}

// peer returns the peer of that name; nil for this node.
func (n *Node) peer(node string) *peer {
	for _, p := range n.peers {
		if p.node == node {
			return p
		}
	}
	if node == n.cfg.Node || node == "" {
		return nil
	}
	p := &peer{node: node, askedAt: never, follow: newSession()}
	n.peers = append(n.peers, p)
	return p
}

// Disconnected says that the link to a node, or the stream to it, has ended, and that
// messages or records may be missing.
func (n *Node) Disconnected(now int64, node string) []Action {
	n.begin(now)
	switch p := n.peer(node); {
	case p == nil:
	case n.role == Follower && node == n.leader:
		n.follow.session, n.follow.joinAt = 0, n.now
	case n.role == Leader:
		p.follow.id = 0 // it will notice by the next beacon
	}
	return n.out
}

// Appended says that the log's records up to seq survive the end of the
// process; under AckSynced it may also say less.
func (n *Node) Appended(now int64, seq uint64) []Action {
	n.begin(now)
	if n.role == Leader || n.role == Stopping || n.role == Resigned {
		n.ownAppended(seq)
	}
	n.written = max(n.written, min(seq, n.history.last))
	n.logMoved()
	return n.out
}

// Synced says that the log's records up to seq are on disk.
func (n *Node) Synced(now int64, seq uint64) []Action {
	n.begin(now)
	n.synced = max(n.synced, min(seq, n.history.last))
	if n.cfg.AckSynced {
		n.logMoved()
	}
	return n.out
}

func (n *Node) logMoved() {
	switch n.role {
	case Leader:
		n.advance()
	case Follower:
		n.acknowledge(NoBeacon)
		n.followCommit()
	case Claiming:
		if n.broken.has(ackWhileClaiming) {
			n.acknowledge(NoBeacon)
		}
	}
}

// acknowledged is the end of what this node's log holds as durably as asked for.
func (n *Node) acknowledged() uint64 {
	if n.broken.has(ackBeforeAppend) {
		return n.history.last
	}
	if n.cfg.AckSynced {
		return n.synced
	}
	return n.written
}

// Released says that the log now begins behind seq.
func (n *Node) Released(now int64, seq uint64) []Action {
	n.begin(now)
	n.history.release(seq)
	return n.out
}

// SetSettings replaces the settings. Whoever turns AckSynced off has first made sure
// that a power failure from now on changes the LogID.
func (n *Node) SetSettings(now int64, s Settings) []Action {
	n.begin(now)
	n.cfg.Settings = s
	n.logMoved()
	if n.role == Leader {
		n.announce()
	}
	return n.out
}

// Shutdown makes the node leave within limit: a leader hands over, a
// member of the ISR has itself taken out. Ends with the action Left. Called again it can only
// shorten the time. With no time at all a leader gives its lease up and asks whom it has heard last to claim, whether or
// not that one has all of the log: all that is committed it has.
func (n *Node) Shutdown(now int64, limit time.Duration) []Action {
	n.begin(now)
	if n.role == Gone {
		return n.out
	}
	if n.leaving {
		n.deadline = min(n.deadline, n.after(limit))
		return n.out
	}
	n.leaving, n.deadline, n.readAt = true, n.after(limit), never
	switch n.role {
	case Leader:
		n.do(Action{Do: Drain})
	case Follower:
		n.tickLeaving()
	case Waiting:
		n.leave()
	}
	return n.out
}

func (n *Node) leave() {
	n.role = Gone
	n.do(Action{Do: Left})
}

func (n *Node) setCommitted(seq uint64) {
	if seq > n.commit {
		n.commit = seq
		n.do(Action{Do: SetCommitted, Seq: seq})
	}
}
