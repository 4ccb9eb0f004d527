package resp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stress is a crowd of clients that come, send, and go in every way there is, while each reply is checked.
type stress struct {
	*testServer
	seed    uint64
	unix    string
	clients int

	helpers sync.WaitGroup
	done    chan struct{} // ends the helpers
}

const crowd = 300

// soak is how long a stress goes on: short, or CORECACHE_SOAK.
func soak(t *testing.T, short time.Duration) time.Duration {
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

// newStress starts a server with two event loops whose commits take long, for TCP and for a Unix socket.
func newStress(t *testing.T) *stress {
	st := &stress{seed: rand.Uint64(), clients: crowd, unix: filepath.Join(t.TempDir(), "socket"), done: make(chan struct{})}
	t.Logf("seed %d", st.seed)
	st.testServer = startServer(t, func(set *Settings, a *Address) {
		set.MaxMemory = 0 // nobody is closed for what all hold together
		a.Loops, a.UnixSocket = 2, st.unix
	})
	st.fake.slow.Store(true)
	st.helpers.Go(func() { // commits come one by one
		for {
			select {
			case st.fake.commits <- struct{}{}:
			case <-st.fake.running:
			case <-st.done:
				return
			}
		}
	})
	return st
}

// run has all clients come again and again until the context ends. The first one that sees something wrong ends it for all.
func (st *stress) run(ctx context.Context, forgive func(error) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	for n := range st.clients {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(st.seed, uint64(n)))
			for visits := 0; ctx.Err() == nil; visits++ {
				life := lives[rnd.IntN(len(lives))]
				if err := st.visit(rnd, life.live); err != nil && !forgive(err) {
					st.t.Errorf("client %d, visit %d, %s: %v", n, visits, life.name, err)
					cancel()
				}
			}
		})
	}
	group.Wait()
}

// visit is one connection: a few pipelines which are answered, and then its end.
func (st *stress) visit(rnd *rand.Rand, live func(*visitor) error) error {
	network, addr := "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(st.Port()))
	if rnd.IntN(2) == 0 {
		network, addr = "unix", st.unix
	}
	nc, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(3 * patience))
	v := &visitor{Conn: nc, st: st, rnd: rnd}
	for range rnd.IntN(4) {
		send, want := v.pipeline(true)
		if err := v.exchange(send, want); err != nil {
			return err
		}
	}
	return live(v)
}

// visitor is the client of one visit.
type visitor struct {
	net.Conn
	st  *stress
	rnd *rand.Rand
}

// lives are the ways in which a visit ends.
var lives = []struct {
	name string
	live func(*visitor) error
}{
	{"goes after its replies", func(*visitor) error { return nil }},
	{"closes its sending side behind requests", func(v *visitor) error {
		send, want := v.pipeline(false) // a blocked client whose end has come is closed
		v.ignore(send)
		if err := v.CloseWrite(); err != nil {
			return err
		}
		return v.last(want)
	}},
	{"quits", func(v *visitor) error {
		send, want := v.pipeline(true)
		sent := v.goSend(send + array("QUIT") + "PI")
		defer func() { <-sent }()
		return v.last(want + "+OK\r\n")
	}},
	{"violates the protocol", func(v *visitor) error {
		send, want := v.pipeline(true)
		sent := v.goSend(send + "*1\r\n!x\r\n")
		defer func() { <-sent }()
		return v.last(want + "-ERR Protocol error: expected '$', got '!'\r\n")
	}},
	{"leaves without its replies", func(v *visitor) error {
		send, _ := v.pipeline(true)
		v.ignore(send)
		return nil
	}},
	{"resets before its replies", func(v *visitor) error {
		send, _ := v.pipeline(true)
		v.ignore(send[:v.rnd.IntN(len(send)+1)])
		v.reset()
		return nil
	}},
	{"resets while it gets replies", func(v *visitor) error {
		send, want := v.pipeline(true)
		sent := v.goSend(send)
		err := v.read(want[:v.rnd.IntN(len(want)+1)])
		v.reset()
		<-sent
		return err
	}},
	{"reads nothing of much", func(v *visitor) error {
		v.ignore(array("BIG", strconv.Itoa(1<<v.rnd.IntN(23))) + array("PING"))
		if v.rnd.IntN(2) == 0 {
			v.reset()
		}
		return nil
	}},
	{"goes while a command blocks", func(v *visitor) error {
		send, want := v.pipeline(true)
		send += array("HANG") + strings.Repeat(array("PING"), v.rnd.IntN(3))
		sent := v.goSend(send)
		if err := v.read(want); err != nil {
			return err
		}
		<-sent
		switch v.rnd.IntN(3) {
		case 0:
			v.reset()
		case 1:
			if err := v.CloseWrite(); err != nil {
				return err
			}
			return v.end()
		}
		return nil
	}},
	{"is killed by another", (*visitor).killed},
	{"sees what others do", func(v *visitor) error {
		if err := v.exchange(array("MONITOR"), "+OK\r\n"); err != nil {
			return err
		}
		if err := v.monitor(); err != nil {
			return err
		}
		if v.rnd.IntN(2) == 0 {
			v.reset()
		}
		return nil
	}},
}

