package config

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func mustParse(t *testing.T, args ...string) *Config {
	t.Helper()
	c, err := Parse(args, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTableIsSound(t *testing.T) {
	seen := map[string]bool{}
	for i := range params {
		p := &params[i]
		for _, n := range []string{p.Name, p.Alias} {
			if n != "" && (seen[n] || n != strings.ToLower(n)) {
				t.Errorf("%s: name is taken twice or not in lower case", n)
			}
			seen[n] = true
		}
		if !p.Fixed && (p.Doc == "" || p.Group == "") {
			t.Errorf("%s has no text or no group", p.Name)
		}
	}
	c := Default()
	for _, s := range c.settings {
		if s.Kind == Bytes || s.Kind == Int {
			if n := s.Int(); n < s.Min || n > s.Max {
				t.Errorf("%s: default %d is not in its range", s.Name, n)
			}
		}
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "100": 100, "5b": 5, "1k": 1000, "1KB": 1024, "2m": 2e6, "2mb": 2 << 20, "1g": 1e9, "3gB": 3 << 30,
		"9223372036854775807": math.MaxInt64,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "kb", "-1", "1tb", "1.5gb", "9223372036854775808", "9223372036854775807k", "0x10", "+1", "1 mb"} {
		if got, err := ParseBytes(bad); err == nil {
			t.Errorf("ParseBytes(%q) = %d; want an error", bad, got)
		}
	}
	for n, want := range map[int64]string{0: "0", 1000: "1000", 1024: "1kb", 5 << 20: "5mb", 3 << 30: "3gb", 1<<20 + 1: "1048577"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("FormatBytes(%d) = %s; want %s", n, got, want)
		}
	}
}

func TestFileThenFlags(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "more.conf"), "timeout 9\nrequirepass \"p q\"\n")
	file := writeFile(t, filepath.Join(dir, "c.conf"), strings.Join([]string{
		"# a comment", "", "PORT 7000", "maxmemory 100mb", "bind 127.0.0.1 ::1", "timeout 5", "include more.conf",
		"client-output-buffer-limit normal 1kb 0 0", "client-output-buffer-limit replica 2kb 1kb 7", "port 7001\r",
	}, "\n"))
	c := mustParse(t, file, "--maxclients", "50", "--port", "7002", "--appendfsync=always")
	if c.Int("port") != 7002 || c.Int("maxmemory") != 100<<20 || c.Int("timeout") != 9 || c.Int("maxclients") != 50 {
		t.Errorf("numbers: %v", c.Get("port", "maxmemory", "timeout", "maxclients"))
	}
	if got := c.List("bind"); len(got) != 2 || got[1] != "::1" {
		t.Errorf("bind = %q", got)
	}
	if c.String("requirepass") != "p q" || c.String("appendfsync") != "always" || c.File() != file {
		t.Errorf("texts: %v, file %s", c.Get("requirepass", "appendfsync"), c.File())
	}
	if l := c.OutputLimit("replica"); l != (OutputLimit{2048, 1024, 7}) {
		t.Errorf("replica limit = %+v", l)
	}
	if l := c.OutputLimit("pubsub"); l.Hard != 32<<20 {
		t.Errorf("pubsub limit = %+v: lost its default", l)
	}
}

