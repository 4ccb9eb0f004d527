package integration

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// serverBinary is the server: CORECACHE_BINARY, or what TestMain builds.
var serverBinary = os.Getenv("CORECACHE_BINARY")

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	defer sharedZooKeeper.close()
	redis.SetLogger(silence{})
	if serverBinary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "corecache-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	serverBinary = filepath.Join(dir, "corecache")
	args := []string{"build", "-o", serverBinary}
	if os.Getenv("CORECACHE_RACE") != "" {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "../cmd/corecache")...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the server:", err)
		return 1
	}
	return m.Run()
}

// silence keeps go-redis from reporting each connection that a test breaks.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
	pollEvery    = 2 * time.Millisecond
)

// server is one server process after the other on the same directory and port.
type server struct {
	t      testing.TB
	dir    string
	host   string // where it listens, "" = 127.0.0.1
	port   int
	args   []string
	file   string   // configuration file, "" = none
	in     []string // command that runs another one in a place of its own, such as a network namespace; nil = here
	id     string   // its name in a cluster, "" = alone
	log    logBuffer
	mayEnd bool // by itself, with an error: the test has broken something
	// stderr takes what the process prints instead of log, unless it is nil.
	stderr *os.File

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	pid    atomic.Int64  // of cmd, for other goroutines than the one that starts and ends it
}

// newServer prepares a server on a fresh directory and a free port, without starting it.
func newServer(t testing.TB, args ...string) *server {
	s := &server{t: t, dir: t.TempDir(), port: freePort(t), args: args}
	t.Cleanup(func() {
		s.kill()
		for _, bad := range []string{"DATA RACE", "goroutine ", "panic"} {
			if strings.Contains(s.log.String(), bad) {
				t.Errorf("the log of the server has %q", bad)
			}
		}
		if t.Failed() {
			t.Logf("log of the server on port %d:\n%s", s.port, s.log.String())
		}
	})
	return s
}

// startServer is newServer, started and serving.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := newServer(t, args...)
	s.start()
	return s
}

// start runs the process and waits until it serves.
func (s *server) start() {
	s.t.Helper()
	s.launch()
	s.waitServing()
}

// launch runs the process without waiting for anything.
func (s *server) launch() {
	s.t.Helper()
	args := append(slices.Clone(s.in), serverBinary)
	if s.file != "" {
		args = append(args, s.file)
	}
	args = append(args, "--dir", s.dir, "--port", strconv.Itoa(s.port), "--bind", s.ip())
	args = append(args, s.args...)
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if s.stderr != nil {
		s.cmd.Stderr = s.stderr
	}
	// The process dies with the test, also when that is killed.
	s.cmd.SysProcAttr = dieWithTest()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	s.pid.Store(int64(cmd.Process.Pid))
	go func() {
		_ = cmd.Wait() // the exit code is read from cmd.ProcessState
		close(exited)
	}()
}

func (s *server) waitServing() {
	s.t.Helper()
	s.waitFor("the server to serve", startTimeout, func() bool {
		if s.ended() {
			s.t.Fatalf("the server ended with code %d while starting:\n%s", s.cmd.ProcessState.ExitCode(), s.log.String())
		}
		return s.serving()
	})
}

// serving asks without go-redis, which waits between attempts to connect.
func (s *server) serving() bool {
	conn, err := net.DialTimeout("tcp", s.addr(), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	reply := make([]byte, 64)
	if err := conn.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return false
	}
	if _, err := conn.Write([]byte("DBSIZE\r\n")); err != nil {
		return false
	}
	n, err := conn.Read(reply)
	return err == nil && (reply[0] == ':' || bytes.HasPrefix(reply[:n], []byte("-NOAUTH")))
}

// waitFor polls a condition.
func (s *server) waitFor(what string, timeout time.Duration, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(timeout); !ok(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			s.t.Fatalf("gave up waiting for %s after %v", what, timeout)
		}
	}
}

// kill is kill -9; it returns when the process is gone.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // fails when it has ended already
	<-s.exited
}

// stop sends SIGTERM and returns the exit code.
func (s *server) stop() int {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	return s.wait()
}

// wait returns the exit code when the process has ended.
func (s *server) wait() int {
	s.t.Helper()
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(stopTimeout):
		s.t.Fatalf("the server did not end within %v", stopTimeout)
		return -1
	}
}

func (s *server) ip() string { return cmp.Or(s.host, "127.0.0.1") }

