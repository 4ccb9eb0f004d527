// Package stream moves the leader's log to a follower over a link, and the follower's
// positions back.
//
// # Reading the source
//
// format.go: the frames. resume.go: where the two logs part, and what the follower has to drop.
// sender.go: the leader's side of one follower. receiver.go: the follower.
//
//	follower                                       leader
//	Resume   term, last, committed, epochs  -->    Answer
//	         <--  continue after x | full sync | the logs do not belong together
//	truncates its log after x
//	Receiver      <--  records, committed          Sender
//	         -->  written, synced
//
// # Decisions
//
// A term is the epoch that the leader has claimed, and everything carries it: a stream belongs to one term and ends with it.
// To stop acknowledging a term, end the context of Receiver.Run and wait until it has returned.
//
// Records travel as they are in the log, so the two logs are the same byte for byte but for the
// files that they are in. The sender reads them from the leader's log, each follower with a reader
// of its own: a slow one lags behind in the files, and costs neither memory nor anybody else's time. A batch
// is what the log has when the sender looks; there is no timer, so a lone write leaves at once, on the goroutine that has written
// the log, and under load the batches grow by themselves.
//
// A position is acknowledged when it is written (it survives the death of the process) and when it
// is synced; which of them counts the follower's owner says, and it is told, too. What is only in memory is not worth telling. Who
// receives writes the log himself and acknowledges; only syncs have a goroutine of their own, so that more is applied meanwhile.
//
// The committed position rides on the records; alone it is sent only after a pause, as nobody waits for it.
//
// # Rejected
//
// Pushing each record from the writer's goroutine into the followers' queues: it puts a copy and a lock per follower
// on the path of the write, and a queue that overflows needs the reader of the log anyway.
// Compression: 128-byte records under load are bound by the memtable, not by the network.
package stream
