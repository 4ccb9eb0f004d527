package command

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gtinside/corecache/glob"
	"github.com/gtinside/corecache/keyspace"
	"github.com/gtinside/corecache/reply"
)

// protectedAllowed reports whether enable-debug-command lets the session use DEBUG.
func (s *Server) protectedAllowed(c *Call) bool {
	switch s.Config.String("enable-debug-command") {
	case "yes":
		return true
	case "local":
		return isLocal(c.Session.Conn.RemoteAddr())
	}
	return false
}

// isLocal reports whether an address is a unix socket or of this machine.
func isLocal(addr string) bool {
	if strings.HasPrefix(addr, "/") {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

func protectedError(cmd *Command) string {
	return "ERR " + cmd.upper + " command not allowed. If the enable-debug-command option is set to \"local\", " +
		"you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server."
}

// debugSubs are the subcommands of DEBUG: they are no rows of the command table in Redis either. max is
// the largest number of arguments, min the smallest, both with the two names.
var debugSubs = map[string]struct {
	min, max int
	run      func(*Call)
}{
	"sleep":                        {3, 3, debugSleep},
	"object":                       {3, 4, debugObject},
	"sdslen":                       {3, 3, debugSDSLen},
	"set-active-expire":            {3, 3, debugActiveExpire},
	"error":                        {3, 3, debugError},
	"log":                          {3, 3, debugLog},
	"protocol":                     {3, 3, debugProtocol},
	"change-repl-id":               {2, 2, debugChangeReplID},
	"stringmatch-len":              {4, 4, debugStringMatchLen},
	"quicklist-packed-threshold":   {3, 3, debugOK},
	"listpack":                     {3, 3, debugListpack},
	"set-skip-checksum-validation": {3, 3, debugOK},
	"pause-cron":                   {3, 3, debugOK},
	"replybuffer":                  {4, 4, debugOK},
	"dict-resizing":                {3, 3, debugOK},
	"script":                       {3, 4, debugOK},
	"populate":                     {3, 5, debugPopulate},
	"digest":                       {2, 2, debugDigest},
	"digest-value":                 {2, math.MaxInt, debugDigestValue},
	"reload":                       {2, 5, debugReload},
	"loadaof":                      {2, 2, debugReload},
	"flush":                        {2, 2, debugReload},
	"compact":                      {2, 2, debugCompact},
	"panic":                        {2, 2, debugPanic},
	"structsize":                   {2, 2, debugStructSize},
	"jmap":                         {2, 2, debugOK},
	"help":                         {2, 2, debugHelp},
}

func debugCommand(c *Call) {
	name := strings.ToLower(string(c.Args[1]))
	sub, ok := debugSubs[name]
	if !ok || len(c.Args) < sub.min || len(c.Args) > sub.max {
		c.Out.Error("ERR unknown subcommand or wrong number of arguments for '" + clip(cString(c.Args[1]), 128) + "'. Try DEBUG HELP.")
		return
	}
	if c.Loading() {
		c.Out.Error(errLoading)
		return
	}
	sub.run(c)
}

// debugStays: DEBUG is about this process and what it has (DIGEST compares nodes), but for some subcommands on keys.
func debugStays(c *Call) bool {
	switch strings.ToLower(string(c.Args[1])) {
	case "object", "sdslen", "listpack", "populate":
		return false
	}
	return true
}

func debugOK(c *Call) { c.Out.OK() }

// maxSleep bounds DEBUG SLEEP.
const maxSleep = time.Hour

// debugSleep stops the connection only: there is no one thread that all others wait for.
// Inside EXEC it does nothing, so that no locks are held meanwhile.
func debugSleep(c *Call) {
	f, err := strconv.ParseFloat(string(c.Args[2]), 64)
	if err != nil || math.IsNaN(f) || f < 0 {
		f = 0 // strtod in Redis
	}
	d := time.Duration(min(f, maxSleep.Seconds()) * float64(time.Second))
	if d > 0 && c.Txn == nil {
		start := c.nanos()
		c.waitFor(nil, d, nil)
		c.Session.lap.start -= c.nanos() - start // SLOWLOG is to show the sleep
	}
	c.Out.OK()
}

// inspect looks at a key's metadata. It replies and returns ok = false on an error.
func (c *Call) inspect(key []byte) (o keyspace.Object, found, ok bool) {
	c.read(func(t *keyspace.Txn) (err error) {
		o, found, err = t.Object(key)
		ok = err == nil
		return err
	})
	return o, found, ok
}

// debugObject is DEBUG OBJECT key [FAST].
func debugObject(c *Call) {
	info, found, ok := c.inspect(c.Args[2])
	if !ok {
		return
	}
	if !found {
		c.Out.Error("ERR no such key")
		return
	}
	idle := max(c.Now-info.Written, 0) / 1000
	c.Out.Simple(fmt.Sprintf("Value at:0x0 refcount:%d encoding:%s serializedlength:%d lru:%d lru_seconds_idle:%d type:%s written_ms:%d deadline_ms:%d",
		refCount(info.Shared), info.Encoding, info.Length, info.Written/1000&(1<<24-1), idle, info.Type, info.Written, info.Deadline))
}

// refCount is what OBJECT REFCOUNT shows: Redis never counts the references of shared objects.
func refCount(shared bool) int64 {
	if shared {
		return math.MaxInt32
	}
	return 1
}

func debugSDSLen(c *Call) {
	info, found, ok := c.inspect(c.Args[2])
	switch {
	case !ok:
	case !found:
		c.Out.Error("ERR no such key")
	case info.Type != keyspace.TypeString:
		c.Out.Error("ERR Not an sds encoded string.")
	default:
		c.Out.Simple(fmt.Sprintf("key_sds_len:%d, key_sds_avail:0, key_zmalloc: %d, val_sds_len:%d, val_sds_avail:0, val_zmalloc: %d",
			len(c.Args[2]), len(c.Args[2]), info.Length, info.Size))
	}
}

func debugListpack(c *Call) {
	_, found, ok := c.inspect(c.Args[2])
	switch {
	case !ok:
	case !found:
		c.Out.Error("ERR no such key")
	default:
		c.Out.Error("ERR Not a listpack encoded object.")
	}
}

func debugActiveExpire(c *Call) {
	n, _ := strconv.Atoi(string(c.Args[2]))
	c.Keyspace.SetActiveExpire(n != 0)
	c.Out.OK()
}

func debugError(c *Call) { c.Out.Error(cString(c.Args[2])) }

func debugLog(c *Call) {
	c.Log.Warnf("DEBUG LOG: %q", c.Args[2])
	c.Out.OK()
}

func debugChangeReplID(c *Call) {
	id := randomHex(20)
	c.replID.Store(&id)
	c.Out.OK()
}

// debugStringMatchLen is DEBUG STRINGMATCH-LEN n pattern: it matches a string of n letters "a".
func debugStringMatchLen(c *Call) {
	n, err := strconv.Atoi(string(c.Args[2]))
	if err != nil || n < 0 || n > 1<<20 {
		c.Out.Error(errNotInteger)
		return
	}
	glob.Match(c.Args[3], bytes.Repeat([]byte("a"), n))
	c.Out.OK()
}

// debugReload writes all memtables to tables, the nearest to a reload that makes sense here.
func debugReload(c *Call) {
	if err := c.DB.Flush(); err != nil {
		c.Out.Error("ERR " + err.Error())
		return
	}
	c.Out.OK()
}

// debugCompact brings all data into its last level; an own extension for tests and operators.
func debugCompact(c *Call) {
	if err := c.DB.Compact(nil, nil); err != nil {
		c.Out.Error("ERR " + err.Error())
		return
	}
	c.Out.OK()
}

// debugPanic shows that a panic in a handler is an error reply.
func debugPanic(*Call) { panic("DEBUG PANIC") }

func debugStructSize(c *Call) { c.Out.Simple("bits:64") }

const errProtocolType = "ERR Wrong protocol type name. Please use one of the following: " +
	"string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"

// protocolSamples are the replies of DEBUG PROTOCOL.
var protocolSamples = map[string]func(*reply.Writer){
	"string":  func(w *reply.Writer) { w.BulkString("Hello World") },
	"integer": func(w *reply.Writer) { w.Int(12345) },
	"double":  func(w *reply.Writer) { w.Double(3.141) },
	"null":    func(w *reply.Writer) { w.Null() },
	"true":    func(w *reply.Writer) { w.Bool(true) },
	"false":   func(w *reply.Writer) { w.Bool(false) },
	"verbatim": func(w *reply.Writer) {
		w.Verbatim("txt", "This is a verbatim\nstring")
	},
	"bignum": func(w *reply.Writer) {
		n, _ := new(big.Int).SetString("1234567999999999999999999999999999999", 10)
		w.BigNumber(n)
	},
	"array": func(w *reply.Writer) {
		w.Array(3)
		for i := int64(0); i < 3; i++ {
			w.Int(i)
		}
	},
	"set": func(w *reply.Writer) {
		w.Set(3)
		for i := int64(0); i < 3; i++ {
			w.Int(i)
		}
	},
	"map": func(w *reply.Writer) {
		w.Map(3)
		for i := int64(0); i < 3; i++ {
			w.Int(i)
			w.Bool(i == 1)
		}
	},
	"attrib": func(w *reply.Writer) {
		if w.Attribute(1) {
			w.BulkString("key-popularity")
			w.Array(2)
			w.BulkString("key:123")
			w.Int(90)
		}
		w.BulkString("Some real reply following the attribute")
	},
	"push": func(w *reply.Writer) {
		if w.Proto < 3 {
			w.Error("ERR RESP2 is not supported by this command")
			return
		}
		w.Push(2)
		w.BulkString("server-cpu-usage")
		w.Int(42)
		w.BulkString("Some real reply following the push reply")
	},
}

func debugProtocol(c *Call) {
	sample := protocolSamples[strings.ToLower(string(c.Args[2]))]
	if sample == nil {
		c.Out.Error(errProtocolType)
		return
	}
	sample(c.Out)
}

func debugHelp(c *Call) {
	lines := []string{
		"DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
		"CHANGE-REPL-ID", "    Change the replication IDs of the instance.",
		"COMPACT", "    Compact all data into its last level.",
		"DIGEST", "    Output a hex signature representing the current DB content.",
		"DIGEST-VALUE <key> [<key> ...]", "    Output a hex signature of the values of all the specified keys.",
		"ERROR <string>", "    Return a Redis protocol error with <string> as message. Useful for clients", "    unit tests to simulate Redis errors.",
		"LOG <message>", "    Write <message> to the server log.",
		"OBJECT <key>", "    Show low level info about `key` and associated value.",
		"PANIC", "    Panic in the command; the server goes on.",
		"POPULATE <count> [<prefix>] [<size>]", "    Create <count> string keys named key:<num>. If <prefix> is specified then", "    it is used instead of the 'key' prefix. Key is not overwritten if it exists.",
		"PROTOCOL <type>", "    Reply with a test value of the specified type. <type> can be: string,",
		"    integer, double, bignum, null, array, set, map, attrib, push, verbatim,", "    true, false.",
		"RELOAD", "    Write everything in memory to tables on disk.",
		"SET-ACTIVE-EXPIRE <0|1>", "    Setting it to 0 disables expiring keys in background when they are not",
		"    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the", "    default.",
		"SLEEP <seconds>", "    Stop the connection for <seconds>. Decimals allowed.",
		"HELP", "    Prints this help.",
	}
	c.Out.Array(len(lines))
	for _, line := range lines {
		c.Out.Simple(line)
	}
}
