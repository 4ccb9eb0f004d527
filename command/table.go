package command

import (
	"strings"

	"github.com/gtinside/corecache/keyspace"
	"github.com/gtinside/corecache/reply"
)

// Command is one row of the command table: a command, or a subcommand of a container.
//
// Rows are written as literals; newTable copies them into a Server and fills in
// what is unexported.
type Command struct {
	Name       string // lower case; for subcommands without the name of the container
	Arity      int    // number of arguments with the name (for subcommands: both names); negative: at least
	Flags      Flags
	Categories Categories // ACL categories apart from those that follow from Flags
	Keys       []KeySpec
	GetKeys    func(args [][]byte) []KeyRef // for movable keys: where Keys do not say all; nil = Keys do
	Handler    func(*Call)
	Sub        []Command // makes the command a container

	Group      string // as in COMMAND DOCS: string, generic, connection, server, transactions, ...
	Since      string
	Summary    string
	Complexity string
	Syntax     string // arguments as the manual shows them; see syntax.go
	Tips       []string
	History    []string // "7.0.0: Added ..." lines
	Deprecated string   // "2.6.12: `SET` with the `EX` argument": since and replacement

	stays func(*Call) bool // instead of nodeLocal, where it depends on the call
	waits bool             // it may block for as long as its client likes; also filled in from Flags
	kind  RequestKind      // when it goes to another node; RequestWrite = RequestRead if that is what Flags say

	// Filled in by newTable.
	full    string // "get", "client|list"
	upper   string // "GET", "CLIENT|LIST"
	quick   bool   // others may wait for it
	parent  *Command
	subs    map[string]*Command
	subList []*Command
	*rowStats
}

// FullName is the name with its container: "get", "client|list".
func (cmd *Command) FullName() string { return cmd.full }

// Flags of a command. Their order is that of COMMAND INFO.
type Flags uint32

// Flags; the names are those of COMMAND INFO unless said otherwise.
const (
	Write Flags = 1 << iota
	ReadOnly
	DenyOOM
	Module
	Admin
	PubSub
	NoScript
	Blocking
	Loading
	Stale
	SkipMonitor
	SkipSlowlog
	Asking
	Fast
	NoAuth
	MayReplicate
	NoMandatoryKeys
	Protected // not shown: DEBUG, guarded by enable-debug-command
	NoAsyncLoading
	NoMulti
	MovableKeys
	AllowBusy

	anyTime      // not shown: executed inside MULTI at once instead of being queued (EXEC, DISCARD, ...)
	nodeLocal    // not shown: concerns this node or this connection, and is executed here whoever leads; of a container: holds for all in it
	sessionState // not shown: nodeLocal, and changes what the leader has to know of the session (SELECT, HELLO)
)

var flagNames = []struct {
	flag Flags
	name string
}{
	{Write, "write"}, {ReadOnly, "readonly"}, {DenyOOM, "denyoom"}, {Module, "module"}, {Admin, "admin"},
	{PubSub, "pubsub"}, {NoScript, "noscript"}, {Blocking, "blocking"}, {Loading, "loading"}, {Stale, "stale"},
	{SkipMonitor, "skip_monitor"}, {SkipSlowlog, "skip_slowlog"}, {Asking, "asking"}, {Fast, "fast"},
	{NoAuth, "no_auth"}, {MayReplicate, "may_replicate"}, {NoMandatoryKeys, "no_mandatory_keys"},
	{NoAsyncLoading, "no_async_loading"}, {NoMulti, "no_multi"}, {MovableKeys, "movablekeys"},
	{AllowBusy, "allow_busy"},
}

// Categories are the ACL categories of a command.
type Categories uint32

// ACL categories in the order in which Redis lists them.
const (
	CatKeyspace Categories = 1 << iota
	CatRead
	CatWrite
	CatSet
	CatSortedSet
	CatList
	CatHash
	CatString
	CatBitmap
	CatHyperLogLog
	CatGeo
	CatStream
	CatPubSub
	CatAdmin
	CatFast
	CatSlow
	CatBlocking
	CatDangerous
	CatConnection
	CatTransaction
	CatScripting
)

var categoryNames = []string{
	"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog",
	"geo", "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection",
	"transaction", "scripting",
}

// impliedCategories returns the categories that follow from flags.
func impliedCategories(f Flags) (c Categories) {
	if f&Write != 0 {
		c |= CatWrite
	}
	if f&ReadOnly != 0 {
		c |= CatRead
	}
	if f&Admin != 0 {
		c |= CatAdmin | CatDangerous
	}
	if f&PubSub != 0 {
		c |= CatPubSub
	}
	if f&Blocking != 0 {
		c |= CatBlocking
	}
	if f&Fast != 0 {
		return c | CatFast
	}
	return c | CatSlow
}

// families lists the tables of all families.
func families(cluster bool) [][]Command {
	all := [][]Command{
		connectionCommands, serverCommands, stringCommands, keyCommands, transactionCommands,
	}
	if cluster {
		all = append(all, clusterOnlyCommands)
	}
	return all
}

// table is the command table of one server.
type table struct {
	byName map[string]*Command
	list   []*Command // containers and plain commands, in order of the tables
	count  int        // with subcommands
}

func newTable(families [][]Command) *table {
	t := &table{byName: make(map[string]*Command, 256)}
	for _, rows := range families {
		for i := range rows {
			t.add(rows[i])
		}
	}
	return t
}

func (t *table) add(row Command) {
	cmd := t.addHidden(row)
	t.list = append(t.list, cmd)
	t.count += 1 + len(row.Sub)
}

