// Package protocol decides, on each node, who leads, what is committed and who
// is in sync. It is the core of the replication: PacificA (MSR-TR-2008-25) with ZooKeeper as configuration
// manager, and the epoch table of Kafka's KIP-101. It has no goroutines, no clocks and
// no I/O, and log records do not pass through it, only their positions. So a
// simulator can run whole clusters of it, millions of times.
//
// # Reading the source
//
// state.go and history.go hold the nouns: log, member, state, position, epoch table. message.go is
// what cores tell each other, action.go what a core wants done. node.go has the Node
// and the events common to all roles; follower.go, claim.go, leader.go with session.go,
// membership.go and handover.go are the roles. sim_world_test.go begins the simulator.
//
// # The protocol
//
// A leader ships its log. A follower appends and acknowledges. Committed is what all of the in-sync set (ISR)
// have acknowledged. The ISR stands in /state, with an epoch and its leader, and
// changes only by compare-and-set. Only a member of the ISR may claim the next epoch, and
// stops acknowledging the present one before; so whoever leads next has all that is committed.
//
// The invariants that everything serves:
//
//   - Each member of the ISR that still has the log named there has every committed record.
//   - One epoch is led by one incarnation of one node; a position (epoch, sequence)
//     names one record.
//   - While a lease lasts, nobody can claim.
//   - A log is never cut before its commit position.
//
// # Decisions
//
// Identity of logs. The ISR names not nodes but logs (LogID). A wiped disk
// gets a new lineage; a log that may have lost acknowledged records, because power failed while
// it acknowledged before fsync, gets one more tear. Either way it is not
// the member any more: it can not claim, its acknowledgements do not count for the
// old entry, and the leader drops that entry at once. This is what KIP-966 does
// with broker epochs, without anybody who has to notice the restart.
//
// Power failure of all. When no log in the ISR is left as it was, nobody could ever
// claim. Then a member by name may claim if all of them have answered that
// their logs are gone, if at least one of them is only torn, and if its own
// log ends last. Nothing is lost then but what no disk in sync had synced. If
// all were wiped, nobody claims, whatever other nodes have: Force is for a human.
//
// Unknown outcomes. Counting everybody who is or may be in the ISR (an addition
// counts from when it is proposed, a removal when it is certain) makes it safe to
// go on committing while a compare-and-set is under way, and so also when its outcome is unknown; to freeze
// commits would let a loss of ZooKeeper stop a cluster whose ISR is whole. Rejected: to take
// the matter for settled when /state is read with the version from before. A
// delayed request can be applied after that read. Only a version that moved settles it, so the leader tries again
// until it does, and a claimer acknowledges nothing until then.
//
// Minimum of replicas. It binds what clients write, not what a new leader inherits,
// nor the record that opens its epoch: nobody waits for those, and reads go on with one node left.
// While the size of the ISR is uncertain the smaller one counts.
//
// Entering the ISR needs all that the leader inherited, not only what the leader
// knows to be committed: it learns what its predecessor had committed only by committing its own first record.
//
// Grace is always waited for, also by a restarted leader: another node
// may have led on acknowledgements which this one has forgotten. The one
// exception is Resign, whose sender has given up its lease.
//
// First start. While nobody has claimed, the nodes ask each other; the one with the
// longest log claims, and the others join it. Nobody does before the founder of the cluster, which /state names, was
// heard: it is the one that may bring data, and its data would be dropped. A log that had leaders
// never does: then /state was lost, and a new cluster would swallow the old one.
// That a node with data of its own joins a cluster is refused by the runtime (another cluster's id).
//
// Rejected: shortening the grace because a connection broke or an ephemeral node vanished (a paused or cut off
// leader looks the same); asking others before a claim whether they hear the leader (who hears no beacon
// acknowledges none, so the lease is over anyway, and waiting for that leader helps nobody).
//
// # The runtime around it
//
// Calls the methods of Node, one at a time, with the machine's monotonic clock,
// and carries out the actions they return, in order, before the next call. The clock must run
// while the machine sleeps (CLOCK_BOOTTIME): a leader that slept must know. Clocks
// may differ in rate by 4 %, see Config.Validate.
//
// Before New it opens the log, syncs it, and determines its LogID, which
// it keeps next to the log:
//
//	no data                                            a new lineage, durable before New
//	begun full sync that did not end                   the same; the data stays, see below
//	orderly end of the last process, or same boot id,  as it was
//	or AckSynced was on all the time
//	otherwise                                          one more tear, durable before New
//
// A log whose fsync failed counts as the last case.
//
// What a full sync that did not end has left is the old store or the new one, never a mixture. Either is
// a log like any other, of positions that name records, and its lineage is in nobody's ISR: it joins, and is continued,
// cut or replaced. To remove it would gain nothing.
//
// Links deliver messages between two nodes in order, or lose them and call Disconnected. They may nevertheless repeat and
// delay. Beacons and acknowledgements must not wait behind log records. A stream reads the log from
// behind Seq; its Records messages have records of one epoch each, the sequence number before the
// first as Seq, the position of the last as Last, and the commit position at the time.
// When the commit position moves and there are no records to ship, an empty message is not needed: beacons carry it.
//
// Reads take a view at the commit position, then look whether their clock is before Until, then
// reply. It is the look after the view that makes them linearizable; one before saves work.
// Writes are appended while Writable, and replied to when SetCommitted covers them,
// lease or not. When StopLeading comes, those not covered have an unknown outcome.
//
// A leader whose disk fails or hangs is to be told to Shutdown: it hands over even if
// it can not drain.
//
// Log records are released (Released) only up to the commit position, and not
// beyond what followers in sync, and those about to be, have acknowledged (Status), within a budget.
package protocol
