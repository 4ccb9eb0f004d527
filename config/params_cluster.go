package config

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
		Doc: "Address at which the other nodes reach this one. Empty = address and port that it listens on, where that is unambiguous: bind must not be a wildcard, nor name several addresses of other networks than this machine's own."},
}
