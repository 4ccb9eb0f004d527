package command

import (
	"errors"
	"strings"
	"testing"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
)

func TestUnknownCommands(t *testing.T) {
	c := newClient(t, newServer(t))
	long := strings.Repeat("x", 150)
	c.wantAll([][2]string{
		{"foo", "-ERR unknown command 'foo', with args beginning with: ¦"},
		{"foo bar baz", "-ERR unknown command 'foo', with args beginning with: 'bar' 'baz' ¦"},
		{long, "-ERR unknown command '" + long[:128] + "', with args beginning with: ¦"},
		{"foo " + long + " y", "-ERR unknown command 'foo', with args beginning with: '" + long[:128] + "' ¦"},
		{"client foo", "-ERR unknown subcommand 'foo'. Try CLIENT HELP.¦"},
		{"client maint_notifications on", "-ERR unknown subcommand 'maint_notifications'. Try CLIENT HELP.¦"},
		{"client", "-ERR wrong number of arguments for 'client' command¦"},
		{"command foo", "-ERR unknown subcommand 'foo'. Try COMMAND HELP.¦"},
		{"client setname", "-ERR wrong number of arguments for 'client|setname' command¦"},
		{"PiNg a b", "-ERR wrong number of arguments for 'ping' command¦"},
		{"PiNg", "+PONG¦"},
		{strings.Repeat("n", maxName+1), "-ERR unknown command '" + strings.Repeat("n", maxName+1) + "', with args beginning with: ¦"},
	})
	c.w.Reset()
	c.dispatch("a\r\nb\x00c", "x\x00y", "p\nq")
	if got, want := string(c.w.Buf), "-ERR unknown command 'a  b', with args beginning with: 'x' 'p q' \r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c.srv.EndUnit(c.sess, &c.w)
}

func TestLoading(t *testing.T) {
	c := newClient(t, newLoadingServer(t))
	c.wantAll([][2]string{
		{"get a", "-LOADING Redis is loading the dataset in memory¦"},
		{"ping", "-LOADING Redis is loading the dataset in memory¦"},
		{"dbsize", "-LOADING Redis is loading the dataset in memory¦"},
		{"save", "-LOADING Redis is loading the dataset in memory¦"},
		{"debug object a", "-LOADING Redis is loading the dataset in memory¦"},
		{"select 1", "+OK¦"},
		{"role", "*3¦$6¦master¦:0¦*0¦"},
	})
	if got := c.do("info"); !strings.Contains(got, "loading:1\r\n") {
		t.Error("INFO does not say that the server is loading")
	}
	for _, line := range []string{"client list", "config get *", "command docs", "latency histogram", "slowlog get", "info everything"} {
		if got := c.do(line); strings.HasPrefix(got, "-") {
			t.Errorf("%s: %s", line, got)
		}
	}
}

func TestAuthentication(t *testing.T) {
	s := newServer(t, "--requirepass secret")
	c := newClient(t, s)
	c.wantAll([][2]string{
		{"ping", "-NOAUTH Authentication required.¦"},
		{"nosuch", "-ERR unknown command 'nosuch', with args beginning with: ¦"},
		{"get", "-ERR wrong number of arguments for 'get' command¦"},
		{"hello 3", "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time¦"},
		{"auth wrong", "-WRONGPASS invalid username-password pair or user is disabled.¦"},
		{"auth foo secret", "-WRONGPASS invalid username-password pair or user is disabled.¦"},
		{"hello 2 auth default wrong", "-WRONGPASS invalid username-password pair or user is disabled.¦"},
		{"auth a b c", "-ERR syntax error¦"},
		{"auth default secret", "+OK¦"},
		{"ping", "+PONG¦"},
		{"auth wrong", "-WRONGPASS invalid username-password pair or user is disabled.¦"},
		{"ping", "+PONG¦"},
		{"reset", "+RESET¦"},
		{"ping", "-NOAUTH Authentication required.¦"},
	})
	if c.sess.Authenticated() {
		t.Error("authenticated after RESET")
	}
	if got := c.do("hello 3 auth default secret setname me"); !strings.HasPrefix(got, "%7\r\n") {
		t.Errorf("HELLO 3: %q", got)
	}
	c.want("client getname", "$2¦me¦")
	newClient(t, newServer(t)).want("auth x",
		"-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?¦")
}

