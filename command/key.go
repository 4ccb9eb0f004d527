package command

import (
	"errors"
	"math"
	"strconv"

	"github.com/gtinside/corecache/glob"
	"github.com/gtinside/corecache/keyspace"
)

func del(c *Call) {
	keys := c.Args[1:]
	c.update(keys, func(t *keyspace.Txn) error {
		return c.replyCount(t, keys, t.Delete)
	})
}

func exists(c *Call) {
	keys := c.Args[1:]
	c.readTogether(keys, func(t *keyspace.Txn) error {
		return c.replyCount(t, keys, t.Exists)
	})
}

// replyCount replies with the number of keys for which f is true.
func (c *Call) replyCount(t *keyspace.Txn, keys [][]byte, f func([]byte) (bool, error)) error {
	n := int64(0)
	for _, key := range keys {
		t.Select(t.DB())
		ok, err := f(key)
		if err != nil {
			return err
		}
		if ok {
			n++
		}
	}
	c.Out.Int(n)
	return nil
}

func typeCommand(c *Call) {
	c.read(func(t *keyspace.Txn) error {
		typ, err := t.Type(c.Args[1])
		c.Out.Simple(typ.String())
		return err
	})
}

func rename(c *Call) {
	c.update(c.Args[1:3], func(t *keyspace.Txn) error {
		_, err := t.Rename(c.Args[1], c.Args[2], false)
		c.Out.OK()
		return err
	})
}

func renamenx(c *Call) {
	c.update(c.Args[1:3], func(t *keyspace.Txn) error {
		done, err := t.Rename(c.Args[1], c.Args[2], true)
		c.replyBool(done)
		return err
	})
}

const (
	errDBIndex    = "ERR DB index is out of range"
	errSameObject = "ERR source and destination objects are the same"
)

// dbArg reads argument i as the number of a database. It replies when it is none.
func (c *Call) dbArg(i int) (int, bool) {
	n, ok := c.intArg(i)
	switch {
	case !ok:
	case n != int64(int32(n)):
		c.Out.Error("ERR value is out of range, value must between -2147483648 and 2147483647")
	case n < 0 || n >= int64(c.Keyspace.Databases()):
		c.Out.Error(errDBIndex)
	default:
		return int(n), true
	}
	return 0, false
}

func copyCommand(c *Call) {
	db, replace := c.Session.DB(), false
	for i := 3; i < len(c.Args); i++ {
		switch {
		case c.Is(i, "replace"):
			replace = true
		case c.Is(i, "db") && i+1 < len(c.Args):
			i++
			var ok bool
			if db, ok = c.dbArg(i); !ok {
				return
			}
		default:
			c.Out.Error(errSyntax)
			return
		}
	}
	from, to := c.Args[1], c.Args[2]
	if db == c.Session.DB() && string(from) == string(to) {
		c.Out.Error(errSameObject)
		return
	}
	c.update(c.Args[1:3], func(t *keyspace.Txn) error {
		done, err := t.Copy(from, to, db, replace)
		c.replyBool(done)
		return err
	})
}

func move(c *Call) {
	db, ok := c.dbArg(2)
	if !ok {
		return
	}
	if db == c.Session.DB() {
		c.Out.Error(errSameObject)
		return
	}
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		done, err := t.Move(c.Args[1], db)
		c.replyBool(done)
		return err
	})
}

func expire(c *Call)    { setDeadline(c, c.Now, true) }
func pexpire(c *Call)   { setDeadline(c, c.Now, false) }
func expireat(c *Call)  { setDeadline(c, 0, true) }
func pexpireat(c *Call) { setDeadline(c, 0, false) }

