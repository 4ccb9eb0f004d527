package command

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestConnectionReplies(t *testing.T) {
	c := newClient(t, newServer(t))
	c.wantAll([][2]string{
		{"ping", "+PONG¦"}, {"ping a", "$1¦a¦"}, {"echo a", "$1¦a¦"},
		{"select 15", "+OK¦"}, {"select 16", "-ERR DB index is out of range¦"}, {"select -1", "-ERR DB index is out of range¦"},
		{"select a", "-ERR value is not an integer or out of range¦"},
		{"select 3000000000", "-ERR value is out of range, value must between -2147483648 and 2147483647¦"},
		{"hello 1", "-NOPROTO unsupported protocol version¦"}, {"hello a", "-ERR Protocol version is not an integer or out of range¦"},
		{"hello 2 foo", "-ERR Syntax error in HELLO option 'foo'¦"}, {"hello 2 auth a", "-ERR Syntax error in HELLO option 'auth'¦"},
		{"client setname abc", "+OK¦"}, {"client getname", "$3¦abc¦"}, {"client setname a\tb", "-ERR wrong number of arguments for 'client|setname' command¦"},
		{"client setname a\x01b", "-ERR Client names cannot contain spaces, newlines or special characters.¦"},
		{"client setinfo lib-name go-redis(,go1.26)", "+OK¦"}, {"client setinfo LIB-VER 9.1", "+OK¦"},
		{"client setinfo foo bar", "-ERR Unrecognized option 'foo'¦"},
		{"client setinfo lib-ver \x01", "-ERR lib-ver cannot contain spaces, newlines or special characters.¦"},
		{"client getredir", ":-1¦"}, {"client trackinginfo", "*6¦$5¦flags¦*1¦$3¦off¦$8¦redirect¦:-1¦$8¦prefixes¦*0¦"},
		{"client no-evict on", "+OK¦"}, {"client no-touch on", "+OK¦"}, {"client no-touch x", "-ERR syntax error¦"},
		{"client kill id 0", "-ERR client-id should be greater than 0¦"}, {"client kill 1.2.3.4:5", "-ERR No such client¦"},
		{"client kill type x", "-ERR Unknown client type 'x'¦"}, {"client kill user x", "-ERR No such user 'x'¦"},
		{"client kill addr 1.2.3.4:5", ":0¦"}, {"client kill a b c", "-ERR syntax error¦"},
		{"client list id x", "-ERR Invalid client ID¦"}, {"client list type x", "-ERR Unknown client type 'x'¦"},
		{"client list id 123456", "$0¦¦"}, {"client list x", "-ERR syntax error¦"},
		{"client pause x", "-ERR timeout is not an integer or out of range¦"}, {"client pause -1", "-ERR timeout is negative¦"},
		{"client pause 1 x", "-ERR CLIENT PAUSE mode must be WRITE or ALL¦"},
		{"client unblock 77", ":0¦"}, {"client unblock x", "-ERR value is not an integer or out of range¦"},
		{"wait 0 0", ":0¦"}, {"wait x 0", "-ERR value is not an integer or out of range¦"}, {"wait 1 -1", "-ERR timeout is negative¦"},
		{"reset", "+RESET¦"}, {"client getname", "$-1¦"},
	})
	if c.sess.DB() != 0 {
		t.Error("RESET keeps the database")
	}
}

