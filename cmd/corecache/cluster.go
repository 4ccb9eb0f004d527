package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/config"
	"github.com/gtinside/corecache/election"
	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/keyspace"
	"github.com/gtinside/corecache/proxy"
	"github.com/gtinside/corecache/replication"
	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/protocol"
	"github.com/gtinside/corecache/resp"
)

// cluster is this node's part in a cluster; nil when it works alone.
type cluster struct {
	c        *config.Config
	log      *logrus.Logger
	node     *replication.Node
	proxy    *proxy.Proxy
	db       *engine.DB
	election *election.Cluster // nil until join
	peers    []net.Listener
}

// newCluster prepares what the configuration says of a cluster: nil when there is no zookeeper in it.
func newCluster(c *config.Config, log *logrus.Logger, failed func(error), quiet func(context.Context)) (*cluster, error) {
	if c.String("zookeeper") == "" {
		return nil, checkAlone(c.String("dir"))
	}
	tlsConfig, err := linkTLS(c)
	if err != nil {
		return nil, err
	}
	millis := func(name string) time.Duration { return time.Duration(c.Int(name)) * time.Millisecond }
	node, err := replication.New(replication.Options{
		Link:  link.Options{Secret: clusterSecret(c), TLS: tlsConfig},
		Lease: millis("replication-lease"), Grace: millis("replication-grace"),
		Settings: clusterSettings(c),
		Dir:      c.String("dir"),
		Window:   c.Int("replication-window"), Batch: int(c.Int("replication-batch")),
		SyncRate: c.Int("full-sync-rate"), SyncLinger: time.Duration(c.Int("full-sync-linger")) * time.Second, MinFree: c.Int("full-sync-min-free"),
		Log: log, Failed: failed, Quiet: quiet,
	})
	if err != nil {
		return nil, err
	}
	cl := &cluster{c: c, log: log, node: node}
	forwardTLS := tlsConfig.Clone()
	if forwardTLS != nil {
		forwardTLS.MinVersion = tls.VersionTLS12 // tls-protocols of the leader decides
	}
	cl.proxy = proxy.New(proxy.Options{
		Cluster: node, Log: log,
		Secret: func() string { return clusterSecret(c) },
		TLS:    func() *tls.Config { return forwardTLS },
		Hears:  cl.hears,
	})
	return cl, nil
}

