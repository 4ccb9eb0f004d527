package resp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestHostileInput(t *testing.T) {
	s := startServer(t, nil)
	witness := s.dial()
	for _, c := range frameErrors {
		if c.anonymous {
			continue
		}
		cl := s.dial()
		cl.send("PING\r\n")
		cl.expect("+PONG\r\n")
		cl.send(c.stream)
		cl.expect("-ERR Protocol error: " + c.want.Error() + "\r\n")
		cl.expectEnd()
	}
	witness.send("PING\r\n")
	witness.expect("+PONG\r\n")
	eventually(t, "one client left", func() bool { return s.count.Load() == 1 })
}

func TestErrorBehindValidCommands(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	c.send("PING\r\n" + array("WORDS", "a") + "*1\r\n$x\r\n" + array("PING"))
	c.expect("+PONG\r\n*1\r\n$1\r\na\r\n-ERR Protocol error: invalid bulk length\r\n")
	c.expectEnd()
}

func TestLimitsBeforeAuth(t *testing.T) {
	s := startServer(t, nil, "--requirepass", "secret")
	for stream, want := range map[string]string{
		"*11\r\n":          "-ERR Protocol error: unauthenticated multibulk length\r\n",
		"*1\r\n$16385\r\n": "-ERR Protocol error: unauthenticated bulk length\r\n",
		array("AUTH", "secret") + "*11\r\n$-1\r\n": "+OK\r\n-ERR Protocol error: invalid bulk length\r\n",
	} {
		c := s.dial()
		c.send(stream)
		c.expect(want)
		c.expectEnd()
	}
	big := strings.Repeat("x", 20_000)
	c := s.dial()
	c.send(array("AUTH", "secret") + array("LEN", big)) // AUTH counts for what comes behind it
	c.expect("+OK\r\n:20000\r\n")
}

func TestQueryBufferLimitClosesSilently(t *testing.T) {
	s := startServer(t, func(set *Settings, _ *Address) { set.MaxQuery = 100_000 })
	c := s.dial()
	c.send("*1\r\n$1000000\r\n")
	_, _ = io.WriteString(c.Conn, strings.Repeat("x", 300_000)) // fails when the server is quick
	c.expectEnd()
	if n := s.Stats().QueryBufferClosed; n != 1 {
		t.Errorf("%d clients counted", n)
	}
}

func TestSplitAtEveryByteOnTheWire(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	stream := array("WORDS", "a", "") + "*0\r\nWORDS \"b c\"\r\n\r\n" + array("PING")
	want := "*2\r\n$1\r\na\r\n$0\r\n\r\n*1\r\n$3\r\nb c\r\n+PONG\r\n"
	for i := range stream {
		c.send(stream[i : i+1])
	}
	c.expect(want)
	for cut := range stream {
		c.send(stream[:cut])
		c.send(stream[cut:])
		c.expect(want)
	}
}

func TestPipelineIsOneUnit(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	before := s.fake.units.Load()
	c.send(strings.Repeat(array("PING"), 1000))
	c.expect(strings.Repeat("+PONG\r\n", 1000))
	if n := s.fake.units.Load() - before; n > 20 {
		t.Errorf("1000 commands in %d units", n)
	}
}

func TestQuitDropsTheRest(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	c.send("PING\r\nQUIT\r\nPING\r\n")
	c.expect("+PONG\r\n+OK\r\n")
	c.expectEnd()
}

func TestHalfClose(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	c.send(strings.Repeat(array("PING"), 100) + "*1\r\n$4\r\nPI")
	c.Conn.(*net.TCPConn).CloseWrite()
	c.expect(strings.Repeat("+PONG\r\n", 100))
	c.expectEnd()
}

// TestHalfCloseBehindMuch has a client close its sending side before it reads replies which are larger than what sockets hold. A goroutine
// of its own serves it, as its first command is slow.
func TestHalfCloseBehindMuch(t *testing.T) {
	const size = 30 << 20
	s := startServer(t, nil)
	c := s.dial()
	c.send(array("SLOW") + array("BIG", strconv.Itoa(size)))
	<-s.fake.running
	c.Conn.(*net.TCPConn).CloseWrite()
	s.dial().ping() // the event loop has gone on without the client
	s.fake.release <- struct{}{}
	c.expect(fmt.Sprintf("+DONE\r\n$%d\r\n", size))
	if n, err := io.Copy(io.Discard, c.r); n != size+2 || err != nil {
		t.Errorf("%d bytes of %d, %v", n, size+2, err)
	}
}

