package integration

import (
	"math"
	"slices"
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

// differencesOfFollower are those through a node that forwards.
var differencesOfFollower = append(slices.Clone(differences),
	difference{
		command: "WAIT",
		why:     "there is a follower",
		ok:      func(_ []string, _, ours *reply) bool { return string(ours.raw) == ":1\r\n" },
	},
	difference{
		command: "DEBUG DIGEST",
		why:     "it is about the data of this node, which may have less than its leader at the moment",
		ok: func(_ []string, redis, ours *reply) bool {
			return redis.kind == ours.kind && len(redis.raw) == len(ours.raw)
		},
	},
)

func (p pair) accepts(args []string, redis, ours *reply) bool {
	name := strings.ToUpper(strings.Join(args, " "))
	for _, d := range p.differences {
		if strings.HasPrefix(name, d.command) && d.ok(args, redis, ours) {
			return true
		}
	}
	return false
}