func TestHelloInBothProtocols(t *testing.T) {
	c := newClient(t, newServer(t))
	c.want("hello", fmt.Sprintf("*14¦$6¦server¦$5¦redis¦$7¦version¦$5¦%s¦$5¦proto¦:2¦$2¦id¦:%d¦$4¦mode¦$10¦standalone¦$4¦role¦$6¦master¦$7¦modules¦*0¦", RedisVersion, c.sess.ID))
	c.want("hello 3", fmt.Sprintf("%%7¦$6¦server¦$5¦redis¦$7¦version¦$5¦%s¦$5¦proto¦:3¦$2¦id¦:%d¦$4¦mode¦$10¦standalone¦$4¦role¦$6¦master¦$7¦modules¦*0¦", RedisVersion, c.sess.ID))
	c.want("client getname", "_¦")
	c.want("client trackinginfo", "%3¦$5¦flags¦~1¦$3¦off¦$8¦redirect¦:-1¦$8¦prefixes¦*0¦")
	c.want("config get maxclients", "%1¦$10¦maxclients¦$5¦10000¦")
	c.want("reset", "+RESET¦")
	c.want("client getname", "$-1¦")
}

func TestClientList(t *testing.T) {
	s := newServer(t)
	c, other := newClient(t, s), newClient(t, s)
	other.conn.addr = "10.0.0.1:77"
	other.do("select 3")
	other.do("client setname bob")
	other.do("client setinfo lib-name x")
	line := regexp.MustCompile(`^id=\d+ addr=10.0.0.1:77 laddr=127.0.0.1:6379 fd=9 name=bob age=0 idle=0 flags=N db=3 sub=0 psub=0 ssub=0 multi=-1 ` +
		`qbuf=10 qbuf-free=20 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=\d+ events=r cmd=client\|setinfo user=default redir=-1 resp=2 lib-name=x lib-ver=\n$`)
	if got := other.sess.describe() + "\n"; !line.MatchString(got) {
		t.Errorf("%q", got)
	}
	if got := c.do("client list"); strings.Count(got, "id=") != 2 {
		t.Errorf("CLIENT LIST: %q", got)
	}
	if got := c.do(fmt.Sprintf("client list id %d 999", other.sess.ID)); strings.Count(got, "id=") != 1 || !strings.Contains(got, "name=bob") {
		t.Errorf("CLIENT LIST ID: %q", got)
	}
	other.do("multi")
	other.do("ping")
	if got := other.sess.describe(); !strings.Contains(got, " flags=x ") || !strings.Contains(got, " multi=1 ") {
		t.Errorf("in MULTI: %q", got)
	}
	if got := c.do("client list type normal"); strings.Count(got, "id=") != 2 {
		t.Errorf("CLIENT LIST TYPE: %q", got)
	}
}

func TestClientKill(t *testing.T) {
	s := newServer(t)
	c, a, b := newClient(t, s), newClient(t, s), newClient(t, s)
	a.conn.addr, b.conn.addr = "10.0.0.1:1", "10.0.0.2:2"
	c.want("client kill 10.0.0.1:1", "+OK¦")
	c.want(fmt.Sprintf("client kill id %d", b.sess.ID), ":1¦")
	if !a.conn.killed() || !b.conn.killed() || c.conn.killed() {
		t.Error("the wrong clients were killed")
	}
	c.want(fmt.Sprintf("client kill id %d", c.sess.ID), ":0¦") // SKIPME is the default
	if c.sess.Closing() {
		t.Error("killed itself")
	}
	c.want(fmt.Sprintf("client kill id %d skipme no", c.sess.ID), ":1¦")
	if !c.sess.Closing() || c.conn.killed() {
		t.Error("CLIENT KILL of oneself closes after the reply")
	}
}

// CLIENT LIST and CLIENT KILL look at sessions which run commands meanwhile.
func TestClientListRacesWithCommands(t *testing.T) {
	s := newServer(t)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		c := newClient(t, s)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				c.unit("ping", fmt.Sprintf("select %d", n%16), "multi", "echo x", "exec", fmt.Sprintf("client setname c%d-%d", i, n), "hello 3", "reset")
			}
		}()
	}
	admin := newClient(t, s)
	for range 200 {
		if got := admin.do("client list"); strings.Count(got, "id=") < 5 {
			t.Errorf("%q", got)
		}
		extra := newClient(t, s)
		admin.want(fmt.Sprintf("client kill id %d", extra.sess.ID), ":1¦")
		admin.do("info everything")
		admin.do("latency histogram")
	}
	close(stop)
	wg.Wait()
}