// TestReadAfterWriting is a client which sends its whole pipeline before it reads, as many do. The
// replies are larger than what sockets hold.
func TestReadAfterWriting(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	const n, size = 5000, 4000
	c.send(strings.Repeat(array("BIG", strconv.Itoa(size)), n))
	c.expect(strings.Repeat("$4000\r\n"+strings.Repeat("x", size)+"\r\n", n))
	eventually(t, "nothing held", func() bool { return s.held.Load() == 0 })
}

// TestLongPipeline sends more than may wait, and reads beside it.
func TestLongPipeline(t *testing.T) {
	s := startServer(t, func(set *Settings, _ *Address) { set.MaxMemory = 4 << 20 })
	c := s.dial()
	const n, size = 3000, 20_000
	var wg sync.WaitGroup
	wg.Go(func() { io.WriteString(c.Conn, strings.Repeat(array("BIG", strconv.Itoa(size)), n)) })
	one := "$20000\r\n" + strings.Repeat("x", size) + "\r\n"
	for range n {
		c.expect(one)
		if held := s.held.Load(); held > 6<<20 {
			t.Fatalf("%d bytes held", held)
		}
	}
	wg.Wait()
}

func TestNeverReadingClient(t *testing.T) {
	s := startImpatient(t, 100*time.Millisecond, func(set *Settings, _ *Address) { set.MaxMemory = 8 << 20 })
	c, other := s.dial(), s.dial()
	c.send("PING\r\n")
	c.expect("+PONG\r\n")
	var wg sync.WaitGroup
	wg.Go(func() {
		pipeline := strings.Repeat(array("BIG", "10000"), 100)
		for {
			if _, err := io.WriteString(c.Conn, pipeline); err != nil {
				return
			}
		}
	})
	eventually(t, "the client is closed", func() bool {
		other.send("PING\r\n")
		other.expect("+PONG\r\n")
		if held := s.held.Load(); held > 8<<20 {
			t.Fatalf("%d bytes held", held)
		}
		return s.count.Load() == 1
	})
	wg.Wait()
}

func TestOutputHardLimit(t *testing.T) {
	s := startServer(t, func(set *Settings, _ *Address) { set.Normal.Hard = 1 << 20 })
	c := s.dial()
	c.send(array("BIG", "30000000"))
	eventually(t, "the limit is reached", func() bool { return s.Stats().OutputBufferClosed == 1 })
	eventually(t, "the client is closed", func() bool { return s.count.Load() == 0 })
}

func TestOutputSoftLimit(t *testing.T) {
	s := startServer(t, func(set *Settings, _ *Address) {
		set.Normal = OutputLimit{Soft: 1 << 20, SoftFor: 1000 * time.Second}
	})
	c := s.dial()
	c.send("PING\r\n")
	c.expect("+PONG\r\n")
	c.send(array("BIG", "30000000"))
	only := s.connections()[0]
	eventually(t, "the soft limit is exceeded", func() bool { return only.softSince.Load() > 0 })
	s.sweep(900 * time.Second)
	if only.isKilled() {
		t.Fatal("closed too early")
	}
	s.sweep(1100 * time.Second)
	eventually(t, "the client is closed", func() bool { return s.count.Load() == 0 })
}

func TestIdleTimeout(t *testing.T) {
	s := startServer(t, func(set *Settings, _ *Address) { set.Timeout = 100 * time.Second })
	idle, blocked := s.dial(), s.dial()
	idle.send("PING\r\n")
	idle.expect("+PONG\r\n")
	blocked.send("BLOCK\r\n")
	<-s.fake.running
	s.sweep(50 * time.Second)
	idle.send("PING\r\n")
	idle.expect("+PONG\r\n")
	eventually(t, "the idle client is closed", func() bool { // not before the unit of its PING has ended
		s.sweep(300 * time.Second)
		return s.count.Load() == 1
	})
	idle.expectEnd()
	s.fake.release <- struct{}{}
	blocked.expect("+AWAKE\r\n")
}

