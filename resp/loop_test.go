package resp

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gtinside/corecache/command"
)

// TestWithoutLoop runs what matters for a client that a goroutine of its own reads from.
func TestWithoutLoop(t *testing.T) {
	defer func(n int) { testLoops = n }(testLoops)
	testLoops = -1
	for name, test := range map[string]func(*testing.T){
		"Hostile": TestHostileInput, "Split": TestSplitAtEveryByteOnTheWire, "Unit": TestPipelineIsOneUnit,
		"HalfClose": TestHalfClose, "HalfCloseMuch": TestHalfCloseBehindMuch, "Pipeline": TestLongPipeline, "NeverReading": TestNeverReadingClient,
		"Idle": TestIdleTimeout, "Pushed": TestPushBesideReplies, "Disconnect": TestDisconnectWhileBlocked,
		"Blocking": TestGoOnAfterBlocking, "Shutdown": TestShutdownFinishesUnits, "Panic": TestPanicEndsOnlyItsClient,
	} {
		t.Run(name, test)
	}
}

func (c *testClient) ping() {
	c.t.Helper()
	c.send(array("PING"))
	c.expect("+PONG\r\n")
}

// TestStuckClient has a command take long without a warning: the watchdog has to find out.
func TestStuckClient(t *testing.T) {
	s := startServer(t, nil)
	stuck, other, late := s.dial(), s.dial(), s.dial()
	for range 5 {
		late.send(array("WRITE"))
		stuck.send(array("PING") + array("SLOW") + array("PING"))
		<-s.fake.running
		late.expect("+OK\r\n")
		for range 3 {
			other.ping()
		}
		s.dial().ping()
		s.fake.release <- struct{}{}
		stuck.expect("+PONG\r\n+DONE\r\n+PONG\r\n")
		stuck.ping()
	}
}

// TestAnnouncedBlocking does without the watchdog: whatever says that it blocks holds up nobody.
func TestAnnouncedBlocking(t *testing.T) {
	withoutWatchdog(t)
	s := startServer(t, nil)
	clients := []*testClient{s.dial(), s.dial(), s.dial()}
	for _, c := range clients {
		c.send(array("PING") + array("BLOCK") + array("PING"))
		<-s.fake.running
	}
	s.dial().ping()
	for range clients {
		s.fake.release <- struct{}{}
	}
	for _, c := range clients {
		c.expect("+PONG\r\n+AWAKE\r\n+PONG\r\n")
		c.ping()
	}
}

// TestSlowCommit has writes wait for their commit, at the end of a unit and in its middle.
func TestSlowCommit(t *testing.T) {
	withoutWatchdog(t)
	s := startServer(t, nil)
	s.fake.slow.Store(true)
	long := array("BIG", "70000") // more than is collected before replies are sent
	var writers []*testClient
	for i := range 10 {
		c := s.dial()
		c.send(array("WRITE") + strings.Repeat(long, i%2))
		writers = append(writers, c)
		<-s.fake.running
		s.dial().ping()
	}
	for range writers {
		s.fake.commits <- struct{}{}
	}
	for i, c := range writers {
		c.expect("+OK\r\n" + strings.Repeat("$70000\r\n"+strings.Repeat("x", 70000)+"\r\n", i%2))
		c.ping()
	}
}

// TestAnsweredByWhoCommits has another goroutine send the replies of writes. The loop serves others meanwhile, and those clients again
// afterwards: what they have sent in between, and the end of a connection.
func TestAnsweredByWhoCommits(t *testing.T) {
	withoutWatchdog(t)
	s := startServer(t, nil)
	s.fake.later = make(chan func(), 100)
	s.fake.slow.Store(true)
	for range 20 {
		quiet, talker, goer := s.dial(), s.dial(), s.dial()
		var done []func()
		for _, c := range []*testClient{quiet, talker, goer} {
			c.send(array("PING") + array("WRITE"))
			done = append(done, <-s.fake.later)
			s.dial().ping()
		}
		talker.send(array("PING"))
		goer.Close()
		for _, f := range done {
			f()
		}
		quiet.expect("+PONG\r\n+OK\r\n")
		talker.expect("+PONG\r\n+OK\r\n+PONG\r\n")
		for _, c := range []*testClient{quiet, talker} {
			c.ping()
			c.Close()
		}
	}
	for _, c := range []*testClient{s.dial(), s.dial()} {
		c.Close()
	}
	s.fake.slow.Store(false)
}

// TestWritesOfOneRound are answered together, after all of them were executed.
func TestWritesOfOneRound(t *testing.T) {
	s := startServer(t, nil)
	first := s.dial()
	var writers []*testClient
	for range 20 {
		writers = append(writers, s.dial())
	}
	for range 3 {
		first.send(array("SPIN"))
		for _, c := range writers {
			c.send(array("WRITE"))
		}
		first.expect("+SPUN\r\n")
		for _, c := range writers {
			c.expect("+OK\r\n")
		}
	}
}

// TestEndBehindRequests closes the sending side at once: the end often comes with the requests.
func TestEndBehindRequests(t *testing.T) {
	s := startServer(t, nil)
	for i := range 300 {
		c := s.dial()
		c.send(strings.Repeat(array("PING"), i%3+1))
		c.Conn.(*net.TCPConn).CloseWrite()
		c.expect(strings.Repeat("+PONG\r\n", i%3+1))
		c.expectEnd()
		c.Close()
	}
	eventually(t, "no client left", func() bool { return s.count.Load() == 0 })
}