// monitor sends a command and expects its reply and a line about it, between lines about other clients' commands.
func (v *visitor) monitor() error {
	if _, err := io.WriteString(v, array("SELECT", "0")); err != nil {
		return err
	}
	replies, lines := 0, 0
	for r := bufio.NewReader(v); replies == 0 || lines == 0; {
		line, err := r.ReadString('\n')
		switch {
		case err != nil:
			return err
		case line == "+OK\r\n":
			replies++
		case strings.HasSuffix(line, ` "SELECT" "0"`+"\r\n"):
			lines++
		case !strings.Contains(line, "] \""):
			return fmt.Errorf("got %.100q", line)
		}
	}
	return nil
}

// killed has another client kill this one in the middle of a pipeline: what it gets is the beginning of what is due.
func (v *visitor) killed() error {
	if _, err := io.WriteString(v, array("CLIENT", "ID")); err != nil {
		return err
	}
	id := make([]byte, 32)
	n, err := v.Read(id)
	if err != nil {
		return err
	}
	send, want := v.pipeline(true)
	sent := v.goSend(send)
	killer := func(other *visitor) error {
		return other.exchange(array("CLIENT", "KILL", "ID", strings.Trim(string(id[:n]), ":\r\n")), ":1\r\n")
	}
	err = v.st.visit(v.rnd, killer)
	got, readErr := io.ReadAll(v)
	<-sent
	switch {
	case err != nil:
		return fmt.Errorf("the killer: %w", err)
	case isTimeout(readErr):
		return readErr
	case !strings.HasPrefix(want, string(got)):
		return fmt.Errorf("got %.100q, which is not the beginning of %.100q", got, want)
	}
	return nil
}

// pipeline makes up a few requests and what is due for them.
func (v *visitor) pipeline(blocking bool) (send, want string) {
	var in, out strings.Builder
	add := func(request, reply string, times int) {
		in.WriteString(strings.Repeat(request, times))
		out.WriteString(strings.Repeat(reply, times))
	}
	for range 1 + v.rnd.IntN(6) {
		switch n := v.rnd.IntN(100); {
		case n < 50:
			add(array("PING"), "+PONG\r\n", 1+v.rnd.IntN(20))
		case n < 75:
			add(array("WRITE"), "+OK\r\n", 1)
		case n < 85:
			word := strings.Repeat("w", v.rnd.IntN(30))
			add("WORDS "+word+"-\r\n", fmt.Sprintf("*1\r\n$%d\r\n%s-\r\n", len(word)+1, word), 1)
		case n < 87:
			add(array("SELECT", "0"), "+OK\r\n", 1)
		case n < 90 && blocking:
			add(array("NAP"), "+AWAKE\r\n", 1)
		case n < 94: // longer than a buffer
			add(array("PING"), "+PONG\r\n", 1200+v.rnd.IntN(1200))
		case n < 97:
			size := v.rnd.IntN(1 << v.rnd.IntN(20))
			add(array("LEN", strings.Repeat("y", size)), fmt.Sprintf(":%d\r\n", size), 1)
		case n < 99:
			size := 1 << v.rnd.IntN(20)
			add(array("BIG", strconv.Itoa(size)), fmt.Sprintf("$%d\r\n%s\r\n", size, strings.Repeat("x", size)), 1)
		default:
			add(array("SPIN"), "+SPUN\r\n", 1+v.rnd.IntN(3))
		}
	}
	return in.String(), out.String()
}

// exchange sends in pieces while it reads what is due, which is all there is.
func (v *visitor) exchange(send, want string) error {
	sent := v.goSend(send)
	if err := v.read(want); err != nil {
		v.Close()
		<-sent
		return err
	}
	return <-sent
}