func TestPushedMessages(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	c.send(array("WATCH-ME"))
	conn := (<-s.fake.running).Conn
	c.expect("+OK\r\n")
	eventually(t, "the unit has ended", func() bool { return !conn.(*client).inUnit.Load() })
	for i := range 1000 {
		if err := conn.Push(fmt.Appendf(nil, "+message %d\r\n", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		c.expect(fmt.Sprintf("+message %d\r\n", i))
	}

	c.send(array("SLOW") + array("PING")) // messages wait until the replies of the unit are sent
	<-s.fake.running
	if err := conn.Push([]byte("+late\r\n")); err != nil {
		t.Fatal(err)
	}
	s.fake.release <- struct{}{}
	c.expect("+DONE\r\n+PONG\r\n+late\r\n")
}

func TestPushIsBounded(t *testing.T) {
	s := startServer(t, func(set *Settings, _ *Address) { set.PubSub.Hard = 1 << 20 })
	c := s.dial()
	c.send(array("WATCH-ME"))
	conn := (<-s.fake.running).Conn
	message := []byte("+" + strings.Repeat("x", 10_000) + "\r\n")
	var err error
	for i := 0; i < 100_000 && err == nil; i++ {
		err = conn.Push(message)
	}
	if !errors.Is(err, errOutputLimit) {
		t.Errorf("got %v, want %v", err, errOutputLimit)
	}
}

// TestPushBesideReplies interleaves pushed messages with replies of a client that reads slowly; none may
// be torn or lost, and each kind has to keep its order.
func TestPushBesideReplies(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	c.send(array("WATCH-ME"))
	conn := (<-s.fake.running).Conn
	c.expect("+OK\r\n")
	const n = 2000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			conn.Push(fmt.Appendf(nil, "+%d\r\n", i))
		}
	})
	wg.Go(func() {
		for range n {
			io.WriteString(c.Conn, array("BIG", "9000"))
		}
	})
	pushes, replies := 0, 0
	for pushes+replies < 2*n {
		line, err := c.r.ReadString('\n')
		switch {
		case err != nil:
			t.Fatal(err)
		case line == fmt.Sprintf("+%d\r\n", pushes):
			pushes++
		case line == "$9000\r\n":
			c.expect(strings.Repeat("x", 9000) + "\r\n")
			replies++
		default:
			t.Fatalf("got %q after %d messages", line, pushes)
		}
	}
	wg.Wait()
}

func TestMaxClients(t *testing.T) {
	s := startServer(t, func(set *Settings, _ *Address) { set.MaxClients = 2 })
	a, b := s.dial(), s.dial()
	a.send("PING\r\n")
	a.expect("+PONG\r\n")
	b.send("PING\r\n")
	b.expect("+PONG\r\n")
	c := s.dial()
	c.expect("-ERR max number of clients reached\r\n")
	c.expectEnd()
	a.Close()
	eventually(t, "one client left", func() bool { return s.count.Load() == 1 })
	d := s.dial()
	d.send("PING\r\n")
	d.expect("+PONG\r\n")
	if n := s.Stats().Rejected; n != 1 {
		t.Errorf("%d clients rejected", n)
	}
}

// foreign is a connection from another machine.
type foreign struct {
	net.Conn
	got    strings.Builder
	closed bool
}

