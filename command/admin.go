package command

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gtinside/corecache/keyspace"
)

func timeOfDay(c *Call) {
	now := c.now()
	c.Out.Array(2)
	c.Out.BulkString(strconv.FormatInt(now.Unix(), 10))
	c.Out.BulkString(strconv.Itoa(now.Nanosecond() / 1000))
}

// shutdown is SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]. It does not reply when it succeeds.
func shutdown(c *Call) {
	var wantSave, noSave, force, abort bool
	for i := 1; i < len(c.Args); i++ {
		switch {
		case c.Is(i, "nosave"):
			noSave = true
		case c.Is(i, "save"):
			wantSave = true
		case c.Is(i, "now"): // there are no replicas to wait for
		case c.Is(i, "force"):
			force = true
		case c.Is(i, "abort"):
			abort = true
		default:
			c.Out.Error(errSyntax)
			return
		}
	}
	if abort && len(c.Args) > 2 || wantSave && noSave {
		c.Out.Error(errSyntax)
		return
	}
	if abort {
		c.Out.Error("ERR No shutdown in progress.")
		return
	}
	if wantSave && !c.saveNow() && !force || c.hooks.Shutdown == nil {
		c.Out.Error("ERR Errors trying to SHUTDOWN. Check logs.")
		return
	}
	c.Log.Info("User requested shutdown...")
	c.hooks.Shutdown()
	c.Session.CloseAfterReply()
}

func (s *Server) saveNow() bool {
	return !s.Loading() && s.saves.begin(&s.saves.mu.save) && s.runSave() == nil
}

// waitReplicas is WAIT numreplicas timeout. A write is answered when all followers in sync have it, so there is something to wait for
// only if more are asked for than that. Without a cluster the reply is 0, after the timeout.
func waitReplicas(c *Call) {
	n, ok := keyspace.ParseInt(c.Args[1])
	if !ok {
		c.Out.Error(errNotInteger)
		return
	}
	d, ok := c.parseTimeout(c.Args[2])
	if !ok {
		return
	}
	if have, ok := c.waitFollowers(n, d, func(written, _ int) int { return written }); ok {
		c.Out.Int(have)
	}
}

// waitInVain waits for what can not happen until d is over (0 = for ever). False: the reply is done.
func (c *Call) waitInVain(d time.Duration) bool {
	if c.Txn != nil {
		return true // EXEC does not block
	}
	switch c.wait(nil, d) {
	case waitUnblocked:
		c.Out.Error("UNBLOCKED client unblocked via CLIENT UNBLOCK")
		return false
	case waitDeposed:
		c.refuseDeposed()
		return false
	case waitGone:
		c.Session.CloseAfterReply()
		return false
	}
	return true
}

// waitAOF is WAITAOF numlocal numreplicas timeout.
func waitAOF(c *Call) {
	local, ok := keyspace.ParseInt(c.Args[1])
	if !ok || local < 0 || local > 1 {
		if !ok {
			c.Out.Error(errNotInteger)
		} else {
			c.Out.Error("ERR value is out of range, must be between 0 and 1")
		}
		return
	}
	replicas, ok := c.positiveArg(2)
	if !ok {
		return
	}
	d, ok := c.parseTimeout(c.Args[3])
	if !ok {
		return
	}
	synced := int64(0)
	if c.syncedToDisk(local > 0) {
		synced = 1
	}
	have, ok := c.waitFollowers(replicas, d, func(_, synced int) int { return synced })
	if !ok {
		return
	}
	c.Out.Array(2)
	c.Out.Int(synced)
	c.Out.Int(have)
}

// syncedToDisk reports whether the connection's writes have been fsynced; with force it makes them so.
// Inside EXEC, which does not wait and whose writes are yet to be applied, they are only if the reply itself waits for it.
func (c *Call) syncedToDisk(force bool) bool {
	if c.Txn != nil {
		return c.Config.String("appendfsync") == "always"
	}
	if c.Wait(c.Session) != nil {
		return false
	}
	if force {
		return c.DB.Sync() == nil
	}
	return c.ownWrites() <= c.DB.Synced()
}

// replicationOffset is the position of the log that replicas would follow.
func (s *Server) replicationOffset() uint64 {
	if s.Loading() {
		return 0
	}
	return s.DB.Committed()
}

