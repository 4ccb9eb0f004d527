package integration

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// run starts the binary with nothing but args and returns what it prints and its exit code.
func run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(serverBinary, args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (s *server) signalHangup() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
}

func TestHelpAndVersion(t *testing.T) {
	if out, code := run(t, "--help"); code != 0 || !strings.Contains(out, "--appendfsync") {
		t.Errorf("--help: code %d\n%s", code, out)
	}
	if out, code := run(t, "--version"); code != 0 || !strings.HasPrefix(out, "CoreCache ") {
		t.Errorf("--version: code %d\n%s", code, out)
	}
}

func TestMistakesInTheConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.conf")
	if err := os.WriteFile(file, []byte("port 0\nmaxmemry 1gb\nloglevel loud\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, code := run(t, file, "--appendfsync", "sometimes")
	for _, want := range []string{
		file + ":2: unknown parameter 'maxmemry' (did you mean 'maxmemory'?)", file + ":3: loglevel", "--appendfsync: appendfsync: argument(s) must be one of",
	} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("code %d, no %q in:\n%s", code, want, out)
		}
	}
}

func TestConfigFileSetAndRewrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.conf")
	if err := os.WriteFile(file, []byte("# mine\ntimeout 7\nmaxclients 123\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	s.file = file
	s.start()
	c := s.client()
	defer c.Close()
	if got := c.ConfigGet(ctx, "max*").Val()["maxclients"]; got != "123" {
		t.Errorf("maxclients = %q", got)
	}
	if err := c.Do(ctx, "CONFIG", "SET", "timeout", "9", "appendfsync", "always", "maxmemory", "200mb").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.ConfigRewrite(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	for _, want := range []string{"# mine\n", "timeout 9\n", "appendfsync always\n", "maxmemory 200mb\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%v, no %q in the rewritten file:\n%s", err, want, text)
		}
	}
	s.kill()
	s.start()
	if got := c.ConfigGet(ctx, "timeout").Val()["timeout"]; got != "9" {
		t.Errorf("after the restart: timeout = %q", got)
	}
}

func TestPortRange(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	first := taken.Addr().(*net.TCPAddr).Port
	last := min(first+50, 65535)
	s := newServer(t, "--port-range", itoa(first)+"-"+itoa(last))
	s.launch()
	s.waitFor("the port to be said", startTimeout, func() bool { return s.portSaid() > 0 })
	if s.port = s.portSaid(); s.port <= first || s.port > last {
		t.Fatalf("took port %d of %d-%d, of which the first is taken", s.port, first, last)
	}
	s.waitServing()
	c := s.client()
	defer c.Close()
	if got := c.ConfigGet(ctx, "port").Val()["port"]; got != itoa(s.port) {
		t.Errorf("CONFIG GET port = %s", got)
	}
}

// portSaid finds the port in the log, 0 when it is not there yet.
func (s *server) portSaid() (port int) {
	_, rest, ok := strings.Cut(s.log.String(), "listening on port ")
	if !ok {
		return 0
	}
	for _, c := range rest {
		if c < '0' || c > '9' {
			return port
		}
		port = port*10 + int(c-'0')
	}
	return 0
}

// TestStartRefused starts servers that must not run, and demands that the one which runs loses nothing by that.
func TestStartRefused(t *testing.T) {
	pidfile, socket := filepath.Join(t.TempDir(), "pid"), filepath.Join(t.TempDir(), "s")
	s := startServer(t, "--pidfile", pidfile, "--unixsocket", socket)
	t.Run("directory in use", func(t *testing.T) {
		out, code := run(t, "--dir", s.dir, "--port", itoa(freePort(t)), "--pidfile", pidfile)
		if code != 1 || !strings.Contains(out, "another process") {
			t.Errorf("code %d:\n%s", code, out)
		}
	})
	t.Run("port in use", func(t *testing.T) {
		out, code := run(t, "--dir", t.TempDir(), "--port", itoa(s.port), "--bind", "127.0.0.1", "--pidfile", pidfile)
		if code != 1 || !strings.Contains(out, "address already in use") {
			t.Errorf("code %d:\n%s", code, out)
		}
	})
	t.Run("socket in use", func(t *testing.T) {
		out, code := run(t, "--dir", t.TempDir(), "--port", "0", "--unixsocket", socket, "--pidfile", pidfile)
		if code != 1 || !strings.Contains(out, "address already in use") {
			t.Errorf("code %d:\n%s", code, out)
		}
	})
	t.Run("directory is a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if out, code := run(t, "--dir", file, "--port", itoa(freePort(t))); code != 1 || !strings.Contains(out, file) {
			t.Errorf("code %d:\n%s", code, out)
		}
	})
	c := s.client()
	defer c.Close()
	if err := c.Ping(ctx).Err(); err != nil {
		t.Errorf("the first server does not serve any more: %v", err)
	}
	if text, err := os.ReadFile(pidfile); err != nil || string(text) != itoa(s.cmd.Process.Pid)+"\n" {
		t.Errorf("pidfile: %q, %v", text, err)
	}
	if conn, err := net.Dial("unix", socket); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	s.stop()
	if _, err := os.Stat(pidfile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pidfile of a stopped server: %v", err)
	}
}

