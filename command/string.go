package command

import (
	"math"

	"github.com/gtinside/corecache/keyspace"
)

func get(c *Call) {
	c.read(func(t *keyspace.Txn) error { return c.replyString(t, c.Args[1]) })
}

// replyString replies with the string of a key, or null.
func (c *Call) replyString(t *keyspace.Txn, key []byte) error {
	s, ok, err := t.String(key)
	if err != nil {
		return err
	}
	if !ok {
		c.Out.Null()
		return nil
	}
	return c.replyRange(t, &s, 0, s.Len())
}

func (c *Call) replyRange(t *keyspace.Txn, s *keyspace.String, from, to int64) (err error) {
	if err := c.replyRoom(t, to-from); err != nil {
		return err
	}
	c.Out.BulkHeader(int(to - from))
	c.Out.Buf, err = s.Append(c.Out.Buf, from, to)
	c.Out.BulkEnd()
	return err
}

// setOptions are the options of SET and GETEX.
type setOptions struct {
	keyspace.SetOptions
	get     bool
	persist bool
	expire  int  // argument with the time, 0 = none
	seconds bool // its unit, else milliseconds
	at      bool // it is a point in time, else a period
}

// parseSetOptions reads options from argument i on. GETEX has other ones than SET. It replies when they are
// wrong.
func (c *Call) parseSetOptions(i int, getex bool) (o setOptions, ok bool) {
	for ; i < len(c.Args); i++ {
		timed := o.expire != 0
		switch {
		case !getex && c.Is(i, "nx") && o.Condition != keyspace.IfPresent:
			o.Condition = keyspace.IfAbsent
		case !getex && c.Is(i, "xx") && o.Condition != keyspace.IfAbsent:
			o.Condition = keyspace.IfPresent
		case !getex && c.Is(i, "get"):
			o.get = true
		case !getex && c.Is(i, "keepttl") && !timed:
			o.KeepTTL = true
		case getex && c.Is(i, "persist") && !timed:
			o.persist = true
		case !o.KeepTTL && !o.persist && i+1 < len(c.Args) && o.parseUnit(c, i):
			i++
			o.expire = i
		default:
			c.Out.Error(errSyntax)
			return o, false
		}
	}
	return o, true
}

// parseUnit reads EX, PX, EXAT or PXAT. The same one may be given again.
func (o *setOptions) parseUnit(c *Call, i int) bool {
	var seconds, at bool
	switch {
	case c.Is(i, "ex"):
		seconds = true
	case c.Is(i, "px"):
	case c.Is(i, "exat"):
		seconds, at = true, true
	case c.Is(i, "pxat"):
		at = true
	default:
		return false
	}
	if o.expire != 0 && (o.seconds != seconds || o.at != at) {
		return false
	}
	o.seconds, o.at = seconds, at
	return true
}

// deadline computes the deadline that the options ask for, 0 when none. It returns the text of the error otherwise.
func (o *setOptions) deadline(c *Call) (deadline int64, problem string) {
	if o.expire == 0 {
		return 0, ""
	}
	n, ok := keyspace.ParseInt(c.Args[o.expire])
	if !ok {
		return 0, errNotInteger
	}
	base := c.Now
	if o.at {
		base = 0
	}
	if n <= 0 || o.seconds && n > math.MaxInt64/1000 {
		return 0, c.invalidExpire()
	}
	if o.seconds {
		n *= 1000
	}
	if n > math.MaxInt64-base {
		return 0, c.invalidExpire()
	}
	return n + base, ""
}

func (c *Call) invalidExpire() string {
	return "ERR invalid expire time in '" + c.Cmd.full + "' command"
}

func set(c *Call) {
	o, ok := c.parseSetOptions(3, false)
	if !ok {
		return
	}
	var problem string
	if o.Deadline, problem = o.deadline(c); problem != "" {
		c.Out.Error(problem)
		return
	}
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		if o.get {
			if err := c.replyString(t, c.Args[1]); err != nil {
				return err
			}
		}
		done, err := t.Set(c.Args[1], c.Args[2], o.SetOptions)
		switch {
		case o.get:
		case done:
			c.Out.OK()
		default:
			c.Out.Null()
		}
		return err
	})
}

func setnx(c *Call) {
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		done, err := t.Set(c.Args[1], c.Args[2], keyspace.SetOptions{Condition: keyspace.IfAbsent})
		c.replyBool(done)
		return err
	})
}

// replyBool is :1 or :0, in both protocols.
func (c *Call) replyBool(b bool) {
	if b {
		c.Out.Int(1)
	} else {
		c.Out.Int(0)
	}
}

func setex(c *Call)  { setWithTime(c, true) }
func psetex(c *Call) { setWithTime(c, false) }

