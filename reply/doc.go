// Package reply encodes replies in the Redis serialization protocol, RESP2 or
// RESP3 as the client has chosen by HELLO, into one reusable buffer.
//
// # Where to start reading
//
// writer.go holds the Writer and one method per RESP type; double.go prints
// floating point numbers as Redis does.
//
// # Decisions
//
//   - Each type that RESP2 lacks degrades here, exactly as Redis degrades it, so
//     handlers state what they mean (Map, Set, Double, ...) and never ask for the
//     protocol version.
//   - The buffer is a plain exported slice: whoever owns the connection sends it,
//     cuts it or replaces parts of it (a write that failed to commit takes back its
//     replies), and a caller may append encoded bytes that it kept.
//   - Nothing allocates but the growth of the buffer.
//   - Rejected: an io.Writer underneath. Replies are held back until the writes
//     of the unit are committed, so they have to stay in memory anyway.
//
// Protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
package reply