func (v *visitor) goSend(send string) <-chan error {
	sent := make(chan error, 1)
	whole := v.rnd.IntN(3) > 0
	go func() {
		if whole {
			_, err := io.WriteString(v, send)
			sent <- err
			return
		}
		sent <- writePieces(v, send)
	}()
	return sent
}

// ignore sends as much as the server takes without being read from.
func (v *visitor) ignore(send string) { _, _ = io.WriteString(v, send) }

func (v *visitor) read(want string) error {
	got := make([]byte, len(want))
	if n, err := io.ReadFull(v, got); err != nil || string(got) != want {
		return fmt.Errorf("got %d bytes %.100q, want %d %.100q: %w", n, got[:n], len(want), want, orOther(err))
	}
	return nil
}

var errOther = errors.New("other bytes")

// orOther says why something else was read than is due.
func orOther(err error) error {
	if err == nil {
		return errOther
	}
	return err
}

// last reads what is due and the end. Whoever sends meanwhile gets an error after it, if not before.
func (v *visitor) last(want string) error {
	err := v.read(want)
	if err == nil {
		err = v.end()
	}
	v.Close()
	return err
}

// end reads the end of the connection, which may be a reset when the server had more to read.
func (v *visitor) end() error {
	rest, err := io.ReadAll(v)
	if len(rest) > 0 || isTimeout(err) {
		return fmt.Errorf("got %.100q instead of the end: %w", rest, orOther(err))
	}
	return nil
}

// CloseWrite ends the sending side.
func (v *visitor) CloseWrite() error { return v.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// reset closes the connection so that the peer gets an RST, where the network has that.
func (v *visitor) reset() {
	if tcp, ok := v.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	v.Close()
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// descriptors is the number of descriptors of this process.
func descriptors(t *testing.T) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc: ", err)
	}
	return len(names)
}

// expectGone waits until the server, and all else, holds no more than before the clients came.
func (st *stress) expectGone(goroutines, fds int) {
	st.t.Helper()
	before := st.t.Failed()
	defer func() {
		if st.t.Failed() && !before {
			var b bytes.Buffer
			pprof.Lookup("goroutine").WriteTo(&b, 1)
			st.t.Logf("%d clients, %d bytes, %d goroutines (%d before), %d descriptors (%d before)\n%.20000s", st.count.Load(), st.held.Load(),
				runtime.NumGoroutine(), goroutines, descriptors(st.t), fds, b.String())
		}
	}()
	eventually(st.t, "no client left", func() bool { return st.count.Load() == 0 && len(st.connections()) == 0 })
	eventually(st.t, "no memory left", func() bool { return st.held.Load() == 0 })
	eventually(st.t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= goroutines })
	eventually(st.t, "no descriptor left", func() bool { return descriptors(st.t) <= fds })
}

// TestStress has hundreds of clients come and go in every way, and leave nothing behind.
func TestStress(t *testing.T) {
	st := newStress(t)
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	ctx, cancel := context.WithTimeout(context.Background(), soak(t, 5*time.Second))
	defer cancel()
	st.run(ctx, func(error) bool { return false })
	t.Logf("%d connections", st.Stats().Connections)
	st.expectGone(goroutines, fds)
	close(st.done)
	st.helpers.Wait()
}

// TestStressStops shuts the server down in the middle of it, sometimes with patience.
func TestStressStops(t *testing.T) {
	for end := time.Now().Add(soak(t, 3*time.Second)); ; {
		st := newStress(t)
		stopStress(st)
		if t.Failed() || time.Now().After(end) {
			return
		}
	}
}

func stopStress(st *stress) {
	rnd := rand.New(rand.NewPCG(st.seed, crowd))
	fds := descriptors(st.t)
	goroutines := runtime.NumGoroutine()
	var visitors sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	visitors.Go(func() { st.run(ctx, func(error) bool { return ctx.Err() != nil || st.stopped() }) })
	many := int64(rnd.IntN(crowd))
	eventually(st.t, "many have come", func() bool { return st.t.Failed() || st.stats.accepted.Load() >= many })
	wait, giveUp := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(100))*time.Millisecond)
	st.Shutdown(wait)
	giveUp()
	if n := st.count.Load(); n != 0 {
		st.t.Errorf("%d clients after Shutdown", n)
	}
	cancel()
	visitors.Wait()
	st.expectGone(goroutines, fds)
	close(st.done)
	st.helpers.Wait()
}
