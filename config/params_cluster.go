package config

import "math"

// What is more than a word is checked where it is used (election.OptionsFrom), before the server starts.
var clusterParams = []Param{
	{Name: "zookeeper", Group: "Cluster", Kind: String, Default: "", Unit: "host[:port],host[:port]/chroot",
		Doc: "ZooKeeper servers, and the path under which the cluster lives; it is created when it is missing, and refused when it holds something else. Every node of a cluster has the same. Empty = a server of its own, without a cluster."},
	{Name: "zookeeper-timeout", Group: "Cluster", Kind: Int, Default: "6000", Min: 500, Max: 600000, Unit: "milliseconds",
		Doc: "Time-out of the session with ZooKeeper: how long a node that has died stays listed, and its node-id taken. ZooKeeper keeps it between 2 and 20 of its ticks (4 to 40 seconds as shipped). A leader that has died is replaced much sooner, but a node whose ZooKeeper server hangs notices after up to two thirds of it. Shorter ones cost sessions whenever ZooKeeper elects a leader of its own."},
	{Name: "zookeeper-auth", Group: "Cluster", Kind: String, Default: "", Unit: "user:password", Secret: true,
		Doc: "Credentials (scheme digest): what a node creates in ZooKeeper is then closed to all others. They are sent unencrypted. A file that holds them should have mode 600. Set them before the cluster is founded; a cluster founded without stays open. Empty = none."},
	{Name: "node-id", Group: "Cluster", Kind: String, Default: "", Unit: "1 to 64 of A-Z a-z 0-9 . - _",
		Doc: "Name of this node, which no other node of the cluster may have. Empty = made up once; the data directory remembers it."},
	{Name: "advertise", Group: "Cluster", Kind: String, Default: "", Unit: "host:port",
		Doc: "Address at which the other nodes reach this one; with tls-replication its port is that of TLS. Empty = address and port (or tls-port) that it listens on, where that is unambiguous: bind must not be a wildcard, nor name several addresses of other networks than this machine's own."},
	{Name: "replication-port", Group: "Cluster", Kind: Int, Default: "0", Max: 65535,
		Doc: "TCP port, on the addresses of bind, at which the other nodes replicate with this one; 0 = port + 10000. They reach it at the host of advertise."},
	{Name: "tls-replication", Group: "Cluster", Kind: Bool, Default: "no",
		Doc: "Whether nodes replicate, and forward commands to each other, over TLS, with tls-cert-file, tls-key-file and, to verify each other, tls-ca-cert-file. It needs tls-port. All nodes have the same."},
	{Name: "replication-lease", Group: "Cluster", Kind: Int, Default: "800", Min: 100, Max: 60000, Unit: "milliseconds",
		Doc: "How long a leader serves after it has heard from its followers. A follower that is silent for 5/8 of it stops writes for that long, and is then not in sync any more. All nodes have the same."},
	{Name: "replication-grace", Group: "Cluster", Kind: Int, Default: "1000", Min: 110, Max: 120000, Unit: "milliseconds",
		Doc: "How long a follower hears nothing of its leader before it takes over: at least a tenth more than replication-lease. All nodes have the same."},
	{Name: "min-replicas-to-write", Alias: "min-slaves-to-write", Group: "Cluster", Kind: Int, Default: "0", Max: 1000, Unit: "followers", Live: true,
		Doc: "With fewer followers in sync, writes are refused (NOREPLICAS). Whatever it is, a write is acknowledged when all followers that are in sync have it. With 0 the last node that is left goes on alone."},
	{Name: "log-pin-bytes", Group: "Cluster", Kind: Bytes, Default: "4gb", Max: math.MaxInt64, Unit: "bytes", Live: true,
		Doc: "How much of the log is kept on disk for a follower that is away or slow. One that needs more gets the whole data anew. Nothing is kept for a node that has been away for a day."},
	{Name: "replication-window", Group: "Cluster", Kind: Bytes, Default: "16mb", Min: 64 * kb, Max: gb, Unit: "bytes",
		Doc: "How much may be on its way to a follower."},
	{Name: "replication-batch", Group: "Cluster", Kind: Bytes, Default: "256kb", Min: kb, Max: mb, Unit: "bytes",
		Doc: "How much of the log is sent at once, when there is so much."},
	{Name: "full-sync-rate", Group: "Cluster", Kind: Bytes, Default: "0", Max: math.MaxInt64, Unit: "bytes per second", Live: true,
		Doc: "How fast a leader sends the whole data to followers; 0 = as fast as it goes."},
	{Name: "full-sync-linger", Group: "Cluster", Kind: Int, Default: "300", Min: 1, Max: 86400, Unit: "seconds",
		Doc: "How long a leader keeps the checkpoint of a full sync that was interrupted, so that it can be gone on with."},
	{Name: "full-sync-min-free", Group: "Cluster", Kind: Bytes, Default: "256mb", Max: math.MaxInt64, Unit: "bytes",
		Doc: "How much of the disk a full sync leaves free, on both sides."},
}