func setWithTime(c *Call, seconds bool) {
	o := setOptions{expire: 2, seconds: seconds}
	deadline, problem := o.deadline(c)
	if problem != "" {
		c.Out.Error(problem)
		return
	}
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		_, err := t.Set(c.Args[1], c.Args[3], keyspace.SetOptions{Deadline: deadline})
		c.Out.OK()
		return err
	})
}

func getset(c *Call) {
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		if err := c.replyString(t, c.Args[1]); err != nil {
			return err
		}
		_, err := t.Set(c.Args[1], c.Args[2], keyspace.SetOptions{})
		return err
	})
}

func getdel(c *Call) {
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		if err := c.replyString(t, c.Args[1]); err != nil {
			return err
		}
		_, err := t.Delete(c.Args[1])
		return err
	})
}

func getex(c *Call) {
	o, ok := c.parseSetOptions(2, true)
	if !ok {
		return
	}
	if o.expire == 0 && !o.persist {
		get(c)
		return
	}
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		s, ok, err := t.String(c.Args[1])
		if err != nil {
			return err
		}
		if !ok {
			c.Out.Null()
			return nil
		}
		deadline, problem := o.deadline(c)
		if problem != "" {
			c.Out.Error(problem)
			return nil
		}
		if err := c.replyRange(t, &s, 0, s.Len()); err != nil {
			return err
		}
		if o.persist {
			_, err = t.Persist(c.Args[1])
		} else {
			_, err = t.Expire(c.Args[1], deadline, 0)
		}
		return err
	})
}

// everySecond appends the arguments from the second on, leaving out each other one, to keys.
func everySecond(keys, args [][]byte) [][]byte {
	for i := 1; i < len(args); i += 2 {
		keys = append(keys, args[i])
	}
	return keys
}

func mset(c *Call) {
	if len(c.Args)%2 == 0 {
		c.wrongArgs()
		return
	}
	var buf [16][]byte
	c.update(everySecond(buf[:0], c.Args), func(t *keyspace.Txn) error {
		c.Out.OK()
		return c.setPairs(t)
	})
}

