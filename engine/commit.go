package engine

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

// The commit pipeline. Apply takes a batch through three steps:
//
//	order    under commit.mu: reserve memory in the memtable (and start another
//	         one when it is full), append to the log's buffer, which assigns
//	         the sequence numbers, take a ticket. No I/O, no insertion.
//	insert   with no lock: put the operations into the memtable. Many batches
//	         do that at the same time, in any order.
//	publish  when all earlier tickets are done too, the applied position moves
//	         over this batch, and it is visible to Latest readers. A batch that is
//	         faster than an earlier one waits for it: that is waiting for an
//	         insertion, never for I/O.
//
// Wait, the fourth step, is for acknowledgement: it leads or joins the log's
// group commit. It is apart from Apply so that a caller gives up its key locks
// between the two, and applies a whole pipeline before it waits once.
//
// After step one nothing can fail: the space is reserved and the batch is
// well-formed. That is why a failure never leaves a hole in the sequence.
//
// Rejected: one goroutine that writes for all (a hand-over per write costs more than
// the write), and inserting under the lock (memory-bound work on one core).
type pipeline struct {
	applied   atomic.Uint64
	head      atomic.Uint64 // the first ticket not yet published; changed under pub
	committed atomic.Uint64 // the largest that anybody saw; without ExternalCommit

	mu struct {
		sync.Mutex
		next   uint64 // ticket
		closed bool
	}

	pub struct {
		sync.Mutex
		moved sync.Cond
		slots [pipelineSlots]pipelineSlot
	}
}

// pipelineSlots bounds the batches between order and publish.
const pipelineSlots = 1 << 12

type pipelineSlot struct {
	last uint64
	done bool
}

// take hands out the next ticket. It is called with mu held and waits while
// all slots are in use.
func (p *pipeline) takeLocked() uint64 {
	t := p.mu.next
	p.mu.next++
	if t-p.head.Load() >= pipelineSlots {
		p.pub.Lock()
		for t-p.head.Load() >= pipelineSlots {
			p.pub.moved.Wait()
		}
		p.pub.Unlock()
	}
	return t
}

// publish marks a ticket as done and returns when applied has reached last.
func (p *pipeline) publish(ticket, last uint64) {
	p.pub.Lock()
	p.pub.slots[ticket%pipelineSlots] = pipelineSlot{last: last, done: true}
	head := p.head.Load()
	if ticket != head {
		p.pub.Unlock()
		p.await(last)
		return
	}
	applied := uint64(0)
	for {
		s := &p.pub.slots[head%pipelineSlots]
		if !s.done {
			break
		}
		applied, s.done = s.last, false
		head++
	}
	p.head.Store(head)
	p.applied.Store(applied)
	p.pub.moved.Broadcast()
	p.pub.Unlock()
}

// await returns when applied has reached seq: an insertion by somebody else
// is under way, which takes a moment or, if that goroutine was
// preempted, a scheduler's slice.
func (p *pipeline) await(seq uint64) {
	for range 4 {
		if p.applied.Load() >= seq {
			return
		}
		runtime.Gosched()
	}
	p.pub.Lock()
	for p.applied.Load() < seq {
		p.pub.moved.Wait()
	}
	p.pub.Unlock()
}

// raise moves the committed position up to seq, unless it is there already,
// and returns it.
func (p *pipeline) raise(seq uint64) uint64 {
	for {
		old := p.committed.Load()
		if seq <= old {
			return old
		}
		if p.committed.CompareAndSwap(old, seq) {
			return seq
		}
	}
}

// drain returns when everything that was ordered is applied. It is called with mu held.
func (p *pipeline) drainLocked() {
	p.pub.Lock()
	for p.head.Load() != p.mu.next {
		p.pub.moved.Wait()
	}
	p.pub.Unlock()
}

// loadedPool holds batches that alias a payload while they are in use.
var loadedPool = sync.Pool{New: func() any { return new(Batch) }}

var batchPool = sync.Pool{New: func() any { return new(Batch) }}

// maxPooledBatch bounds the memory that a pooled batch keeps.
const maxPooledBatch = 1 << 20

// NewBatch returns an empty batch.
func (db *DB) NewBatch() *Batch { return batchPool.Get().(*Batch) }

// Release gives the batch back; it must not be used afterwards.
func (b *Batch) Release() {
	if cap(b.data) > maxPooledBatch {
		return
	}
	b.Reset()
	batchPool.Put(b)
}

