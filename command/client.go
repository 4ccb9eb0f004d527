package command

import (
	"math"
	"time"

	"github.com/gtinside/corecache/keyspace"
)

func clientID(c *Call)   { c.Out.Int(c.Session.ID) }
func clientInfo(c *Call) { c.Out.Verbatim("txt", c.Session.describe()+"\n") }

func clientGetName(c *Call) {
	if name := c.Session.Name(); name != "" {
		c.Out.BulkString(name)
		return
	}
	c.Out.Null()
}

func clientSetName(c *Call) {
	if !validName(c.Args[2]) {
		c.Out.Error(errBadName)
		return
	}
	c.Session.setName(string(c.Args[2]))
	c.Out.OK()
}

func clientSetInfo(c *Call) {
	sess := c.Session
	var field *string
	switch {
	case c.Is(2, "lib-name"):
		field = &sess.mu.libName
	case c.Is(2, "lib-ver"):
		field = &sess.mu.libVer
	default:
		c.Out.Error("ERR Unrecognized option '" + cString(c.Args[2]) + "'")
		return
	}
	if !validName(c.Args[3]) {
		c.Out.Error("ERR " + cString(c.Args[2]) + " cannot contain spaces, newlines or special characters.")
		return
	}
	sess.mu.Lock()
	*field = string(c.Args[3])
	sess.mu.Unlock()
	c.Out.OK()
}

// clientList is CLIENT LIST [TYPE type | ID id ...].
func clientList(c *Call) {
	var f clientFilter
	switch {
	case len(c.Args) == 2:
	case len(c.Args) == 4 && c.Is(2, "type"):
		class, ok := c.parseClientType(c.Args[3])
		if !ok {
			return
		}
		f.class = class
	case len(c.Args) > 3 && c.Is(2, "id"):
		f.ids = make(map[int64]bool)
		for _, a := range c.Args[3:] {
			id, ok := keyspace.ParseInt(a)
			if !ok {
				c.Out.Error("ERR Invalid client ID")
				return
			}
			f.ids[id] = true
		}
	default:
		c.Out.Error(errSyntax)
		return
	}
	c.Out.Verbatim("txt", c.describeAll(&f, c.Session))
}

func (c *Call) parseClientType(arg []byte) (clientType, bool) {
	for name, class := range clientTypes {
		if equalFold(arg, name) {
			return class, true
		}
	}
	c.Out.Error("ERR Unknown client type '" + cString(arg) + "'")
	return typeAny, false
}

// clientKill is CLIENT KILL addr, or CLIENT KILL filter value [filter value ...].
func clientKill(c *Call) {
	if len(c.Args) == 3 {
		if c.killClients(&clientFilter{addr: string(c.Args[2])}) == 0 {
			c.Out.Error("ERR No such client")
			return
		}
		c.Out.OK()
		return
	}
	f := &clientFilter{skipMe: true}
	if c.parseKillFilter(f) {
		c.Out.Int(c.killClients(f))
	}
}

// parseKillFilter reads the filters; it replies and returns false when one is wrong.
func (c *Call) parseKillFilter(f *clientFilter) bool {
	for i := 2; i < len(c.Args); i += 2 {
		if i+1 == len(c.Args) {
			c.Out.Error(errSyntax)
			return false
		}
		value := c.Args[i+1]
		ok := true
		switch {
		case c.Is(i, "id"):
			id, ok := keyspace.ParseInt(value)
			if !ok || id < 1 {
				c.Out.Error("ERR client-id should be greater than 0")
				return false
			}
			f.ids = map[int64]bool{id: true}
		case c.Is(i, "type"):
			f.class, ok = c.parseClientType(value)
		case c.Is(i, "addr"):
			f.addr = string(value)
		case c.Is(i, "laddr"):
			f.laddr = string(value)
		case c.Is(i, "user"):
			f.user = string(value)
			if ok = f.user == defaultUser; !ok {
				c.Out.Error("ERR No such user '" + cString(value) + "'")
			}
		case c.Is(i, "skipme") && equalFold(value, "yes"):
			f.skipMe = true
		case c.Is(i, "skipme") && equalFold(value, "no"):
			f.skipMe = false
		default:
			c.Out.Error(errSyntax)
			return false
		}
		if !ok {
			return false
		}
	}
	return true
}

// killClients closes the selected clients, the caller's own after its reply, and returns their number.
func (c *Call) killClients(f *clientFilter) (n int64) {
	for _, sess := range c.clients.all() {
		if !f.match(sess, c.Session) {
			continue
		}
		n++
		if sess == c.Session {
			sess.CloseAfterReply()
		} else {
			sess.Kill()
		}
	}
	return n
}

func clientReply(c *Call) {
	sess := c.Session
	switch {
	case c.Is(2, "on"):
		sess.replyMode = replyOn
		c.Out.OK()
	case c.Is(2, "off"):
		sess.replyMode = replyOff
	case c.Is(2, "skip"):
		if sess.replyMode != replyOff {
			sess.replyMode = replySkipNext
		}
	default:
		c.Out.Error(errSyntax)
	}
}