// replicaOf accepts NO ONE, which is what the server is; who leads is not a matter of commands here.
func replicaOf(c *Call) {
	if c.Is(1, "no") && c.Is(2, "one") {
		c.Out.OK()
		return
	}
	if port, err := strconv.Atoi(string(c.Args[2])); err != nil || port < 0 || port > 65535 {
		c.Out.Error("ERR Invalid master port")
		return
	}
	c.Out.Error("ERR REPLICAOF is not supported: replication is set up in the configuration")
}

func noCluster(c *Call) { c.Out.Error("ERR This instance has cluster support disabled") }

// lolwut is LOLWUT [VERSION version ...]: a picture of a log-structured merge tree.
func lolwut(c *Call) {
	if len(c.Args) >= 3 && c.Is(1, "version") {
		if _, ok := keyspace.ParseInt(c.Args[2]); !ok {
			c.Out.Error(errNotInteger)
			return
		}
	}
	var b strings.Builder
	for level := 0; level < 5; level++ {
		width := 1 << level
		b.WriteString(strings.Repeat(" ", 16-width))
		b.WriteString(strings.Repeat("▒▓", width))
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\nWhat sinks is sorted.\nRedis ver. %s (CoreCache %s)\n", RedisVersion, c.version)
	c.Out.Verbatim("txt", b.String())
}

func clusterSub(name string, arity int, flags Flags, since, syntax, summary string) Command {
	return Command{Name: name, Arity: arity, Flags: flags, Handler: noCluster, Since: since,
		Complexity: "O(1)", Syntax: syntax, Summary: summary, Tips: clusterTips[name]}
}

var clusterTips = map[string][]string{
	"info": {"nondeterministic_output"}, "nodes": {"nondeterministic_output"}, "slots": {"nondeterministic_output"},
	"shards": {"nondeterministic_output"}, "links": {"nondeterministic_output"}, "replicas": {"nondeterministic_output"},
	"getkeysinslot": {"nondeterministic_output"},
}

var clusterCommand = Command{
	Name: "cluster", Arity: -2, Flags: nodeLocal, Group: "cluster", Since: "3.0.0", Complexity: "Depends on subcommand.",
	Summary: "A container for commands of Redis Cluster.",
	Sub: []Command{
		clusterSub("info", 2, Stale, "3.0.0", "", "Describes the cluster."),
		clusterSub("nodes", 2, Stale, "3.0.0", "", "Lists the nodes."),
		clusterSub("slots", 2, Stale, "3.0.0", "", "Maps slots to nodes."),
		clusterSub("shards", 2, Stale, "7.0.0", "", "Maps slots to shards."),
		clusterSub("links", 2, Stale, "7.0.0", "", "Lists the connections between nodes."),
		clusterSub("myid", 2, Stale, "3.0.0", "", "Returns the ID of the node."),
		clusterSub("myshardid", 2, Stale, "7.2.0", "", "Returns the ID of the node's shard."),
		clusterSub("keyslot", 3, Stale, "3.0.0", "key:string", "Returns the slot of a key."),
		clusterSub("countkeysinslot", 3, Stale, "3.0.0", "slot", "Counts the keys of a slot."),
		clusterSub("getkeysinslot", 4, Stale, "3.0.0", "slot count", "Returns keys of a slot."),
		clusterSub("replicas", 3, Admin|Stale, "5.0.0", "node-id", "Lists the replicas of a node."),
		clusterSub("reset", -2, Admin|NoScript|Stale, "3.0.0", "[HARD | SOFT]", "Resets a node."),
		{Name: "help", Arity: 2, Flags: Loading | Stale, Handler: noCluster,
			Since: "5.0.0", Complexity: "O(1)", Summary: "Lists the subcommands."},
	},
}

const (
	adminFlags = Admin | NoScript | Loading | Stale
	saveFlags  = Admin | NoScript | NoAsyncLoading
)

var latencyTips = []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}

