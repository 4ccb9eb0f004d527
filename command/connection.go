package command

import (
	"crypto/subtle"
	"math"

	"github.com/gtinside/corecache/keyspace"
)

func ping(c *Call) {
	switch len(c.Args) {
	case 1:
		c.Out.Simple("PONG")
	case 2:
		c.Out.Bulk(c.Args[1])
	default:
		c.wrongArgs()
	}
}

func echo(c *Call) { c.Out.Bulk(c.Args[1]) }

func quit(c *Call) {
	c.Out.OK()
	c.Session.CloseAfterReply()
}

func selectDB(c *Call) {
	n, ok := keyspace.ParseInt(c.Args[1])
	if !ok {
		c.Out.Error(errNotInteger)
		return
	}
	if n < math.MinInt32 || n > math.MaxInt32 {
		c.Out.Error("ERR value is out of range, value must between -2147483648 and 2147483647")
		return
	}
	if n < 0 || n >= c.set.databases.Int() {
		c.Out.Error("ERR DB index is out of range")
		return
	}
	c.Session.SetDB(int(n))
	c.Out.OK()
}

const (
	errNotInteger = "ERR value is not an integer or out of range"
	errSyntax     = "ERR syntax error"
	errWrongPass  = "WRONGPASS invalid username-password pair or user is disabled."
)

func (c *Call) wrongArgs() {
	c.Out.Error("ERR wrong number of arguments for '" + c.Cmd.full + "' command")
}

// wrongSub replies that a subcommand does not take so many arguments.
func (c *Call) wrongSub() {
	c.Out.Error("ERR unknown subcommand or wrong number of arguments for '" + clip(cString(c.Args[1]), 128) + "'. Try " + c.Cmd.parent.upper + " HELP.")
}

func auth(c *Call) {
	switch len(c.Args) {
	case 2:
		c.redact(1)
		if c.set.requirePass.String() == "" {
			c.Out.Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
			return
		}
		if c.authenticate([]byte(defaultUser), c.Args[1]) {
			c.Out.OK()
		}
	case 3:
		c.redact(1)
		c.redact(2)
		if c.authenticate(c.Args[1], c.Args[2]) {
			c.Out.OK()
		}
	default:
		for i := 1; i < len(c.Args); i++ {
			c.redact(i)
		}
		c.Out.Error(errSyntax)
	}
}

// authenticate checks a user's password. It replies when it is wrong.
func (c *Call) authenticate(user, password []byte) bool {
	want := c.set.requirePass.String()
	ok := string(user) == defaultUser && (want == "" || subtle.ConstantTimeCompare(password, []byte(want)) == 1)
	if !ok {
		c.stats.denied.Add(1)
		c.Out.Error(errWrongPass)
		return false
	}
	c.Session.authenticated.Store(true)
	return true
}

// hello is HELLO [protover [AUTH username password] [SETNAME clientname]].
func hello(c *Call) {
	proto := c.Session.Proto()
	if len(c.Args) > 1 {
		n, ok := keyspace.ParseInt(c.Args[1])
		if !ok {
			c.Out.Error("ERR Protocol version is not an integer or out of range")
			return
		}
		if n != 2 && n != 3 {
			c.Out.Error("NOPROTO unsupported protocol version")
			return
		}
		proto = int(n)
	}
	name, ok := c.helloOptions()
	if !ok {
		return
	}
	if !c.Session.authenticated.Load() && c.set.requirePass.String() != "" {
		c.Out.Error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option " +
			"can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if name != nil {
		c.Session.setName(string(name))
	}
	c.Session.setProto(proto)
	c.Out.Proto = proto
	c.replyHello()
}

// helloOptions handles AUTH and SETNAME of HELLO; it replies and returns false on an error.
func (c *Call) helloOptions() (name []byte, ok bool) {
	for i := 2; i < len(c.Args); i++ {
		if c.Is(i, "auth") && i+2 < len(c.Args) {
			c.redact(i + 1)
			c.redact(i + 2)
		}
	}
	var user, password []byte
	for i := 2; i < len(c.Args); i++ {
		more := len(c.Args) - 1 - i
		switch {
		case c.Is(i, "auth") && more >= 2:
			user, password = c.Args[i+1], c.Args[i+2]
			i += 2
		case c.Is(i, "setname") && more >= 1:
			name = c.Args[i+1]
			if !validName(name) {
				c.Out.Error(errBadName)
				return nil, false
			}
			i++
		default:
			c.Out.Error("ERR Syntax error in HELLO option '" + cString(c.Args[i]) + "'")
			return nil, false
		}
	}
	if user != nil && !c.authenticate(user, password) {
		return nil, false
	}
	return name, true
}

