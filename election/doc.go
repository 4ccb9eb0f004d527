// Package election is all of CoreCache's ZooKeeper code: which nodes there are, and the one small state that they agree
// on, among it who leads. It holds no data, decides nothing about leadership, and is on the path of no read or write:
// replication (its package protocol) decides, this package makes decisions atomic.
//
//	c, err := election.Open(ctx, options)          // found or join the cluster, register this node
//	view := c.View()                               // what was seen last; <-c.Changed() says: look again
//	v, err := c.CompareAndSet(ctx, view.Version, next)
//	v, err := c.Claim(ctx, view.Version, next)     // become the leader
//	state, v, err := c.Read(ctx)                   // what is so now; settles an unknown outcome
//	c.Close()                                      // leave at once
//
// # Where to start reading
//
// election.go: Cluster, and the order in which a node joins. state.go: what the nodes agree on. update.go: CompareAndSet,
// Claim and Read, and why an unknown outcome can be settled. session.go: what the library lacks. Then register.go and watch.go
// (the loop that keeps things up to date), chroot.go and identity.go (who may join), dial.go, status.go.
//
// # In ZooKeeper
//
//	<chroot>/state                      persistent   State, changed by compare-and-set on its version only
//	<chroot>/nodes/<node-id>            ephemeral    Node: where a running node is reached
//	<chroot>/incarnations/<incarnation> ephemeral    empty; what a claim checks
//
// Contents are JSON objects with the field "corecache", the version of the format (fields.go). Fields that a
// version does not know are kept, so that nodes of different versions can share a cluster while it is upgraded.
//
// # Decisions
//
//   - Safety rests on the version of the state alone. Membership, watches and Status are hints: they may be late or wrong, and then
//     something takes longer.
//   - An incarnation is a run of the process. It is random, so a claim made by an earlier run is not mistaken for one's own, and
//     an entry of a session that has expired is not mistaken for another process.
//   - All requests go through one goroutine in order (session.go). Without that, a Read after a write that timed out could
//     overtake it, find nothing, and the write would be executed after all: with a follower added to the ISR whom nobody counts, or removed while
//     somebody waits for it.
//   - Read is a transaction, not a sync: ZooKeeper's sync does not ask a majority.
//   - A request is refused at once while there is no connection (ErrUnavailable: nothing was sent), because the library would
//     keep it and send it at some later time.
//   - The library's automatic re-arming of watches is used, and not trusted: see watch.go.
//   - The chroot is created when it is missing, as Kafka does. One that holds something else is refused: a typing mistake
//     must not mix two programs, and an empty chroot next to the right one is refused by every node that remembers a cluster.
//   - With credentials everything that is created is closed to others (but for the paths above the chroot). They are
//     sent unencrypted: the network to ZooKeeper has to be trusted or tunnelled. The file which holds them should have mode 600.
//
// # Whose entry is it?
//
// The entry of a process that was killed stays until its session times out, and a live process may have the same
// node-id by mistake. Told apart by: the data directory remembers the incarnation that registered last, and the place where it was (boot of the
// kernel, device, inode). If the entry has that incarnation and the directory is in that place, its lock, which
// the caller holds, proves that the earlier process has ended, and its entry is replaced at once. Otherwise (another host, a
// reboot, a copy or a clone of the directory, a new disk) nothing is proven; the node waits for twice its session time-out, and an entry
// that is still there then belongs to a live process: ErrNodeInUse. Rejected: believing the incarnation alone, by which a
// copy of a directory would push out the original, and the host's name, which containers share.
//
// # Rejected
//
//   - zk.Lock, CreateProtectedEphemeralSequential and election recipes on them: a holder is not told when it has lost the
//     lock, and there is no token that fences it. The epoch in the state is one.
//   - An ephemeral leader node: leadership would end with a session, so a pause of ZooKeeper would stop a healthy cluster.
//   - One library connection per use: ZooKeeper orders requests within a session only.
package election