// addHidden adds a row which only those find who know its name.
func (t *table) addHidden(row Command) *Command {
	cmd := adopt(row, nil)
	t.byName[cmd.Name] = cmd
	if len(row.Sub) == 0 {
		return cmd
	}
	cmd.subs = make(map[string]*Command, len(row.Sub))
	for i := range row.Sub {
		sub := adopt(row.Sub[i], cmd)
		cmd.subs[sub.Name] = sub
		cmd.subList = append(cmd.subList, sub)
	}
	return cmd
}

// adopt copies a row and completes it.
func adopt(row Command, parent *Command) *Command {
	cmd := &row
	cmd.full, cmd.parent, cmd.rowStats = cmd.Name, parent, new(rowStats)
	if parent != nil {
		cmd.full = parent.Name + "|" + cmd.Name
		cmd.Flags |= parent.Flags & nodeLocal
		if cmd.Group == "" {
			cmd.Group = parent.Group
		}
	}
	cmd.quick = cmd.Flags&Blocking == 0 && (cmd.Flags&Fast != 0 || cmd.Flags&Write != 0 && cmd.oneKey())
	cmd.waits = cmd.waits || cmd.Flags&Blocking != 0
	cmd.upper = strings.ToUpper(cmd.full)
	cmd.Categories |= impliedCategories(cmd.Flags)
	return cmd
}

// oneKey reports whether the command is about one key.
func (cmd *Command) oneKey() bool {
	if len(cmd.Keys) != 1 {
		return false
	}
	k := &cmd.Keys[0]
	return !k.NumKeys && k.Keyword == "" && k.Last == 0 && (cmd.GetKeys == nil || k.Flags&KeyVariable != 0) // what varies is not the place
}

// each visits all commands and subcommands.
func (t *table) each(visit func(*Command)) {
	for _, cmd := range t.list {
		visit(cmd)
		for _, sub := range cmd.subList {
			visit(sub)
		}
	}
}

// maxName bounds the length of command names, so that a lookup folds case on the stack.
const maxName = 40

// lookup finds a command by its name in any case, nil when there is none. It does not allocate.
func (t *table) lookup(name []byte) *Command {
	return lookupFold(t.byName, name)
}

func lookupFold(m map[string]*Command, name []byte) *Command {
	var buf [maxName]byte
	if len(name) > len(buf) {
		return nil
	}
	for i, ch := range name {
		if 'A' <= ch && ch <= 'Z' {
			ch += 'a' - 'A'
		}
		buf[i] = ch
	}
	return m[string(buf[:len(name)])]
}

// resolve finds the row that args call: a plain command, a subcommand, or (when the
// subcommand is missing or unknown) a container, whose Handler is nil.
func (t *table) resolve(args [][]byte) *Command {
	cmd := t.lookup(args[0])
	if cmd != nil && cmd.subs != nil && len(args) > 1 {
		if sub := lookupFold(cmd.subs, args[1]); sub != nil {
			return sub
		}
	}
	return cmd
}

// nameCache remembers the rows of the names that a session has used, as it wrote them: comparing
// a few bytes takes a fraction of a lookup. The zero value is empty.
type nameCache [8]struct {
	cmd  *Command
	size int
	name [16]byte
}

// find is resolve by way of the cache.
func (n *nameCache) find(t *table, args [][]byte) *Command {
	name := args[0]
	if len(name) == 0 || len(name) > len(n[0].name) {
		return t.resolve(args)
	}
	e := &n[(int(name[0])+len(name))%len(n)]
	if e.size == len(name) && string(e.name[:e.size]) == string(name) {
		return e.cmd
	}
	cmd := t.resolve(args)
	if cmd != nil && cmd.subs == nil && cmd.parent == nil {
		e.cmd, e.size = cmd, copy(e.name[:], name)
	}
	return cmd
}

// lookupFull finds "get" or "client|list", in any case.
func (t *table) lookupFull(name []byte) *Command {
	head, tail, ok := strings.Cut(string(name), "|")
	cmd := t.lookup([]byte(head))
	if !ok || cmd == nil {
		return cmd
	}
	return lookupFold(cmd.subs, []byte(tail))
}

// arityOK reports whether a call with n arguments (with the name) fits.
func (cmd *Command) arityOK(n int) bool {
	return cmd.Arity >= 0 && n == cmd.Arity || cmd.Arity < 0 && n >= -cmd.Arity
}

// Call is one execution of a command. Handlers must not keep it, nor Args, which
// alias the read buffer of the front end.
type Call struct {
	*Server
	Session *Session
	Cmd     *Command
	Args    [][]byte // Args[0] is the name
	Out     *reply.Writer
	Now     int64 // unix milliseconds; the same for all commands of a transaction

	Txn *keyspace.Txn // the open transaction when EXEC runs the call, else nil

	copied   bool   // the call has read what this node has, although it does not lead
	led      bool   // the call is executed because this node leads
	splicing bool   // the call runs while the replies of the leader are taken apart: it must not wait
	start    int    // where the reply of the dispatched command begins in Out.Buf
	redacted uint64 // bit i: argument i is secret; see redact
}

// Wrote notes that the call has appended a write whose last sequence number is
// seq: the reply is held back until seq is committed.
func (c *Call) Wrote(seq uint64) {
	if seq > c.Session.LastWrite {
		c.Session.LastWrite = seq
	}
}

// Is reports whether argument i equals the lower-case word, in any case.
func (c *Call) Is(i int, word string) bool { return equalFold(c.Args[i], word) }

// equalFold compares ASCII in any case; lower must be lower case. It does not allocate.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, ch := range b {
		if 'A' <= ch && ch <= 'Z' {
			ch += 'a' - 'A'
		}
		if ch != lower[i] {
			return false
		}
	}
	return true
}
