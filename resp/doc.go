// Package resp is the front end: it accepts clients, takes their requests apart,
// has them executed and sends the replies.
//
// # Where to start reading
//
// server.go: what there is and who owns it. session.go is the life of one client, from its
// first byte to its last. loop.go says which goroutine executes its requests. frame.go is what hostile input has to pass.
//
// # How redcon is used
//
// tidwall/redcon is the listener (its accept loop and a goroutine per connection) and the parser
// (redcon.ReadNextCommand). It is used behind a guard, the net.Listener and net.Conn of this package,
// because its own reading loop has no limits and can be made to panic before a client has
// authenticated.
//
//	client ── tcp, unix, tls ── listener ── redcon.Serve ── handler ── client.serve ── loop
//	                            (guard)                                    └───────┐    │
//	   framer: complete, harmless frame ── redcon.ReadNextCommand ── Dispatch ── outbox ── client
//
// redcon calls its handler only after it has read a command. The guard therefore gives it one:
// a constant opening frame which no client has sent. The handler then returns only when the session has
// ended; afterwards redcon reads the end of the stream and forgets the connection.
//
// # Event loops
//
// The requests of most clients are executed by an event loop, one goroutine for many clients. The goroutine which redcon
// has made for a connection is there for what has to wait: it takes over a client which does not read its
// replies, whose session ends, or whose commands are slow; it serves clients with TLS alone. A loop that
// gets stuck is replaced within milliseconds. See loop.go. What another node executes, the loop's lane (command.Lane) takes there; the
// loop watches its sockets, too.
//
// # Units
//
// Whatever a client has sent, up to 1 MiB of requests or 64 KiB of replies, is executed as one
// unit: Dispatch for each command, then EndUnit, which waits once for the commit, then one write. A command is framed, parsed and executed
// before the next one is looked at, so that AUTH changes the limits of what follows it, QUIT
// drops it, and a protocol error comes behind the replies of all commands in front of it.
//
// # Memory
//
// A silent client costs redcon's two buffers of 4 KiB and its goroutine. Memory for
// reading and for replies is borrowed from a pool while there is something to do (input.go). A
// buffer for a long command grows as bytes arrive, never as they are announced. Replies that
// a client does not read are queued by its outbox while it goes on sending, since many clients send a whole
// pipeline before they read; a client with much in its queue is not read from until the
// queue is short again. What all clients hold is counted in one budget (maxmemory-clients): beyond it the
// largest clients are closed, but one client alone, as long as it makes progress, may exceed
// it, so that a value of any permitted size gets through.
//
// # Goroutines
//
//	accept loop     one per listener; owner Server; ends when the listener is closed
//	session         one per connection (redcon's), mostly asleep; ends when the connection is closed
//	loop.run        one per event loop; ends with Shutdown, or when another goroutine has become the loop
//	answerer        one per round of an event loop whose writes have to be synced; ends when they are answered
//	watchdog        one per Server; replaces loops that are stuck; ends with Shutdown
//	outbox.drain    at most one per connection, while its client is slow; ends with the connection
//	watcher.run     at most one per connection without event loop, while one of its commands blocks
//	sweeper         one per Server; timeouts, soft limits, the memory budget; ends with Close
//
// # Rejected
//
//   - redcon's own loop (handler per command, ReadPipeline): it copies every command twice, allocates three
//     times for it, grows its buffer with the stream, and throws valid commands away when an error follows them.
//   - A goroutine that reads for each client: a switch of goroutines and a futile read per request, and
//     a write to the log for each client instead of each round. It cost a fifth of the throughput.
//   - To leave connections in the library's poller as well: each packet would wake its thread, too.
//   - Deadlines for each read and write: setting one costs as much as parsing a command. The sweeper
//     looks at all connections once a second instead.
package resp
