package command

import (
	"strings"

	"github.com/gtinside/corecache/glob"
	"github.com/gtinside/corecache/reply"
)

// commandAll is COMMAND: INFO for every command.
func commandAll(c *Call) {
	c.Out.Array(len(c.table.list))
	for _, cmd := range c.table.list {
		cmd.writeInfo(c.Out)
	}
}

func commandCount(c *Call) { c.Out.Int(int64(len(c.table.list))) }

func commandInfo(c *Call) {
	if len(c.Args) == 2 {
		commandAll(c)
		return
	}
	c.Out.Array(len(c.Args) - 2)
	for _, name := range c.Args[2:] {
		if cmd := c.table.lookupFull(name); cmd != nil {
			cmd.writeInfo(c.Out)
		} else {
			c.Out.Null()
		}
	}
}

// writeInfo appends the ten columns of COMMAND INFO.
func (cmd *Command) writeInfo(w *reply.Writer) {
	first, last, step := cmd.legacyRange()
	w.Array(10)
	w.BulkString(cmd.full)
	w.Int(int64(cmd.Arity))
	cmd.writeFlags(w)
	w.Int(int64(first))
	w.Int(int64(last))
	w.Int(int64(step))
	cmd.writeCategories(w)
	w.Set(len(cmd.Tips))
	for _, tip := range cmd.Tips {
		w.BulkString(tip)
	}
	w.Set(len(cmd.Keys))
	for i := range cmd.Keys {
		cmd.Keys[i].write(w)
	}
	w.Set(len(cmd.subList))
	for _, sub := range cmd.subList {
		sub.writeInfo(w)
	}
}

func (cmd *Command) writeFlags(w *reply.Writer) {
	at, n := w.Len(), 0
	for _, f := range flagNames {
		if cmd.Flags&f.flag != 0 {
			w.Simple(f.name)
			n++
		}
	}
	w.InsertSet(at, n)
}

func (cmd *Command) writeCategories(w *reply.Writer) {
	at, n := w.Len(), 0
	for i, name := range categoryNames {
		if cmd.Categories&(1<<i) != 0 {
			w.Simple("@" + name)
			n++
		}
	}
	w.InsertSet(at, n)
}

func (spec *KeySpec) write(w *reply.Writer) {
	if spec.Notes != "" {
		w.Map(4)
		w.BulkString("notes")
		w.BulkString(spec.Notes)
	} else {
		w.Map(3)
	}
	names := spec.Flags.names()
	w.BulkString("flags")
	w.Set(len(names))
	for _, name := range names {
		w.Simple(name)
	}
	w.BulkString("begin_search")
	spec.writeBegin(w)
	w.BulkString("find_keys")
	spec.writeFind(w)
}

func (spec *KeySpec) writeBegin(w *reply.Writer) {
	w.Map(2)
	w.BulkString("type")
	if spec.Keyword != "" {
		w.BulkString("keyword")
		w.BulkString("spec")
		w.Map(2)
		w.BulkString("keyword")
		w.BulkString(strings.ToUpper(spec.Keyword))
		writeField(w, "startfrom", spec.From)
		return
	}
	w.BulkString("index")
	w.BulkString("spec")
	w.Map(1)
	writeField(w, "index", spec.Index)
}

func (spec *KeySpec) writeFind(w *reply.Writer) {
	w.Map(2)
	w.BulkString("type")
	if spec.NumKeys {
		w.BulkString("keynum")
		w.BulkString("spec")
		w.Map(3)
		writeField(w, "keynumidx", spec.NumIndex)
		writeField(w, "firstkey", spec.First)
		writeField(w, "keystep", spec.Step)
		return
	}
	w.BulkString("range")
	w.BulkString("spec")
	w.Map(3)
	writeField(w, "lastkey", spec.Last)
	writeField(w, "keystep", spec.Step)
	writeField(w, "limit", spec.Limit)
}

func writeField(w *reply.Writer, name string, n int) {
	w.BulkString(name)
	w.Int(int64(n))
}

func commandDocs(c *Call) {
	if len(c.Args) == 2 {
		c.Out.Map(len(c.table.list))
		for _, cmd := range c.table.list {
			cmd.writeDocs(c.Out)
		}
		return
	}
	at, n := c.Out.Len(), 0
	for _, name := range c.Args[2:] {
		if cmd := c.table.lookupFull(name); cmd != nil {
			cmd.writeDocs(c.Out)
			n++
		}
	}
	c.Out.InsertMap(at, n)
}

