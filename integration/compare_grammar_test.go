package integration

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

// databases that the calls use: 0 <= db < databases.
const databases = 4

// grammar generates calls from "call". A word in lower case stands for one of
// its productions here or for a text of texts; any other word is itself.
// Deadlines are far away or long past, so that no key expires in between.
var grammar = map[string][]string{
	"call": {
		"set", "set", "set", "read", "read", "number", "number", "edit", "edit", "many", "expire", "expire",
		"life", "life", "names", "list", "database", "connection", "transaction", "transaction", "server", "lcs",
	},
	"set": {
		"SET key value", "SET key value setopt", "SET key value setopt setopt", "SET key value setopt setopt setopt",
		"SETNX key value", "SETEX key sec value", "PSETEX key ms value", "GETSET key value", "SET key integer",
	},
	"setopt": {"NX", "XX", "GET", "KEEPTTL", "EX sec", "PX ms", "EXAT later", "PXAT laterms", "nx", "get"},
	"read": {
		"GET key", "GET key", "STRLEN key", "GETRANGE key int int", "SUBSTR key int int", "MGET key key key",
		"GETDEL key", "GETEX key", "GETEX key getexopt", "GETEX key getexopt getexopt", "EXISTS key key", "TYPE key",
	},
	"getexopt": {"PERSIST", "EX sec", "PX ms", "EXAT at", "PXAT atms"},
	"number": {
		"INCR key", "DECR key", "INCRBY key int", "DECRBY key int", "INCRBYFLOAT key float", "SET key integer", "SET key float",
		"INCR counter", "INCRBY counter int", "INCRBYFLOAT counter float",
	},
	"edit": {"APPEND key value", "SETRANGE key offset value", "APPEND counter digit", "SETRANGE key offset digit"},
	"many": {"MSET key value", "MSET key value key value key value", "MSETNX key value key value", "MGET key key", "MSET key value key"},
	"expire": {
		"EXPIRE key sec", "PEXPIRE key ms", "EXPIREAT key at", "PEXPIREAT key atms",
		"EXPIRE key sec expireopt", "PEXPIRE key ms expireopt", "EXPIREAT key at expireopt", "PEXPIREAT key atms expireopt",
		"EXPIRE key sec expireopt expireopt", "PERSIST key",
		"TTL key", "PTTL key", "EXPIRETIME key", "PEXPIRETIME key",
	},
	"expireopt": {"NX", "XX", "GT", "LT"},
	"life": {
		"DEL key", "DEL key key key", "UNLINK key", "UNLINK key key", "EXISTS key", "EXISTS key key key", "TOUCH key key",
		"TYPE key", "OBJECT REFCOUNT key", "OBJECT IDLETIME key", "OBJECT FREQ key", "OBJECT ENCODING key", "MEMORY USAGE key", "DEBUG DIGEST-VALUE key key",
	},
	"names": {
		"RENAME key key", "RENAMENX key key", "COPY key key", "COPY key key REPLACE", "COPY key key DB db", "COPY key key DB db REPLACE",
		"MOVE key db",
	},
	"list": {
		"KEYS pattern", "KEYS *", "SCAN 0 COUNT 10000", "SCAN 0 COUNT 10000 MATCH pattern", "SCAN 0 TYPE string COUNT 10000",
		"SCAN 0 TYPE list COUNT 10000", "RANDOMKEY", "DBSIZE", "DBSIZE", "SCAN 0 scanopt scanopt", "SCAN 0 COUNT int",
	},
	"scanopt":  {"COUNT 10000", "MATCH pattern", "TYPE string", "NOVALUES"},
	"database": {"SELECT db", "SELECT db", "SELECT db", "SWAPDB db db", "FLUSHDB", "FLUSHDB SYNC", "FLUSHALL", "SELECT int"},
	"connection": {
		"PING", "PING value", "ECHO value", "CLIENT SETNAME key", "CLIENT GETNAME", "CLIENT ID", "HELLO 2", "HELLO 3", "HELLO 3 SETNAME key",
		"HELLO int", "RESET", "QUIT", "SELECT 0", "AUTH value", "AUTH default value", "AUTH key value", "CLIENT NO-EVICT ON", "CLIENT value",
	},
	"transaction": {
		"MULTI", "MULTI", "EXEC", "EXEC", "EXEC", "EXEC", "DISCARD", "WATCH key", "WATCH key key", "WATCH key", "UNWATCH",
	},
	"server": {
		"TIME", "WAIT 0 0", "CONFIG GET timeout", "NOSUCH key value", "LATENCY HISTORY key",
		"OBJECT value key", "SLOWLOG value",
	},
	"lcs":    {"LCS key key", "LCS key key lcsopt", "LCS key key IDX lcsopt lcsopt", "LCS key key IDX WITHMATCHLEN MINMATCHLEN digit"},
	"lcsopt": {"LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN digit"},
}