var latencyCommand = Command{
	Name: "latency", Arity: -2, Flags: nodeLocal, Group: "server", Since: "2.8.13", Complexity: "Depends on subcommand.",
	Summary: "A container for commands about latency.",
	Sub: []Command{
		{Name: "doctor", Arity: 2, Flags: adminFlags, Handler: latencyDoctor, Since: "2.8.13", Complexity: "O(1)",
			Summary: "Says in words what is slow.", Tips: latencyTips},
		{Name: "graph", Arity: 3, Flags: adminFlags, Handler: latencyGraph, Since: "2.8.13", Complexity: "O(1)", Syntax: "event",
			Summary: "Draws the spikes of an event.", Tips: latencyTips},
		{Name: "history", Arity: 3, Flags: adminFlags, Handler: latencyHistory, Since: "2.8.13", Complexity: "O(1)", Syntax: "event",
			Summary: "Returns the spikes of an event.", Tips: latencyTips},
		{Name: "histogram", Arity: -2, Flags: adminFlags, Handler: latencyHistogram, Since: "7.0.0",
			Complexity: "O(N) where N is the number of commands with latency information being retrieved.", Syntax: "[command [command ...]]",
			Summary: "Returns the distribution of commands' times.", Tips: latencyTips},
		{Name: "latest", Arity: 2, Flags: adminFlags, Handler: latencyLatest, Since: "2.8.13", Complexity: "O(1)",
			Summary: "Returns the last spike of each event.", Tips: latencyTips},
		{Name: "reset", Arity: -2, Flags: adminFlags, Handler: latencyReset, Since: "2.8.13", Complexity: "O(1)", Syntax: "[event [event ...]]",
			Summary: "Forgets the spikes of events.", Tips: []string{"request_policy:all_nodes", "response_policy:all_succeeded"}},
		{Name: "help", Arity: 2, Flags: Loading | Stale, Handler: helpOf(latencyHelp), Since: "2.8.13", Complexity: "O(1)",
			Summary: "Lists the subcommands."},
	},
}

var latencyHelp = []string{
	"DOCTOR", "    Return a human readable latency analysis report.",
	"GRAPH <event>", "    Return an ASCII latency graph for the <event> class.",
	"HISTORY <event>", "    Return time-latency samples for the <event> class.",
	"LATEST", "    Return the latest latency samples for all events.",
	"RESET [<event> ...]", "    Reset latency data of one or more <event> classes.", "    (default: reset all data for all event classes)",
	"HISTOGRAM [COMMAND ...]",
	"    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
	"    If no commands are specified then all histograms are replied.",
}

const slowlogFlags = Admin | Loading | Stale

var slowlogCommand = Command{
	Name: "slowlog", Arity: -2, Flags: nodeLocal, Group: "server", Since: "2.2.12", Complexity: "Depends on subcommand.",
	Summary: "A container for commands about slow commands.",
	Sub: []Command{
		{Name: "get", Arity: -2, Flags: slowlogFlags, Handler: slowlogGet, Since: "2.2.12",
			Complexity: "O(N) where N is the number of entries returned", Syntax: "[count]", Summary: "Returns the last slow commands.",
			Tips: []string{"request_policy:all_nodes", "nondeterministic_output"}},
		{Name: "len", Arity: 2, Flags: slowlogFlags, Handler: slowlogLen, Since: "2.2.12", Complexity: "O(1)", Summary: "Counts the slow commands kept.",
			Tips: []string{"request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"}},
		{Name: "reset", Arity: 2, Flags: slowlogFlags, Handler: slowlogReset, Since: "2.2.12",
			Complexity: "O(N) where N is the number of entries in the slowlog", Summary: "Forgets the slow commands.",
			Tips: []string{"request_policy:all_nodes", "response_policy:all_succeeded"}},
		{Name: "help", Arity: 2, Flags: Loading | Stale, Handler: helpOf(slowlogHelp), Since: "6.2.0", Complexity: "O(1)",
			Summary: "Lists the subcommands."},
	},
}

var slowlogHelp = []string{
	"GET [<count>]", "    Return top <count> entries from the slowlog (default: 10, -1 mean all).", "    Entries are made of:",
	"    id, timestamp, time in microseconds, arguments array, client IP and port,", "    client name",
	"LEN", "    Return the length of the slowlog.",
	"RESET", "    Reset the slowlog.",
}