func (f *foreign) Write(p []byte) (int, error)        { return f.got.Write(p) }
func (f *foreign) SetWriteDeadline(t time.Time) error { return nil }
func (f *foreign) Close() error                       { f.closed = true; return nil }
func (f *foreign) RemoteAddr() net.Addr               { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func TestProtectedMode(t *testing.T) {
	s := New(nil, Settings{MaxClients: 10, ProtectedMode: true}, nil)
	f := &foreign{}
	if s.admit(f, false) != nil || !f.closed || !strings.HasPrefix(f.got.String(), "-DENIED Redis is running in protected mode") {
		t.Errorf("admitted, or told %.60q", f.got.String())
	}
	if s.count.Load() != 0 {
		t.Error("a refused client is counted")
	}
}

func TestDisconnectWhileBlocked(t *testing.T) {
	s := startServer(t, nil)
	for _, more := range []string{"", array("PING"), strings.Repeat(array("PING"), 1000)} {
		c := s.dial()
		c.send(array("PING") + array("BLOCK"))
		c.expect("+PONG\r\n") // sent although the unit goes on
		<-s.fake.running
		c.send(more) // requests nobody reads
		c.Close()
		select {
		case <-s.fake.running:
		case <-time.After(patience):
			t.Fatal("the disconnect went unseen")
		}
	}
	eventually(t, "no client left", func() bool { return s.count.Load() == 0 })
}

func TestGoOnAfterBlocking(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	for range 3 {
		c.send(array("BLOCK") + array("PING"))
		<-s.fake.running
		s.fake.release <- struct{}{}
		c.expect("+AWAKE\r\n+PONG\r\n")
		c.send(array("PING"))
		c.expect("+PONG\r\n")
	}
}

func TestPanicEndsOnlyItsClient(t *testing.T) {
	s := startServer(t, nil)
	c, other := s.dial(), s.dial()
	c.send(array("PANIC"))
	c.expectEnd()
	other.send("PING\r\n")
	other.expect("+PONG\r\n")
}

func TestShutdownFinishesUnits(t *testing.T) {
	s := startServer(t, nil)
	idle, busy, half := s.dial(), s.dial(), s.dial()
	idle.send("PING\r\n")
	idle.expect("+PONG\r\n")
	half.send("PING\r\n*1\r\n$4\r\nPI")
	half.expect("+PONG\r\n")
	busy.send(array("SLOW"))
	<-s.fake.running
	ended := make(chan struct{})
	go func() {
		s.Shutdown(context.Background())
		close(ended)
	}()
	idle.expectEnd()
	half.expectEnd()
	if _, err := net.Dial("tcp", busy.RemoteAddr().String()); err == nil {
		t.Error("a client was accepted during shutdown")
	}
	select {
	case <-ended:
		t.Fatal("Shutdown did not wait for a running unit")
	default:
	}
	s.fake.release <- struct{}{}
	busy.expect("+DONE\r\n")
	busy.expectEnd()
	<-ended
	s.Shutdown(context.Background())
}

func TestShutdownSendsWaitingReplies(t *testing.T) {
	const size = 20_000_000
	s := startServer(t, nil)
	c := s.dial()
	c.send(array("BIG", strconv.Itoa(size))) // does not read yet
	eventually(t, "the reply waits", func() bool {
		all := s.connections()
		return len(all) == 1 && s.held.Load() > 0 && !all[0].inUnit.Load()
	})
	ended := make(chan struct{})
	go func() {
		s.Shutdown(context.Background())
		close(ended)
	}()
	<-s.stop
	c.SetReadDeadline(time.Now().Add(patience))
	whole := int64(len("$20000000\r\n") + size + 2)
	if got, err := io.Copy(io.Discard, c.Conn); err != nil || got != whole {
		t.Errorf("%d of %d bytes: %v", got, whole, err)
	}
	<-ended
}

func TestShutdownEndsBlockedClients(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	c.send(array("BLOCK"))
	<-s.fake.running
	s.Shutdown(context.Background())
	c.expectEnd()
}

func TestShutdownIsBounded(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	c.send(strings.Repeat(array("BIG", "1000000"), 20)) // does not read
	eventually(t, "replies wait", func() bool { return s.held.Load() > 0 })
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	s.Shutdown(ctx)
	if s.held.Load() != 0 || s.count.Load() != 0 {
		t.Errorf("%d bytes held, %d clients after shutdown", s.held.Load(), s.count.Load())
	}
}

// TestHalfSentCommands has thousands of clients announce 512 MB.
func TestHalfSentCommands(t *testing.T) {
	const n = 2000
	half := "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n" + strings.Repeat("x", 100)
	s := startServer(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	clients := make([]net.Conn, n)
	for i := range clients {
		c := s.dial()
		c.send(half)
		clients[i] = c.Conn
	}
	eventually(t, "all has been read", func() bool { return s.Stats().BytesIn == int64(n*len(half)) })
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse)) / n
	t.Logf("%d bytes per client, both ends", per)
	if per > 64<<10 {
		t.Errorf("%d bytes per client", per)
	}
}

