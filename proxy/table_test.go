package proxy

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gtinside/corecache/reply"
)

// row is what COMMAND says of a command.
type row struct {
	words    []string // "get"; "client", "list"
	arity    int      // of words and arguments; negative = at least
	blocking bool
}

// rows asks a node for the table of commands.
func (n *node) rows() (all []row) {
	for _, cmd := range parse(n.t, n.dial().doRaw("command")).([]any) {
		all = append(all, rowsOf(cmd.([]any))...)
	}
	return all
}

func (c *client) doRaw(line string) []byte {
	c.send(line)
	return []byte(c.reply())
}

func rowsOf(cmd []any) (all []row) {
	for _, sub := range cmd[9].([]any) {
		all = append(all, rowsOf(sub.([]any))...)
	}
	if len(all) > 0 {
		return all
	}
	r := row{words: strings.Split(cmd[0].(string), "|"), arity: int(cmd[1].(int64))}
	for _, flag := range cmd[2].([]any) {
		r.blocking = r.blocking || flag == "blocking"
	}
	return []row{r}
}

// parse decodes a reply of RESP2: string, int64, []any, nil.
func parse(t testing.TB, encoded []byte) any {
	line, body, _ := strings.Cut(string(encoded), "\r\n")
	switch encoded[0] {
	case '+', '-':
		return line[1:]
	case '$':
		return strings.TrimSuffix(body, "\r\n")
	case ':':
		var v, sign int64 = 0, 1
		for _, d := range line[1:] {
			if d == '-' {
				sign = -1
				continue
			}
			v = v*10 + int64(d-'0')
		}
		return sign * v
	case '*':
		n, at := reply.Elements(encoded)
		list, rest := []any{}, encoded[at:]
		for range n {
			first, more, ok := reply.First(rest)
			if !ok {
				t.Fatalf("%.60q is not complete", rest)
			}
			list, rest = append(list, parse(t, first)), more
		}
		return list
	}
	t.Fatalf("%.60q", encoded)
	return nil
}

// incomparable are commands whose replies are about one process, one connection or one moment, or after which there is none.
var incomparable = words("shutdown monitor quit time info lastsave role randomkey scan debug wait waitaof save bgsave bgrewriteaof " +
	"client|id client|info client|list client|kill client|pause client|unblock client|reply latency|* slowlog|* memory|stats memory|doctor memory|malloc-stats " +
	"cluster|* object|idletime object|freq pttl ttl pexpiretime expiretime hello command config|rewrite")

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

// There is no small positive number among them: a key that lives for a moment has gone when the second node is asked.
var arguments = strings.Fields("a a b b n n c 1000003 100000 0 -1 2.5 x nx xx get ex px count match [ab]* type string replace limit withscores left ( [ + - (1 len idx keepttl")

// Every command of the table, also those that are not known here yet, answers through a follower what it answers directly: with too
// few arguments, with too many, with random ones, within MULTI.
func TestEveryCommand(t *testing.T) {
	s := seed(t)
	_, leader, _ := pair(t)
	_, _, follower := pair(t)
	a, b := leader.dial(), follower.dial()
	calls, rounds := 0, 12
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		rng := rand.New(rand.NewPCG(s, uint64(round)))
		for _, r := range leader.rows() {
			if incomparable[r.words[0]] || incomparable[strings.Join(r.words, "|")] || incomparable[r.words[0]+"|*"] {
				continue
			}
			for extra := -1; extra <= 3; extra++ {
				lines := []string{strings.Join(r.random(rng, extra), " ")}
				if rng.IntN(4) == 0 {
					lines = []string{"multi", lines[0], "get a", "exec"}
				}
				da, db := a.do(lines...), b.do(lines...)
				if calls++; da != db {
					t.Fatalf("%q:\ndirect  %.300q\nproxied %.300q", lines, da, db)
				}
				if strings.HasPrefix(r.words[0], "multi") {
					a.do("discard")
					b.do("discard")
				}
			}
		}
	}
	if da, db := leader.dial().do("debug digest"), follower.dial().do("debug digest"); da != db {
		t.Errorf("the data differ: %s %s", da, db)
	}
	t.Logf("%d calls", calls)
}

// random is a call with more arguments than the least number.
func (r row) random(rng *rand.Rand, extra int) []string {
	n := max(r.arity, -r.arity)
	call := append([]string(nil), r.words...)
	for len(call) < n+extra {
		call = append(call, arguments[rng.IntN(len(arguments))])
	}
	if r.blocking && len(call) > 1 {
		call[len(call)-1] = "0.01"
	}
	return call
}
