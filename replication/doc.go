// Package replication makes a node of a cluster: it joins the protocol, which decides, with the store, the links between
// nodes and the election, which do.
//
//	n, err := replication.New(options)      // knows no leader, may be asked by clients already
//	err = n.Start(membership)               // store, election, listeners
//	term := n.Leads()                       // may a command begin?
//	n.Holds(term)                           // may its reply leave?
//	n.Shutdown(ctx, limit)                  // hands over, leaves
//	n.Close()
//
// # Reading the source
//
// node.go: the Node, its one lock (enter), and how a node starts and ends. act.go: what the core wants done.
// serve.go: what clients' goroutines ask, and how a term begins and ends. follow.go: the records of a leader come in; its first comment is
// the one to read twice. ship.go: they go out. fullsync.go: the whole store. peers.go and wire.go: messages of the cores.
// identity.go: which log this is. state.go: the state in ZooKeeper. status.go, options.go.
//
// Below are the packages protocol (decisions only, simulated), link, stream and fullsync, each of which stands alone. Beside it, and
// not imported but for the types of its state, is the package election: ZooKeeper makes atomic what is decided here. Above
// it, the package proxy sends what clients want of a node that does not lead to the one that Node.Leader names.
//
// # Decisions
//
// The core is under one lock. Whoever has an event, calls it and carries out what it wants, on his own goroutine: who has received a
// message or records, who has written the log, who has read an acknowledgement. Under the lock nobody waits for a disk,
// a link or another node: frames are handed to sockets that take them at once, or to the queue of their link; what takes time is done by
// others, who enter again with what has become of it; and who has waited for a commit is told when the lock is let go, by the goroutine that
// was told of it. So a write with three nodes changes from process to process, but nowhere from goroutine to goroutine:
//
//	leader    event loop: executes, writes its log, ships to each follower
//	follower  receiver: asks the core, appends, writes its log, acknowledges on the stream
//	leader    who reads acknowledgements: the core commits; sends the replies to the clients
//
// Rejected: one goroutine that owns the core, with a channel for events. It was two changes of goroutines for each event, of which each
// may have to wake a thread, which takes longer than all that is done for the write.
//
// All that changes the log, but for the records of a leader, is done by one worker in the order in which the core wants it. Records of
// a leader are appended by the goroutine that receives them, after the core has agreed to them (follow.go), and outside of the lock. So the core
// knows of all that is or will be in the log whenever it decides, and never waits for a disk.
//
// How far a follower is it says on the stream, as often as it gets on, and with each beacon that it answers, on
// the control link. Both are the same message to the core, which takes the greater of two positions in a session, and of another session or
// epoch none: it does not matter which comes first, nor when an old stream's last one comes.
//
// The core agrees on where two logs part (Join, Answer, sessions). So the streams begin without stream.Resume, which does the
// same for those who have no core; a stream names its epoch and session, and records under another one are refused.
//
// Each node dials each other one for its messages, and receives on links that others have dialed: no node has to find out which
// of two links counts. Streams are dialed by the leader, full syncs by the follower, each on a link of its own, so that no beacon waits
// behind data.
//
// When a leader is deposed, engine.RefuseWrites is what keeps commands that have begun from appending; and before it leads
// again, Store.Reload waits for all transactions that began before. A hand-over waits for commands that have begun
// (Options.Quiet), so that none of them fails.
//
// A full sync gives the log a new lineage first, and replaces the open store in one step (engine.DB.Install). It goes on until
// it succeeds, with whoever leads by then. After a crash in between, the old data is there under the new lineage, which is in nobody's ISR: the
// node joins as one with a log of unknown worth does.
//
// The log is pinned for each follower from what it has acknowledged on, also while it is away, within
// engine.Live.LogPinBytes; a new leader pins it for all that it knows. A node that has gone for Options.Forget is forgotten, with its
// pin: there is no other sign that it was removed for good. Pins are in memory: a leader that restarts begins anew.
//
// The lease is measured by CLOCK_BOOTTIME, which runs while the machine sleeps.
//
// A leader that can not write its log, because the disk fails or hangs (Options.Stall), hands over at once; one whose disk is full refuses
// writes, for its followers have the same data and may have no room either. A follower with a full disk waits for room; it is
// out of the ISR meanwhile. After a log has failed, its next start is that of a log which may have lost something.
//
// protocol.Node.Force is not within reach of anybody: no command makes a node lead that may lack what was acknowledged.
//
// # Rejected
//
// Shortening the grace when a connection is reset: a process that was killed looks like one whose host has firewalled us.
// Doing without a session of ZooKeeper in the way is enough: a follower claims when the grace is over, whatever
// ZooKeeper knows of the leader.
package replication
