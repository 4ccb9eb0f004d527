// Package resp is the front end: it accepts clients, takes their requests apart,
// has them executed and sends the replies.
//
// # Where to start reading
//
// server.go: what there is and who owns it. session.go is the life of one client, from its
// first byte to its last. frame.go is what hostile input has to pass.
//
// # How redcon is used
//
// tidwall/redcon is the listener (its accept loop and a goroutine per connection) and the parser
// (redcon.ReadNextCommand). It is used behind a guard, the net.Listener and net.Conn of this package,
// because its own reading loop has no limits and can be made to panic before a client has
// authenticated.
//
//	client ── tcp, unix, tls ── listener ── redcon.Serve ── handler ── client.serve
//	                            (guard)                               │
//	   framer: complete, harmless frame ── redcon.ReadNextCommand ── Dispatch ── outbox ── client
//
// redcon calls its handler only after it has read a command. The guard therefore gives it one:
// a constant opening frame which no client has sent. The handler then runs the session until
// its end, on the goroutine which redcon has made for the connection; afterwards redcon reads the
// end of the stream and forgets the connection.
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
//	session         one per connection (redcon's); ends when the connection is closed
//	outbox.drain    at most one per connection, while its client is slow; ends with the connection
//	watcher.run     at most one per connection, while one of its commands blocks
//	sweeper         one per Server; timeouts, soft limits, the memory budget; ends with Close
//
// # Rejected
//
//   - redcon's own loop (handler per command, ReadPipeline): it copies every command twice, allocates three
//     times for it, grows its buffer with the stream, and throws valid commands away when an error follows them.
//   - An event loop with one goroutine per core: a command may block (fsync, CLIENT PAUSE, later BLPOP), and
//     redcon would be no listener any more.
//   - Deadlines for each read and write: setting one costs as much as parsing a command. The sweeper
//     looks at all connections once a second instead.
package resp
