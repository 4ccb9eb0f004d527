// Package cache keeps blocks of tables in memory under one budget.
//
// # Decisions
//
//   - A Handle is the block, its place in the cache and the reference to it in
//     one object. A lookup takes a reference and allocates nothing.
//   - A hit takes no lock: the tables that map (file, offset) to handles are read
//     with atomic loads, and a reference is taken by compare-and-swap from a
//     count that is not zero. Handles are used again for other blocks, so the
//     reader checks the key after it has the reference. Only a miss looks again
//     under the lock, because a reader may miss a handle that is being moved.
//   - Replacement is S3-FIFO (Yang et al., "FIFO Queues are All You Need for Cache
//     Eviction", SOSP 2023): new blocks go through a small queue and leave it soon
//     unless they are wanted again, so a scan does not wash out the rest. Hits
//     only raise a small counter in the handle. Index blocks enter the main
//     queue at once and may gather more credit than data blocks.
//   - Buffers have the sizes of a few classes and go round: the block that falls
//     out gives its buffer to the next one read. In steady state the garbage
//     collector gets nothing.
//   - The budget counts buffers by their real capacity with an overhead per
//     handle, wherever they are: cached, evicted but still in use, being filled,
//     or waiting for use. What is in use elsewhere narrows the cache.
//
// # Rejected
//
//   - LRU: needs a lock for every hit and keeps what a scan brings.
//   - Memory outside the Go heap: a Handle that is released too often, or used
//     too long, would be a crash instead of a test failure.
package cache