// Apply puts a batch into the log's buffer and the memtable. When it returns,
// Latest readers see it; it is acknowledged only when Wait(seq) has returned.
// seq is the sequence number of the batch's last operation. The batch may be
// reused. With an error nothing has happened, except as ErrReadOnly says. An empty
// batch does nothing and returns the applied position.
func (db *DB) Apply(b *Batch) (seq uint64, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.count == 0 {
		return db.commit.applied.Load(), nil
	}
	db.pace.wait(db, len(b.data))
	now := db.opts.Now()

	db.commit.mu.Lock()
	mem, err := db.reserveLocked(b)
	if err == nil { // now, since reserveLocked may have waited
		err = db.mayApplyLocked()
	}
	if err != nil {
		db.commit.mu.Unlock()
		return 0, err
	}
	first, err := db.log.Load().Append(db.epochs.last.Load(), b.count, now, b.data)
	if err != nil {
		db.commit.mu.Unlock()
		return 0, writeError(err)
	}
	ticket := db.commit.takeLocked()
	db.commit.mu.Unlock()

	db.finish(mem, b, ticket, first)
	if ticket%yieldEvery == 0 && db.pace.rate.Load() != 0 {
		runtime.Gosched()
	}
	return first + uint64(b.count) - 1, nil
}

// RefuseWrites makes Apply fail with an error that wraps ErrRefused and err; nil ends that.
// When it returns no earlier Apply is under way. ApplyRecord and BeginEpoch are not concerned: this is for nodes
// that follow, or are about to.
func (db *DB) RefuseWrites(err error) {
	db.commit.mu.Lock()
	defer db.commit.mu.Unlock()
	if err == nil {
		db.refusal.Store(nil)
		return
	}
	err = fmt.Errorf("%w: %w", ErrRefused, err)
	db.refusal.Store(&err)
	db.commit.drainLocked()
}

// mayApplyLocked returns why nothing may be appended.
func (db *DB) mayApplyLocked() error {
	if err := db.refusal.Load(); err != nil {
		return *err
	}
	if mems, most := db.state.Load().mems, db.opts.MaxUncommitted; most > 0 && len(mems) > most && db.uncommitted(mems[len(mems)-1]) {
		return fmt.Errorf("%w: too much is waiting to be committed", ErrStalled)
	}
	return nil
}

// finish takes an ordered batch through the steps that can not fail.
func (db *DB) finish(m *memTable, b *Batch, ticket, first uint64) {
	last := first + uint64(b.count) - 1
	db.insert(m, b, first)
	db.commit.publish(ticket, last)
	db.stats.ingested.Add(uint64(len(b.data)))
	if db.opts.ExternalCommit && db.external.Load() >= first {
		db.committedMoved().wake()
	}
	if b.ranges > 0 {
		db.rangesApplied(b)
	}
}

// ApplyRecord appends a record of another node's log, which must be the next
// (else the error wraps wal.ErrNotNext) and not of an older epoch (ErrEpoch), and applies it.
// The payload is copied. As with Apply, the record is in this node's log only when WaitLogged
// has returned.
func (db *DB) ApplyRecord(r wal.Record) error {
	b := loadedPool.Get().(*Batch)
	defer func() {
		*b = Batch{} // it must not keep the payload
		loadedPool.Put(b)
	}()
	if err := b.load(r.Payload, r.Count); err != nil {
		return err
	}
	db.pace.wait(db, len(b.data))
	db.commit.mu.Lock()
	mem, err := db.reserveLocked(b)
	if err == nil {
		err = db.appendRecordLocked(r)
	}
	if err != nil {
		db.commit.mu.Unlock()
		return err
	}
	ticket := db.commit.takeLocked()
	db.commit.mu.Unlock()

	db.finish(mem, b, ticket, r.Seq)
	return nil
}

func (db *DB) appendRecordLocked(r wal.Record) error {
	if now := db.Epoch(); r.Epoch < now {
		return fmt.Errorf("%w: record %d has epoch %d, the one before %d", ErrEpoch, r.Seq, r.Epoch, now)
	}
	if err := db.log.Load().AppendAt(r); err != nil {
		return writeError(err)
	}
	db.epochs.note(r.Epoch, r.Seq)
	return nil
}

