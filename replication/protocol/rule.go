package protocol

// rule is a set of rules of the protocol that tests switch off, to show that the
// simulator notices. It is always empty otherwise.
type rule uint64

const (
	noLease             rule = 1 << iota // reads are served without a lease
	shortGrace                           // a claim waits for less than the lease
	forgetBeacons                        // a node that starts claims at once
	ackBeforeAppend                      // acknowledged when received
	ackWhileClaiming                     // the old epoch is acknowledged while a claim is under way
	countRemovedEarly                    // a member counts no more once its removal is proposed
	countAddedLate                       // a member counts once its addition is confirmed
	addingNeedsNoLease                   // a member being added is not asked for the lease
	unknownIsApplied                     // an unknown outcome is taken for success
	unknownIsRefused                     // an unknown outcome is taken for failure
	claimFromOutside                     // whoever hears no leader claims
	trustOldIncarnation                  // a claim by an earlier incarnation counts
	tornAlone                            // a torn log claims without having asked the others
	cutCommitted                         // a log is cut before its commit position
	cutToCommit                          // a log is cut to its commit position (before KIP-101)
	cutBySequence                        // a log is cut where the leader's ends, whatever the epochs
	noFencing                            // messages of an earlier epoch are accepted, acknowledgements of any
	noMinReplicas                        // records are committed without the replicas asked for
	enterBehindEpoch                     // a follower enters the ISR without what the leader inherited
	serveUncommitted                     // a leader serves before its epoch's first record is committed
	commitUnmatched                      // a commit position is believed before the logs agree
	keepAcked                            // what was acknowledged with a log that is gone counts
	countFromReply                       // the lease counts from when a beacon's acknowledgement arrives
	keepSessions                         // acknowledgements of an earlier leadership count
	rereadSettles                        // reading the same version again settles an unknown outcome
	claimForgotten                       // reading the same version again ends a claim with unknown outcome
	tornStale                            // what was known of torn logs before the state was read counts
	resignServing                        // a leader that resigned goes on serving
)

func (r rule) has(x rule) bool { return r&x != 0 }

// cut returns where a log is cut that should be cut at seq.
func (r rule) cut(n *Node, seq uint64) uint64 {
	switch {
	case r == 0:
	case r.has(cutCommitted):
		return n.history.base.Seq + (n.commit-n.history.base.Seq)/2
	case r.has(cutToCommit):
		return n.commit
	}
	return seq
}
