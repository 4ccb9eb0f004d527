package replication

import (
	"context"
	"errors"
	"time"

	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/fullsync"
	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/protocol"
)

const (
	sourceDir  = "sync-out" // checkpoints for followers
	stagingDir = "sync-in"  // what comes from the leader
)

// Pauses between attempts.
const (
	firstSyncPause = 200 * time.Millisecond
	maxSyncPause   = 5 * time.Second
)

// fullSync replaces the store by the leader's. It goes on until it has succeeded, with whoever leads by then:
// until then this node has no log that anybody could rely on.
func (n *Node) fullSync() {
	n.disk.do(func() {
		n.syncing.Store(true)
		defer n.syncing.Store(false)
		err := n.rest()
		if err == nil {
			_, err = n.identity.change(func(id *identity) {
				id.Lineage, id.Tears, id.Syncing, id.Closed = newLineage(), 0, true, false
			})
		}
		if err == nil {
			err = n.fetch()
		}
		if err == nil {
			err = n.installed()
		}
		if err != nil && n.life.Err() == nil {
			n.enter(func() { n.fail(err) })
		}
	})
}

// fetch has staging filled; an error means that there is no sense in going on.
func (n *Node) fetch() error {
	for pause := firstSyncPause; ; pause = min(2*pause, maxSyncPause) {
		at, err := n.fetchOnce()
		if err == nil {
			n.o.Log.WithField("position", at).Info("replication: full sync: everything is here")
			return nil
		}
		if n.life.Err() != nil {
			return context.Cause(n.life)
		}
		n.o.Log.WithError(err).Warn("replication: a full sync goes on later")
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-n.life.Done():
			t.Stop()
			return context.Cause(n.life)
		}
	}
}

var errNoLeader = errors.New("no leader is known")

func (n *Node) fetchOnce() (position uint64, err error) {
	type where struct {
		node, addr string
		epoch      uint64
	}
	var w where
	if !n.enter(func() {
		_, epoch, leader := n.core.Role()
		w = where{leader, n.known[leader].Peer, epoch}
	}) {
		return 0, context.Cause(n.life)
	}
	if w.node == "" || w.node == n.id || w.addr == "" {
		return 0, errNoLeader
	}
	n.o.Log.Warnf("replication: full sync from %s", w.node)
	conn, err := link.Dial(n.life, "tcp", w.addr, w.node, syncPurpose(w.epoch), n.o.Link)
	if err != nil {
		return 0, err
	}
	position, _, err = fullsync.Fetch(n.life, conn, w.epoch, fullsync.FetchOptions{FS: n.o.FS, Staging: n.o.path(stagingDir), MinFree: n.o.MinFree})
	return position, err
}

// installed makes what is in staging the store.
func (n *Node) installed() error {
	if err := n.db.Install(n.o.path(stagingDir)); err != nil {
		return err
	}
	id, err := n.identity.change(func(id *identity) { id.Syncing = false })
	if err = errors.Join(err, fullsync.Discard(n.o.FS, n.o.path(stagingDir))); err != nil {
		return err
	}
	if n.store.Reload != nil {
		if err := n.store.Reload(); err != nil {
			return err
		}
	}
	base := protocol.Position{Epoch: n.db.Epoch(), Seq: n.db.Last()}
	n.enter(func() {
		n.watch.Close()
		n.watch = n.db.WatchLog(n.logMoved)
		n.step(func(now int64) []action { return n.core.FullSynced(now, id.logID(), base) })
	})
	return nil
}

// serveSync is the leader's side.
func (n *Node) serveSync(conn *link.Conn) {
	node, epoch := conn.Peer().Node, n.leading.Load()
	if epoch == 0 {
		_ = conn.Close(errNotLeading.Error())
		return
	}
	ctx, cancel := context.WithCancelCause(n.life)
	defer cancel(nil)
	n.tasks.Go(func() { n.whileLeading(ctx, cancel, epoch) })
	r, err := n.source.Serve(ctx, conn, epoch)
	n.o.Log.WithField("position", r.Position).Infof("replication: full sync of %s: %v", node, err)
	if r.Pin != nil {
		n.fullSyncs.Add(1)
		n.postPin(node, epoch, r.Pin)
	}
}

// postPin keeps the log behind what a follower has got.
func (n *Node) postPin(node string, epoch uint64, p *wal.Pin) {
	if !n.enter(func() {
		if n.leading.Load() == epoch {
			n.pin(node, p)
		} else {
			n.unpin(p)
		}
	}) {
		p.Close()
	}
}

// whileLeading ends a context when this node does not lead in epoch any more.
func (n *Node) whileLeading(ctx context.Context, cancel context.CancelCauseFunc, epoch uint64) {
	for {
		changed := n.Changed()
		if n.leading.Load() != epoch {
			cancel(errNotLeading)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
