package integration

import (
	"math"
	"strconv"
	"strings"
)

// difference is a reply that is accepted to differ from redis-server 7.0.
type difference struct {
	command string // prefix of the command, in upper case
	why     string
	ok      func(args []string, redis, ours *reply) bool
}

// differences is the whole list. An entry says why the difference is right
// and accepts nothing else.
var differences = []difference{
	{
		command: "OBJECT REFCOUNT",
		why:     "values are not objects in memory: small integers count as shared, all else as held once; what redis-server shares depends on which command wrote the value",
		ok: func(_ []string, redis, ours *reply) bool {
			text := string(ours.text)
			return redis.kind == ':' && ours.kind == ':' && (text == "1" || text == strconv.Itoa(math.MaxInt32))
		},
	},
	{
		command: "SCAN",
		why:     "a cursor is a number; redis-server takes what strtoul leaves of other things, such as 0 of a zero byte",
		ok: func(args []string, _, ours *reply) bool {
			_, err := strconv.ParseUint(args[1], 10, 64)
			return err != nil && string(ours.raw) == "-ERR invalid cursor\r\n"
		},
	},
}

func accepted(args []string, redis, ours *reply) bool {
	name := strings.ToUpper(strings.Join(args, " "))
	for _, d := range differences {
		if strings.HasPrefix(name, d.command) && d.ok(args, redis, ours) {
			return true
		}
	}
	return false
}
