package command

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestServerReplies(t *testing.T) {
	c := newClient(t, newServer(t))
	c.wantAll([][2]string{
		{"config get nosuch", "*0¦"}, {"config get MAXCLIENTS", "*2¦$10¦MAXCLIENTS¦$5¦10000¦"},
		{"config get timeout timeout time*", "*2¦$7¦timeout¦$1¦0¦"},
		{"config set nosuch 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'¦"},
		{"config set timeout 1 maxclients", "-ERR wrong number of arguments for 'config|set' command¦"},
		{"config set timeout x", "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer¦"},
		{"config set timeout 5 slowlog-max-len 7", "+OK¦"}, {"config get slowlog-max-len", "*2¦$15¦slowlog-max-len¦$1¦7¦"},
		{"config rewrite", "-ERR The server is running without a config file¦"},
		{"cluster info", "-ERR This instance has cluster support disabled¦"}, {"cluster foo", "-ERR unknown subcommand 'foo'. Try CLUSTER HELP.¦"},
		{"replicaof no one", "+OK¦"}, {"slaveof NO ONE", "+OK¦"}, {"replicaof host abc", "-ERR Invalid master port¦"},
		{"memory usage nokey", "$-1¦"}, {"memory usage nokey samples -1", "-ERR syntax error¦"}, {"memory usage nokey samples", "-ERR syntax error¦"},
		{"memory usage nokey samples x", "-ERR value is not an integer or out of range¦"}, {"memory purge", "+OK¦"},
		{"lolwut version x", "-ERR value is not an integer or out of range¦"},
		{"waitaof 0 0 0", "*2¦:1¦:0¦"}, {"waitaof 1 0 0", "*2¦:1¦:0¦"}, {"waitaof 2 0 0", "-ERR value is out of range, must be between 0 and 1¦"},
		{"waitaof 0 -1 0", "-ERR value is out of range, must be positive¦"},
		{"wait 1 20", ":0¦"}, {"waitaof 0 1 20", "*2¦:1¦:0¦"},
		{"debug object nokey", "-ERR no such key¦"}, {"debug error ERRX", "-ERRX¦"}, {"debug set-active-expire 1", "+OK¦"},
		{"debug stringmatch-len 1000 a*a*a*a*a*a*a*a*a*b", "+OK¦"}, {"debug protocol push", "-ERR RESP2 is not supported by this command¦"},
		{"debug reload", "+OK¦"}, {"debug compact", "+OK¦"}, {"debug nosuch", "-ERR unknown subcommand or wrong number of arguments for 'nosuch'. Try DEBUG HELP.¦"},
		{"debug protocol nosuch", "-" + errProtocolType + "¦"},
	})
	for _, name := range []string{"client", "config", "command", "latency", "slowlog", "memory", "debug"} {
		if got := c.do(name + " help"); !regexp.MustCompile(`^\*\d+\r\n\+`+strings.ToUpper(name)+` <subcommand> `).MatchString(got) || !strings.HasSuffix(got, "+HELP\r\n+    Prints this help.\r\n") {
			t.Errorf("%s HELP: %q", name, got)
		}
	}
	if got := c.do("time"); !regexp.MustCompile(`^\*2\r\n\$10\r\n\d{10}\r\n\$\d\r\n\d+\r\n$`).MatchString(got) {
		t.Errorf("TIME: %q", got)
	}
}

func TestDebugObjectShowsTheWriteTime(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	before := s.Keyspace.Now()
	c.want("set key value px 100000", "+OK¦")
	got := c.do("debug object key")
	m := regexp.MustCompile(`^\+Value at:0x0 refcount:1 encoding:embstr serializedlength:5 lru:\d+ lru_seconds_idle:0 type:string written_ms:(\d+) deadline_ms:\d+\r\n$`).FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("%q", got)
	}
	if d := parseInt(t, m[1]) - before; d < 0 || d > 60000 {
		t.Errorf("written %d ms after the call began", d)
	}
	c.do("multi")
	c.do("select 1")
	c.do("set other 1")
	c.do("memory usage other")
	if got := c.do("exec"); !regexp.MustCompile(`^\*3\r\n\+OK\r\n\+OK\r\n:\d+\r\n$`).MatchString(got) {
		t.Errorf("MEMORY USAGE inside EXEC: %q", got)
	}
}

func parseInt(t *testing.T, s string) (n int64) {
	t.Helper()
	for _, ch := range s {
		n = n*10 + int64(ch-'0')
	}
	return n
}

