package protocol

// LogID names a log as far as its content can be relied on. Lineage is a
// random number drawn when a log begins empty: a new data directory, a wiped
// disk, the start of a full sync. Tears grows each time the log may have lost
// records that were acknowledged (a power failure while acknowledging before
// fsync). So whoever has the same LogID still has all that was ever
// acknowledged under it. The zero LogID belongs to no log.
type LogID struct {
	Lineage uint64
	Tears   uint32
}

// Member is one entry of the in-sync set: a node, with the log that it
// acknowledged with. When the node comes back with another log, it is not
// this member.
type Member struct {
	Node string
	Log  LogID
}

// State is the content of the znode /state. Each epoch is claimed by exactly one
// incarnation of one node, its leader; while the epoch lasts only the leader changes the
// rest. Every change is a compare-and-set on the version of the znode.
type State struct {
	Epoch       uint64 // 0: no node ever led
	Leader      string
	Incarnation string   // of the leader: its process, not its node
	ISR         []Member // each has every committed record, or its log is gone; the leader is one of them; of epoch 0: who founded the cluster
}

// member returns the entry of a node.
func (s *State) member(node string) (Member, bool) {
	for _, m := range s.ISR {
		if m.Node == node {
			return m, true
		}
	}
	return Member{}, false
}

// Result is the outcome of a compare-and-set.
type Result uint8

// Outcomes of CompareAndSet and Claim.
const (
	// Applied: it took effect.
	Applied Result = iota + 1
	// Conflict: the version was another one. An earlier attempt with the
	// same version whose outcome was unknown may be the reason.
	Conflict
	// Refused: it took no effect and never will, for example because it was
	// never sent or because the ephemeral node that it checks is gone.
	Refused
	// Unknown: it took effect, or will, or will not.
	Unknown
)