var serverCommands = []Command{
	{Name: "info", Arity: -1, Flags: Loading | Stale | nodeLocal, Categories: CatDangerous, Handler: info, Group: "server", Since: "1.0.0",
		Complexity: "O(1)", Syntax: "[section [section ...]]", Summary: "Describes the server in numbers.",
		History: []string{"7.0.0: Takes several sections."},
		Tips:    []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}},
	{Name: "time", Arity: 1, Flags: Loading | Stale | Fast | nodeLocal, Handler: timeOfDay, Group: "server", Since: "2.6.0", Complexity: "O(1)",
		Summary: "Returns the server's time.", Tips: []string{"nondeterministic_output"}},
	{Name: "role", Arity: 1, Flags: NoScript | Loading | Stale | Fast | nodeLocal, Categories: CatAdmin | CatDangerous, Handler: role,
		Group: "server", Since: "2.8.12", Complexity: "O(1)", Summary: "Returns the role of the server in replication."},
	{Name: "monitor", Arity: 1, Flags: adminFlags | nodeLocal, Handler: monitor, Group: "server", Since: "1.0.0",
		Summary: "Shows every command that the server executes."},
	{Name: "lastsave", Arity: 1, Flags: Loading | Stale | Fast | nodeLocal, Categories: CatAdmin | CatDangerous, Handler: lastSave,
		Group: "server", Since: "1.0.0", Complexity: "O(1)", Summary: "Returns the time of the last checkpoint.",
		Tips: []string{"nondeterministic_output"}},
	{Name: "save", Arity: 1, Flags: saveFlags | NoMulti | nodeLocal, Handler: save, Group: "server", Since: "1.0.0",
		Complexity: "O(N) where N is the number of files of the data", Summary: "Saves a checkpoint."},
	{Name: "bgsave", Arity: -1, Flags: saveFlags | nodeLocal, Handler: bgsave, Group: "server", Since: "1.0.0", Complexity: "O(1)", Syntax: "[SCHEDULE]",
		Summary: "Saves a checkpoint in the background.", History: []string{"3.2.2: Takes SCHEDULE."}},
	{Name: "bgrewriteaof", Arity: 1, Flags: saveFlags | nodeLocal, Handler: bgRewriteAOF, Group: "server", Since: "1.0.0", Complexity: "O(1)",
		Summary: "Flushes memory to tables, so that less of the log has to be replayed after a crash."},
	{Name: "shutdown", Arity: -1, Flags: adminFlags | NoMulti | AllowBusy | nodeLocal, Handler: shutdown, Group: "server", Since: "1.0.0",
		Complexity: "O(1), O(N) with SAVE where N is the number of files of the data", Syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
		Summary: "Stops the server in good order.", History: []string{"7.0.0: Takes NOW, FORCE and ABORT."}},
	{Name: "wait", Arity: 3, Flags: NoScript, Categories: CatConnection, Handler: waitReplicas, kind: RequestRead, waits: true, Group: "generic", Since: "3.0.0",
		Complexity: "O(1)", Syntax: "numreplicas timeout", Summary: "Waits until replicas have the connection's writes.",
		Tips: []string{"request_policy:all_shards", "response_policy:agg_min"}},
	{Name: "waitaof", Arity: 4, Flags: NoScript, Categories: CatConnection, Handler: waitAOF, kind: RequestRead, waits: true, Group: "generic", Since: "7.2.0",
		Complexity: "O(1)", Syntax: "numlocal numreplicas timeout", Summary: "Waits until the connection's writes are on disk.",
		Tips: []string{"request_policy:all_shards", "response_policy:agg_min"}},
	{Name: "replicaof", Arity: 3, Flags: Admin | NoScript | Stale | NoAsyncLoading | nodeLocal, Handler: replicaOf, Group: "server", Since: "5.0.0",
		Complexity: "O(1)", Syntax: "<args: <host-port: host port> | <no-one: NO ONE>>", Summary: "Makes the server a replica or a master."},
	{Name: "slaveof", Arity: 3, Flags: Admin | NoScript | Stale | NoAsyncLoading | nodeLocal, Handler: replicaOf, Group: "server", Since: "1.0.0",
		Complexity: "O(1)", Syntax: "<args: <host-port: host port> | <no-one: NO ONE>>", Summary: "An old name of REPLICAOF.", Deprecated: "5.0.0: `REPLICAOF`"},
	{Name: "lolwut", Arity: -1, Flags: ReadOnly | Fast | nodeLocal, Handler: lolwut, Group: "server", Since: "5.0.0", Syntax: "[VERSION version]",
		Summary: "Draws a picture and says the version."},
	{Name: "debug", Arity: -2, Flags: adminFlags | Protected, Handler: debugCommand, stays: debugStays, Group: "server", Since: "1.0.0",
		Complexity: "Depends on subcommand.", Summary: "Helps to test clients and the server."},
	configCommand, commandCommand, memoryCommand, latencyCommand, slowlogCommand, clusterCommand,
}