func (c *Call) parseExpireCondition() (cond keyspace.ExpireCondition, ok bool) {
	const exclusive = keyspace.IfExpiring | keyspace.IfLater | keyspace.IfEarlier
	for i := 3; i < len(c.Args); i++ {
		switch {
		case c.Is(i, "nx"):
			cond |= keyspace.IfPersistent
		case c.Is(i, "xx"):
			cond |= keyspace.IfExpiring
		case c.Is(i, "gt"):
			cond |= keyspace.IfLater
		case c.Is(i, "lt"):
			cond |= keyspace.IfEarlier
		default:
			c.Out.Error("ERR Unsupported option " + cString(c.Args[i]))
			return 0, false
		}
	}
	switch {
	case cond&keyspace.IfPersistent != 0 && cond&exclusive != 0:
		c.Out.Error("ERR NX and XX, GT or LT options at the same time are not compatible")
		return 0, false
	case cond&keyspace.IfLater != 0 && cond&keyspace.IfEarlier != 0:
		c.Out.Error("ERR GT and LT options at the same time are not compatible")
		return 0, false
	}
	return cond, true
}

// setDeadline is EXPIRE and its relatives: argument 2 counts from base, in seconds or milliseconds.
func setDeadline(c *Call, base int64, seconds bool) {
	cond, ok := c.parseExpireCondition()
	if !ok {
		return
	}
	n, ok := c.intArg(2)
	if !ok {
		return
	}
	if seconds {
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			c.Out.Error(c.invalidExpire())
			return
		}
		n *= 1000
	}
	if n > math.MaxInt64-base {
		c.Out.Error(c.invalidExpire())
		return
	}
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		done, err := t.Expire(c.Args[1], n+base, cond)
		c.replyBool(done)
		return err
	})
}

func persist(c *Call) {
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		done, err := t.Persist(c.Args[1])
		c.replyBool(done)
		return err
	})
}

func ttl(c *Call)         { replyDeadline(c, c.Now, true) }
func pttl(c *Call)        { replyDeadline(c, c.Now, false) }
func expiretime(c *Call)  { replyDeadline(c, 0, true) }
func pexpiretime(c *Call) { replyDeadline(c, 0, false) }

// replyDeadline replies with the time from base to the key's deadline, -1 when it has none, -2 when there
// is no key.
func replyDeadline(c *Call, base int64, seconds bool) {
	c.read(func(t *keyspace.Txn) error {
		deadline, ok, err := t.Deadline(c.Args[1])
		left := max(deadline-base, 0)
		switch {
		case !ok:
			left = -2
		case deadline == 0:
			left = -1
		case seconds:
			left = left/1000 + (left%1000+500)/1000
		}
		c.Out.Int(left)
		return err
	})
}

func keysCommand(c *Call) {
	pattern := c.Args[1]
	c.read(func(t *keyspace.Txn) error {
		start, n := c.Out.Len(), 0
		var full error
		err := t.Keys(func(key []byte) bool {
			if glob.Match(pattern, key) {
				if full = c.replyRoom(t, int64(len(key))); full != nil {
					return false
				}
				c.Out.Bulk(key)
				n++
			}
			return true
		})
		c.Out.InsertArray(start, n)
		return errors.Join(err, full)
	})
}

// scanOptions are the options of SCAN.
type scanOptions struct {
	cursor uint64
	count  int64
	match  []byte // nil: everything
	typ    []byte // nil: every type
}