// writeDocs appends the name and the map of COMMAND DOCS.
func (cmd *Command) writeDocs(w *reply.Writer) {
	w.BulkString(cmd.full)
	at, n := w.Len(), 0
	text := func(name, value string) {
		if value != "" {
			w.BulkString(name)
			w.BulkString(value)
			n++
		}
	}
	text("summary", cmd.Summary)
	text("since", cmd.Since)
	text("group", cmd.Group)
	text("complexity", cmd.Complexity)
	if cmd.Deprecated != "" {
		since, instead := cutHistory(cmd.Deprecated)
		w.BulkString("doc_flags")
		w.Set(1)
		w.Simple("deprecated")
		n++
		text("deprecated_since", since)
		text("replaced_by", instead)
	}
	if len(cmd.History) > 0 {
		n++
		w.BulkString("history")
		w.Set(len(cmd.History))
		for _, line := range cmd.History {
			version, what := cutHistory(line)
			w.Array(2)
			w.BulkString(version)
			w.BulkString(what)
		}
	}
	if args := cmd.arguments(); len(args) > 0 {
		n++
		w.BulkString("arguments")
		writeArguments(w, args)
	}
	if len(cmd.subList) > 0 {
		n++
		w.BulkString("subcommands")
		w.Map(len(cmd.subList))
		for _, sub := range cmd.subList {
			sub.writeDocs(w)
		}
	}
	w.InsertMap(at, n)
}

// cutHistory splits "7.0.0: what" .
func cutHistory(line string) (version, what string) {
	version, what, _ = strings.Cut(line, ": ")
	return version, what
}

func writeArguments(w *reply.Writer, args []argument) {
	w.Array(len(args))
	for i := range args {
		args[i].write(w)
	}
}

func (a *argument) write(w *reply.Writer) {
	at, n := w.Len(), 2
	w.BulkString("name")
	w.BulkString(a.name)
	w.BulkString("type")
	w.BulkString(a.kind)
	if a.kind != "oneof" && a.kind != "block" && a.kind != "pure-token" {
		w.BulkString("display_text")
		w.BulkString(a.name)
		n++
	}
	if a.kind == "key" {
		writeField(w, "key_spec_index", a.keySpec)
		n++
	}
	if a.token != "" {
		w.BulkString("token")
		w.BulkString(a.token)
		n++
	}
	if flags := a.flags(); len(flags) > 0 {
		w.BulkString("flags")
		w.Set(len(flags))
		for _, f := range flags {
			w.Simple(f)
		}
		n++
	}
	if len(a.args) > 0 {
		w.BulkString("arguments")
		writeArguments(w, a.args)
		n++
	}
	w.InsertMap(at, n)
}

func (a *argument) flags() (out []string) {
	if a.optional {
		out = append(out, "optional")
	}
	if a.multiple {
		out = append(out, "multiple")
	}
	if a.multiToken {
		out = append(out, "multiple_token")
	}
	return out
}

// commandList is COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern].
func commandList(c *Call) {
	keep := func(*Command) bool { return true }
	switch {
	case len(c.Args) == 2:
	case len(c.Args) != 5 || !c.Is(2, "filterby"):
		c.Out.Error(errSyntax)
		return
	case c.Is(3, "module"):
		keep = func(*Command) bool { return false }
	case c.Is(3, "aclcat"):
		category := categoryOf(c.Args[4])
		keep = func(cmd *Command) bool { return cmd.Categories&category != 0 }
	case c.Is(3, "pattern"):
		keep = func(cmd *Command) bool { return glob.MatchFold(c.Args[4], []byte(cmd.full)) }
	default:
		c.Out.Error(errSyntax)
		return
	}
	at, n := c.Out.Len(), 0
	visit := func(cmd *Command) {
		if keep(cmd) {
			c.Out.BulkString(cmd.full)
			n++
		}
	}
	c.table.each(visit)
	c.Out.InsertArray(at, n)
}

// categoryOf returns the category of a name, 0 when there is none.
func categoryOf(name []byte) Categories {
	for i, s := range categoryNames {
		if equalFold(name, s) {
			return 1 << i
		}
	}
	return 0
}

func commandGetKeys(c *Call) {
	if refs, ok := c.getKeys(); ok {
		c.Out.Array(len(refs))
		for _, ref := range refs {
			c.Out.Bulk(c.Args[2+ref.Arg])
		}
	}
}

func commandGetKeysAndFlags(c *Call) {
	refs, ok := c.getKeys()
	if !ok {
		return
	}
	c.Out.Array(len(refs))
	for _, ref := range refs {
		c.Out.Array(2)
		c.Out.Bulk(c.Args[2+ref.Arg])
		names := (ref.Flags &^ (KeyVariable | KeyIncomplete | KeyNotKey)).names()
		c.Out.Set(len(names))
		for _, name := range names {
			c.Out.Simple(name)
		}
	}
}

