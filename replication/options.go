package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/election"
	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/protocol"
)

// Election is what the nodes agree on; *election.Cluster is one. Its methods may be called concurrently.
type Election interface {
	Self() election.Node
	View() election.View
	Changed() <-chan struct{}
	Read(context.Context) (election.State, int32, error)
	CompareAndSet(ctx context.Context, version int32, next election.State) (int32, error)
	Claim(ctx context.Context, version int32, next election.State) (int32, error)
}

// Store is the data of a node. It was opened with engine.Options.ExternalCommit and is the caller's to close, after the Node.
type Store struct {
	DB *engine.DB
	// Reload, if set, is called after the data has changed in other ways than by Apply: before this node leads, and after a
	// full sync. When it returns, nobody decides any more by what was there before.
	Reload func() error
	// Found, if set, is called when this node leads and may write, before clients may. It makes what an empty store needs.
	Found func() error
}

// Membership is what a node starts with.
type Membership struct {
	Store    Store
	Election Election
	// Cluster is the id of the cluster, which nodes of other clusters do not have.
	Cluster string
	// Listeners take the links of other nodes, at the address that Election.Self has as Peer. The Node closes them.
	Listeners []net.Listener
}

// Options are the settings of a node. Zero values mean the default, given in parentheses.
type Options struct {
	// Link has the secret, TLS and the limits of links. Cluster and Node are set by Start.
	Link link.Options
	// Lease is how long a leader serves after it has heard from its followers (800 ms).
	Lease time.Duration
	// Grace is how long a follower hears nothing of its leader before it claims (a quarter more than Lease).
	Grace time.Duration
	// Stall is after how long a leader hands over whose disk does not take what is appended, without an error (10 s).
	Stall time.Duration
	// Settings may be changed by SetSettings.
	Settings protocol.Settings

	// Dir is the data directory.
	Dir string
	FS  vfs.FS // (vfs.OS)

	Window     int64         // stream.SenderOptions.Window
	Batch      int           // stream.SenderOptions.Batch
	SyncRate   int64         // fullsync.SourceOptions.Rate
	SyncLinger time.Duration // fullsync.SourceOptions.Linger
	MinFree    int64         // of the disk, in bytes, that a full sync leaves free
	// Forget is after how long a node that has gone, and is not in sync, is taken for removed: the log is not kept for
	// it any more (24 h).
	Forget time.Duration

	Log *logrus.Logger
	// Failed, if set, is told when this node can not go on, its log being broken. It must not block.
	Failed func(error)
	// Quiet, if set, returns when no command is being executed that has begun while this node led; at the latest
	// when ctx ends. Before it is called no further one can begin.
	Quiet func(ctx context.Context)
}

func (o Options) withDefaults() (Options, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	o.Lease = cmp.Or(o.Lease, 800*time.Millisecond)
	o.Grace = cmp.Or(o.Grace, o.Lease*5/4)
	o.Forget, o.Stall = cmp.Or(o.Forget, 24*time.Hour), cmp.Or(o.Stall, 10*time.Second)
	if o.Quiet == nil {
		o.Quiet = func(context.Context) {}
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if o.Log == nil || o.Dir == "" {
		return o, errors.New("replication: a log and a directory are needed")
	}
	if err := o.timing("?", "?").Validate(); err != nil {
		return o, err
	}
	return o, nil
}

// timing derives from the lease what hangs on it: a follower that is silent leaves the ISR before the lease is over, and
// a beacon or two may be lost before.
func (o *Options) timing(node, incarnation string) protocol.Config {
	return protocol.Config{
		Node: node, Incarnation: incarnation,
		Beacon: o.Lease / 8, Silence: o.Lease * 5 / 8, Lag: o.Lease * 5 / 4, Lease: o.Lease, Grace: o.Grace,
		Settings: o.Settings,
	}
}

// linkOptions are those of control links: their end is noticed soon, and they never wait long.
func (o *Options) linkOptions() link.Options {
	l := o.Link
	l.Heartbeat = o.Lease / 8
	l.ReadTimeout = max(2*o.Grace, 2*time.Second)
	l.WriteTimeout = l.ReadTimeout
	l.HandshakeTimeout = l.ReadTimeout // to dial once more is better than to wait for packets that went into a cut
	return l
}

func (o *Options) path(name string) string { return filepath.Join(o.Dir, name) }

// Timing tells whether a lease and a grace may be used together.
func Timing(lease, grace time.Duration) error {
	o := Options{Lease: lease, Grace: grace}
	if err := o.timing("?", "?").Validate(); err != nil {
		return fmt.Errorf("lease and grace: %w", err)
	}
	return nil
}