// parseTimeout reads a time-out in milliseconds; it replies and returns false when it is wrong.
func (c *Call) parseTimeout(arg []byte) (time.Duration, bool) {
	n, ok := keyspace.ParseInt(arg)
	switch {
	case !ok:
		c.Out.Error("ERR timeout is not an integer or out of range")
	case n < 0:
		c.Out.Error("ERR timeout is negative")
	case n > math.MaxInt64-c.Now:
		c.Out.Error("ERR timeout is out of range")
	default:
		return time.Duration(min(n, int64(maxTimeout/time.Millisecond))) * time.Millisecond, true
	}
	return 0, false
}

// maxTimeout is as good as for ever and far from overflow.
const maxTimeout = 100 * 365 * 24 * time.Hour

func clientPause(c *Call) {
	all := true
	if len(c.Args) == 4 {
		switch {
		case c.Is(3, "write"):
			all = false
		case !c.Is(3, "all"):
			c.Out.Error("ERR CLIENT PAUSE mode must be WRITE or ALL")
			return
		}
	} else if len(c.Args) > 4 {
		c.wrongSub()
		return
	}
	d, ok := c.parseTimeout(c.Args[2])
	if !ok {
		return
	}
	c.pause.begin(c.Server, d, all)
	c.Out.OK()
}

func clientUnpause(c *Call) {
	c.pause.end(c.Server)
	c.Out.OK()
}

// clientUnblock is CLIENT UNBLOCK id [TIMEOUT | ERROR].
func clientUnblock(c *Call) {
	isError := false
	if len(c.Args) > 4 {
		c.wrongSub()
		return
	}
	if len(c.Args) == 4 {
		switch {
		case c.Is(3, "error"):
			isError = true
		case !c.Is(3, "timeout"):
			c.Out.Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
			return
		}
	}
	id, ok := keyspace.ParseInt(c.Args[2])
	if !ok {
		c.Out.Error(errNotInteger)
		return
	}
	n := int64(0)
	if sess := c.clients.get(id); sess != nil && c.unblock(sess, isError) {
		n = 1
	}
	c.Out.Int(n)
}

// unblock ends the waiting of a session, also when its command is executed by the leader.
func (c *Call) unblock(sess *Session, isError bool) bool {
	if away := sess.blocksAt(); away != nil {
		c.Session.Conn.Yield()
		return away.Unblock(isError)
	}
	return sess.unblock(isError)
}

// onOff reads ON or OFF; it replies and returns ok = false when it is neither.
func (c *Call) onOff(i int) (on, ok bool) {
	switch {
	case c.Is(i, "on"):
		return true, true
	case c.Is(i, "off"):
		return false, true
	}
	c.Out.Error(errSyntax)
	return false, false
}

func clientNoEvict(c *Call) {
	if on, ok := c.onOff(2); ok {
		c.Session.noEvict.Store(on)
		c.Out.OK()
	}
}

func clientNoTouch(c *Call) {
	if on, ok := c.onOff(2); ok {
		c.Session.noTouch.Store(on)
		c.Out.OK()
	}
}

func clientGetRedir(c *Call) { c.Out.Int(-1) }

func clientTrackingInfo(c *Call) {
	w := c.Out
	w.Map(3)
	w.BulkString("flags")
	w.Set(1)
	w.BulkString("off")
	w.BulkString("redirect")
	w.Int(-1)
	w.BulkString("prefixes")
	w.Array(0)
}

const (
	clientFlags      = NoScript | Loading | Stale
	clientAdminFlags = Admin | NoScript | Loading | Stale
)