// blockedNow waits until a session is blocked.
func blockedNow(t *testing.T, sess *Session) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !sess.blocked.Load() {
		if time.Now().After(deadline) {
			t.Fatal("the session does not block")
		}
		time.Sleep(time.Millisecond) // polling a condition
	}
}

func TestPause(t *testing.T) {
	s := newServer(t)
	admin, writer, reader := newClient(t, s), newClient(t, s), newClient(t, s)
	admin.want("client pause 100000 write", "+OK¦")
	reader.want("get a", "$-1¦")
	done := make(chan string)
	go func() { done <- writer.unit("ping", "set a 1", "ping") }()
	blockedNow(t, writer.sess)
	if got := admin.sess.server.clients.blocked.Load(); got != 1 {
		t.Errorf("%d blocked clients", got)
	}
	reader.want("get a", "$-1¦")
	admin.want("client unpause", "+OK¦")
	if got := <-done; got != "+PONG\r\n+OK\r\n+PONG\r\n" {
		t.Errorf("%q", got)
	}
	admin.want("client pause 50", "+OK¦")
	start := time.Now()
	reader.want("get a", "$1¦1¦")
	if d := time.Since(start); d < 40*time.Millisecond {
		t.Errorf("paused for %v only", d)
	}
}

func TestPauseStopsExpiry(t *testing.T) {
	s := newServer(t)
	admin, c := newClient(t, s), newClient(t, s)
	s.Keyspace.SetActiveExpire(false)
	c.want("set a 1 px 50", "+OK¦")
	admin.want("client pause 100000 write", "+OK¦")
	for c.do("get a") != "$-1\r\n" {
		time.Sleep(time.Millisecond) // until the wall clock has moved on
	}
	c.want("dbsize", ":1¦")
	admin.want("client unpause", "+OK¦")
	c.want("get a", "$-1¦")
	c.want("dbsize", ":0¦")
}

func TestPauseEndsWithTheClient(t *testing.T) {
	s := newServer(t)
	admin, c := newClient(t, s), newClient(t, s)
	admin.want("client pause 100000", "+OK¦")
	done := make(chan string)
	go func() { done <- c.do("ping") }()
	blockedNow(t, c.sess)
	c.sess.Kill()
	if got := <-done; got != "" || !c.sess.Closing() {
		t.Errorf("%q", got)
	}
}

func TestUnblock(t *testing.T) {
	s := newServer(t)
	admin, c := newClient(t, s), newClient(t, s)
	done := make(chan string)
	for how, want := range map[string]string{"": ":0\r\n", " timeout": ":0\r\n", " error": "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"} {
		go func() { done <- c.unit("ping", "wait 1 0") }()
		blockedNow(t, c.sess)
		admin.want(fmt.Sprintf("client unblock %d%s", c.sess.ID, how), ":1¦")
		if got := <-done; got != "+PONG\r\n"+want {
			t.Errorf("CLIENT UNBLOCK%s: %q", how, got)
		}
	}
}

// A client that a pause holds back waits for nothing that CLIENT UNBLOCK could end.
func TestUnblockLeavesPausedClients(t *testing.T) {
	s := newServer(t)
	admin, c := newClient(t, s), newClient(t, s)
	admin.want("client pause 100000 write", "+OK¦")
	done := make(chan string)
	go func() { done <- c.do("set a 1") }()
	blockedNow(t, c.sess)
	admin.want(fmt.Sprintf("client unblock %d error", c.sess.ID), ":0¦")
	admin.want("client unpause", "+OK¦")
	if got := <-done; got != "+OK\r\n" {
		t.Errorf("%q", got)
	}
}

func TestCloseReleasesBlockedClients(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	done := make(chan string)
	go func() { done <- c.do("wait 1 0") }()
	blockedNow(t, c.sess)
	s.Close()
	<-done
}
