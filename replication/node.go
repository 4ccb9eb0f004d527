package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/election"
	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/fullsync"
	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/protocol"
)

type (
	action  = protocol.Action
	message = protocol.Message
)

var (
	errNotLeading = errors.New("this node does not lead")
	errNoReplicas = errors.New("not enough replicas in sync")
	errDeposed    = errors.New("another node leads by now")
	// ErrClosed is returned by a Node that was closed.
	ErrClosed = errors.New("replication: closed")
)

// Node is one node of a cluster. Its methods may be called concurrently; Start once.
//
// Whoever has an event, be it a message, a record, a write to the log or a tick of the clock, enters, and calls the core and carries
// out what it wants, all under one lock. Nothing is waited for under it.
type Node struct {
	o       Options
	serving serving
	self    atomic.Pointer[string] // id
	leading atomic.Uint64          // the epoch that this node leads, whether or not it serves; 0: none
	status  atomic.Pointer[Status]
	acked   broadcast // a follower has acknowledged something
	shares  shares    // streams, as others see them
	// Since the start: full syncs that this node has given, and streams to followers that went on where their logs end.
	fullSyncs, streamed atomic.Uint64
	syncing             atomic.Bool // a full sync of this node is under way

	// Set by Start.
	member   Membership
	id       string
	db       *engine.DB
	store    Store
	election Election
	links    link.Options
	source   *fullsync.Source

	disk   *worker
	life   context.Context
	end    context.CancelCauseFunc
	tasks  sync.WaitGroup
	once   sync.Once
	closed error
	left   chan struct{} // the core has left

	identity kept // shared with the worker and SetSettings

	mu       sync.Mutex // guards what follows; see enter
	after    []func()   // is done when it is let go
	core     *protocol.Node
	lead     lead
	tail     tail
	known    map[string]election.Node // where nodes are reached, also those that have gone
	absent   map[string]int64         // since when those that have gone have
	peers    map[string]*peer
	streams  map[string]*shipment
	pins     map[string]*wal.Pin // of the log, for followers
	base     election.State      // the newest state seen, for what the core does not know of it
	version  int32
	reading  bool // a ReadState is under way
	proposed repeats
	refused  repeats
	unequal  string // see warnUnequal
	watch    *wal.Watch
	disked   progress
	broken   bool
}

// New returns a node that takes part in nothing yet, and knows no leader.
func New(o Options) (*Node, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{
		o: o, known: map[string]election.Node{}, absent: map[string]int64{},
		peers: map[string]*peer{}, streams: map[string]*shipment{}, pins: map[string]*wal.Pin{},
		left: make(chan struct{}),
	}
	n.serving.until.Store(ended)
	n.life, n.end = context.WithCancelCause(context.Background())
	return n, nil
}

// Start joins the cluster. From now on the store is written as the cluster decides: Apply is refused unless this node leads.
func (n *Node) Start(m Membership) error {
	n.member = m
	n.store, n.db, n.election = m.Store, m.Store.DB, m.Election
	n.db.RefuseWrites(errNotLeading)
	if err := n.db.Sync(); err != nil { // what the log has is what this node says it has
		return err
	}
	var err error
	n.identity.o = &n.o
	if n.identity.id, err = n.o.openIdentity(n.db.Last(), boot()); err != nil {
		return err
	}
	self := m.Election.Self()
	n.id = self.ID
	n.links = n.o.linkOptions()
	n.links.Cluster, n.links.Node = m.Cluster, self.ID
	n.o.Link.Cluster, n.o.Link.Node = m.Cluster, self.ID
	n.core, err = protocol.New(clock(), n.o.timing(self.ID, self.Incarnation), coreLog(n.db, n.identity.id.logID()))
	if err != nil {
		return err
	}
	n.source, err = fullsync.NewSource(n.db, fullsync.SourceOptions{
		FS: n.o.FS, Dir: n.o.path(sourceDir), Rate: n.o.SyncRate, Linger: n.o.SyncLinger, MinFree: n.o.MinFree,
	})
	if err != nil {
		return err
	}
	n.disk = newWorker(n.life)
	n.tail.moved = make(chan struct{})
	n.tail.rested.L = &n.mu
	for _, nl := range n.member.Listeners {
		if err := n.listen(nl); err != nil {
			return err
		}
	}
	n.tasks.Go(n.disk.run)
	n.watch = n.db.WatchLog(n.logMoved)
	n.self.Store(&self.ID)
	n.tasks.Go(n.run)
	return nil
}