func TestFlags(t *testing.T) {
	c := mustParse(t, "--bind", "127.0.0.1", "::1", "--slowlog-log-slower-than", "-1", "--requirepass", "")
	if len(c.List("bind")) != 2 || c.Int("slowlog-log-slower-than") != -1 || c.String("requirepass") != "" {
		t.Errorf("%v", c.Get("bind", "slowlog*", "requirepass"))
	}
	c = mustParse(t, `--requirepass=--a "b\`, "--client-output-buffer-limit", "normal", "1", "2", "3", "--client-output-buffer-limit", "pubsub 4 5 6")
	if c.String("requirepass") != `--a "b\` || c.OutputLimit("normal").Soft != 2 || c.OutputLimit("pubsub").SoftSeconds != 6 {
		t.Errorf("%v", c.Get("requirepass", "client-*"))
	}
	for arg, want := range map[string]error{"--help": ErrHelp, "-h": ErrHelp, "--version": ErrVersion, "-v": ErrVersion} {
		if _, err := Parse([]string{arg}, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

func TestStdin(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "c.conf"), "port 1\ntimeout 1\nhz 11\n")
	for _, args := range [][]string{{file, "-"}, {file, "--hz", "33", "-"}} {
		c, err := Parse(args, strings.NewReader("timeout 2\nhz 22\n"))
		if err != nil {
			t.Fatal(err)
		}
		wantHz := int64(22)
		if len(args) > 2 {
			wantHz = 33
		}
		if c.Int("port") != 1 || c.Int("timeout") != 2 || c.Int("hz") != wantHz {
			t.Errorf("%v: %v", args, c.Get("port", "timeout", "hz"))
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "c.conf"),
		"prot 6379\nmaxmemory lots\n\"open\nloglevel loud\ninclude nowhere.conf\nport 1 2\nzzzzzzzzzzzz 1\n")
	_, err := Parse([]string{file, "--timeuot", "3", "--daemonize", "yes", "--port-range", "9-8"}, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		file + ":1: unknown parameter 'prot' (did you mean 'port'?)",
		file + ":2: maxmemory: argument must be a memory value",
		file + ":3: unbalanced quotes",
		file + ":4: loglevel: argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
		"nowhere.conf: no such file",
		file + ":6: port: wrong number of arguments",
		file + ":7: unknown parameter 'zzzzzzzzzzzz'\n",
		"--timeuot: unknown parameter 'timeuot' (did you mean 'timeout'?)",
		"daemonize: 'yes' is not supported",
		"port-range: '9-8' is not a range",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
	if _, err := Parse([]string{"--port", "1", "--", "x"}, nil); err == nil {
		t.Error("-- was taken")
	}
	if _, err := Parse([]string{"-p", "1"}, nil); err == nil {
		t.Error("-p was taken")
	}
}

func TestIncludeLoopAndGlob(t *testing.T) {
	dir := t.TempDir()
	loop := writeFile(t, filepath.Join(dir, "loop.conf"), "include loop.conf\n")
	if _, err := Parse([]string{loop}, nil); err == nil || !strings.Contains(err.Error(), "does a file include itself") {
		t.Errorf("a file that includes itself: %v", err)
	}
	writeFile(t, filepath.Join(dir, "10.part"), "hz 20\n")
	writeFile(t, filepath.Join(dir, "20.part"), "hz 30\n")
	c := mustParse(t, writeFile(t, filepath.Join(dir, "g.conf"), "include *.part\ninclude *.none\n"))
	if c.Int("hz") != 30 {
		t.Errorf("hz = %d", c.Int("hz"))
	}
}

func TestStockRedisFileStarts(t *testing.T) {
	c, err := ParseText("redis.conf", "save 900 1\nsave \"\"\nappendonly no\nmaxmemory-policy noeviction\noom-score-adj-values 0 200 800\n", "")
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(c.Warnings(), "\n"); len(c.Warnings()) != 2 || !strings.Contains(w, "redis.conf:3: 'appendonly no' has no effect") {
		t.Errorf("warnings:\n%s", w)
	}
}

func TestGet(t *testing.T) {
	c := Default()
	if got := c.Get("TIME?UT", "timeout"); len(got) != 1 || got[0] != (Pair{"timeout", "0"}) {
		t.Errorf("%v", got)
	}
	if got := c.Get("append*SYNC"); len(got) != 1 || got[0].Value != "everysec" {
		t.Errorf("%v", got)
	}
	if got := c.Get("["); got != nil {
		t.Errorf("a bad pattern matched %v", got)
	}
	if got := len(c.Get("*")); got < len(params) {
		t.Errorf("CONFIG GET * gave %d of %d", got, len(params))
	}
	if dir := c.String("dir"); !filepath.IsAbs(dir) {
		t.Errorf("dir = %q is not absolute", dir)
	}
}

func TestPercent(t *testing.T) {
	c := mustParse(t, "--maxmemory", "100000000", "--maxmemory-clients", "25%")
	if c.Int("maxmemory-clients") != 25000000 || c.String("maxmemory-clients") != "25%" {
		t.Errorf("%d, %s", c.Int("maxmemory-clients"), c.String("maxmemory-clients"))
	}
}

func TestSetTexts(t *testing.T) {
	c := Default()
	failed := func(name, text string) string {
		return "CONFIG SET failed (possibly related to argument '" + name + "') - " + text
	}
	for _, tc := range []struct {
		pairs []Pair
		want  string
	}{
		{[]Pair{{"foo", "bar"}}, "Unknown option or number of arguments for CONFIG SET - 'foo'"},
		{[]Pair{{"maxmemory", "abc"}}, failed("maxmemory", "argument must be a memory value")},
		{[]Pair{{"slowlog-max-len", "99999999"}}, failed("slowlog-max-len", "argument must be between 0 and 1048576 inclusive")},
		{[]Pair{{"timeout", "x"}}, failed("timeout", "argument couldn't be parsed into an integer")},
		{[]Pair{{"loglevel", "notice"}, {"LogLevel", "notice"}}, failed("LogLevel", "duplicate parameter")},
		{[]Pair{{"databases", "4"}}, failed("databases", "can't set immutable config")},
		{[]Pair{{"appendonly", "no"}}, failed("appendonly", "can't set immutable config")},
		{[]Pair{{"latency-tracking", "maybe"}}, failed("latency-tracking", "argument must be 'yes' or 'no'")},
		{[]Pair{{"maxmemory-clients", "200%"}}, failed("maxmemory-clients", "percentage argument must be less or equal to 100")},
		{[]Pair{{"client-output-buffer-limit", "foo 1 2"}}, failed("client-output-buffer-limit", "Wrong number of arguments in buffer limit configuration.")},
		{[]Pair{{"client-output-buffer-limit", "foo 1 2 3"}}, failed("client-output-buffer-limit", "Invalid client class specified in buffer limit configuration.")},
		{[]Pair{{"client-output-buffer-limit", "normal 1 2 x"}}, failed("client-output-buffer-limit", "Error in hard, soft or soft_seconds setting in buffer limit configuration.")},
		{[]Pair{{"latency-tracking-info-percentiles", "1 300"}}, failed("latency-tracking-info-percentiles", "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")},
	} {
		if err := c.Set(tc.pairs); err == nil || err.Error() != tc.want {
			t.Errorf("Set(%v) = %v; want %s", tc.pairs, err, tc.want)
		}
	}
	if err := c.Set([]Pair{{"save", ""}, {"appendonly", "yes"}, {"timeout", "7"}}); err != nil || c.Int("timeout") != 7 {
		t.Errorf("setting what is so already: %v", err)
	}
}

func TestSetIsAllOrNothing(t *testing.T) {
	c := Default()
	var calls []string
	c.OnSet("timeout", func(old, new string) error {
		calls = append(calls, old+">"+new)
		return nil
	})
	c.OnSetAny([]string{"slowlog-max-len", "maxclients"}, func(old map[string]string) error {
		if c.Int("maxclients") > 100 {
			return errors.New("too fast")
		}
		return nil
	})
	err := c.Set([]Pair{{"timeout", "5"}, {"maxclients", "200"}})
	if err == nil || err.Error() != "CONFIG SET failed (possibly related to argument 'maxclients') - too fast" {
		t.Errorf("err = %v", err)
	}
	if c.Int("timeout") != 0 || c.Int("maxclients") != 10000 {
		t.Errorf("after a failed SET: %v", c.Get("timeout", "maxclients"))
	}
	if got := strings.Join(calls, " "); got != "0>5 5>0" {
		t.Errorf("hook calls: %s", got)
	}
	if err := c.Set([]Pair{{"timeout", "0"}}); err != nil || len(calls) != 2 {
		t.Errorf("a value that stays called a hook: %v %v", err, calls)
	}
}

func TestResetStat(t *testing.T) {
	c, n := Default(), 0
	c.OnResetStat(func() { n++ })
	c.OnResetStat(func() { n++ })
	if c.ResetStat(); n != 2 {
		t.Errorf("%d of 2 called", n)
	}
}

// What a node reads when it has joined its cluster must not be overtaken by a CONFIG SET, whose hook then has nothing to tell yet.
func TestHoldKeepsValues(t *testing.T) {
	c := Default()
	began, done := make(chan struct{}), make(chan error, 1)
	seen := ""
	c.OnSet("appendfsync", func(_, value string) error {
		seen = value
		return nil
	})
	err := c.Hold(func() error {
		go func() {
			close(began)
			done <- c.Set([]Pair{{"appendfsync", "always"}})
		}()
		<-began
		for range 1000 {
			runtime.Gosched()
			if got := c.String("appendfsync"); got != "everysec" {
				t.Fatalf("appendfsync is %s", got)
			}
		}
		seen = c.String("appendfsync")
		return nil
	})
	if err := errors.Join(err, <-done); err != nil || seen != "always" {
		t.Errorf("%v, the last that was seen is %s", err, seen)
	}
}