func (c *Call) setPairs(t *keyspace.Txn) error {
	for i := 1; i < len(c.Args); i += 2 {
		if _, err := t.Set(c.Args[i], c.Args[i+1], keyspace.SetOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func msetnx(c *Call) {
	if len(c.Args)%2 == 0 {
		c.wrongArgs()
		return
	}
	var buf [16][]byte
	keys := everySecond(buf[:0], c.Args)
	c.update(keys, func(t *keyspace.Txn) error {
		for _, key := range keys {
			exists, err := t.Exists(key)
			if err != nil {
				return err
			}
			if exists {
				c.Out.Int(0)
				return nil
			}
		}
		c.Out.Int(1)
		return c.setPairs(t)
	})
}

func mget(c *Call) {
	keys := c.Args[1:]
	c.readTogether(keys, func(t *keyspace.Txn) error {
		c.Out.Array(len(keys))
		for _, key := range keys {
			t.Select(t.DB()) // the values so far are in the reply
			err := c.replyString(t, key)
			if err == keyspace.ErrWrongType {
				c.Out.Null()
				err = nil
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// maxString is the longest string that a command may make, in bytes.
func (c *Call) maxString() int64 { return c.Config.Int("proto-max-bulk-len") }

func appendCommand(c *Call) {
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		n, err := t.Append(c.Args[1], c.Args[2], c.maxString())
		c.Out.Int(n)
		return err
	})
}

func strlen(c *Call) {
	c.read(func(t *keyspace.Txn) error {
		s, _, err := t.String(c.Args[1])
		c.Out.Int(s.Len())
		return err
	})
}

func setrange(c *Call) {
	offset, ok := c.intArg(2)
	if !ok {
		return
	}
	if offset < 0 {
		c.Out.Error("ERR offset is out of range")
		return
	}
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		n, err := t.SetRange(c.Args[1], offset, c.Args[3], c.maxString())
		c.Out.Int(n)
		return err
	})
}

func getrange(c *Call) {
	start, ok := c.intArg(2)
	if !ok {
		return
	}
	end, ok := c.intArg(3)
	if !ok {
		return
	}
	c.read(func(t *keyspace.Txn) error {
		s, _, err := t.String(c.Args[1])
		if err != nil {
			return err
		}
		from, to := byteRange(start, end, s.Len())
		return c.replyRange(t, &s, from, to)
	})
}

// byteRange turns an inclusive range, in which negative numbers count from the end, into
// 0 <= from <= to <= size.
func byteRange(start, end, size int64) (from, to int64) {
	if start < 0 && end < 0 && start > end {
		return 0, 0
	}
	if start < 0 {
		start = max(start+size, 0)
	}
	if end < 0 {
		end = max(end+size, 0)
	}
	end = min(end, size-1)
	if start > end {
		return 0, 0
	}
	return start, end + 1
}

func incr(c *Call) { increment(c, 1) }
func decr(c *Call) { increment(c, -1) }

func incrby(c *Call) {
	if n, ok := c.intArg(2); ok {
		increment(c, n)
	}
}

func decrby(c *Call) {
	n, ok := c.intArg(2)
	switch {
	case !ok:
	case n == math.MinInt64:
		c.Out.Error("ERR decrement would overflow")
	default:
		increment(c, -n)
	}
}

func increment(c *Call, delta int64) {
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		n, err := t.Increment(c.Args[1], delta)
		c.Out.Int(n)
		return err
	})
}

func incrbyfloat(c *Call) {
	delta, ok := keyspace.ParseFloat(c.Args[2])
	c.update(c.Args[1:2], func(t *keyspace.Txn) error {
		if !ok { // but a wrong type comes first
			if _, _, err := t.String(c.Args[1]); err != nil {
				return err
			}
			return keyspace.ErrNotFloat
		}
		text, err := t.IncrementFloat(c.Args[1], delta)
		c.Out.Bulk(text)
		return err
	})
}

const (
	stringRead       = ReadOnly
	stringWrite      = Write | DenyOOM
	complexityKeys   = "O(N) where N is the number of keys"
	complexityLength = "O(N) where N is the length of the reply"
)

var stringCommands = []Command{
	{Name: "get", Arity: 2, Flags: stringRead | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyRO|KeyAccess), Handler: get,
		Group: "string", Since: "1.0.0", Complexity: "O(1)", Syntax: "key", Summary: "Returns the string of a key."},
	{Name: "set", Arity: -3, Flags: stringWrite, Categories: CatString, Handler: set,
		Keys: []KeySpec{{Notes: "RW and ACCESS due to the optional `GET` argument", Flags: KeyRW | KeyAccess | KeyUpdate | KeyVariable,
			Index: 1, Step: 1}},
		GetKeys: setKeys,
		Group:   "string", Since: "1.0.0", Complexity: "O(1)",
		Syntax:  "key value [condition: NX | XX] [GET] [expiration: EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
		Summary: "Gives a key a string, whatever it held before.",
		History: []string{"2.6.12: Takes EX, PX, NX and XX.", "6.0.0: Takes KEEPTTL.", "6.2.0: Takes GET, EXAT and PXAT.",
			"7.0.0: NX and GET go together."}},
	{Name: "setnx", Arity: 3, Flags: stringWrite | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyOW|KeyInsert), Handler: setnx,
		Group: "string", Since: "1.0.0", Complexity: "O(1)", Syntax: "key value", Summary: "Gives a key a string if it does not exist.",
		Deprecated: "2.6.12: `SET` with the `NX` argument"},
	{Name: "setex", Arity: 4, Flags: stringWrite, Categories: CatString, Keys: keys(1, 1, 1, KeyOW|KeyUpdate), Handler: setex,
		Group: "string", Since: "2.0.0", Complexity: "O(1)", Syntax: "key seconds value", Summary: "Gives a key a string and a time to live.",
		Deprecated: "2.6.12: `SET` with the `EX` argument"},
	{Name: "psetex", Arity: 4, Flags: stringWrite, Categories: CatString, Keys: keys(1, 1, 1, KeyOW|KeyUpdate), Handler: psetex,
		Group: "string", Since: "2.6.0", Complexity: "O(1)", Syntax: "key milliseconds value", Summary: "Gives a key a string and a time to live in milliseconds.",
		Deprecated: "2.6.12: `SET` with the `PX` argument"},
	{Name: "getset", Arity: 3, Flags: stringWrite | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyRW|KeyAccess|KeyUpdate), Handler: getset,
		Group: "string", Since: "1.0.0", Complexity: "O(1)", Syntax: "key value", Summary: "Gives a key a string and returns its former one.",
		Deprecated: "6.2.0: `SET` with the `GET` argument"},
	{Name: "getdel", Arity: 2, Flags: Write | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyRW|KeyAccess|KeyDelete), Handler: getdel,
		Group: "string", Since: "6.2.0", Complexity: "O(1)", Syntax: "key", Summary: "Returns the string of a key and deletes the key."},
	{Name: "getex", Arity: -2, Flags: Write | Fast, Categories: CatString, Handler: getex,
		Keys:  []KeySpec{{Notes: "RW and UPDATE because it changes the TTL", Flags: KeyRW | KeyAccess | KeyUpdate, Index: 1, Step: 1}},
		Group: "string", Since: "6.2.0", Complexity: "O(1)",
		Syntax:  "key [expiration: EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
		Summary: "Returns the string of a key and changes its time to live."},
	{Name: "mget", Arity: -2, Flags: stringRead | Fast, Categories: CatString, Keys: keys(1, -1, 1, KeyRO|KeyAccess), Handler: mget,
		Group: "string", Since: "1.0.0", Complexity: complexityKeys, Syntax: "key [key ...]", Summary: "Returns the strings of several keys, as they are at one moment.",
		Tips: []string{"request_policy:multi_shard"}},
	{Name: "mset", Arity: -3, Flags: stringWrite, Categories: CatString, Keys: keys(1, -1, 2, KeyOW|KeyUpdate), Handler: mset,
		Group: "string", Since: "1.0.1", Complexity: complexityKeys, Syntax: "<data: key value> [<data: key value> ...]", Summary: "Gives several keys strings at once.",
		Tips: []string{"request_policy:multi_shard", "response_policy:all_succeeded"}},
	{Name: "msetnx", Arity: -3, Flags: stringWrite, Categories: CatString, Keys: keys(1, -1, 2, KeyOW|KeyInsert), Handler: msetnx,
		Group: "string", Since: "1.0.1", Complexity: complexityKeys, Syntax: "<data: key value> [<data: key value> ...]",
		Summary: "Gives several keys strings at once, if none of them exists.",
		Tips:    []string{"request_policy:multi_shard", "response_policy:agg_min"}},
	{Name: "append", Arity: 3, Flags: stringWrite | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyRW|KeyInsert), Handler: appendCommand,
		Group: "string", Since: "2.0.0", Complexity: "O(N) where N is the length of the value", Syntax: "key value", Summary: "Appends to the string of a key."},
	{Name: "strlen", Arity: 2, Flags: stringRead | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyRO), Handler: strlen,
		Group: "string", Since: "2.2.0", Complexity: "O(1)", Syntax: "key", Summary: "Returns the length of the string of a key."},
	{Name: "setrange", Arity: 4, Flags: stringWrite, Categories: CatString, Keys: keys(1, 1, 1, KeyRW|KeyUpdate), Handler: setrange,
		Group: "string", Since: "2.2.0", Complexity: "O(N) where N is the length of the value", Syntax: "key offset value", Summary: "Overwrites a part of the string of a key."},
	{Name: "getrange", Arity: 4, Flags: stringRead, Categories: CatString, Keys: keys(1, 1, 1, KeyRO|KeyAccess), Handler: getrange,
		Group: "string", Since: "2.4.0", Complexity: complexityLength, Syntax: "key start end", Summary: "Returns a part of the string of a key."},
	{Name: "substr", Arity: 4, Flags: stringRead, Categories: CatString, Keys: keys(1, 1, 1, KeyRO|KeyAccess), Handler: getrange,
		Group: "string", Since: "1.0.0", Complexity: complexityLength, Syntax: "key start end", Summary: "Returns a part of the string of a key.",
		Deprecated: "2.0.0: `GETRANGE`"},
	{Name: "incr", Arity: 2, Flags: stringWrite | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyRW|KeyAccess|KeyUpdate), Handler: incr,
		Group: "string", Since: "1.0.0", Complexity: "O(1)", Syntax: "key", Summary: "Adds one to the integer of a key."},
	{Name: "incrby", Arity: 3, Flags: stringWrite | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyRW|KeyAccess|KeyUpdate), Handler: incrby,
		Group: "string", Since: "1.0.0", Complexity: "O(1)", Syntax: "key increment", Summary: "Adds to the integer of a key."},
	{Name: "decr", Arity: 2, Flags: stringWrite | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyRW|KeyAccess|KeyUpdate), Handler: decr,
		Group: "string", Since: "1.0.0", Complexity: "O(1)", Syntax: "key", Summary: "Subtracts one from the integer of a key."},
	{Name: "decrby", Arity: 3, Flags: stringWrite | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyRW|KeyAccess|KeyUpdate), Handler: decrby,
		Group: "string", Since: "1.0.0", Complexity: "O(1)", Syntax: "key decrement", Summary: "Subtracts from the integer of a key."},
	{Name: "incrbyfloat", Arity: 3, Flags: stringWrite | Fast, Categories: CatString, Keys: keys(1, 1, 1, KeyRW|KeyAccess|KeyUpdate), Handler: incrbyfloat,
		Group: "string", Since: "2.6.0", Complexity: "O(1)", Syntax: "key increment:double", Summary: "Adds to the floating point number of a key."},
	{Name: "lcs", Arity: -3, Flags: stringRead, Categories: CatString, Keys: keys(1, 2, 1, KeyRO|KeyAccess), Handler: lcs,
		Group: "string", Since: "7.0.0", Complexity: "O(N*M) where N and M are the lengths of the strings",
		Syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]", Summary: "Finds the longest common subsequence of two strings."},
}