func TestInfo(t *testing.T) {
	c := newClient(t, newServer(t))
	c.do("set a 1")
	c.do("set b 1 ex 100")
	sections := func(line string) string {
		return strings.Join(regexp.MustCompile(`(?m)^# (\w+)`).FindAllString(c.do(line), -1), " ")
	}
	const standard = "# Server # Clients # Memory # Persistence # Stats # Replication # CPU # Modules # Errorstats # Cluster # Keyspace # Engine"
	all := strings.NewReplacer("# Errorstats", "# Commandstats # Errorstats # Latencystats").Replace(standard)
	for line, want := range map[string]string{
		"info": standard, "info default": standard, "info all": all, "info everything": all, "info nosuch": "",
		"info CPU": "# CPU", "info keyspace server": "# Server # Keyspace", "info commandstats": "# Commandstats",
	} {
		if got := sections(line); got != want {
			t.Errorf("%s: %s", line, got)
		}
	}
	text := c.do("info everything")
	for _, want := range []string{"redis_version:" + RedisVersion, "redis_mode:standalone", "connected_clients:1", "role:master", "connected_slaves:0",
		"db0:keys=2,expires=1,avg_ttl=0", "aof_enabled:1", "cluster_enabled:0", "maxmemory_policy:noeviction", "cmdstat_set:calls=2,"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing", want)
		}
	}
	// The syntax that exporters rely on.
	body := text[strings.Index(text, "\r\n")+2:]
	for _, line := range strings.Split(body, "\r\n") {
		if line != "" && line[0] != '#' && !regexp.MustCompile(`^[\w|.-]+:.*$`).MatchString(line) {
			t.Errorf("line %q", line)
		}
	}
	c.do("hello 3")
	if got := c.do("info server"); !strings.HasPrefix(got, "=") {
		t.Errorf("RESP3: %q", got)
	}
}

// infoNumber returns a field of INFO.
func infoNumber(t *testing.T, c *testClient, name string) int64 {
	t.Helper()
	return numberIn(t, c.do("info everything"), name)
}

func numberIn(t *testing.T, info, name string) int64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `:(-?\d+)\r$`).FindStringSubmatch(info)
	if m == nil {
		t.Fatalf("INFO has no %s", name)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Exporters divide and subtract these.
func TestInfoMemoryFitsTogether(t *testing.T) {
	c := newClient(t, newServer(t))
	c.do("set a 1")
	info := c.do("info everything") // memory changes all the time: one reading
	used, peak, resident := numberIn(t, info, "used_memory"), numberIn(t, info, "used_memory_peak"), numberIn(t, info, "used_memory_rss")
	if used <= 0 || used > resident || resident > peak {
		t.Errorf("used %d, peak %d, resident %d", used, peak, resident)
	}
	for _, name := range []string{"mem_fragmentation_bytes", "allocator_frag_bytes", "allocator_rss_bytes", "used_memory_overhead"} {
		if n := numberIn(t, info, name); n < 0 {
			t.Errorf("%s: %d", name, n)
		}
	}
}

func TestInfoOfTheLog(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	c.do("set a 1")
	if n := infoNumber(t, c, "aof_current_size"); n <= 0 {
		t.Errorf("aof_current_size: %d", n)
	}
	for name, want := range map[string]int64{"aof_base_size": 0, "aof_pending_rewrite": 0, "aof_buffer_length": 0, "aof_rewrites": 0, "aof_last_rewrite_time_sec": -1} {
		if n := infoNumber(t, c, name); n != want {
			t.Errorf("%s: %d", name, n)
		}
	}
	c.want("bgrewriteaof", "+Background append only file rewriting started¦")
	s.saves.running.Wait()
	if n, took := infoNumber(t, c, "aof_rewrites"), infoNumber(t, c, "aof_last_rewrite_time_sec"); n != 1 || took < 0 {
		t.Errorf("%d rewrites, the last of %d s", n, took)
	}
}

func TestInfoCountsWatchedKeys(t *testing.T) {
	s := newServer(t)
	a, b := newClient(t, s), newClient(t, s)
	steps := []struct {
		c    *testClient
		line string
		want int64
	}{{a, "watch x y x", 2}, {b, "watch y z", 3}, {a, "unwatch", 2}, {a, "watch y", 2}, {b, "multi", 2}, {b, "exec", 1}, {a, "reset", 0}}
	for _, step := range steps {
		step.c.do(step.line)
		if n := infoNumber(t, newClient(t, s), "total_watched_keys"); n != step.want {
			t.Errorf("after %s: %d", step.line, n)
		}
	}
}

func TestPasswordsAreNotInConfigErrors(t *testing.T) {
	s := newServer(t, "--slowlog-log-slower-than 0")
	c := newClient(t, s)
	c.do("config set requirepass hunter2 maxclients x")
	for _, e := range s.slowlog.newest(-1) {
		if strings.Contains(strings.Join(e.args, " "), "hunter2") {
			t.Errorf("%q", e.args)
		}
	}
}

// EXEC does not wait: its own writes are not applied yet when WAITAOF is called.
func TestWaitAOFInExec(t *testing.T) {
	for fsync, synced := range map[string]string{"always": "1", "everysec": "0"} {
		c := newClient(t, newServer(t, "--appendfsync", fsync))
		c.want("multi", "+OK¦")
		c.want("set a 1", "+QUEUED¦")
		c.want("waitaof 1 0 0", "+QUEUED¦")
		c.want("exec", "*2¦+OK¦*2¦:"+synced+"¦:0¦")
	}
}
