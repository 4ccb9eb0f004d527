// Package command turns parsed requests into replies: the command table, the
// gates every command passes (authentication, arity, loading, MULTI, CLIENT PAUSE,
// ...), and one file per command family which parses arguments, calls the
// keyspace and encodes the reply. It knows no sockets: a front end gives each
// client a Session and calls Dispatch; EXEC calls handlers the same way.
//
// # Where to start reading
//
// dispatch.go is the life of one command; table.go says what a row of the
// command table holds; session.go is the state of one client; server.go is what
// all handlers share. The rest is a file per family or facility: connection.go, client.go
// and clients.go (connections), string.go, key.go and transaction.go (data, through
// access.go), admin.go, config.go, info.go, memory.go, persistence.go, debug.go and digest.go (the
// server), introspect.go, syntax.go and keys.go (COMMAND), stats.go, slowlog.go, latency.go
// and monitor.go (watching), block.go (whatever makes a client wait). What a node of a cluster does with commands when it does not lead:
// cluster.go (who executes a command), forward.go (its way to the leader), proxied.go (its arrival there).
//
// # Units
//
// A front end executes whatever a client has sent as one unit: Dispatch for each
// command, then EndUnit once, then one flush. EndUnit waits until the last write of
// the unit is committed; when that fails it replaces the replies which
// might tell of uncommitted data by an error that says that the outcome is unknown.
//
// # Clocks
//
// A clock read costs as much as a good part of a GET. The wall clock is
// therefore read once where a unit begins; further reads are of the monotonic
// clock, one after each slow command and one per lap of up to lapMax equal fast ones
// (see lap). SLOWLOG stays right because a tick, counted by the server's cron,
// ends a lap whenever a fast command was slow.
//
// # Decisions
//
//   - A command is one row of a table, never a chain of ifs on names. Tables are
//     joined in table.go by name; there is no registration by init().
//   - Each Server copies the table, so statistics live in the row of the server
//     and two servers in one process (tests) do not share any.
//   - COMMAND DOCS derives its argument trees from the one-line syntax of a row
//     (syntax.go). Rejected: hand-written trees, which are longer than the handlers.
//   - Statistics are added to shared counters once per lap, not per command:
//     counters shared by all cores would cost more than a GET.
package command