// parseCursor reads a number as C's strtoul does.
func parseCursor(b []byte) (uint64, bool) {
	if len(b) == 0 {
		return 0, true
	}
	sign := b[0]
	if sign == '-' || sign == '+' {
		b = b[1:]
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if sign == '-' {
		n = -n
	}
	return n, err == nil
}

func (c *Call) parseScan() (o scanOptions, ok bool) {
	o.count = 10
	if o.cursor, ok = parseCursor(c.Args[1]); !ok {
		c.Out.Error("ERR invalid cursor")
		return o, false
	}
	for i := 2; i < len(c.Args); i += 2 {
		last := i+1 == len(c.Args)
		switch {
		case c.Is(i, "count") && !last:
			if o.count, ok = c.intArg(i + 1); !ok {
				return o, false
			}
			if o.count < 1 {
				c.Out.Error(errSyntax)
				return o, false
			}
		case c.Is(i, "match") && !last:
			o.match = c.Args[i+1]
		case c.Is(i, "type") && !last:
			o.typ = c.Args[i+1]
		default:
			c.Out.Error(errSyntax)
			return o, false
		}
	}
	return o, true
}

func scan(c *Call) {
	o, ok := c.parseScan()
	if !ok {
		return
	}
	if len(o.match) == 1 && o.match[0] == '*' {
		o.match = nil
	}
	c.read(func(t *keyspace.Txn) error {
		if err := c.replyRoom(t, 0); err != nil {
			return err // after many other replies in one EXEC
		}
		c.Out.Array(2)
		start, n := c.Out.Len(), 0
		next, err := t.Scan(o.cursor, o.count, func(key []byte, typ keyspace.Type) {
			if o.typ != nil && !equalFold(o.typ, typ.String()) || o.match != nil && !glob.Match(o.match, key) {
				return
			}
			c.Out.Bulk(key)
			n++
		})
		c.replyScan(start, n, next)
		return err
	})
}

// replyScan puts the cursor and the header of the array in front of the n keys written since start.
func (c *Call) replyScan(start, n int, next uint64) {
	keys := append([]byte(nil), c.Out.Buf[start:]...)
	c.Out.Truncate(start)
	var digits [20]byte
	c.Out.Bulk(strconv.AppendUint(digits[:0], next, 10))
	c.Out.Array(n)
	c.Out.Raw(keys)
}

func randomkey(c *Call) {
	c.read(func(t *keyspace.Txn) error {
		key, ok, err := t.RandomKey()
		if ok {
			c.Out.Bulk(key)
		} else {
			c.Out.Null()
		}
		return err
	})
}

func dbsize(c *Call) {
	c.read(func(t *keyspace.Txn) error {
		n, _ := t.Size()
		c.Out.Int(n)
		c.Wrote(c.DB.Last()) // the count is of everything applied: the reply waits for what it tells of
		return nil
	})
}

func flushdb(c *Call)  { flush(c, (*keyspace.Txn).Flush) }
func flushall(c *Call) { flush(c, (*keyspace.Txn).FlushAll) }

// flush deletes everything by one write whether SYNC or ASYNC is given.
func flush(c *Call, f func(*keyspace.Txn) error) {
	if len(c.Args) > 2 || len(c.Args) == 2 && !c.Is(1, "sync") && !c.Is(1, "async") {
		c.Out.Error(errSyntax)
		return
	}
	c.updateAll(func(t *keyspace.Txn) error {
		c.Out.OK()
		return f(t)
	})
}

func swapdb(c *Call) {
	var db [2]int64
	for i, which := range []string{"first", "second"} {
		n, ok := keyspace.ParseInt(c.Args[i+1])
		if !ok || n != int64(int32(n)) {
			c.Out.Error("ERR invalid " + which + " DB index")
			return
		}
		db[i] = n
	}
	if n := int64(c.Keyspace.Databases()); min(db[0], db[1]) < 0 || max(db[0], db[1]) >= n {
		c.Out.Error(errDBIndex)
		return
	}
	c.updateAll(func(t *keyspace.Txn) error {
		c.Out.OK()
		return t.Swap(int(db[0]), int(db[1]))
	})
}

// replyObject replies with what f says of a key, null when it does not exist.
func (c *Call) replyObject(f func(o keyspace.Object)) {
	c.read(func(t *keyspace.Txn) error {
		o, ok, err := t.Object(c.Args[2])
		if ok {
			f(o)
		} else {
			c.Out.Null()
		}
		return err
	})
}

func objectEncoding(c *Call) {
	c.replyObject(func(o keyspace.Object) { c.Out.BulkString(o.Encoding) })
}

// objectIdletime counts from the last write: reads leave no trace on disk.
func objectIdletime(c *Call) {
	c.replyObject(func(o keyspace.Object) { c.Out.Int(max(c.Now-o.Written, 0) / 1000) })
}

func objectRefcount(c *Call) {
	c.replyObject(func(o keyspace.Object) { c.Out.Int(refCount(o.Shared)) })
}

func objectFreq(c *Call) {
	c.replyObject(func(keyspace.Object) {
		c.Out.Error("ERR An LFU maxmemory policy is not selected, access frequency not tracked. " +
			"Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	})
}

const expireSyntax = "[condition: NX | XX | GT | LT]"

var keyCommands = []Command{
	{Name: "del", Arity: -2, Flags: Write, Categories: CatKeyspace, Keys: keys(1, -1, 1, KeyRM|KeyDelete), Handler: del,
		Group: "generic", Since: "1.0.0", Complexity: complexityKeys, Syntax: "key [key ...]", Summary: "Deletes keys.",
		Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"}},
	{Name: "unlink", Arity: -2, Flags: Write | Fast, Categories: CatKeyspace, Keys: keys(1, -1, 1, KeyRM|KeyDelete), Handler: del,
		Group: "generic", Since: "4.0.0", Complexity: complexityKeys, Syntax: "key [key ...]", Summary: "Deletes keys, the same as DEL.",
		Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"}},
	{Name: "exists", Arity: -2, Flags: ReadOnly | Fast, Categories: CatKeyspace, Keys: keys(1, -1, 1, KeyRO), Handler: exists,
		Group: "generic", Since: "1.0.0", Complexity: complexityKeys, Syntax: "key [key ...]", Summary: "Counts which of the keys exist.",
		History: []string{"3.0.3: Takes several keys."},
		Tips:    []string{"request_policy:multi_shard", "response_policy:agg_sum"}},
	{Name: "touch", Arity: -2, Flags: ReadOnly | Fast, Categories: CatKeyspace, Keys: keys(1, -1, 1, KeyRO), Handler: exists,
		Group: "generic", Since: "3.2.1", Complexity: complexityKeys, Syntax: "key [key ...]", Summary: "Counts which of the keys exist.",
		Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"}},
	{Name: "type", Arity: 2, Flags: ReadOnly | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRO), Handler: typeCommand,
		Group: "generic", Since: "1.0.0", Complexity: "O(1)", Syntax: "key", Summary: "Returns the type of a key's value."},
	{Name: "rename", Arity: 3, Flags: Write, Categories: CatKeyspace, Handler: rename,
		Keys:  []KeySpec{keyAt(1, KeyRW|KeyAccess|KeyDelete), keyAt(2, KeyOW|KeyUpdate)},
		Group: "generic", Since: "1.0.0", Complexity: "O(1)", Syntax: "key newkey", Summary: "Gives a key another name, in place of the key of that name."},
	{Name: "renamenx", Arity: 3, Flags: Write | Fast, Categories: CatKeyspace, Handler: renamenx,
		Keys:  []KeySpec{keyAt(1, KeyRW|KeyAccess|KeyDelete), keyAt(2, KeyOW|KeyInsert)},
		Group: "generic", Since: "1.0.0", Complexity: "O(1)", Syntax: "key newkey", Summary: "Gives a key another name if there is no key of that name.",
		History: []string{"3.2.0: Equal names are no error."}},
	{Name: "copy", Arity: -3, Flags: Write | DenyOOM, Categories: CatKeyspace, Handler: copyCommand,
		Keys:  []KeySpec{keyAt(1, KeyRO|KeyAccess), keyAt(2, KeyOW|KeyUpdate)},
		Group: "generic", Since: "6.2.0", Complexity: "O(N) where N is the size of the value", Syntax: "source destination [DB destination-db] [REPLACE]",
		Summary: "Copies the value of a key to another key."},
	{Name: "move", Arity: 3, Flags: Write | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRW|KeyAccess|KeyUpdate), Handler: move,
		Group: "generic", Since: "1.0.0", Complexity: "O(N) where N is the size of the value", Syntax: "key db", Summary: "Moves a key to another database."},
	{Name: "expire", Arity: -3, Flags: Write | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRW|KeyUpdate), Handler: expire,
		Group: "generic", Since: "1.0.0", Complexity: "O(1)", Syntax: "key seconds " + expireSyntax, Summary: "Gives a key a time to live in seconds.",
		History: []string{"7.0.0: Takes NX, XX, GT and LT."}},
	{Name: "pexpire", Arity: -3, Flags: Write | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRW|KeyUpdate), Handler: pexpire,
		Group: "generic", Since: "2.6.0", Complexity: "O(1)", Syntax: "key milliseconds " + expireSyntax, Summary: "Gives a key a time to live in milliseconds.",
		History: []string{"7.0.0: Takes NX, XX, GT and LT."}},
	{Name: "expireat", Arity: -3, Flags: Write | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRW|KeyUpdate), Handler: expireat,
		Group: "generic", Since: "1.2.0", Complexity: "O(1)", Syntax: "key unix-time-seconds " + expireSyntax, Summary: "Lets a key live until a point in time.",
		History: []string{"7.0.0: Takes NX, XX, GT and LT."}},
	{Name: "pexpireat", Arity: -3, Flags: Write | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRW|KeyUpdate), Handler: pexpireat,
		Group: "generic", Since: "2.6.0", Complexity: "O(1)", Syntax: "key unix-time-milliseconds " + expireSyntax,
		Summary: "Lets a key live until a point in time, given in milliseconds.",
		History: []string{"7.0.0: Takes NX, XX, GT and LT."}},
	{Name: "persist", Arity: 2, Flags: Write | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRW|KeyUpdate), Handler: persist,
		Group: "generic", Since: "2.2.0", Complexity: "O(1)", Syntax: "key", Summary: "Lets a key live without end."},
	{Name: "ttl", Arity: 2, Flags: ReadOnly | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRO|KeyAccess), Handler: ttl,
		Group: "generic", Since: "1.0.0", Complexity: "O(1)", Syntax: "key", Summary: "Returns the seconds that a key has to live.",
		History: []string{"2.8.0: Returns -2 for a key that does not exist."}, Tips: []string{"nondeterministic_output"}},
	{Name: "pttl", Arity: 2, Flags: ReadOnly | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRO|KeyAccess), Handler: pttl,
		Group: "generic", Since: "2.6.0", Complexity: "O(1)", Syntax: "key", Summary: "Returns the milliseconds that a key has to live.",
		History: []string{"2.8.0: Returns -2 for a key that does not exist."}, Tips: []string{"nondeterministic_output"}},
	{Name: "expiretime", Arity: 2, Flags: ReadOnly | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRO|KeyAccess), Handler: expiretime,
		Group: "generic", Since: "7.0.0", Complexity: "O(1)", Syntax: "key", Summary: "Returns the point in time until which a key lives, in seconds."},
	{Name: "pexpiretime", Arity: 2, Flags: ReadOnly | Fast, Categories: CatKeyspace, Keys: keys(1, 1, 1, KeyRO|KeyAccess), Handler: pexpiretime,
		Group: "generic", Since: "7.0.0", Complexity: "O(1)", Syntax: "key", Summary: "Returns the point in time until which a key lives, in milliseconds."},
	{Name: "keys", Arity: 2, Flags: ReadOnly, Categories: CatKeyspace | CatDangerous, Handler: keysCommand,
		Group: "generic", Since: "1.0.0", Complexity: "O(N) where N is the number of keys in the database", Syntax: "pattern",
		Summary: "Lists the keys whose names match a pattern.",
		Tips:    []string{"request_policy:all_shards", "nondeterministic_output_order"}},
	{Name: "scan", Arity: -2, Flags: ReadOnly, Categories: CatKeyspace, Handler: scan,
		Group: "generic", Since: "2.8.0", Complexity: "O(1) for a call with a small count, O(N) for a complete iteration over N keys",
		Syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]", Summary: "Lists the keys of the database, a few with each call.",
		History: []string{"6.0.0: Takes TYPE."}, Tips: []string{"nondeterministic_output", "request_policy:special"}},
	{Name: "randomkey", Arity: 1, Flags: ReadOnly, Categories: CatKeyspace, Handler: randomkey,
		Group: "generic", Since: "1.0.0", Complexity: "O(1)", Summary: "Returns the name of a random key.",
		Tips: []string{"request_policy:all_shards", "nondeterministic_output"}},
	{Name: "dbsize", Arity: 1, Flags: ReadOnly | Fast, Categories: CatKeyspace, Handler: dbsize,
		Group: "server", Since: "1.0.0", Complexity: "O(1)", Summary: "Returns the number of keys in the database.",
		Tips: []string{"request_policy:all_shards", "response_policy:agg_sum"}},
	{Name: "flushdb", Arity: -1, Flags: Write, Categories: CatKeyspace | CatDangerous, Handler: flushdb,
		Group: "server", Since: "1.0.0", Complexity: "O(1)", Syntax: "[flush-type: ASYNC | SYNC]", Summary: "Deletes all keys of the database.",
		History: []string{"4.0.0: Takes ASYNC.", "6.2.0: Takes SYNC."}, Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}},
	{Name: "flushall", Arity: -1, Flags: Write, Categories: CatKeyspace | CatDangerous, Handler: flushall,
		Group: "server", Since: "1.0.0", Complexity: "O(1)", Syntax: "[flush-type: ASYNC | SYNC]", Summary: "Deletes all keys of all databases.",
		History: []string{"4.0.0: Takes ASYNC.", "6.2.0: Takes SYNC."}, Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}},
	{Name: "swapdb", Arity: 3, Flags: Write | Fast, Categories: CatKeyspace | CatDangerous, Handler: swapdb,
		Group: "server", Since: "4.0.0", Complexity: "O(N) where N is the number of watched keys", Syntax: "index1 index2", Summary: "Exchanges two databases."},
	objectCommand,
}

