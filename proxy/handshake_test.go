package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gtinside/corecache/command"
)

func TestSecrets(t *testing.T) {
	c := newCluster(t)
	one := c.start("one", nil, "--requirepass", "client", "--masterauth", "node")
	two := c.start("two", nil, "--requirepass", "client", "--masterauth", "node")
	three := c.start("three", nil, "--masterauth", "guessed")
	c.lead("one")
	cl := two.dial()
	cl.want("get a", "-NOAUTH Authentication required.¦")
	if two.proxy.Connections() != 0 {
		t.Error("the leader was bothered before the client had said who it is")
	}
	cl.want("auth client", "+OK¦")
	cl.want("set a 1", "+OK¦")
	three.dial().want("get a", "-CLUSTERDOWN no node leads: the leader refuses the connection: WRONGPASS the nodes have different secrets (masterauth or requirepass)¦")
	direct := one.dial()
	direct.want("get a", "-NOAUTH Authentication required.¦")
	direct.want("auth client", "+OK¦")
	direct.want("config set masterauth other", "+OK¦") // connections that are there stay
	cl.want("get a", "$1¦1¦")
}

// Who has not been through the handshake gets nowhere by PROXY, whatever it sends.
func TestHandshakeFails(t *testing.T) {
	_, leader, follower := pair(t)
	cl := leader.dial()
	for _, step := range [][2]string{
		{"proxy", "-ERR wrong number"}, {"proxy x", "-ERR unknown subcommand"}, {"proxy for a b 0 2 n", "-ERR PROXY FOR without"},
		{"proxy auth x y", "-ERR PROXY AUTH without"}, {"proxy hello 2 two one", "-ERR this node speaks"}, {"proxy hello 1 two three", "-ERR this node is one"},
		{"proxy hello 1 " + strings.Repeat("x", 1000) + " one", "-ERR a node's id"},
		{"proxy hello 1 two one", "$32"}, {"proxy auth x y", "-WRONGPASS"}, {"proxy auth x y", "-ERR PROXY AUTH without"}, {"proxy for a b 0 2 n", "-ERR PROXY FOR without"},
		{"multi", "+OK"}, {"proxy hello 1 two one", "-ERR Command not allowed"}, {"discard", "+OK"}, {"get a", "$-1"},
	} {
		cl.wantPrefix(step[0], step[1])
	}
	if list := cl.do("command list"); strings.Contains(list, "proxy") {
		t.Error("PROXY is shown")
	}
	conn := handshake(t, follower, "one", leader)
	for _, bad := range [][]string{
		{"a\nb", "l", "0", "2", ""}, {"a", strings.Repeat("l", 300), "0", "2", ""}, {"a", "l", "16", "2", ""}, {"a", "l", "-1", "2", ""}, {"a", "l", "0", "4", ""}, {"a", "l", "0", "2", "n n"},
	} {
		var r refusal
		if _, err := conn.ask(append([]string{"PROXY", "FOR"}, bad...)...); !errors.As(err, &r) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// handshake opens a connection as a node does.
func handshake(t *testing.T, from *node, id string, to *node) *connection {
	t.Helper()
	c, err := from.proxy.dial(id, to.addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// What has come from another node is never passed on to a third one.
func TestOneHop(t *testing.T) {
	c, leader, follower := pair(t)
	conn := handshake(t, follower, "one", leader)
	if got, err := conn.ask("GET", "a"); err != nil || string(got) != "$-1\r\n" {
		t.Fatalf("%q, %v", got, err)
	}
	c.lead("two")
	for _, back := range []string{"two", "one"} { // once refused, always refused: the order of commands stays
		_, err := conn.ask("GET", "a")
		var r refusal
		if !errors.As(err, &r) || !strings.HasPrefix(string(r), command.ErrNoLeader) {
			t.Errorf("%s leads: %v", back, err)
		}
		c.lead("one")
	}
	c.lead("two")
	if _, err := follower.proxy.dial("one", leader.addr(), nil); err == nil {
		t.Error("a node that does not lead takes connections of others")
	}
	if leader.proxy.Connections()+follower.proxy.Connections() != 0 {
		t.Error("something was passed on")
	}
}

// The leader sees clients of other nodes as its own.
func TestClientsAreKnown(t *testing.T) {
	_, leader, follower := pair(t)
	cl, direct := follower.dial(), leader.dial()
	cl.do("client setname me", "select 3", "hello 3", "get a")
	if list := direct.do("client list"); !strings.Contains(list, " addr="+cl.LocalAddr().String()+" laddr="+follower.addr()+" ") ||
		!strings.Contains(list, " name=me ") || !strings.Contains(list, " db=3 ") || !strings.Contains(list, " resp=3 ") {
		t.Errorf("got %q", list)
	}
	if info := follower.dial().do("info stats"); !strings.Contains(info, "total_forwarded_commands:1¦") {
		t.Errorf("got %q", info)
	}
}

// impostor listens where the leader is thought to be.
func impostor(t *testing.T, c *testCluster, id string, serve func(nc net.Conn, r *bufio.Reader)) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(patience))
				serve(nc, bufio.NewReader(nc))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		served.Wait()
	})
	c.setAddr(id, ln.Addr().String())
	c.lead(id)
}