var clientCommand = Command{
	Name: "client", Arity: -2, Flags: nodeLocal, Group: "connection", Since: "2.4.0", Complexity: "Depends on subcommand.",
	Summary: "A container for commands about client connections.",
	Sub: []Command{
		{Name: "id", Arity: 2, Flags: clientFlags, Categories: CatConnection, Handler: clientID,
			Since: "5.0.0", Complexity: "O(1)", Summary: "Returns the unique ID of the connection."},
		{Name: "info", Arity: 2, Flags: clientFlags, Categories: CatConnection, Handler: clientInfo,
			Since: "6.2.0", Complexity: "O(1)", Summary: "Describes the connection.",
			Tips: []string{"nondeterministic_output"}},
		{Name: "list", Arity: -2, Flags: clientAdminFlags, Categories: CatConnection, Handler: clientList,
			Since: "2.4.0", Complexity: "O(N) where N is the number of client connections",
			Syntax:  "[TYPE <client-type: NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
			Summary: "Lists the open connections.", Tips: []string{"nondeterministic_output"}},
		{Name: "kill", Arity: -3, Flags: clientAdminFlags, Categories: CatConnection, Handler: clientKill,
			Since: "2.4.0", Complexity: "O(N) where N is the number of client connections",
			Syntax: "<filter: ip:port | <new-format: [ID client-id] | [TYPE <client-type: NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | " +
				"[USER username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME <skipme: YES | NO>]>>",
			Summary: "Closes connections."},
		{Name: "setname", Arity: 3, Flags: clientFlags, Categories: CatConnection, Handler: clientSetName,
			Since: "2.6.9", Complexity: "O(1)", Syntax: "connection-name", Summary: "Names the connection."},
		{Name: "getname", Arity: 2, Flags: clientFlags, Categories: CatConnection, Handler: clientGetName,
			Since: "2.6.9", Complexity: "O(1)", Summary: "Returns the name of the connection."},
		{Name: "setinfo", Arity: 4, Flags: clientFlags, Categories: CatConnection, Handler: clientSetInfo,
			Since: "7.2.0", Complexity: "O(1)", Syntax: "<LIB-NAME libname | LIB-VER libver>",
			Summary: "Tells which client library uses the connection.",
			Tips:    []string{"request_policy:all_nodes", "response_policy:all_succeeded"}},
		{Name: "reply", Arity: 3, Flags: clientFlags, Categories: CatConnection, Handler: clientReply,
			Since: "3.2.0", Complexity: "O(1)", Syntax: "<ON | OFF | SKIP>",
			Summary: "Tells the server whether to reply to the commands of the connection."},
		{Name: "pause", Arity: -3, Flags: clientAdminFlags, Categories: CatConnection, Handler: clientPause,
			Since: "3.0.0", Complexity: "O(1)", Syntax: "timeout [mode: WRITE | ALL]", Summary: "Suspends the commands of clients for some time."},
		{Name: "unpause", Arity: 2, Flags: clientAdminFlags, Categories: CatConnection, Handler: clientUnpause,
			Since: "6.2.0", Complexity: "O(N) where N is the number of paused clients", Summary: "Ends a pause."},
		{Name: "unblock", Arity: -3, Flags: clientAdminFlags, Categories: CatConnection, Handler: clientUnblock,
			Since: "5.0.0", Complexity: "O(log N) where N is the number of client connections", Syntax: "client-id [TIMEOUT | ERROR]",
			Summary: "Ends the waiting of a client in a blocking command."},
		{Name: "no-evict", Arity: 3, Flags: clientAdminFlags, Categories: CatConnection, Handler: clientNoEvict,
			Since: "7.0.0", Complexity: "O(1)", Syntax: "<enabled: ON | OFF>", Summary: "Protects the connection from client eviction."},
		{Name: "no-touch", Arity: 3, Flags: clientFlags, Categories: CatConnection, Handler: clientNoTouch,
			Since: "7.2.0", Complexity: "O(1)", Syntax: "<enabled: ON | OFF>", Summary: "Keeps the connection's commands from refreshing idle times."},
		{Name: "getredir", Arity: 2, Flags: clientFlags, Categories: CatConnection, Handler: clientGetRedir,
			Since: "6.0.0", Complexity: "O(1)", Summary: "Returns the connection that gets this one's invalidation messages."},
		{Name: "trackinginfo", Arity: 2, Flags: clientFlags, Categories: CatConnection, Handler: clientTrackingInfo,
			Since: "6.2.0", Complexity: "O(1)", Summary: "Describes the connection's use of server-assisted caching."},
		{Name: "help", Arity: 2, Flags: Loading | Stale, Categories: CatConnection, Handler: helpOf(clientHelp),
			Since: "5.0.0", Complexity: "O(1)", Summary: "Lists the subcommands."},
	},
}

var clientHelp = []string{
	"GETREDIR", "    Return the client ID we are redirecting to when tracking is enabled.",
	"GETNAME", "    Return the name of the current connection.",
	"ID", "    Return the ID of the current connection.",
	"INFO", "    Return information about the current client connection.",
	"KILL <ip:port>", "    Kill connection made from <ip:port>.",
	"KILL <option> <value> [<option> <value> [...]]", "    Kill connections. Options are:",
	"    * ADDR (<ip:port>|<unixsocket>:0)", "      Kill connections made from the specified address",
	"    * LADDR (<ip:port>|<unixsocket>:0)", "      Kill connections made to specified local address",
	"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      Kill connections by type.",
	"    * USER <username>", "      Kill connections authenticated by <username>.",
	"    * SKIPME (YES|NO)", "      Skip killing current connection (default: yes).",
	"LIST [options ...]", "    Return information about client connections. Options:",
	"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      Return clients of specified type.",
	"UNPAUSE", "    Stop the current client pause, resuming traffic.",
	"PAUSE <timeout> [WRITE|ALL]", "    Suspend all, or just write, clients for <timeout> milliseconds.",
	"REPLY (ON|OFF|SKIP)", "    Control the replies sent to the current connection.",
	"SETNAME <name>", "    Assign the name <name> to the current connection.",
	"SETINFO <option> <value>", "    Set client meta attr. Options are:",
	"    * LIB-NAME: the client lib name.", "    * LIB-VER: the client lib version.",
	"UNBLOCK <clientid> [TIMEOUT|ERROR]", "    Unblock the specified blocked client.",
	"TRACKINGINFO", "    Report tracking status for the current connection.",
	"NO-EVICT (ON|OFF)", "    Protect current client connection from eviction.",
	"NO-TOUCH (ON|OFF)", "    Will not touch LRU/LFU stats when this mode is on.",
}