// TestBlockedTerminal stops a server whose standard error is a pipe that is full and that nobody reads.
func TestBlockedTerminal(t *testing.T) {
	unread, full, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()
	defer full.Close()
	if err := full.SetWriteDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = full.Write(make([]byte, 1))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	s := newServer(t)
	s.stderr = full
	s.start()
	c := s.client()
	defer c.Close()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.stderr = nil
	s.start()
	if v := c.Get(ctx, "k").Val(); v != "v" {
		t.Errorf("k = %q", v)
	}
}

// TestLoading kills a server that has not flushed, so that the next one has a long log
// to replay, and demands that it says so meanwhile.
func TestLoading(t *testing.T) {
	s := startServer(t, "--memtable-size", "512mb", "--maxmemory", "3gb")
	c := s.client()
	defer c.Close()
	const keys, pipeline = 600000, 2000
	for n := 0; n < keys; n += pipeline {
		p := c.Pipeline()
		for i := range pipeline {
			p.Set(ctx, "k"+itoa(n+i), n+i, 0)
		}
		if _, err := p.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.kill()
	s.launch()
	var reply redis.Error
	s.waitFor("-LOADING", startTimeout, func() bool {
		err := c.Get(ctx, "k1").Err()
		if err == nil {
			t.Fatal("the log was replayed before -LOADING was seen")
		}
		return errors.As(err, &reply)
	})
	if reply.Error() != "LOADING Redis is loading the dataset in memory" {
		t.Errorf("reply: %v", reply)
	}
	if _, err := c.Info(ctx, "server").Result(); err != nil {
		t.Errorf("INFO while loading: %v", err)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("SIGTERM while loading: exit code %d", code)
	}
	s.start()
	if n, err := c.DBSize(ctx).Result(); err != nil || n != keys {
		t.Errorf("DBSIZE = %d, %v; want %d", n, err, keys)
	}
}

func TestShutdownCommand(t *testing.T) {
	s := startServer(t, "--pidfile", filepath.Join(t.TempDir(), "pid"))
	c := s.client()
	defer c.Close()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	_ = c.Do(ctx, "SHUTDOWN").Err() // the connection ends without a reply
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.start()
	if v := c.Get(ctx, "k").Val(); v != "v" {
		t.Errorf("k = %q", v)
	}
}

// TestSecondSignal does not wait for a client that does not read its replies.
func TestSecondSignal(t *testing.T) {
	s := startServer(t, "--shutdown-timeout", "600")
	c := s.client()
	defer c.Close()
	if err := c.Set(ctx, "big", strings.Repeat("x", 16<<20), 0).Err(); err != nil {
		t.Fatal(err)
	}
	deaf, err := net.Dial("tcp", s.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	if _, err := deaf.Write([]byte(strings.Repeat("GET big\r\n", 4))); err != nil {
		t.Fatal(err)
	}
	if _, err := deaf.Read(make([]byte, 1)); err != nil { // the replies are on their way
		t.Fatal(err)
	}
	s.interrupt()
	s.waitFor("the shutdown to begin", startTimeout, func() bool { return strings.Contains(s.log.String(), "shutting down") })
	if s.ended() {
		t.Fatalf("the shutdown did not wait for a client, code %d", s.wait())
	}
	s.interrupt()
	if code := s.wait(); code != 130 {
		t.Errorf("exit code %d", code)
	}
}

func (s *server) interrupt() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) ended() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// TestSystemd listens where systemd would.
func TestSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	s := startServer(t, "--supervised", "systemd")
	expect := func(want string) {
		t.Helper()
		buf := make([]byte, 256)
		if err := systemd.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
			t.Fatal(err)
		}
		n, err := systemd.Read(buf)
		if got := string(buf[:n]); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("told %q, %v; want %s", got, err, want)
		}
	}
	expect("READY=1")
	s.stop()
	expect("STOPPING=1")
}

func TestLogFileIsReopened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	s := startServer(t, "--logfile", file)
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	s.signalHangup()
	s.waitFor("a new log file", startTimeout, func() bool {
		text, err := os.ReadFile(file)
		return err == nil && len(text) > 0
	})
}

func TestCheckFindsDamage(t *testing.T) {
	s := startServer(t, smallTree...)
	if n := loadLarge(t, s, 8<<20); n == 0 {
		t.Fatal("nothing loaded")
	}
	if code := s.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if out, code := run(t, "check", s.dir); code != 0 || !strings.Contains(out, "no damage") {
		t.Fatalf("check of a sound directory: code %d\n%s", code, out)
	}
	tables, err := filepath.Glob(filepath.Join(s.dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	flipByte(t, tables[len(tables)/2])
	if out, code := run(t, "check", s.dir); code != 1 || !strings.Contains(out, filepath.Base(tables[len(tables)/2])) {
		t.Errorf("check of a damaged directory: code %d\n%s", code, out)
	}
	if _, code := run(t, "check", filepath.Join(s.dir, "nowhere")); code != 1 {
		t.Errorf("check of nothing: code %d", code)
	}
}

func flipByte(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/3] ^= 0x40
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