// TestManyClients mixes everything that moves a client, or the loop, from one goroutine to another.
func TestManyClients(t *testing.T) {
	clients, rounds := 20, 40
	if testing.Short() {
		clients, rounds = 10, 20
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := startServer(t, nil)
	s.fake.slow.Store(true)
	stop := make(chan struct{})
	var helpers, group sync.WaitGroup
	helpers.Go(func() { // commits come one by one
		for {
			select {
			case s.fake.commits <- struct{}{}:
			case <-s.fake.running:
			case <-stop:
				return
			}
		}
	})
	for n := range clients {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(n)))
			if err := mixedClient(s.Port(), rnd, rounds); err != nil {
				t.Errorf("client %d: %v", n, err)
			}
		})
	}
	group.Wait()
	eventually(t, "no client left", func() bool { return s.count.Load() == 0 })
	close(stop)
	helpers.Wait()
}

// mixedClient sends random pipelines, in pieces, and reads what is due.
func mixedClient(port int, rnd *rand.Rand, rounds int) error {
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(2 * patience))
	for range rounds {
		send, want := mixedPipeline(rnd)
		sent := make(chan error, 1)
		go func() { sent <- writePieces(nc, send) }()
		got := make([]byte, len(want))
		if n, err := io.ReadFull(nc, got); err != nil || string(got) != want {
			return fmt.Errorf("got %.100q, want %.100q: %v", got[:n], want, err)
		}
		if err := <-sent; err != nil {
			return err
		}
	}
	return nil
}

func mixedPipeline(rnd *rand.Rand) (send, want string) {
	big := strings.Repeat("y", 1+rnd.IntN(40_000))
	kinds := []struct{ send, want string }{
		{array("PING"), "+PONG\r\n"},
		{array("WRITE"), "+OK\r\n"},
		{array("LEN", big), fmt.Sprintf(":%d\r\n", len(big))},
		{array("BIG", "30000"), "$30000\r\n" + strings.Repeat("x", 30000) + "\r\n"},
		{array("SPIN"), "+SPUN\r\n"},
	}
	var in, out strings.Builder
	for range 1 + rnd.IntN(12) {
		k := kinds[rnd.IntN(len(kinds)-1)]
		if rnd.IntN(60) == 0 {
			k = kinds[len(kinds)-1]
		}
		in.WriteString(k.send)
		out.WriteString(k.want)
	}
	return in.String(), out.String()
}

func writePieces(w io.Writer, s string) error {
	for len(s) > 0 {
		n := min(len(s), 1+len(s)/3)
		if _, err := io.WriteString(w, s[:n]); err != nil {
			return err
		}
		s = s[n:]
	}
	return nil
}

func TestPace(t *testing.T) {
	c := &client{executed: 1, sess: new(command.Session)}
	for range 3 {
		c.pace(slowUnit + 1)
	}
	if c.slow <= slowEnough {
		t.Error("three slow units in a row leave a client to the loop")
	}
	for range slowMax {
		c.pace(slowUnit)
	}
	if c.slow != 0 {
		t.Error("fast units do not bring a client back")
	}
	for i := range 10 * slowMax {
		c.pace(slowUnit + time.Duration(max(0, 1-i%10)))
	}
	if c.slow > slowEnough {
		t.Error("a slow unit now and then makes a client slow")
	}
	c.slow, c.executed = 0, 100
	for range slowMax {
		c.pace(100 * slowCommand)
	}
	if c.slow != 0 {
		t.Error("many commands are taken for slow ones")
	}
}

// TestDozingWatchdog begins a turn at the worst moment: the watchdog has looked for the last time and is about to sleep.
func TestDozingWatchdog(t *testing.T) {
	s := New(nil, Settings{}, nil)
	l := &loop{server: s}
	s.watchdog.dozing.Store(true)
	l.begin()
	select {
	case <-s.watchdog.wake:
	default:
		t.Error("nobody watches the turn")
	}
}

// TestStaleEvent has the end of a connection told after its descriptor has gone to the next client.
func TestStaleEvent(t *testing.T) {
	p, err := newPoller()
	if err != nil || p == nil {
		t.Skip("no event loops here: ", err)
	}
	defer p.close()
	l := &loop{poll: p}
	connect := func() (*client, int) {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		c := &client{fd: pair[0]}
		c.state.Store(held)
		if err := l.watch(c); err != nil {
			t.Fatal(err)
		}
		return c, pair[1]
	}
	first, peer := connect()
	closeSocket(peer)
	n, err := p.wait(true)
	if n != 1 || err != nil {
		t.Fatalf("%d events, %v", n, err)
	}
	l.forget(first)
	closeSocket(first.fd)
	second, peer := connect()
	defer closeSocket(peer)
	defer closeSocket(second.fd)
	if second.fd != first.fd {
		t.Skip("another goroutine has got the descriptor")
	}
	l.tell(n)
	if second.hup.Load() || second.state.Load() != held {
		t.Error("the event of the first client has reached the second one")
	}
}
