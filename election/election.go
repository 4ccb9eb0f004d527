package election

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gtinside/corecache/engine/vfs"
)

// Cluster is this node's membership in a cluster: its entry in ZooKeeper, and the state that the nodes agree on. All methods
// may be called concurrently.
type Cluster struct {
	opts    Options
	paths   paths
	self    Node   // as it registers
	earlier string // incarnation of an earlier run that is known to have ended; "" = none

	session *session
	wake    chan struct{} // something has happened at the session; read by Open, then by run
	changed chan struct{} // for the owner
	stop    context.CancelFunc
	done    chan struct{} // run has ended

	// Used by Open, then by run.
	identity      Identity // not changed after Open
	remembered    bool     // identity is on disk
	authenticated bool     // the credentials are with the library
	reported      reported

	mu struct {
		sync.Mutex
		view       View
		order      int64 // ZooKeeper's number of the transaction that wrote view.State
		registered int64 // the session in which the node's entry was made; 0 = none
		problem    error
		closed     bool
	}
}

// View is what was seen last. It is a copy of the past: only Read, CompareAndSet and Claim know the present.
type View struct {
	State   State  // not to be modified: Clone it
	Version int32  // of the state, for CompareAndSet and Claim
	Nodes   []Node // those that are registered, by id; not to be modified
}

// Node returns the registered node with this id.
func (v View) Node(id string) (Node, bool) {
	for _, n := range v.Nodes {
		if n.ID == id {
			return n, true
		}
	}
	return Node{}, false
}

// Leader returns the leader's entry: false when nobody has claimed, or the process which did is gone.
func (v View) Leader() (Node, bool) {
	n, ok := v.Node(v.State.Leader)
	return n, ok && n.Incarnation == v.State.Incarnation
}

// Open joins the cluster, or founds it when there is none: it waits for ZooKeeper as long as ctx allows, checks that
// this node and its data belong there, and registers. Refusals (ErrNodeInUse, ErrWrongCluster, ErrForeign,
// ErrForeignData, ErrAuth, ErrFormat, ErrIdentity) leave everything as it was. ctx counts until Open returns only.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	remembered, err := loadIdentity(vfs.OS, o.Dir)
	if err != nil {
		return nil, err
	}
	id, err := remembered.fill(o.NodeID)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		opts:     o,
		paths:    newPaths(o.Chroot),
		self:     Node{ID: id.Node, Advertise: o.Advertise, Peer: o.Peer, Version: o.Version, Incarnation: newID()},
		wake:     make(chan struct{}, 1),
		changed:  make(chan struct{}, 1),
		done:     make(chan struct{}),
		identity: id,
		reported: reported{first: true},
	}
	if here := place(o.Dir); here != "" && here == remembered.Place {
		c.earlier = remembered.Incarnation
	}
	if c.session, err = connect(o, func() { signal(c.wake) }); err != nil {
		return nil, err
	}
	if err := c.join(ctx); err != nil {
		c.session.close()
		return nil, fmt.Errorf("joining the cluster: %w", err)
	}
	running, stop := context.WithCancel(context.Background())
	c.stop = stop
	go c.run(running)
	return c, nil
}

// signal says "look again" to a channel of capacity one. It does not block.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it has been said already
	}
}

// Self is this node as it registers.
func (c *Cluster) Self() Node { return c.self }

// Identity is what the data directory remembers since Open.
func (c *Cluster) Identity() Identity { return c.identity }

// View returns what was seen last. It does not ask ZooKeeper.
func (c *Cluster) View() View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.view
}

// Changed returns a channel of capacity one: a value says that View or Status have changed since the last one. It
// is meant for one reader.
func (c *Cluster) Changed() <-chan struct{} { return c.changed }

// Close takes this node out of ZooKeeper at once, if ZooKeeper can be reached; else the entry goes with the session
// time-out, and the error says so. All goroutines have ended when it returns, which takes about three seconds at most.
func (c *Cluster) Close() error {
	c.mu.Lock()
	first := !c.mu.closed
	c.mu.closed = true
	c.mu.Unlock()
	if !first {
		<-c.done
		return nil
	}
	c.stop()
	<-c.done
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	err := c.unregister(ctx)
	c.session.close()
	if err != nil {
		return fmt.Errorf("leaving ZooKeeper (the entry of this node stays until the session times out): %w", err)
	}
	return nil
}