// request reads the words of one request.
func request(r *bufio.Reader) (words []string) {
	var n int
	if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
		return nil
	}
	for range n {
		var size int
		if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
			return nil
		}
		b := make([]byte, size+2)
		for i := range b {
			b[i], _ = r.ReadByte()
		}
		words = append(words, string(b[:size]))
	}
	return words
}

// welcome is the leader's part of the handshake.
func welcome(nc net.Conn, r *bufio.Reader, secret string) {
	hello, nonce := request(r), command.ProxyNonce()
	if hello == nil {
		return
	}
	fmt.Fprintf(nc, "$32\r\n%s\r\n", nonce)
	if auth := request(r); auth != nil {
		fmt.Fprintf(nc, "*2\r\n$64\r\n%s\r\n$2\r\n16\r\n", command.ProxyMAC(secret, "leader", hello[3], hello[4], nonce, auth[3]))
		if request(r) != nil { // CLIENT ID
			fmt.Fprint(nc, ":7\r\n")
		}
	}
}

func TestImpostor(t *testing.T) {
	c := newCluster(t)
	two := c.start("two", func(o *Options) { o.Wait = 50 * time.Millisecond }, "--masterauth", "secret")
	impostor(t, c, "one", func(nc net.Conn, r *bufio.Reader) { welcome(nc, r, "guessed") })
	two.dial().wantPrefix("get a", "-CLUSTERDOWN no node leads: 127.0.0.1:")
	for _, answer := range []string{"", "x", "+OK\r\n", "-ERR no\r\n", "$3\r\nabc\r\n+x\r\n", "$32\r\n" + strings.Repeat("a", 100<<10), ":1\r\n"} {
		impostor(t, c, "one", func(nc net.Conn, r *bufio.Reader) {
			for request(r) != nil && len(answer) > 0 {
				fmt.Fprint(nc, answer)
			}
		})
		two.dial().wantPrefix("get a", "-CLUSTERDOWN no node leads: ")
	}
}

// A leader that talks nonsense does no harm: not to the node, and not to what its clients believe.
func TestNonsense(t *testing.T) {
	c := newCluster(t)
	two := c.start("two", func(o *Options) { o.Wait = 50 * time.Millisecond })
	for _, answer := range []string{"x", "$-7\r\n", "*1\r\n", "-ERR no\r\n", "$99999999999999999\r\n", strings.Repeat("*1\r\n", 1000), "\r\n", "|1\r\n+a\r\n+b\r\n", ">1\r\n+x\r\n"} {
		impostor(t, c, "one", func(nc net.Conn, r *bufio.Reader) {
			welcome(nc, r, "")
			for words := request(r); words != nil; words = request(r) {
				if fmt.Fprint(nc, answer); words[0] != "PROXY" {
					return
				}
			}
		})
		cl := two.dial()
		cl.send("get a", "set a 1", "ping")
		var got [3]string
		for i := range got {
			got[i] = cl.reply()
		}
		if !strings.HasPrefix(got[0], "-TRYAGAIN") && !strings.HasPrefix(got[0], "-CLUSTERDOWN") || !strings.HasPrefix(got[1], "-UNKNOWN") || got[2] != "+PONG\r\n" {
			t.Errorf("%.40q: %q", answer, got)
		}
	}
}

// A reply of the leader that is shorter or longer than what was asked for never becomes another client's.
func TestSurplus(t *testing.T) {
	c := newCluster(t)
	two := c.start("two", nil)
	impostor(t, c, "one", func(nc net.Conn, r *bufio.Reader) {
		welcome(nc, r, "")
		for words := request(r); words != nil; words = request(r) {
			if words[0] == "PROXY" {
				fmt.Fprint(nc, "+OK\r\n")
			} else {
				fmt.Fprintf(nc, "+%s\r\n+surplus\r\n", words[1])
			}
		}
	})
	for i := range 50 {
		two.dial().want(fmt.Sprintf("get %d", i), fmt.Sprintf("+%d¦", i))
	}
}
