package config

import "math"

// The table, in the order of the example file. params_cluster.go and params_storage.go have the rows of
// the cluster and of the storage engine, params_fixed.go those that only answer.
var params = join(networkParams, tlsParams, generalParams, clusterParams, durabilityParams, memoryParams, storageParams,
	limitParams, observeParams, fixedParams)

func join(groups ...[]Param) (all []Param) {
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

const (
	kb = 1 << 10
	mb = 1 << 20
	gb = 1 << 30
)

var networkParams = []Param{
	{Name: "bind", Group: "Network", Kind: List, Default: "127.0.0.1 -::1", Max: 16, Unit: "addresses",
		Doc: "Addresses to listen on. One that begins with '-' is left out when the machine does not have it; * means all of IPv4, -::* all of IPv6 where there is any."},
	{Name: "port", Group: "Network", Kind: Int, Default: "6379", Max: 65535,
		Doc: "TCP port; 0 = none."},
	{Name: "port-range", Group: "Network", Kind: String, Default: "", Unit: "first-last",
		Doc: "When set, as in 7000-7010, the first free port of the range is taken instead of port, said in the log, and shown by CONFIG GET port and INFO."},
	{Name: "unixsocket", Group: "Network", Kind: Path, Default: "",
		Doc: "Path of a unix socket to listen on as well."},
	{Name: "unixsocketperm", Group: "Network", Kind: Octal, Default: "0", Unit: "octal mode",
		Doc: "Permissions of the unix socket; 0 = as the umask makes them."},
	{Name: "tcp-backlog", Group: "Network", Kind: Int, Default: "511", Max: math.MaxInt32, Unit: "connections",
		Doc: "Connections the kernel may hold ready for the server to accept. The kernel's own limit (net.core.somaxconn) applies."},
	{Name: "tcp-keepalive", Group: "Network", Kind: Int, Default: "300", Max: math.MaxInt32, Unit: "seconds", Live: true,
		Doc: "Silence after which a TCP connection is probed; 0 = never. Applies to connections made from then on."},
	{Name: "timeout", Group: "Network", Kind: Int, Default: "0", Max: math.MaxInt32, Unit: "seconds", Live: true,
		Doc: "A client that is idle for longer is disconnected; 0 = never."},
	{Name: "protected-mode", Group: "Network", Kind: Bool, Default: "yes", Live: true,
		Doc: "Without a password, refuse clients that do not come from this machine."},
	{Name: "requirepass", Group: "Network", Kind: String, Default: "", Live: true, Secret: true,
		Doc: "Password that clients must give with AUTH or HELLO; empty = none."},
	{Name: "masterauth", Group: "Network", Kind: String, Default: "", Live: true, Secret: true,
		Doc: "Secret by which the nodes of a cluster know each other, the same on all of them; empty = requirepass is."},
	{Name: "maxclients", Group: "Network", Kind: Int, Default: "10000", Min: 1, Max: 1 << 20, Unit: "connections", Live: true,
		Doc: "Connections served at the same time; more get an error. The limit of open files of the process applies."},
	{Name: "io-threads", Group: "Network", Kind: Int, Default: "0", Max: 128, Unit: "event loops",
		Doc: "Event loops that serve clients; 0 = one for each processor, at most 16. A command that takes long does not hold up the other clients of its loop."},
}

var tlsParams = []Param{
	{Name: "tls-port", Group: "TLS", Kind: Int, Default: "0", Max: 65535,
		Doc: "TCP port for TLS; 0 = none."},
	{Name: "tls-cert-file", Group: "TLS", Kind: Path, Default: "", Live: true,
		Doc: "Certificate chain of the server, PEM. SIGHUP reads the files anew."},
	{Name: "tls-key-file", Group: "TLS", Kind: Path, Default: "", Live: true,
		Doc: "Private key of the certificate, PEM."},
	{Name: "tls-ca-cert-file", Group: "TLS", Kind: Path, Default: "", Live: true,
		Doc: "Certificates that sign those of the clients, PEM."},
	{Name: "tls-auth-clients", Group: "TLS", Kind: Enum, Default: "yes", Choices: []string{"no", "yes", "optional"}, Live: true,
		Doc: "Whether clients must present a certificate; optional = one that is presented must be valid."},
	{Name: "tls-protocols", Group: "TLS", Kind: List, Default: "", Choices: []string{"TLSv1.2", "TLSv1.3"}, Max: 2, Live: true,
		Doc: "Versions that are spoken; empty = TLSv1.2 TLSv1.3."},
}

var generalParams = []Param{
	{Name: "dir", Group: "General", Kind: Path, Default: "./data",
		Doc: "Data directory; made when it is missing. One server at a time."},
	{Name: "databases", Group: "General", Kind: Int, Default: "16", Min: 1, Max: 65536,
		Doc: "Number of databases for SELECT. Lowering it hides the data of the higher ones, and does not delete it."},
	{Name: "loglevel", Group: "General", Kind: Enum, Default: "notice", Choices: []string{"debug", "verbose", "notice", "warning", "nothing"}, Live: true,
		Doc: "How much is logged."},
	{Name: "logfile", Group: "General", Kind: Path, Default: "",
		Doc: "File to log to; empty = standard error. SIGHUP opens it anew, for logrotate."},
	{Name: "pidfile", Group: "General", Kind: Path, Default: "",
		Doc: "File that holds the process id, from when the server has opened its data until it stops; empty = none."},
	{Name: "daemonize", Group: "General", Kind: Bool, Default: "no",
		Doc: "Only no: the server stays in the foreground. Let a supervisor (systemd, runit, a container) put it into the background."},
	{Name: "supervised", Group: "General", Kind: Enum, Default: "no", Choices: []string{"no", "auto", "systemd", "upstart"},
		Doc: "systemd = report readiness and shutdown through NOTIFY_SOCKET (Type=notify); auto = do so when NOTIFY_SOCKET is set; upstart is taken as no."},
	{Name: "hz", Group: "General", Kind: Int, Default: "10", Min: 1, Max: 500, Unit: "per second",
		Doc: "How often keys whose time is over are looked for. They are never shown, however often that is."},
	{Name: "shutdown-timeout", Group: "General", Kind: Int, Default: "10", Max: math.MaxInt32, Unit: "seconds", Live: true,
		Doc: "How long a shutdown waits for commands under way and replies not yet read, before it closes the connections."},
	{Name: "checkpoint-dir", Group: "General", Kind: Path, Default: "",
		Doc: "Where SAVE and BGSAVE put a checkpoint, on the file system of dir, since it is made of hard links: one folder each, named by the time, of which the newest two stay. Empty = the folder checkpoint in dir. A checkpoint is a data directory: start a server on a copy of it to go back."},
	{Name: "enable-debug-command", Group: "General", Kind: Enum, Default: "no", Choices: []string{"no", "yes", "local"},
		Doc: "Whether DEBUG is allowed: never, always, or for clients from this machine."},
}

var durabilityParams = []Param{
	{Name: "appendfsync", Group: "Durability", Kind: Enum, Default: "everysec", Choices: []string{"everysec", "always", "no"}, Live: true,
		Doc: "When the log reaches the disk. always: before a write is answered. everysec: a write is answered when the operating system has it, so that it outlives the process, and reaches the disk within a second. no: likewise, with the time left to the operating system."},
	{Name: "log-segment-size", Group: "Durability", Kind: Bytes, Default: "64mb", Min: mb, Max: gb, Unit: "bytes",
		Doc: "Size of one file of the log. Files are reused."},
	{Name: "log-keep-bytes", Group: "Durability", Kind: Bytes, Default: "0", Max: math.MaxInt64, Unit: "bytes", Live: true,
		Doc: "How much of the log is kept behind what recovery needs."},
}

var memoryParams = []Param{
	{Name: "maxmemory", Group: "Memory", Kind: Bytes, Default: "1gb", Min: 64 * mb, Max: math.MaxInt64, Unit: "bytes", Live: true,
		Doc: "Memory budget of the whole process: memtables, block cache, filters, client buffers, and what the runtime needs. The data is on disk and may be many times larger; nothing is evicted when it is. A change moves the block cache, when cache-size is 0, and the limit of the garbage collector."},
	{Name: "cache-size", Group: "Memory", Kind: Bytes, Default: "0", Max: math.MaxInt64, Unit: "bytes", Live: true,
		Doc: "Cache of blocks and, up to three quarters of it, of single records that are read; 0 = what maxmemory leaves after the memtables and a reserve for clients and the runtime."},
	{Name: "memtable-size", Group: "Memory", Kind: Bytes, Default: "0", Max: gb, Unit: "bytes", Live: true,
		Doc: "A memtable is flushed to disk when it has this size; 0 = 1/16 of maxmemory, between 4mb and 256mb. Larger ones make writes cheaper and a restart after a crash slower."},
	{Name: "memtable-count", Group: "Memory", Kind: Int, Default: "4", Min: 2, Max: 64,
		Doc: "Memtables that may be in memory at once: one is written to, the others wait to be flushed. Writes slow down as the number is approached."},
	{Name: "maxmemory-clients", Group: "Memory", Kind: Percent, Default: "20%", Max: math.MaxInt64, Unit: "bytes or % of maxmemory", Live: true,
		Doc: "Bound for the buffers of all clients together. When it is exceeded, the clients that hold most are disconnected. 0 = no bound."},
}

var limitParams = []Param{
	{Name: "proto-max-bulk-len", Group: "Limits", Kind: Bytes, Default: "512mb", Min: mb, Max: 2 * gb, Unit: "bytes", Live: true,
		Doc: "Longest argument of a command, and longest string."},
	{Name: "client-query-buffer-limit", Group: "Limits", Kind: Bytes, Default: "1gb", Min: mb, Max: math.MaxInt64, Unit: "bytes", Live: true,
		Doc: "Longest command, all of its arguments together."},
	{Name: "client-output-buffer-limit", Group: "Limits", Kind: Limits, Default: "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", Unit: "class hard soft seconds", Live: true,
		Doc: "Replies that may wait for a client that does not read them: at the hard limit it is disconnected at once, over the soft limit after so many seconds; 0 = no limit. Classes: normal, replica, pubsub. The directive may be repeated, once per class."},
}

var observeParams = []Param{
	{Name: "slowlog-log-slower-than", Group: "Observation", Kind: Int, Default: "10000", Min: -1, Max: math.MaxInt64, Unit: "microseconds", Live: true,
		Doc: "Commands that take longer are kept for SLOWLOG; 0 = all, -1 = none."},
	{Name: "slowlog-max-len", Group: "Observation", Kind: Int, Default: "128", Max: 1 << 20, Unit: "entries", Live: true,
		Doc: "Length of the slow log."},
	{Name: "latency-monitor-threshold", Group: "Observation", Kind: Int, Default: "0", Max: math.MaxInt64, Unit: "milliseconds", Live: true,
		Doc: "Events that take at least as long are kept for LATENCY; 0 = none."},
	{Name: "latency-tracking", Group: "Observation", Kind: Bool, Default: "yes", Live: true,
		Doc: "Whether a histogram of the time of each command is kept, for INFO latencystats and LATENCY HISTOGRAM."},
	{Name: "latency-tracking-info-percentiles", Group: "Observation", Kind: Numbers, Default: "50 99 99.9", Max: 16, Unit: "percentiles", Live: true,
		Doc: "What INFO latencystats shows of them."},
	{Name: "pprof-port", Group: "Observation", Kind: Int, Default: "0", Max: 65535,
		Doc: "Port on 127.0.0.1 that serves profiles of the process (go tool pprof http://127.0.0.1:port/debug/pprof/profile); 0 = none."},
}
