package proxy

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// seed returns the seed of a random test: CORECACHE_SEED, or another each time. It is printed when the test fails.
func seed(t testing.TB) uint64 {
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("CORECACHE_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("CORECACHE_SEED=%d", n)
		}
	})
	return n
}

// generator makes random pipelines of which it knows how many replies they have.
type generator struct {
	rng   *rand.Rand
	multi bool
	mute  string // "", "off", "skip": of the next command
}

var templates = []string{
	"set K V", "set K V nx", "set K V get", "set K V xx keepttl", "get K", "get K", "getset K V", "getdel K", "append K V", "strlen K", "incr N", "incrby N 7",
	"decr K", "incrbyfloat N 0.5", "mset K V K V", "mget K K K", "msetnx K V K V", "setrange K 3 V", "getrange K 0 3", "del K", "del K K", "unlink K",
	"exists K K", "type K", "rename K K", "renamenx K K", "copy K K replace", "move K 1", "expire K 1000", "persist K", "ttl none", "keys *", "dbsize", "scan 0 count 1000",
	"flushdb", "swapdb 0 1", "object encoding K", "touch K", "lcs K K", "get", "set K", "nosuch K", "incr K V", "select 0", "select 1", "select 2", "select 99", "select x",
	"ping", "ping V", "echo V", "client setname V", "client getname", "client setname", "config get maxclients", "command count", "hello", "hello 2", "hello 3", "hello 9",
	"debug sdslen K", "debug error V", "lolwut version 9", "memory usage none", "wait 0 1", "watch K", "watch K", "watch K K", "unwatch", "auth x", "client no-touch on",
	"readonly", "readwrite",
}

func (g *generator) fill(template string) string {
	words := strings.Fields(template)
	for i, w := range words {
		switch w {
		case "K":
			words[i] = string(rune('a' + g.rng.IntN(4)))
		case "N":
			words[i] = "n"
		case "V":
			words[i] = strings.Repeat(string(rune('0'+g.rng.IntN(10))), 1+g.rng.IntN(5))
		}
	}
	return strings.Join(words, " ")
}

// next returns a command, and how many replies it has.
func (g *generator) next() (line string, replies int) {
	line = g.fill(templates[g.rng.IntN(len(templates))])
	switch g.rng.IntN(12) {
	case 0:
		line = "multi"
	case 1:
		line = "exec"
	case 2, 3:
		if g.multi {
			line = "exec"
		}
	case 4:
		if g.multi {
			line = "discard"
		}
	case 5:
		if g.rng.IntN(4) == 0 {
			line = "reset"
		}
	case 6:
		if !g.multi {
			line = [...]string{"client reply off", "client reply skip", "client reply on"}[g.rng.IntN(3)]
		}
	}
	if strings.HasPrefix(line, "read") && g.rng.IntN(2) == 0 { // READONLY is seldom
		line = "get a"
	}
	if g.mute != "" && line == "multi" { // so that it is known when replies are on again
		line = "get a"
	}
	replies = 1
	if g.mute != "" {
		replies = 0
	}
	switch line {
	case "multi":
		g.multi = true
	case "exec", "discard":
		g.multi = false
	case "reset":
		g.multi, g.mute = false, ""
		return line, 1
	case "client reply on":
		g.mute = ""
		return line, 1
	case "client reply off":
		g.mute = "off"
		return line, 0
	case "client reply skip":
		if g.mute != "off" {
			g.mute = "skip"
		}
		return line, 0
	}
	if g.mute == "skip" {
		g.mute = ""
	}
	return line, replies
}

var clientIDs = regexp.MustCompile(`id\r\n:\d+`)

// Whatever is sent, the replies through a follower are those of a direct connection.
func TestRandomComparison(t *testing.T) {
	s := seed(t)
	rounds := 3000
	if testing.Short() {
		rounds = 600
	}
	_, direct, _ := pair(t)
	_, _, follower := pair(t)
	for round := range rounds / 200 {
		rng := rand.New(rand.NewPCG(s, uint64(round)))
		g := &generator{rng: rng}
		a, b := direct.dial(), follower.dial()
		others := [2]*client{direct.dial(), follower.dial()}
		a.do("flushall")
		b.do("flushall")
		var history []string
		for range 200 {
			var lines []string
			want := 0
			for range 1 + rng.IntN(12) {
				line, n := g.next()
				lines = append(lines, line)
				want += n
			}
			if g.mute != "" { // so that the end of it is seen
				lines, g.mute = append(lines, "client reply on"), ""
				want++
			}
			if rng.IntN(4) == 0 { // somebody else changes a watched key
				line := g.fill("set K V")
				others[0].do(line)
				others[1].do(line)
				history = append(history, "other: "+line)
			}
			history = append(history, strings.Join(lines, " | "))
			a.send(lines...)
			b.send(lines...)
			for i := range want {
				ra, rb := clientIDs.ReplaceAllString(a.reply(), "id"), clientIDs.ReplaceAllString(b.reply(), "id")
				if ra != rb {
					t.Fatalf("round %d, reply %d:\ndirect %q\nproxied %q\n%s", round, i, ra, rb, strings.Join(history[max(0, len(history)-12):], "\n"))
				}
			}
		}
		for _, c := range []*client{a, b} {
			c.do("reset")
		}
		if da, db := a.do("debug digest"), b.do("debug digest"); da != db {
			t.Fatalf("round %d: the data differ: %s %s", round, da, db)
		}
		for _, c := range []*client{a, b, others[0], others[1]} {
			c.Close()
		}
	}
}

// Replies of all sizes and in all numbers come as they are.
func TestLargePipelines(t *testing.T) {
	_, leader, follower := pair(t)
	fill := leader.dial()
	sizes := []int{0, 1, 100, 16 << 10, 64<<10 - 1, 200 << 10, 1<<20 - 3, 1 << 20, 3 << 20}
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for _, n := range sizes {
		fill.want(fmt.Sprintf("setrange big%d %d x", n, n), fmt.Sprintf(":%d¦", n+1))
	}
	rng := rand.New(rand.NewPCG(seed(t), 0))
	c := follower.dial()
	for range rounds {
		var lines []string
		var want []int
		for range 1 + rng.IntN(60) {
			n := sizes[min(rng.IntN(len(sizes)), rng.IntN(len(sizes)))]
			if rng.IntN(3) == 0 {
				lines, want = append(lines, fmt.Sprintf("echo %d", n)), append(want, -n)
				continue
			}
			lines, want = append(lines, fmt.Sprintf("get big%d", n)), append(want, n)
		}
		go c.send(lines...)
		for i, n := range want {
			got := c.reply()
			if n >= 0 && len(got) != len(fmt.Sprintf("$%d\r\n\r\n", n+1))+n+1 || n < 0 && !strings.Contains(got, strconv.Itoa(-n)) {
				t.Fatalf("%s: %d bytes, %.40q", lines[i], len(got), got)
			}
		}
	}
}
