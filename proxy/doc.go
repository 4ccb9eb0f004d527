// Package proxy forwards the commands of a node that does not lead to the node that does. To a client every node is
// the same.
//
// # Where to start reading
//
// exchange.go is the life of what one session forwards at the end of a unit, and says what becomes of it when the leader is lost.
// upstream.go collects it. connection.go makes connections to the leader; the bytes of the handshake are drawn in command/proxied.go. read.go
// takes replies off a connection. batch.go does it for many sessions at once. What this package is asked for, and what it asks,
// is declared by its consumer, in command/cluster.go. Who leads, and for how long, is decided in the package replication.
//
// # What happens
//
//	client ── resp ── command: gates ── Forward ─┐ (until the end of the unit)
//	                     │                       │
//	             nodeLocal: answered here     Exchange ── connection ── resp of the leader ── command: gates ── keyspace
//	                     │                       │
//	                     └── replies, in order ──┘
//
// All gates that need no data (arity, authentication, MULTI, CLIENT PAUSE) are passed at the client's node first. Frames
// go to the leader as the client has sent them, and replies come back as the leader has sent them. MULTI queues at the
// client's node, and goes to the leader as a whole with EXEC; so a transaction that is open when the leader changes loses nothing.
//
// # Connections
//
// A connection serves one session at a time, and belongs to that session as long as the leader has to remember something for it: while
// a command blocks, and while keys are watched. In between it is idle, and serves whichever session comes next. What the leader has to
// know of a session (address, name, database, version of RESP) goes in front of its commands when the connection last served another one
// or when it has changed (PROXY FOR). So ten thousand clients that are mostly silent do not cost the leader ten thousand connections.
//
// Each event loop of the front end has a lane, which takes a few idle connections for itself: its lines. What the loop's sessions forward in
// one round goes out together over one of them, as far as it is quick: a few reads, or writes of one key, of a session for which the leader
// has nothing to remember.
//
// # What a client can rely on
//
//   - A command that was not executed is sent again, until Options.Wait is over; then the reply is CLUSTERDOWN. A leader says
//     that it did not execute one by NOLEADER, and from then on refuses all that come on that connection, so that the order stays. One
//     that stops says it, too, behind its last reply, before it closes the connection.
//   - A read may have been executed or not: it is sent again, at most maxBreaks times; then the reply is TRYAGAIN.
//   - A write that may have been executed is never sent again. The reply is UNKNOWN.
//   - WATCH: when the connection which knows of it is lost, EXEC answers null.
//   - A reply of which the client has got a part can not be completed by another leader: the client's connection is closed.
//   - What has come from another node is never forwarded: one hop at most.
//   - READONLY lets reads see what this node has, as in Redis Cluster, unless an earlier command of the pipeline was forwarded.
//
// # Waiting
//
// Everything has a bound: Options.Dial for a connection, also in the queue of those that are being made (maxDials); Options.Wait for a leader. Only the
// reply of a leader may take as long as it takes, since commands may block. When it takes longer than Options.Watch, a guard
// closes the connection as soon as another node leads, this node has not heard of the leader for long (Options.Hears), or the client
// goes away. Without Hears a leader that is cut off without a word is given up by the kernel (keepAlive, userTimeout).
//
// # Memory
//
// What a session forwards is copied once, so a request is held twice while it is under way, here and by the front end. Both copies are
// bounded by the front end's limits of a unit, and both count in what clients may hold together (command.Conn.Charge). A line has a third
// one, of at most 64 KiB per session and some 256 KiB in all. Replies are passed on when there are 64 KiB of them, and those longer than 1 MiB in pieces, as fast as the client reads.
// Workspaces and read buffers are borrowed for one exchange. A line keeps 64 KiB for reading; when the replies of one session do not fit, it
// becomes an ordinary connection, for good.
//
// # Goroutines
//
//	sweep     one per Proxy; closes connections that have been idle; ends with Close
//	lines     one per Proxy; closes the lines of lanes when the leader changes or falls silent; ends with Close
//	guard     at most one per exchange, while a reply takes long; ends with the exchange
//	writer    at most one per exchange of more than 16 KiB: the leader may wait for its replies to be read before it reads on; ends with the exchange
//	dial      one per connection that is being made: gives up when the leader changes; ends with the attempt
//
// # Rejected
//
//   - A connection of its own for each session, for ever: at pipelines of 16 most of the time goes into system calls and switches of
//     goroutines at three sockets instead of one. With lanes fifty sessions share them.
//   - A goroutine that waits for the replies to what an event loop has sent: to wake it costs more than to execute the commands, and a single
//     client waits for three switches of threads per command.
//   - One line per lane: reads would wait for the commits of writes in front of them, and a stop of the leader would meet all at once.
//   - One connection for all, with a number on each request: the leader's pipeline would have to be taken apart for each session, a
//     blocking command would hold up the others, and the leader's front end would have to know of it.
//   - To forward MULTI and the queue at once: the open transaction would be bound to one leader, for nothing.
//   - To repeat writes that carry an id, so that the leader could find out whether they were executed: the log would have to hold the ids.
//   - To answer MOVED: plain clients do not understand it.
package proxy