func TestMemoryBudget(t *testing.T) {
	s := startServer(t, func(set *Settings, _ *Address) { set.MaxMemory = 4 << 20 })
	small := s.dial()
	small.send("PING\r\n*1\r\n$4\r\nPI")
	small.expect("+PONG\r\n")
	var wg sync.WaitGroup
	for range 5 {
		c := s.dial()
		wg.Go(func() {
			io.WriteString(c.Conn, "*2\r\n$3\r\nLEN\r\n$100000000\r\n"+strings.Repeat("x", 3<<20))
		})
	}
	eventually(t, "some are evicted", func() bool { return s.Stats().Evicted >= 2 })
	wg.Wait()
	eventually(t, "the budget is kept", func() bool { return s.count.Load() <= 4 })
	small.send("NG\r\n")
	small.expect("+PONG\r\n")
}

// TestOneLargeValue is beyond the budget but alone.
func TestOneLargeValue(t *testing.T) {
	s := startServer(t, func(set *Settings, _ *Address) { set.MaxMemory = 4 << 20 })
	c := s.dial()
	const size = 100 << 20
	c.send("*2\r\n$3\r\nLEN\r\n$" + strconv.Itoa(size) + "\r\n")
	chunk := strings.Repeat("x", 1<<20)
	for range size / len(chunk) {
		c.send(chunk)
	}
	c.send("\r\nPING\r\n")
	c.expect(fmt.Sprintf(":%d\r\n+PONG\r\n", size))
	c.send(array("BIG", strconv.Itoa(size)))
	c.expect(fmt.Sprintf("$%d\r\n", size))
	if _, err := io.CopyN(io.Discard, c.r, size); err != nil {
		t.Fatal(err)
	}
	c.expect("\r\n")
	eventually(t, "nothing held", func() bool { return s.held.Load() == 0 })
}

// failing is a listener that has run out of descriptors for a while.
type failing struct {
	net.Listener
	calls, failures int
}

