// Package fullsync gives a follower the whole store of the leader, when its own log has
// no place in the leader's from which it could go on.
//
// # Reading the source
//
// format.go: what is said. source.go: the leader, who makes checkpoints, holds them and serves them. fetch.go:
// the follower, who fills a staging directory. staging.go: how that becomes the store.
//
//	leader                                  follower
//	  checkpoint: hard links to the
//	  tables; the log behind is pinned
//	                               <-- want
//	  offer: position, files       -->
//	                               <-- get file 0, has n bytes with this hash
//	  what is missing, then hash   -->      writes it to staging/<name>.part
//	                                        verifies, syncs, renames to staging/<name>
//	                               <-- get file 1 ...
//	                                        the last file is CURRENT
//	                               <-- done
//	  removes the checkpoint
//	                                        closes its store
//	                                        Install(staging): engine.Install, see there
//	                                        opens its store, which ends at the position
//	  stream from position + 1     -->      package stream
//
// # What is there after a crash of the follower
//
//	before CURRENT is in staging   the old store; Fetch goes on with what is there and verifies
//	after that, before Install     the old store; the same, and it finds that nothing is missing
//	within Install                 the old store or the new one, see engine.Install
//	after Install                  the new store; Discard removes what is left of staging
//
// So nothing has to be decided at start. Staging without a running Fetch is only disk space, which
// Discard gives back as soon as the follower follows.
//
// # Decisions
//
// The log is pinned from the checkpoint's position before the first byte is sent, so that a burst of
// writes meanwhile does not end in the next full sync, within the disk budget of pins. When the budget is exceeded the
// sync is given up at once, not when it has arrived for nothing.
//
// A broken link does not lose what was sent: the leader holds the checkpoint for a while, and what is in staging is
// compared by hash, also with another checkpoint, of which most tables are the same.
//
// Only tables are sent. What is behind them is in the log, and that is what streams are for.
//
// # Rejected
//
// Sending keys and values: the follower would sort and compress everything again. Copying the files on the leader: it
// doubles the disk. Installing by exchanging directories: see engine.Install.
package fullsync