func (s *server) addr() string { return net.JoinHostPort(s.ip(), strconv.Itoa(s.port)) }

// client is a go-redis client with no retries: a failed command is a fact of the test.
func (s *server) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1, DialerRetries: 1, ReadTimeout: 60 * time.Second, WriteTimeout: 60 * time.Second})
}

// impatientClient gives up on a server that is paused or gone, soon enough to try another one.
func (s *server) impatientClient() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: 10 * time.Second})
}

// cli runs redis-cli with stdin and returns what it prints.
func (s *server) cli(stdin string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(tool(s.t, "redis-cli"), append([]string{"-h", s.ip(), "-p", strconv.Itoa(s.port)}, args...)...)
	cmd.Stdin = bytes.NewReader([]byte(stdin))
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("redis-cli %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// rss returns the resident memory of the process now and at its highest, in bytes.
func (s *server) rss() (now, peak int64) {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		var kib int64
		if n, _ := fmt.Sscanf(string(line), "VmRSS: %d kB", &kib); n == 1 {
			now = kib << 10
		}
		if n, _ := fmt.Sscanf(string(line), "VmHWM: %d kB", &kib); n == 1 {
			peak = kib << 10
		}
	}
	return now, peak
}

var ctx = context.Background()

// tool finds a program that the tests need.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed; make setup installs it (apt-get install redis-server redis-tools)", name)
	}
	return path
}

// soak returns how long the random rounds of a test go on: short, or CORECACHE_SOAK.
func soak(t testing.TB, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("CORECACHE_SOAK")
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("CORECACHE_SOAK: %v", err)
	}
	return d
}

// atMost is a limit of time that is measured: as it is in rounds that have the machine for themselves (CORECACHE_SOAK), twice that in
// go test, which runs the tests of other packages at the same time.
func atMost(d time.Duration) time.Duration {
	if os.Getenv("CORECACHE_SOAK") != "" {
		return d
	}
	return 2 * d
}

// seeded returns random numbers from a seed that is printed and may be given by CORECACHE_SEED.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("CORECACHE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("CORECACHE_SEED: %v", err)
		}
	}
	t.Logf("CORECACHE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Ports are taken one after the other from below the range that the kernel hands out
// for outgoing connections, so that a restarted server finds its port free.
var nextPort atomic.Int64

func freePort(t testing.TB) int {
	t.Helper()
	nextPort.CompareAndSwap(0, 20000+int64(os.Getpid())%5000)
	for range 5000 {
		port := int(nextPort.Add(1))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			err = l.Close()
		}
		if err == nil {
			return port
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	t.Fatal("no free port")
	return 0
}

// logBuffer keeps the last part of what a server writes.
type logBuffer struct {
	mu  sync.Mutex
	buf []byte
}

const logKept = 64 << 10

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if len(b.buf) > 2*logKept {
		b.buf = append(b.buf[:0], b.buf[len(b.buf)-logKept:]...)
	}
	return len(p), nil
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf)
}

// pauseOrKill lets the server work for a moment, then stops it for another or kills and restarts it. It reports false, with the server
// at work, when stop is over.
func (s *server) pauseOrKill(stop context.Context, rnd *rand.Rand) bool {
	s.t.Helper()
	rest := func(d time.Duration) bool {
		select {
		case <-stop.Done():
			return false
		case <-time.After(d):
			return true
		}
	}
	if !rest(time.Duration(50+rnd.IntN(500)) * time.Millisecond) {
		return false
	}
	if rnd.IntN(3) > 0 {
		s.kill()
		s.start()
		return true
	}
	s.signal(syscall.SIGSTOP)
	goOn := rest(time.Duration(10+rnd.IntN(300)) * time.Millisecond)
	s.signal(syscall.SIGCONT)
	return goOn
}

// halt is SIGSTOP, and waits until it has stopped all threads: the kernel tells one of them, which has to tell the others.
func (s *server) halt() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	for end := time.Now().Add(stopTimeout); ; time.Sleep(time.Millisecond) {
		if s.halted() {
			return
		}
		if time.Now().After(end) {
			s.t.Fatal("SIGSTOP does not stop the server")
		}
	}
}

func (s *server) halted() bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		s.t.Fatalf("the threads of the server are not to be seen: %v", err)
	}
	for _, file := range threads {
		b, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		if i := bytes.LastIndexByte(b, ')'); !bytes.HasPrefix(b[i+1:], []byte(" T ")) {
			return false
		}
	}
	return true
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}