// checkAlone refuses a server without a cluster the data of a node: what it wrote there, the other nodes would never get, and
// this one would serve it when it is back among them.
func checkAlone(dir string) error {
	for _, name := range []string{election.IdentityFile, replication.IdentityFile} {
		file := filepath.Join(dir, name)
		switch _, err := os.Lstat(file); {
		case err == nil:
			return fmt.Errorf("%s: these data are those of a node of a cluster: set zookeeper, or remove %s and %s to take them out of it for good",
				file, election.IdentityFile, replication.IdentityFile)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// clusterSecret is what the nodes know each other by.
func clusterSecret(c *config.Config) string {
	if s := c.String("masterauth"); s != "" {
		return s
	}
	return c.String("requirepass")
}

// protectedFromNodes says when masterauth makes nodes know each other, and protected-mode keeps them out all the same: before a
// connection has said anything, nobody can know whether it is a node's.
func protectedFromNodes(c *config.Config) string {
	if c.String("zookeeper") == "" || c.String("masterauth") == "" || c.String("requirepass") != "" || !c.Bool("protected-mode") {
		return ""
	}
	return "masterauth is set and requirepass is not: protected-mode refuses the commands that nodes on other machines forward; " +
		"set requirepass, or protected-mode no if clients may do without a password"
}

func clusterSettings(c *config.Config) protocol.Settings {
	return protocol.Settings{MinReplicas: int(c.Int("min-replicas-to-write")), AckSynced: c.String("appendfsync") == "always"}
}

// linkTLS is what nodes talk over, to replicate and to forward commands; nil: without TLS.
func linkTLS(c *config.Config) (*tls.Config, error) {
	if !c.Bool("tls-replication") {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.String("tls-cert-file"), c.String("tls-key-file"))
	if err != nil {
		return nil, fmt.Errorf("tls-replication: %w", err)
	}
	file := c.String("tls-ca-cert-file")
	if file == "" {
		return link.TLSConfig(cert, nil), nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("tls-replication: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls-replication: no certificate in %s", file)
	}
	return link.TLSConfig(cert, authorities), nil
}

// listen binds the addresses for the other nodes, and returns the port.
func (cl *cluster) listen() (int, error) {
	port := int(cl.c.Int("replication-port"))
	if port == 0 {
		port = int(cl.c.Int("port")) + 10000
	}
	if port > 65535 {
		return 0, fmt.Errorf("replication-port: port + 10000 is %d: set it", port)
	}
	for _, host := range cl.c.List("bind") {
		network, host, optional := resp.ParseBind(host)
		nl, err := net.Listen(network, net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil && optional && resp.IsMissing(err) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("listening for other nodes (replication-port): %w", err)
		}
		cl.peers = append(cl.peers, nl)
	}
	if len(cl.peers) == 0 {
		return 0, errors.New("replication-port: there is no address to listen on")
	}
	return port, nil
}

// join takes the store into the cluster. It waits for ZooKeeper as long as it takes.
func (cl *cluster) join(db *engine.DB, keys *keyspace.Keyspace) error {
	cl.db = db
	o, _, err := election.OptionsFrom(cl.c)
	if err != nil {
		return err
	}
	port, err := cl.listen()
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(o.Advertise)
	if err != nil {
		return err
	}
	o.Peer = net.JoinHostPort(host, strconv.Itoa(port))
	o.Version, o.Log, o.Standalone = version, cl.log, db.Last() > 0
	if cl.election, err = election.Open(context.Background(), o); err != nil {
		return err
	}
	err = cl.node.Start(replication.Membership{
		Store:    replication.Store{DB: db, Reload: keys.Reload, Found: keys.Found},
		Election: cl.election, Cluster: cl.election.Identity().Cluster, Listeners: cl.peers,
	})
	if err != nil {
		return err
	}
	cl.c.OnSet("full-sync-rate", func(string, string) error {
		cl.node.SetSyncRate(cl.c.Int("full-sync-rate"))
		return nil
	})
	if err := cl.c.Hold(cl.configure); err != nil { // also what was set while it waited for ZooKeeper
		return err
	}
	cl.log.WithField("node", cl.node.Self()).WithField("peers", o.Peer).Info("joined the cluster")
	return nil
}

// follow passes changes by CONFIG SET on to the node. It comes before the engine follows: when appendfsync is relaxed, that a loss of power may tear
// the log is written down first.
func (cl *cluster) follow() {
	if cl == nil {
		return
	}
	cl.c.OnSetAny([]string{"min-replicas-to-write", "appendfsync"}, func(map[string]string) error {
		return cl.node.SetSettings(clusterSettings(cl.c)) // nothing, while it has not joined
	})
}

// configure gives the node that has joined its settings.
func (cl *cluster) configure() error {
	cl.node.SetSyncRate(cl.c.Int("full-sync-rate"))
	return cl.node.SetSettings(clusterSettings(cl.c))
}

// leave hands leadership over, if this node has it, and lets clients find the next leader.
func (cl *cluster) leave() {
	if cl == nil {
		return
	}
	limit := time.Duration(cl.c.Int("shutdown-timeout")) * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), limit+time.Second)
	defer cancel()
	if err := cl.node.Shutdown(ctx, limit); err != nil {
		cl.log.WithError(err).Warn("leaving the cluster")
	}
	cl.db.RefuseWaits(errLeft)() // nothing is committed here any more, and the front end waits for those who wait
	settle, done := context.WithTimeout(context.Background(), settleTime)
	defer done()
	cl.proxy.Settle(settle)
}

var errLeft = errors.New("this node has left the cluster")

// closeProxy comes when there are no sessions any more. It may be called more than once, and on nil.
func (cl *cluster) closeProxy() {
	if cl != nil {
		cl.proxy.Close()
	}
}

// settleTime is how long a node that has left waits until its clients' commands have found the next leader.
const settleTime = 2 * time.Second

// close ends everything. The store must still be open. It may be called more than once, and on nil.
func (cl *cluster) close() {
	if cl == nil {
		return
	}
	if err := cl.node.Close(); err != nil {
		cl.log.WithError(err).Error("closing the replication")
	}
	for _, nl := range cl.peers {
		_ = nl.Close() // the node has closed those that it has taken
	}
	if cl.election != nil {
		if err := cl.election.Close(); err != nil {
			cl.log.WithError(err).Warn("leaving the cluster")
		}
	}
}

// Writable and the others are command.Replication.
func (cl *cluster) Writable() bool { return cl.node.Writable() }

func (cl *cluster) Acknowledged(seq uint64) (written, synced int) { return cl.node.Acknowledged(seq) }

func (cl *cluster) Moved() <-chan struct{} { return cl.node.Moved() }

// hears reports whether the leader, if that is another node, has been heard of within replication-grace.
func (cl *cluster) hears() bool {
	return cl.node.Status().LeaderHeard < time.Duration(cl.c.Int("replication-grace"))*time.Millisecond
}

func (cl *cluster) Status() command.ReplicationStatus {
	s := cl.node.Status()
	out := command.ReplicationStatus{
		Role: s.Role.String(), Epoch: s.Epoch, Last: s.Last.Seq, Committed: s.Committed, InSync: s.InSync,
		Uncertain: s.Uncertain, Missing: s.Missing, Unequal: s.Unequal, Syncing: s.Syncing, Lease: s.Lease(), LinkSilent: s.LeaderHeard, ZooKeeper: "unknown",
		FullSyncs: s.FullSyncs, Streams: s.Streams,
		LinkUp: s.Role == protocol.Follower && s.Leader != "" && s.LeaderHeard < time.Duration(cl.c.Int("replication-grace"))*time.Millisecond,
	}
	if cl.node.Self() != "" {
		out.ZooKeeper = cl.election.Status().Link.String()
	}
	for _, m := range s.ISR {
		out.ISR = append(out.ISR, m.Node)
	}
	for _, f := range s.Followers {
		out.Followers = append(out.Followers, command.ReplicaStatus{
			ID: f.Node, Addr: s.Nodes[f.Node].Advertise, InSync: f.InSync, Online: f.Streams,
			Offset: f.Acked, Lag: f.CaughtUp, Behind: f.Behind,
		})
	}
	return out
}
