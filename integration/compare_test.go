package integration

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The comparison runs the same commands on redis-server and on CoreCache and
// wants the same bytes back.
//
// testdata/compare/*.txt are the cases. A line
//
//	== name            starts a case: empty databases, new connections
//	== name (resp3)    the case makes sense in that protocol only; else it runs in both
//	SET k "a\x00b"     a command, quoted as redis-cli takes it
//
// and before the command may stand, in this order
//
//	@2      the second connection (of up to 4)
//	-       no reply comes
//	?       only the types of the replies must be equal
//	~       integers may differ by a second
//	*       elements may come in any order
//	+       read one more reply, send nothing (pushes)
//	raw     send these bytes as they are
//
// What Redis 7.2 brought is missing in Debian's 7.0. There a command is followed by the
// reply that 7.2's documentation promises, and runs on CoreCache only:
//
//	= "+OK\r\n"        these bytes
//	=~ "regexp"        bytes that match
//
// differences in compare_differences_test.go lists what is accepted to differ.

//go:embed testdata/compare
var transcripts embed.FS

// pair is a CoreCache and a redis-server.
type pair struct {
	ours        string // address
	redis       string
	differences []difference // that are accepted
}

// startPair starts both; they end with the test.
func startPair(t *testing.T) pair {
	t.Helper()
	ours := startServer(t, "--enable-debug-command", "yes")
	return pair{ours: ours.addr(), redis: startRedis(t), differences: differences}
}

// startFollowerPair starts a cluster, of which one node that does not lead is compared.
func startFollowerPair(t *testing.T) pair {
	t.Helper()
	c := startCluster(t, 2, "--masterauth", "of the cluster") // cases change requirepass
	return pair{ours: c.others(c.leader())[0].addr(), redis: startRedis(t), differences: differencesOfFollower}
}

func startRedis(t *testing.T) string {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command(tool(t, "redis-server"), "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", t.TempDir(),
		"--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--loglevel", "warning")
	cmd.SysProcAttr = dieWithTest()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails when it has ended already
		_ = cmd.Wait()         // so says the signal
	})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(pollEvery) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("redis-server does not start: %v", err)
		}
	}
}

func TestCompare(t *testing.T) { startPair(t).playAll(t) }

func TestCompareFollower(t *testing.T) { startFollowerPair(t).playAll(t) }

func (p pair) playAll(t *testing.T) {
	t.Helper()
	files, err := fs.Glob(transcripts, "testdata/compare/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(path.Base(file), ".txt"), func(t *testing.T) {
			for _, c := range readCases(t, file) {
				for _, proto := range c.protos {
					t.Run(fmt.Sprintf("%s/resp%d", c.name, proto), func(t *testing.T) { p.play(t, c, proto) })
				}
			}
		})
	}
}

// transcript is one case.
type transcript struct {
	name   string
	protos []int
	steps  []step
}

func readCases(t *testing.T, file string) []transcript {
	t.Helper()
	text, err := fs.ReadFile(transcripts, file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []transcript
	for n, line := range strings.Split(string(text), "\n") {
		where := fmt.Sprintf("%s:%d", path.Base(file), n+1)
		line = strings.TrimSpace(line)
		title, isTitle := strings.CutPrefix(line, "== ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isTitle:
			cases = append(cases, newCase(title))
		case len(cases) == 0:
			t.Fatalf("%s: a command before the first case", where)
		default:
			if err := cases[len(cases)-1].add(where, line); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
		}
	}
	return cases
}

func newCase(title string) transcript {
	for proto := 2; proto <= 3; proto++ {
		if name, ok := strings.CutSuffix(title, fmt.Sprintf(" (resp%d)", proto)); ok {
			return transcript{name: name, protos: []int{proto}}
		}
	}
	return transcript{name: title, protos: []int{2, 3}}
}

func (c *transcript) add(where, line string) error {
	if strings.HasPrefix(line, "=") {
		if len(c.steps) == 0 {
			return errors.New("a reply before the first command")
		}
		return c.steps[len(c.steps)-1].expect(line)
	}
	s, err := parseStep(where, line)
	c.steps = append(c.steps, s)
	return err
}

// play runs a case on both servers.
func (p pair) play(t *testing.T, c transcript, proto int) {
	ours, redis := newPlayer(t, p.ours, proto), newPlayer(t, p.redis, proto)
	defer ours.close()
	defer redis.close()
	for _, s := range c.steps {
		got := ours.run(s)
		if s.want != nil {
			if !s.want.MatchString(string(got.raw)) {
				t.Errorf("%s: %s\nRedis 7.2 %s\nCoreCache %s", s.where, s.line, s.want, got)
			}
			continue
		}
		want := redis.run(s)
		if !s.same(want, got) && !p.accepts(s.args, want, got) {
			t.Errorf("%s: %s\nRedis     %s\nCoreCache %s", s.where, s.line, want, got)
		}
		if got == silent && want != silent {
			t.Fatalf("%s: the connection is out of step", s.where)
		}
	}
}

// player is one server with up to four connections.
type player struct {
	t     *testing.T
	addr  string
	proto int
	admin *conn
	conns [4]*conn
}

func newPlayer(t *testing.T, addr string, proto int) *player {
	p := &player{t: t, addr: addr, proto: proto}
	p.admin = dial(t, addr)
	p.reset()
	return p
}

func (p *player) close() {
	p.reset()
	p.admin.Close()
	for _, c := range p.conns {
		if c != nil {
			c.Close()
		}
	}
}

// reset takes back what a case may have changed for the next one.
func (p *player) reset() {
	if p.admin.do("PING") == closed {
		p.admin = dial(p.t, p.addr)
	}
	for _, args := range [][]string{{"CONFIG", "SET", "requirepass", ""}, {"CLIENT", "UNPAUSE"}, {"FLUSHALL"}} {
		if r := p.admin.do(args...); string(r.text) != "OK" {
			p.t.Errorf("%q: %s", args, r)
		}
	}
}

func (p *player) conn(i int) *conn {
	if p.conns[i] == nil {
		p.conns[i] = dial(p.t, p.addr)
		if p.proto == 3 {
			if r := p.conns[i].do("HELLO", "3"); r.kind != '%' {
				p.t.Fatalf("HELLO 3: %s", r)
			}
		}
	}
	return p.conns[i]
}

func (p *player) run(s step) *reply {
	c := p.conn(s.conn)
	if !s.more {
		b := []byte(s.raw)
		if s.args != nil {
			b = encode(s.args)
		}
		if err := c.send(b); err != nil {
			return closed
		}
	}
	if s.quiet {
		return silent
	}
	return c.receive(replyTimeout)
}