const (
	farewell   = 2 * time.Second        // how long Close asks for the entry to be removed
	retryEvery = 200 * time.Millisecond // what failed for the moment
)

// run keeps the registration and the view up to date until ctx ends.
func (c *Cluster) run(ctx context.Context) {
	defer close(c.done)
	next := time.NewTimer(c.opts.Poll)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-next.C:
		}
		wait := c.opts.Poll
		if yes, _ := c.session.connected(); yes {
			if err := c.refresh(ctx); temporary(err) {
				wait = min(retryEvery, wait)
			}
		}
		c.report(time.Now())
		next.Reset(wait)
	}
}

// join does what Open promises; each of its steps may be repeated.
func (c *Cluster) join(ctx context.Context) error {
	w := &waiting{cluster: c, begin: time.Now()}
	retry := time.NewTimer(retryEvery)
	defer retry.Stop()
	for {
		err := c.step(ctx)
		if err == nil {
			c.report(time.Now())
			return nil
		}
		if err := w.bear(err, time.Now()); err != nil {
			return err
		}
		retry.Reset(retryEvery)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-c.wake:
		case <-retry.C:
		}
	}
}

// step goes once from looking to being registered.
func (c *Cluster) step(ctx context.Context) error {
	if err := c.authenticate(ctx); err != nil {
		return err
	}
	found, err := c.inspect(ctx)
	if err != nil {
		return err
	}
	if err := judge(found, c.identity, c.opts, c.paths); err != nil {
		return err
	}
	if found.node != nil && !c.mayReplace(*found.node) {
		return c.inUse(*found.node)
	}
	if found.unprotected && c.opts.Auth != "" && !c.remembered {
		c.opts.Log.Warnf("ZooKeeper: %s was created without zookeeper-auth: anybody can change it", c.paths.state)
	}
	if found.state == nil {
		// Who is named in the state must be remembered before, or nobody could ever lead.
		if err := c.remember(""); err != nil {
			return err
		}
		if err := c.found(ctx, found); err != nil {
			return err
		}
		return c.step(ctx)
	}
	if err := c.remember(found.state.Cluster); err != nil {
		return err
	}
	return c.refresh(ctx)
}

func (c *Cluster) authenticate(ctx context.Context) error {
	if c.opts.Auth == "" || c.authenticated {
		return nil
	}
	err := c.session.authenticate(ctx, c.opts.Auth)
	c.authenticated = err == nil
	return err
}

// remember writes down who this node is, unless that is written already.
func (c *Cluster) remember(cluster string) error {
	id := c.identity
	id.Cluster, id.Incarnation, id.Place = cluster, c.self.Incarnation, place(c.opts.Dir)
	if c.remembered && id.Cluster == c.identity.Cluster {
		return nil
	}
	if err := id.save(vfs.OS, c.opts.Dir); err != nil {
		return err
	}
	c.identity, c.remembered = id, true
	return nil
}

// waiting is the patience of join.
type waiting struct {
	cluster *Cluster
	begin   time.Time
	inUse   time.Time // since when the node-id was seen in use
	told    time.Time // when Options.Waiting was called last
	logged  time.Time
}

// bear returns the error when waiting is no use, and else tells about it.
func (w *waiting) bear(err error, now time.Time) error {
	o := w.cluster.opts
	switch {
	case errors.Is(err, ErrNodeInUse):
		if w.inUse.IsZero() {
			w.inUse = now
		}
		// The entry of a process that has died goes with its session. One that stays is alive.
		if now.Sub(w.inUse) > 2*o.Timeout {
			return err
		}
	case !temporary(err):
		return err
	}
	if now.Sub(w.begin) < sayAfter && w.inUse.IsZero() || errors.Is(err, errAgain) {
		return nil
	}
	if now.Sub(w.told) >= time.Second && o.Waiting != nil {
		w.told = now
		o.Waiting(err)
	}
	if now.Sub(w.logged) >= sayEvery {
		w.logged = now
		o.Log.WithField("servers", strings.Join(o.Servers, ",")).Warnf("ZooKeeper: waiting to join the cluster: %v", err)
	}
	return nil
}