// writeError gives errors of the log the names that they have here, and marks those
// after which writes are refused for good.
func writeError(err error) error {
	switch {
	case errors.Is(err, wal.ErrTruncated):
		return fmt.Errorf("%w: %w", ErrTruncated, err)
	case errors.Is(err, wal.ErrClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case err == nil, errors.Is(err, ErrReadOnly), errors.Is(err, wal.ErrNotNext):
		return err
	case vfs.IsNoSpace(err) && !errors.Is(err, wal.ErrFailed):
		return err
	}
	return fmt.Errorf("%w: %w", ErrReadOnly, err)
}

// Commit is Apply and Wait.
func (db *DB) Commit(b *Batch) error {
	seq, err := db.Apply(b)
	if err != nil {
		return err
	}
	return db.Wait(seq)
}

// WaitLogged returns when this node's log acknowledges everything up to seq, at the
// level of Live.Ack. Whoever waits does the write, and the fsync if there is to be one,
// for everybody: without a caller of WaitLogged or Wait a record stays in memory for a millisecond or two.
func (db *DB) WaitLogged(seq uint64) error {
	return writeError(db.log.Load().Wait(seq))
}

// Wait returns when the committed position has reached seq, which with Options.ExternalCommit
// includes WaitLogged. After an error the outcome of the writes up to seq is unknown.
//
// TruncateAfter takes sequence numbers back, and others get them then. Who waits for a
// number from before a truncation could be told that it is committed, and it is another's: compare
// Truncations before Apply and after Wait.
func (db *DB) Wait(seq uint64) error {
	if db.opts.ExternalCommit && db.Committed() >= seq {
		return nil
	}
	if err := db.WaitLogged(seq); err != nil {
		return err
	}
	if db.opts.ExternalCommit {
		return db.waitExternal(seq)
	}
	db.commit.await(seq)
	if db.Committed() < seq {
		db.commit.raise(seq) // acknowledged, though the log asks for more by now
	}
	return nil
}

// LogsBriefly reports whether WaitLogged takes at most one write to the log, and no sync.
func (db *DB) LogsBriefly() bool { return !db.log.Load().AcksSynced() }

// WaitsBriefly reports whether Wait(seq) takes at most one write to the log, and
// neither a sync nor somebody else's decision.
func (db *DB) WaitsBriefly(seq uint64) bool {
	if db.opts.ExternalCommit {
		return db.Committed() >= seq
	}
	return !db.log.Load().AcksSynced() || db.log.Load().Acked() >= seq
}

func (db *DB) waitExternal(seq uint64) error {
	if db.Committed() >= seq {
		return nil
	}
	ready := make(chan error, 1)
	db.whenDecided(seq, func(err error) { ready <- err })
	return <-ready
}

// WhenCommitted calls f once Wait(seq) would return, with its result: on this goroutine if that is so already or a failure, and
// otherwise on the one that moves the committed position, or applies what is committed already, which f must not keep waiting:
// the latter may hold locks of its own. It takes what WaitLogged takes. It needs
// Options.ExternalCommit.
func (db *DB) WhenCommitted(seq uint64, f func(error)) {
	if db.Committed() < seq {
		if err := db.WaitLogged(seq); err != nil {
			f(err)
			return
		}
	}
	db.whenDecided(seq, f)
}

func (db *DB) whenDecided(seq uint64, f func(error)) {
	db.waiters.add(seq, f)
	db.waiters.reach(db.Committed()).wake() // it may have moved before add
}

// RefuseWaits makes Wait fail with err, now and from now on, for everything that is not
// committed; nil ends that. A leader that is none any more does not know what becomes of
// what its clients wait for. They are told by wake, which the caller calls when he holds no locks.
func (db *DB) RefuseWaits(err error) (wake func()) { return db.waiters.refuse(err).wake }

// SetCommitted says that everything up to seq is decided. It needs
// Options.ExternalCommit and never goes back. What is not applied yet becomes
// committed as it is applied; so a follower must not be told of a position before the records
// that its log does not share with the leader were truncated.
func (db *DB) SetCommitted(seq uint64) { db.CommitTo(seq)() }

// CommitTo is SetCommitted for a caller who holds locks: whoever waits for the position is told by wake, which he
// calls when he holds none.
func (db *DB) CommitTo(seq uint64) (wake func()) {
	for {
		old := db.external.Load()
		if seq <= old {
			return func() {}
		}
		if db.external.CompareAndSwap(old, seq) {
			break
		}
	}
	return db.committedMoved().wake
}

// insert puts the operations of a batch into a memtable that has room for them.
func (db *DB) insert(m *memTable, b *Batch, first uint64) {
	seq := first
	for r := (batchReader{data: b.data}); ; seq++ {
		op, ok, err := r.next()
		if !ok {
			if err != nil {
				panic(fmt.Sprintf("engine: batch was checked and is invalid: %v", err))
			}
			break
		}
		switch op.kind {
		case base.KindDeleteRange:
			m.ranges.add(tombstone{start: slices.Clone(op.key), end: slices.Clone(op.value), seq: seq})
		case base.KindAdd:
			m.counters.add(op.counter, op.delta)
			db.totals.add(op.counter, op.delta)
		case base.KindEpoch:
		default:
			m.Table.Add(op.key, base.MakeTrailer(seq, op.kind), op.value)
		}
	}
}

// reserveLocked returns the memtable that the batch goes to. It is called with
// commit.mu held, and drops it while it waits for memory.
func (db *DB) reserveLocked(b *Batch) (*memTable, error) {
	for {
		if db.commit.mu.closed {
			return nil, ErrClosed
		}
		m := db.state.Load().mems[0]
		if m.Table.Reserve(b.memSize) {
			return m, nil
		}
		if err := db.waitMemoryLocked(); err != nil {
			return nil, err
		}
		if db.commit.mu.closed || db.state.Load().mems[0] != m {
			continue
		}
		db.rotateLocked(b.memSize)
	}
}

// rotateLocked starts a new memtable. It is called with commit.mu held.
func (db *DB) rotateLocked(size int64) {
	last := db.log.Load().Last()
	next := db.newMemTable(last, size)
	db.mu.Lock()
	rs := db.state.Load()
	rs.mems[0].last.Store(last)
	old := db.installLocked(append([]*memTable{next}, rs.mems...), rs.version)
	db.updatePressureLocked()
	db.mu.Unlock()
	db.release(old)
}

// waiters are the callers of Wait and WhenCommitted under Options.ExternalCommit, smallest
// sequence number first.
type waiters struct {
	mu      sync.Mutex
	heap    waiterHeap
	refused error // nobody may wait
	closed  bool
}

type waiter struct {
	seq  uint64
	done func(error)
	err  error // for done
}

// woken are waiters that have nothing to wait for any more and do not know it.
type woken []*waiter

func (w woken) wake() {
	for _, w := range w {
		w.done(w.err)
	}
}

type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h waiterHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *waiterHeap) Push(x any)        { *h = append(*h, x.(*waiter)) }
func (h *waiterHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}