var objectCommand = Command{
	Name: "object", Arity: -2, Group: "generic", Since: "2.2.3", Complexity: "Depends on subcommand.", Summary: "Describes how keys are stored.",
	Sub: []Command{
		{Name: "encoding", Arity: 3, Flags: ReadOnly, Categories: CatKeyspace, Keys: keys(2, 2, 1, KeyRO), Handler: objectEncoding,
			Since: "2.2.3", Complexity: "O(1)", Syntax: "key", Summary: "Returns the encoding that Redis would use.", Tips: []string{"nondeterministic_output"}},
		{Name: "freq", Arity: 3, Flags: ReadOnly, Categories: CatKeyspace, Keys: keys(2, 2, 1, KeyRO), Handler: objectFreq,
			Since: "4.0.0", Complexity: "O(1)", Syntax: "key", Summary: "Returns how often a key is accessed, which needs an LFU policy.", Tips: []string{"nondeterministic_output"}},
		{Name: "idletime", Arity: 3, Flags: ReadOnly, Categories: CatKeyspace, Keys: keys(2, 2, 1, KeyRO), Handler: objectIdletime,
			Since: "2.2.3", Complexity: "O(1)", Syntax: "key", Summary: "Returns the seconds since a key was written.", Tips: []string{"nondeterministic_output"}},
		{Name: "refcount", Arity: 3, Flags: ReadOnly, Categories: CatKeyspace, Keys: keys(2, 2, 1, KeyRO), Handler: objectRefcount,
			Since: "2.2.3", Complexity: "O(1)", Syntax: "key", Summary: "Returns the number of references that Redis would count.", Tips: []string{"nondeterministic_output"}},
		{Name: "help", Arity: 2, Flags: Loading | Stale, Categories: CatKeyspace, Handler: helpOf(objectHelp),
			Since: "6.2.0", Complexity: "O(1)", Summary: "Lists the subcommands."},
	},
}

var objectHelp = []string{
	"ENCODING <key>",
	"    Return the kind of internal representation used in order to store the value", "    associated with a <key>.",
	"FREQ <key>",
	"    Return the access frequency index of the <key>. The returned integer is", "    proportional to the logarithm of the recent access frequency of the key.",
	"IDLETIME <key>",
	"    Return the idle time of the <key>, that is the approximated number of", "    seconds elapsed since the last access to the key.",
	"REFCOUNT <key>",
	"    Return the number of references of the value associated with the specified", "    <key>.",
}
