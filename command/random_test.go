package command

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// notAtRandom stop the client or the server, wait, or change what the test stands on.
var notAtRandom = map[string]bool{
	"shutdown": true, "monitor": true, "quit": true, "wait": true, "waitaof": true, "save": true, "bgsave": true, "bgrewriteaof": true,
	"client|kill": true, "client|pause": true, "client|reply": true, "config|set": true, "config|rewrite": true, "memory|purge": true,
	"auth": true, "hello": true, "reset": true, "debug": true,
}

// Whatever the arguments are, a command gives exactly one well-formed reply and does not panic.
func TestRandomCalls(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CORECACHE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	s := newServer(t)
	var cmds []*Command
	words := []string{"", "a", "b", "c", "1", "-1", "0", "10", "3.5", "x", "-", "*", "a*", "\x00\r\n", strings.Repeat("v", 300), "9223372036854775807", "99999999999999999999"}
	s.table.each(func(cmd *Command) {
		if cmd.Handler != nil && !notAtRandom[cmd.full] {
			cmds = append(cmds, cmd)
		}
		for _, w := range syntaxWords(cmd.Syntax) {
			if isToken(w) {
				words = append(words, w)
			}
		}
	})
	for proto := 2; proto <= 3; proto++ {
		c := newClient(t, s)
		c.do(fmt.Sprintf("hello %d", proto))
		for range 15000 {
			cmd := cmds[rng.IntN(len(cmds))]
			args := strings.Split(cmd.full, "|")
			for n := rng.IntN(5) + max(cmd.Arity, -cmd.Arity) - len(args) - rng.IntN(2); n > 0; n-- {
				args = append(args, words[rng.IntN(len(words))])
			}
			c.w.Reset()
			c.dispatch(args...)
			if err := s.EndUnit(c.sess, &c.w); err != nil {
				t.Fatal(err)
			}
			rest, ok := skipReply(c.w.Buf, proto)
			if !ok || len(rest) != 0 || bytes.HasPrefix(c.w.Buf, []byte("-ERR internal")) {
				t.Fatalf("seed %d: RESP%d %q\nreply %q", seed, proto, args, c.w.Buf)
			}
		}
	}
}

// skipReply cuts one reply off and reports whether it is well formed.
func skipReply(b []byte, proto int) (rest []byte, ok bool) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 1 {
		return b, false
	}
	kind, head, b := b[0], string(b[1:end]), b[end+2:]
	if proto == 2 && !bytes.ContainsRune([]byte("+-:$*"), rune(kind)) {
		return b, false
	}
	switch kind {
	case '+', '-', '_', '#', ',', '(':
		return b, true
	}
	n, err := strconv.Atoi(head)
	if err != nil {
		return b, false
	}
	switch kind {
	case ':':
		return b, true
	case '$', '=':
		if n < 0 {
			return b, proto == 2
		}
		return b[min(n+2, len(b)):], len(b) >= n+2 && string(b[n:n+2]) == "\r\n"
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		return b, false
	}
	for ; n > 0; n-- {
		if b, ok = skipReply(b, proto); !ok {
			return b, false
		}
	}
	return b, true
}