func TestPasswordRemovedLater(t *testing.T) {
	s := newServer(t, "--requirepass secret")
	c, other := newClient(t, s), newClient(t, s)
	other.want("auth secret", "+OK¦")
	other.w.Reset()
	other.dispatch("config", "set", "requirepass", "")
	s.EndUnit(other.sess, &other.w)
	c.want("ping", "+PONG¦")
}

func TestPanicBecomesError(t *testing.T) {
	c := newClient(t, newServer(t))
	c.w.Reset()
	if got := c.unit("ping", "debug panic", "ping"); got != "+PONG\r\n-ERR internal error while executing 'debug'\r\n+PONG\r\n" {
		t.Errorf("%q", got)
	}
}

func TestDebugIsProtected(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	const refused = "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, " +
		"otherwise you need to set this option in the configuration file, and then restart the server.¦"
	c.want("debug sleep 0", "+OK¦")
	no := newClient(t, newServer(t, "--enable-debug-command no"))
	no.want("debug sleep 0", refused)
	local := newServer(t, "--enable-debug-command local")
	newClient(t, local).want("debug sleep 0", "+OK¦")
	far := newClient(t, local)
	far.conn.addr = "192.0.2.1:7"
	far.want("debug sleep 0", refused)
}

func TestHTTPRequestsCloseTheConnection(t *testing.T) {
	for _, line := range []string{"POST / HTTP/1.1", "Host: localhost"} {
		c := newClient(t, newServer(t))
		if got := c.do(line); got != "" || !c.sess.Closing() {
			t.Errorf("%s: reply %q, closing %v", line, got, c.sess.Closing())
		}
	}
}

func TestMultiGate(t *testing.T) {
	c := newClient(t, newServer(t))
	c.wantAll([][2]string{
		{"multi", "+OK¦"},
		{"set a 1", "+QUEUED¦"},
		{"nosuch", "-ERR unknown command 'nosuch', with args beginning with: ¦"},
		{"get a", "+QUEUED¦"},
		{"exec", "-EXECABORT Transaction discarded because of previous errors.¦"},
		{"multi", "+OK¦"},
		{"save", "-ERR Command not allowed inside a transaction¦"},
		{"exec extra", "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command¦"},
		{"exec", "-ERR EXEC without MULTI¦"},
		{"multi", "+OK¦"},
		{"ping", "+QUEUED¦"},
		{"client getname", "+QUEUED¦"},
		{"wait 1 0", "+QUEUED¦"},
		{"exec", "*3¦+PONG¦$-1¦:0¦"},
		{"multi", "+OK¦"},
		{"quit", "+OK¦"},
	})
	if !c.sess.Closing() {
		t.Error("QUIT inside MULTI does not close")
	}
}

func TestClientReply(t *testing.T) {
	c := newClient(t, newServer(t))
	if got := c.unit("client reply skip", "ping", "echo a"); got != "$1\r\na\r\n" {
		t.Errorf("SKIP: %q", got)
	}
	if got := c.unit("client reply off", "ping", "client reply skip", "nosuch", "echo a", "client reply on", "echo b"); got != "+OK\r\n$1\r\nb\r\n" {
		t.Errorf("OFF: %q", got)
	}
}

// A unit whose commit fails must not tell of anything that may be lost.
func TestRepliesAreReplacedWhenTheCommitFails(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	c.w.Reset()
	c.dispatch("ping")
	c.dispatch("echo", "before")
	c.sess.LastWrite = s.DB.Last() + 1000 // never committed
	c.w.OK()
	c.sess.unit.marks = append(c.sess.unit.marks, mark{start: len(c.w.Buf) - 5, end: len(c.w.Buf), dirty: true})
	c.dispatch("echo", "after")
	s.replaceReplies(c.sess, &c.w, errors.New("disk\r\nfailed"))
	want := "+PONG\r\n$6\r\nbefore\r\n" + strings.Repeat("-UNKNOWN the outcome of this command is unknown, it may have been executed: disk  failed\r\n", 2)
	if got := string(c.w.Buf); got != want {
		t.Errorf("got %q", got)
	}
	c.sess.LastWrite = 0
}