// coreLog describes the log of a store to the core.
func coreLog(db *engine.DB, id protocol.LogID) protocol.Log {
	last, list := db.Last(), db.Epochs()
	base := min(db.LogFirst()-1, last)
	if first := list[0]; first.First > 1 {
		base = max(base, first.First) // of what is before, the epoch is forgotten
	}
	l := protocol.Log{ID: id, Last: last, Committed: max(db.Committed(), base)}
	if base > 0 {
		l.Base.Seq = base
	}
	for i, e := range list {
		end := last
		if i+1 < len(list) {
			end = list[i+1].First - 1
		}
		if e.First <= base {
			l.Base.Epoch = e.Number
		}
		if first := max(e.First, base+1); first <= end {
			l.Epochs = append(l.Epochs, protocol.EpochStart{Epoch: e.Number, First: first})
		}
	}
	return l
}

// run brings the events of the clock and of the election.
func (n *Node) run() {
	tick := time.NewTicker(n.o.Lease / 32)
	defer tick.Stop()
	n.enter(n.look)
	for {
		select {
		case <-n.election.Changed():
			n.enter(n.look)
		case <-tick.C:
			n.enter(n.tick)
		case <-n.life.Done():
			return
		}
	}
}

// enter calls f, which brings an event, under the lock, and does afterwards what must not be done under it. It reports false, and
// does nothing, when the node is closed. f must not wait, nor write to the store.
func (n *Node) enter(f func()) bool {
	n.mu.Lock()
	if n.life.Err() != nil {
		n.mu.Unlock()
		return false
	}
	f()
	after := n.after
	n.after = nil
	n.mu.Unlock()
	for _, f := range after {
		f()
	}
	return true
}

// step lets the core see an event. Its caller has entered.
func (n *Node) step(event func(now int64) []action) {
	n.perform(event(clock()))
	n.settle()
}

func (n *Node) tick() {
	if n.tail.appending {
		n.core.Receiving(clock()) // what takes long is not stuck
	}
	n.step(n.core.Tick)
	n.forget()
	n.watchDisk()
	n.showStatus()
}

// look takes over what the election shows.
func (n *Node) look() {
	v := n.election.View()
	ids := n.meet(v.Nodes)
	n.connect()
	n.step(func(now int64) []action { return n.core.Members(now, ids) })
	n.stateRead(v.State, v.Version)
}

// stateRead tells the core what /state was at a version.
func (n *Node) stateRead(s election.State, version int32) {
	if s.Cluster == "" {
		return // nothing was seen yet
	}
	if n.base.Cluster == "" || version >= n.version {
		n.base, n.version = s, version
	}
	n.step(func(now int64) []action { return n.core.StateRead(now, coreState(s), version) })
}

// logMoved tells the core how far this node's log is. Whoever has written or synced calls it.
func (n *Node) logMoved() {
	n.enter(func() {
		p := n.db.LogPositions()
		if p.Err != nil && !errors.Is(p.Err, wal.ErrClosed) {
			n.fail(p.Err)
		}
		now := clock()
		n.perform(n.core.Appended(now, p.Written))
		n.perform(n.core.Synced(now, p.Synced))
		n.settle()
		n.tail.acknowledge() // also what is only synced: clients may wait for that
	})
}

// progress is how far the log was, and how long it has been there.
type progress struct {
	seq    uint64
	lasted time.Duration
	at     int64 // of the newest look
}

var errStall = errors.New("the disk does not take what is appended to the log")

// watchDisk has a leader hand over whose disk hangs: its followers would wait for it for ever. One whose disk is full refuses
// writes; so may the others by then. Time in which this process did not run either does not count.
func (n *Node) watchDisk() {
	p := n.db.LogPositions()
	at := p.Written
	if n.o.Settings.AckSynced {
		at = p.Synced
	}
	d, now := &n.disked, clock()
	d.lasted += min(time.Duration(now-d.at), n.o.Lease/8)
	d.at = now
	if n.lead.epoch == 0 || at >= p.Last || at != d.seq || n.db.LogFull() {
		d.seq, d.lasted = at, 0
	}
	if d.lasted > n.o.Stall && slices.ContainsFunc(n.core.Status(now).Followers, func(f protocol.FollowerStatus) bool { return f.InSync }) {
		n.fail(errStall)
	}
}

