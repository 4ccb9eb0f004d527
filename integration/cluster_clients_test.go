package integration

import (
	"errors"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// benchmark runs redis-benchmark through a node.
func (s *server) benchmark(requests int) (out string, err error) {
	text, err := exec.Command(tool(s.t, "redis-benchmark"), "-h", s.ip(), "-p", itoa(s.port), "-t", "set,get,incr,mset", "-n", itoa(requests), "-c", "8", "-P", "4",
		"-r", "1000", "-q").CombinedOutput()
	return string(text), err
}

// TestClusterClients has redis-benchmark and redis-cli work through every node, while leadership is handed over and while
// the leader is killed. The other tests of clusters work with go-redis.
func TestClusterClients(t *testing.T) {
	c := startCluster(t, 3)
	t.Run("quiet", func(t *testing.T) {
		for _, s := range c.procs {
			if out, err := s.benchmark(2000); err != nil {
				t.Errorf("redis-benchmark through %s: %v\n%s", s.id, err, out)
			}
		}
	})
	t.Run("hand-over", func(t *testing.T) {
		old := c.leader()
		c.meanwhile(old, func() { old.stop() }, func(s *server) {
			if out, err := s.benchmark(10000); err != nil {
				t.Errorf("redis-benchmark through %s: %v\n%s", s.id, err, out)
			}
		})
		old.launch()
		c.waitInSync(3)
	})
	t.Run("kill", func(t *testing.T) {
		old := c.leader()
		var counts counts
		c.meanwhile(old, old.kill, func(s *server) { counts.add(t, s, 2000) })
		cl := c.leader().client()
		defer cl.Close()
		n, err := cl.Get(ctx, "counter").Int()
		t.Logf("redis-cli: %d increments acknowledged, %d of unknown outcome, %d refused; the counter is %d", counts.acked, counts.unknown, counts.refused, n)
		if err != nil || n < counts.acked || n > counts.acked+counts.unknown {
			t.Errorf("the counter is %d, %v", n, err)
		}
		for _, s := range c.others(old) {
			if out, err := s.benchmark(2000); err != nil {
				t.Errorf("redis-benchmark through %s: %v\n%s", s.id, err, out)
			}
		}
		old.launch()
		c.waitInSync(3)
	})
	c.same()
}

// meanwhile has clients work through all nodes but one, and makes something happen when they are at work.
func (c *nodes) meanwhile(but *server, event func(), client func(*server)) {
	c.t.Helper()
	done := make(chan struct{})
	var clients sync.WaitGroup
	for _, s := range c.others(but) {
		clients.Go(func() { client(s) })
	}
	go func() {
		clients.Wait()
		close(done)
	}()
	commands := func() int {
		n, _ := strconv.Atoi(but.infoOf("stats", "total_commands_processed"))
		return n
	}
	before := commands()
	c.waitFor("commands", func() bool { return commands() > before+500 })
	select {
	case <-done:
		c.t.Error("the clients were done before anything happened")
	default:
	}
	event()
	<-done
}

// counts are the replies that redis-cli printed.
type counts struct {
	mu                      sync.Mutex
	acked, unknown, refused int
}

var integerReply = regexp.MustCompile(`^[0-9]+$`)

// add increments a counter n times by redis-cli.
func (k *counts) add(t *testing.T, s *server, n int) {
	cmd := exec.Command(tool(t, "redis-cli"), "-h", s.ip(), "-p", itoa(s.port))
	cmd.Stdin = strings.NewReader(strings.Repeat("INCR counter\n", n))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("redis-cli: %v", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	replies := 0
	for line := range strings.Lines(string(out)) {
		switch line = strings.TrimSpace(line); {
		case line == "":
			continue
		case integerReply.MatchString(line):
			k.acked++
		case notExecuted(errors.New(line)):
			k.refused++
		case prefix(errors.New(line)) == "UNKNOWN":
			k.unknown++
		default:
			t.Errorf("redis-cli through %s printed %q", s.id, line)
		}
		replies++
	}
	if replies != n {
		t.Errorf("redis-cli through %s: %d replies to %d commands", s.id, replies, n)
	}
}