func (f *failing) Accept() (net.Conn, error) {
	f.calls++
	if f.calls <= f.failures {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return f.Listener.Accept()
}

func TestAcceptErrorsAreWaitedOut(t *testing.T) {
	s := startServer(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := &failing{Listener: ln, failures: 3}
	l := &listener{Listener: f, server: s.Server}
	dialTest(t, "tcp", ln.Addr().String())
	start := time.Now()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	handleGuard(nc)
	if took := time.Since(start); f.calls != 4 || took < 7*acceptPauseMin {
		t.Errorf("%d calls in %v", f.calls, took)
	}
}

// handleGuard ends an accepted client that redcon does not serve.
func handleGuard(nc net.Conn) {
	nc.Close()
	nc.(*guard).client.finish()
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	s := startServer(t, func(_ *Settings, a *Address) { a.UnixSocket, a.UnixMode = path, 0o700 })
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	c := dialTest(t, "unix", path)
	c.send(array("WATCH-ME") + array("PING"))
	c.expect("+OK\r\n+PONG\r\n")
	if conn := (<-s.fake.running).Conn; conn.RemoteAddr() != path+":0" {
		t.Errorf("address %q", conn.RemoteAddr())
	}
}

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	s := New(nil, Settings{}, nil)
	defer s.Shutdown(context.Background())
	if err := s.Listen(Address{Bind: []string{"127.0.0.1"}, Port: port}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken port: %v", err)
	}
	if err := s.Listen(Address{Bind: []string{"-203.0.113.1"}, Port: -1}); err == nil {
		t.Error("no address at all, but no error")
	}
	if err := s.Listen(Address{Bind: []string{"127.0.0.1", "-203.0.113.1", "-::1"}, Port: port, PortLast: min(port+50, 65535)}); err != nil {
		t.Errorf("a range: %v", err)
	}
	if s.Port() <= port {
		t.Errorf("port %d of a range from %d", s.Port(), port)
	}
}

func TestUsage(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	c.send("PING\r\n*1\r\n$4\r\nPI")
	c.expect("+PONG\r\n")
	eventually(t, "the rest is read", func() bool { return s.connections()[0].Usage().QueryBuffer == 10 })
	u := s.connections()[0].Usage()
	if u.BytesIn != 16 || u.BytesOut != 7 {
		t.Errorf("%+v", u)
	}
	c.Close()
	eventually(t, "the client is forgotten", func() bool { return s.count.Load() == 0 })
	if st := s.Stats(); st.BytesIn != 16 || st.BytesOut != 7 || st.Connections != 1 {
		t.Errorf("%+v", st)
	}
}

// TestManyArguments counts what arguments take besides their bytes.
func TestManyArguments(t *testing.T) {
	s := startServer(t, nil)
	c := s.dial()
	const n = 100_000
	one := "$0\r\n\r\n"
	c.send("*" + strconv.Itoa(n+2) + "\r\n$4\r\nPING\r\n" + strings.Repeat(one, n))
	eventually(t, "they are counted", func() bool { return s.held.Load() >= n*int64(len(one)+argumentMemory) })
	c.send(one)
	if _, err := c.r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing held", func() bool { return s.held.Load() == 0 })
}

// TestBlockedBeyondOutputLimit has a command block whose client could not be sent the replies in front of it.
func TestBlockedBeyondOutputLimit(t *testing.T) {
	const big = 60_000 // collected until the command blocks
	s := startServer(t, func(set *Settings, _ *Address) { set.Normal.Hard = big + 100 })
	c := s.dial()
	only := func() *client { return s.connections()[0] }
	eventually(t, "replies wait", func() bool {
		before := s.fake.units.Load()
		c.send(array("BIG", strconv.Itoa(big/2)))
		eventually(t, "the unit has ended", func() bool { return s.fake.units.Load() > before })
		return only().out.pending.Load() > 200
	})
	c.send(array("BIG", strconv.Itoa(big)) + array("BLOCK"))
	<-s.fake.running
	select {
	case <-s.fake.running: // BLOCK tells that the client has gone
	case <-time.After(patience):
		s.fake.release <- struct{}{}
		t.Fatal("the command waits for a client that is lost")
	}
	eventually(t, "the client is closed", func() bool { return s.count.Load() == 0 })
}

// TestConnectWhileStopping has a connection accepted just before a shutdown that finds no client.
func TestConnectWhileStopping(t *testing.T) {
	s := startServer(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer := dialTest(t, "tcp", ln.Addr().String())
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.beginStop()
	s.reserve(1)
	if c := s.connect(nc, false, s.settings.Load()); c != nil {
		t.Error("a client of which Shutdown does not know")
	}
	peer.expectEnd()
	if n := s.count.Load(); n != 0 {
		t.Errorf("%d clients", n)
	}
}

// TestSlowReaderGetsLastReplies has a client take its last replies in small pieces, all together for longer than a client may take nothing.
func TestSlowReaderGetsLastReplies(t *testing.T) {
	for _, loops := range []int{1, -1} {
		t.Run(fmt.Sprintf("loops=%d", loops), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "socket")
			s := startImpatient(t, 2*time.Second, func(_ *Settings, a *Address) { a.UnixSocket, a.Loops = path, loops })
			c := dialTest(t, "unix", path)
			c.ping()
			if err := syscall.SetsockoptInt(s.connections()[0].fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4<<10); err != nil {
				t.Fatal(err)
			}
			const size = 256 << 10
			c.send(array("BIG", strconv.Itoa(size)) + array("QUIT"))
			c.expect(fmt.Sprintf("$%d\r\n", size))
			pace := time.NewTicker(40 * time.Millisecond)
			defer pace.Stop()
			for range size / (4 << 10) {
				<-pace.C
				c.expect(strings.Repeat("x", 4<<10))
			}
			c.expect("\r\n+OK\r\n")
			c.expectEnd()
		})
	}
}