func (ws *waiters) add(seq uint64, done func(error)) {
	ws.mu.Lock()
	var err error
	if ws.closed || ws.refused != nil {
		err = cmp.Or(ws.refused, ErrClosed)
	} else {
		heap.Push(&ws.heap, &waiter{seq: seq, done: done})
	}
	ws.mu.Unlock()
	if err != nil {
		done(err)
	}
}

// reach removes all that wait for a sequence number <= seq.
func (ws *waiters) reach(seq uint64) (reached woken) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for len(ws.heap) > 0 && ws.heap[0].seq <= seq {
		reached = append(reached, heap.Pop(&ws.heap).(*waiter))
	}
	return reached
}

// close wakes all; nobody can wait any more.
func (ws *waiters) close() {
	ws.mu.Lock()
	ws.closed, ws.refused = true, nil
	ws.mu.Unlock()
	ws.fail(0, ErrClosed).wake()
}

// refuse removes all with err and lets nobody wait, until it is called with nil.
func (ws *waiters) refuse(err error) woken {
	ws.mu.Lock()
	if !ws.closed {
		ws.refused = err
	}
	ws.mu.Unlock()
	if err == nil {
		return nil
	}
	return ws.fail(0, err)
}

// fail removes all that wait for a sequence number > seq.
func (ws *waiters) fail(seq uint64, err error) (failed woken) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	var keep waiterHeap
	for _, w := range ws.heap {
		if w.seq > seq {
			w.err = err
			failed = append(failed, w)
		} else {
			keep = append(keep, w)
		}
	}
	heap.Init(&keep)
	ws.heap = keep
	return failed
}