// texts are the words of the grammar that become one argument.
var texts = map[string]func(*rand.Rand) string{
	"key": func(rng *rand.Rand) string {
		return pickOne(rng, "a", "b", "c", "d", "e", "f", "g", "h", "{tag}1", "{tag}2", "", "\x00\xff", "key with blanks")
	},
	"counter": func(rng *rand.Rand) string { return pickOne(rng, "n1", "n2", "n3") },
	"value":   value,
	"digit":   func(rng *rand.Rand) string { return strconv.Itoa(rng.IntN(10)) },
	"integer": integer,
	"int":     integer,
	"offset": func(rng *rand.Rand) string {
		return pickOne(rng, "0", "1", "5", "100", "3000", "-1", "536870912", "4294967296", "9223372036854775807", "abc", strconv.Itoa(rng.IntN(50)))
	},
	"float": func(rng *rand.Rand) string {
		if rng.IntN(3) == 0 {
			return strconv.FormatFloat(float64(rng.IntN(2_000_000)-1_000_000)/1000, 'f', -1, 64)
		}
		return pickOne(rng, "0.1", "1.5", "-1.5", "3", "1e3", "1e-3", "0", "-0.0", "100.25", "abc", "inf", "nan", "1e400", " 1", "0.5")
	},
	"sec":  func(rng *rand.Rand) string { return deadline(rng, 1000, 1_000_000) },
	"ms":   func(rng *rand.Rand) string { return deadline(rng, 1_000_000, 1_000_000_000) },
	"at":   func(rng *rand.Rand) string { return past(rng, 4_000_000_000) },
	"atms": func(rng *rand.Rand) string { return past(rng, 4_000_000_000_000) },
	// SET with a deadline in the past leaves a key that DBSIZE counts until
	// redis-server happens to notice.
	"later":   func(rng *rand.Rand) string { return strconv.FormatInt(4_000_000_000+rng.Int64N(1000), 10) },
	"laterms": func(rng *rand.Rand) string { return strconv.FormatInt(4_000_000_000_000+rng.Int64N(1000), 10) },
	"db": func(rng *rand.Rand) string {
		if rng.IntN(12) == 0 {
			return pickOne(rng, "-1", "16", "99", "abc", "", "1.5")
		}
		return strconv.Itoa(rng.IntN(databases))
	},
	"pattern": func(rng *rand.Rand) string {
		return pickOne(rng, "*", "?", "[a-c]", "[^a]*", "{tag}*", "*g*", "n?", "", "\\a", "k*s", "[", "a", "[c-a]")
	},
}

func pickOne[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

func value(rng *rand.Rand) string {
	switch rng.IntN(8) {
	case 0:
		return strings.Repeat(pickOne(rng, "x", "ab", "\x00"), rng.IntN(300))
	case 1:
		return integer(rng)
	case 2:
		b := make([]byte, rng.IntN(60))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	return pickOne(rng, "", "value", "hello", "world", "10", "-7", "3.14", "abc", "a b", "\r\n")
}

func integer(rng *rand.Rand) string {
	if rng.IntN(2) == 0 {
		return strconv.Itoa(rng.IntN(41) - 20)
	}
	return pickOne(rng, "0", "1", "-1", "10", "255", "-129", "65536", "4294967296", "9223372036854775807", "-9223372036854775808",
		"9223372036854775808", "-9223372036854775809", "abc", "1.5", "", " 1", "1 ", "+1", "01", "-0")
}

// deadline is far enough from now, seldom not in the future or not a number.
func deadline(rng *rand.Rand, least, most int) string {
	if rng.IntN(6) == 0 {
		return pickOne(rng, "0", "-1", "-1000", "abc", "", "1.5", "9223372036854775807", "-9223372036854775808", "99999999999999999999")
	}
	return strconv.Itoa(least + rng.IntN(most-least))
}

func past(rng *rand.Rand, future int64) string {
	if rng.IntN(6) == 0 {
		return pickOne(rng, "0", "-1", "1", "1000", "abc", "", "9223372036854775807", "-9223372036854775808", "99999999999999999999")
	}
	return strconv.FormatInt(future+rng.Int64N(1000), 10)
}

// generate returns a call, now and then a broken one.
func (r *round) generate() []string {
	args := r.expand("call", nil)
	if args[0] == "HELLO" { // 7.0 keeps the name that stands before a wrong option, 7.2 does not
		return args
	}
	switch r.rng.IntN(40) {
	case 0:
		args = args[:max(1, len(args)-1)]
	case 1:
		args = append(args, pickOne(r.rng, "", "abc", "-1", "NX", "GET", "\x00"))
	case 2:
		args[r.rng.IntN(len(args))] = pickOne(r.rng, "", "abc", "-1", "1.5", "99999999999999999999", "\x00", "NX")
	case 3:
		args[0] = strings.ToLower(args[0])
	}
	return args
}

func (r *round) expand(word string, args []string) []string {
	if text, ok := texts[word]; ok {
		return append(args, text(r.rng))
	}
	productions, ok := grammar[word]
	if !ok {
		return append(args, word)
	}
	for w := range strings.FieldsSeq(pickOne(r.rng, productions...)) {
		args = r.expand(w, args)
	}
	return args
}
