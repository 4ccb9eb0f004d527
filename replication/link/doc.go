// Package link is one connection between two nodes: authenticated on both sides, in frames with
// checksums, with bounds on everything.
//
// # Reading the source
//
// handshake.go: who may talk to whom. frame.go: what is on the wire then. conn.go: sending
// and receiving. direct.go: how, on plain TCP. listener.go: the accepting side. Dial and Listener.Accept give a Conn; the rest of the package is
// reached through it.
//
// # Decisions
//
// Both sides prove that they know the shared secret, by an HMAC over two nonces and all that was said; the
// secret itself never travels, and who accepts proves nothing to a stranger. Without a secret
// on both sides anybody may connect who can; a secret on one side only is refused. Under TLS the proof covers the TLS
// session too, so that nobody can stand in between, even with a certificate that would do.
// The proof does not protect what follows on a plain connection from somebody who can
// change packets on their way: that takes TLS.
//
// Whoever sends writes to the socket himself if nobody else does just then, so that a
// lone frame goes out at once with no change of goroutine; what others send meanwhile leaves with the next
// write. So frames collect into large writes only under load, and there is no timer. Who must not wait writes what the socket takes at
// once (direct.go) and leaves the rest to the link's goroutine.
//
// A link has one purpose, which the handshake names: a beacon never stands in line behind a
// megabyte of log, because it has a link of its own.
//
// A link that is in doubt is closed: a bad checksum, a frame out of order, silence. Nothing is sent again here; whoever
// uses the link knows where to go on.
//
// # Rejected
//
// HTTP/2 or gRPC: flow control, framing and head-of-line rules that we would have to work around, for one peer
// and one stream. Noise or TLS with pre-shared keys: not in the standard library. RESP with AUTH:
// the secret travels, and there are no checksums.
package link