// getKeys finds the keys of the command given as arguments; it replies when there is something wrong.
func (c *Call) getKeys() (refs []KeyRef, ok bool) {
	args := c.Args[2:]
	cmd := c.table.resolve(args)
	switch {
	case cmd == nil || cmd.Handler == nil:
		c.Out.Error("ERR Invalid command specified")
	case len(cmd.Keys) == 0 && cmd.GetKeys == nil:
		c.Out.Error("ERR The command has no key arguments")
	case !cmd.arityOK(len(args)):
		c.Out.Error("ERR Invalid number of arguments specified for command")
	default:
		refs, ok = cmd.keyRefs(args)
		if !ok && cmd.Flags&NoMandatoryKeys != 0 {
			return nil, true
		}
		if !ok {
			c.Out.Error("ERR Invalid arguments specified for command")
		}
		return refs, ok
	}
	return nil, false
}

// helpOf returns the handler of a HELP subcommand: lines surrounded by the usual first and last ones.
func helpOf(lines []string) func(*Call) {
	return func(c *Call) {
		c.Out.Array(len(lines) + 3)
		c.Out.Simple(strings.ToUpper(c.Cmd.parent.Name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
		for _, line := range lines {
			c.Out.Simple(line)
		}
		c.Out.Simple("HELP")
		c.Out.Simple("    Prints this help.")
	}
}

var commandHelp = []string{
	"(no subcommand)", "    Return details about all Redis commands.",
	"COUNT", "    Return the total number of commands in this Redis server.",
	"LIST", "    Return a list of all commands in this Redis server.",
	"INFO [<command-name> ...]", "    Return details about multiple Redis commands.",
	"    If no command names are given, documentation details for all", "    commands are returned.",
	"DOCS [<command-name> ...]", "    Return documentation details about multiple Redis commands.",
	"    If no command names are given, documentation details for all", "    commands are returned.",
	"GETKEYS <full-command>", "    Return the keys from a full Redis command.",
	"GETKEYSANDFLAGS <full-command>", "    Return the keys and the access flags from a full Redis command.",
}

var commandCommand = Command{
	Name: "command", Arity: -1, Flags: Loading | Stale | nodeLocal, Categories: CatConnection, Handler: commandAll,
	Group: "server", Since: "2.8.13", Complexity: "O(N) where N is the total number of commands",
	Summary: "Describes all commands.", Tips: []string{"nondeterministic_output_order"},
	Sub: []Command{
		{Name: "count", Arity: 2, Flags: Loading | Stale, Categories: CatConnection, Handler: commandCount,
			Since: "2.8.13", Complexity: "O(1)", Summary: "Returns the number of commands."},
		{Name: "docs", Arity: -2, Flags: Loading | Stale, Categories: CatConnection, Handler: commandDocs,
			Since: "7.0.0", Complexity: "O(N) where N is the number of commands to look up", Syntax: "[command-name [command-name ...]]",
			Summary: "Returns the documentation of commands.", Tips: []string{"nondeterministic_output_order"}},
		{Name: "getkeys", Arity: -3, Flags: Loading | Stale, Categories: CatConnection, Handler: commandGetKeys,
			Since: "2.8.13", Complexity: "O(N) where N is the number of arguments to the command", Syntax: "command [arg [arg ...]]",
			Summary: "Finds the keys in a call."},
		{Name: "getkeysandflags", Arity: -3, Flags: Loading | Stale, Categories: CatConnection, Handler: commandGetKeysAndFlags,
			Since: "7.0.0", Complexity: "O(N) where N is the number of arguments to the command", Syntax: "command [arg [arg ...]]",
			Summary: "Finds the keys in a call and what it does to them."},
		{Name: "info", Arity: -2, Flags: Loading | Stale, Categories: CatConnection, Handler: commandInfo,
			Since: "2.8.13", Complexity: "O(N) where N is the number of commands to look up", Syntax: "[command-name [command-name ...]]",
			Summary: "Describes commands.", Tips: []string{"nondeterministic_output_order"},
			History: []string{"7.0.0: Takes no name for all commands."}},
		{Name: "list", Arity: -2, Flags: Loading | Stale, Categories: CatConnection, Handler: commandList,
			Since: "7.0.0", Complexity: "O(N) where N is the total number of commands",
			Syntax:  "[FILTERBY <filterby: MODULE module-name | ACLCAT category | PATTERN pattern>]",
			Summary: "Lists the names of commands.", Tips: []string{"nondeterministic_output_order"}},
		{Name: "help", Arity: 2, Flags: Loading | Stale, Categories: CatConnection, Handler: helpOf(commandHelp),
			Since: "5.0.0", Complexity: "O(1)", Summary: "Lists the subcommands."},
	},
}