// fail leaves the cluster because this node can not go on.
func (n *Node) fail(err error) {
	if n.broken {
		return
	}
	n.broken = true
	n.o.Log.WithError(err).Error("replication: this node leaves")
	if e := n.db.LogPositions().Err; e != nil && !errors.Is(e, wal.ErrClosed) {
		n.tasks.Go(n.doubtLog)
	}
	n.o.Failed(err)
	// What followers do not have of a broken log they will not get from this node. If it went on leading it would put them out of the
	// ISR for being behind, and nobody could claim when it has gone.
	n.shutdown(0)
}

// doubtLog remembers that the log has failed. What was written, and acknowledged before it was synced, may be in memory only, and gone
// when it is read again, though the machine has not lost power.
func (n *Node) doubtLog() {
	if _, err := n.identity.change(func(id *identity) { id.Boot = "" }); err != nil {
		n.o.Log.WithError(err).Error("replication: the log is in doubt after a restart, but that can not be written down")
	}
}

func (n *Node) shutdown(limit time.Duration) {
	n.step(func(now int64) []action { return n.core.Shutdown(now, limit) })
}

// Shutdown leaves the cluster within limit: a leader finishes what has begun and hands over, a follower in sync has itself taken
// out of the ISR. It returns when that is done, or at the end of ctx. The node goes on to know who leads until Close.
func (n *Node) Shutdown(ctx context.Context, limit time.Duration) error {
	if n.Self() == "" {
		return nil // it never started
	}
	if !n.enter(func() { n.shutdown(limit) }) {
		return ErrClosed
	}
	select {
	case <-n.left:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leaving the cluster: %w", context.Cause(ctx))
	case <-n.life.Done():
		return ErrClosed
	}
}

// Close ends everything at once, handing nothing over. The store must still be open; nobody may write to it any more.
func (n *Node) Close() error {
	n.once.Do(func() { n.closed = n.close() })
	return n.closed
}

func (n *Node) close() error {
	n.end(ErrClosed)
	n.serving.term.Store(0)
	n.serving.held.Store(0)
	n.serving.until.Store(ended)
	if n.Self() == "" {
		n.tasks.Wait()
		var err error
		if n.source != nil {
			err = n.source.Close()
		}
		for _, nl := range n.member.Listeners {
			if e := nl.Close(); !errors.Is(e, net.ErrClosed) {
				err = errors.Join(err, e)
			}
		}
		return err
	}
	n.mu.Lock() // nobody enters any more
	wake := n.db.RefuseWaits(errDeposed)
	n.tail.rested.Broadcast()
	n.mu.Unlock()
	wake() // the worker may wait
	n.tasks.Wait()
	n.watch.Close()
	for _, p := range n.pins {
		p.Close()
	}
	err := n.source.Close()
	n.db.RefuseWrites(errNotLeading)
	if e := n.db.Sync(); e != nil {
		return errors.Join(err, e)
	}
	_, e := n.identity.change(func(id *identity) { id.Closed = !id.Syncing })
	return errors.Join(err, e)
}

// SetSettings changes what may change.
func (n *Node) SetSettings(s protocol.Settings) error {
	if n.Self() == "" {
		return nil
	}
	if !s.AckSynced { // from now on a loss of power may tear the log
		if _, err := n.identity.change(func(id *identity) { id.Synced = false }); err != nil {
			return err
		}
	}
	if !n.enter(func() {
		n.o.Settings = s
		n.step(func(now int64) []action { return n.core.SetSettings(now, s) })
	}) {
		return ErrClosed
	}
	return nil
}

// SetSyncRate changes Options.SyncRate.
func (n *Node) SetSyncRate(bytesPerSecond int64) {
	if n.source != nil {
		n.source.SetRate(bytesPerSecond)
	}
}

// worker does one thing after the other that takes its time: all that changes the log but for the records of a leader.
type worker struct {
	life  context.Context
	queue chan func()
}

func newWorker(life context.Context) *worker { return &worker{life, make(chan func(), 64)} }

// do does not wait as long as the worker gets on: the core has at most a few things under way.
func (w *worker) do(f func()) {
	select {
	case w.queue <- f:
	case <-w.life.Done():
	}
}

func (w *worker) run() {
	for {
		select {
		case f := <-w.queue:
			f()
		case <-w.life.Done():
			return
		}
	}
}