func (c *Call) replyHello() {
	w := c.Out
	w.Map(7)
	w.BulkString("server")
	w.BulkString("redis")
	w.BulkString("version")
	w.BulkString(RedisVersion)
	w.BulkString("proto")
	w.Int(int64(c.Session.Proto()))
	w.BulkString("id")
	w.Int(c.Session.ID)
	w.BulkString("mode")
	w.BulkString("standalone")
	w.BulkString("role")
	w.BulkString("master")
	w.BulkString("modules")
	w.Array(0)
}

// reset is RESET: the session is as it was when it connected.
func reset(c *Call) {
	sess := c.Session
	c.monitors.remove(sess)
	c.unwatch(sess)
	sess.resetMulti()
	sess.readOnly = false
	sess.SetDB(0)
	sess.setProto(2)
	c.Out.Proto = 2
	sess.setName("")
	sess.replyMode = replyOn
	sess.noEvict.Store(false)
	sess.noTouch.Store(false)
	sess.authenticated.Store(c.set.requirePass.String() == "")
	c.Out.Simple("RESET")
}

func (sess *Session) setProto(n int) { sess.proto.Store(int32(n)) }

const errBadName = "ERR Client names cannot contain spaces, newlines or special characters."

// validName reports whether a name can be printed in one column of CLIENT LIST.
func validName(name []byte) bool {
	for _, ch := range name {
		if ch < '!' || ch > '~' {
			return false
		}
	}
	return true
}

var connectionCommands = []Command{
	{Name: "ping", Arity: -1, Flags: Fast | nodeLocal, Categories: CatConnection, Handler: ping,
		Group: "connection", Since: "1.0.0", Complexity: "O(1)", Syntax: "[message]",
		Summary: "Answers PONG, or the message, to show that the connection works.",
		Tips:    []string{"request_policy:all_shards", "response_policy:all_succeeded"}},
	{Name: "echo", Arity: 2, Flags: Fast | Loading | Stale | nodeLocal, Categories: CatConnection, Handler: echo,
		Group: "connection", Since: "1.0.0", Complexity: "O(1)", Syntax: "message",
		Summary: "Answers the message."},
	{Name: "auth", Arity: -2, Flags: NoScript | Loading | Stale | Fast | NoAuth | AllowBusy | nodeLocal, Categories: CatConnection, Handler: auth,
		Group: "connection", Since: "1.0.0", Complexity: "O(N) where N is the number of passwords of the user", Syntax: "[username] password",
		Summary: "Authenticates the connection.", History: []string{"6.0.0: Takes a username."}},
	{Name: "hello", Arity: -1, Flags: NoScript | Loading | Stale | Fast | NoAuth | AllowBusy | nodeLocal | sessionState, Categories: CatConnection, Handler: hello,
		Group: "connection", Since: "6.0.0", Complexity: "O(1)",
		Syntax:  "[arguments: protover [AUTH username password] [SETNAME clientname]]",
		Summary: "Shakes hands: chooses the protocol, authenticates, names the connection.",
		History: []string{"6.2.0: protover is optional."}},
	{Name: "select", Arity: 2, Flags: Loading | Stale | Fast | nodeLocal | sessionState, Categories: CatConnection, Handler: selectDB,
		Group: "connection", Since: "1.0.0", Complexity: "O(1)", Syntax: "index",
		Summary: "Changes the database of the connection."},
	{Name: "quit", Arity: -1, Flags: NoScript | Loading | Stale | Fast | NoAuth | AllowBusy | anyTime | nodeLocal, Categories: CatConnection, Handler: quit,
		Group: "connection", Since: "1.0.0", Complexity: "O(1)",
		Summary: "Closes the connection after the pending replies.", Deprecated: "7.2.0: just closing the connection"},
	{Name: "reset", Arity: 1, Flags: NoScript | Loading | Stale | Fast | NoAuth | AllowBusy | anyTime | nodeLocal, Categories: CatConnection, Handler: reset,
		Group: "connection", Since: "6.2.0", Complexity: "O(1)",
		Summary: "Brings the connection back to the state it began in."},
	clientCommand,
}