func TestWritesAreRefusedOnceTheLogHasFailed(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	s.refuseWrites(engine.ErrReadOnly)
	refused := "-MISCONF Errors writing to the AOF file: " + engine.ErrReadOnly.Error() + "¦"
	c.wantAll([][2]string{
		{"set a 1", refused},
		{"ping", refused},
		{"get a", "$-1¦"},
		{"multi", "+OK¦"},
		{"set a 1", refused},
		{"exec", "-EXECABORT Transaction discarded because of previous errors.¦"},
	})
	if got := c.do("info persistence"); !strings.Contains(got, "aof_last_write_status:err\r\n") {
		t.Error("INFO does not tell")
	}
}

// A full disk refuses writes and says so, until there is space again.
func TestDiskFull(t *testing.T) {
	var disk vfs.DiskFull
	c := newClient(t, newServerOn(t, vfs.NewFault(vfs.NewMem(), disk.Policy)))
	c.want("set a 1", "+OK¦")
	disk.Fill(0)
	if got := c.do("set a 2"); !strings.HasPrefix(got, "-UNKNOWN ") {
		t.Errorf("the write that found the disk full: %q", got)
	}
	for _, line := range []string{"set a 3", "del a", "incr n"} {
		if got := c.do(line); !strings.HasPrefix(got, "-MISCONF ") {
			t.Errorf("%s on a full disk: %q", line, got)
		}
	}
	if got := c.do("get a"); got != "$1\r\n1\r\n" {
		t.Errorf("GET on a full disk: %q", got)
	}
	if got := c.do("info persistence"); !strings.Contains(got, "aof_last_write_status:err\r\n") {
		t.Error("INFO does not tell of the full disk")
	}
	disk.Relieve()
	c.wantAll([][2]string{{"set b 1", "+OK¦"}, {"get a", "$1¦2¦"}, {"exists n", ":0¦"}})
	if got := c.do("info persistence"); !strings.Contains(got, "aof_last_write_status:ok\r\n") {
		t.Error("INFO does not tell of the space")
	}
}

// The path of GET and SET must not allocate.
func TestDispatchDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates: not measured")
		return
	}
	s := newServer(t)
	c := newClient(t, s)
	set := [][]byte{[]byte("SET"), []byte("key"), []byte("value")}
	get := [][]byte{[]byte("GET"), []byte("key")}
	missing := [][]byte{[]byte("get"), []byte("missing")}
	for name, args := range map[string][][]byte{"SET": set, "GET": get, "GET missing": missing} {
		run := func() {
			c.w.Reset()
			s.Dispatch(c.sess, args, &c.w)
			if err := s.EndUnit(c.sess, &c.w); err != nil {
				t.Fatal(err)
			}
		}
		for range 1000 {
			run()
		}
		if n := testing.AllocsPerRun(1000, run); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDispatch(b *testing.B) {
	s := newServer(b)
	c := newClient(b, s)
	c.do("set key value")
	for _, bench := range []struct {
		name string
		unit int
		args [][]byte
	}{
		{"PING/unit1", 1, [][]byte{[]byte("PING")}},
		{"PING/unit16", 16, [][]byte{[]byte("PING")}},
		{"GET/unit1", 1, [][]byte{[]byte("GET"), []byte("key")}},
		{"GET/unit16", 16, [][]byte{[]byte("GET"), []byte("key")}},
		{"GET/unit128", 128, [][]byte{[]byte("GET"), []byte("key")}},
		{"SET/unit16", 16, [][]byte{[]byte("SET"), []byte("key"), []byte("value")}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; i < b.N; i += bench.unit {
				c.w.Reset()
				for range bench.unit {
					s.Dispatch(c.sess, bench.args, &c.w)
				}
				s.EndUnit(c.sess, &c.w)
			}
		})
	}
}
