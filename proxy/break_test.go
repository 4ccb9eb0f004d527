package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// relay passes connections on, and breaks one when so many bytes have gone through it.
type relay struct {
	t  testing.TB
	ln net.Listener
	to string

	mu struct {
		sync.Mutex
		conns  []net.Conn
		limits [2]int // of the next connection: bytes to the leader, and from it; -1 = none
		passed [2]int // of the connection made last
		sinks  bool   // nothing reaches the leader any more
		sunk   int    // bytes that did not
	}
}

func newRelay(t testing.TB, to string) *relay {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return relayFrom(t, ln, to)
}

func relayFrom(t testing.TB, ln net.Listener, to string) *relay {
	r := &relay{t: t, ln: ln, to: to}
	r.mu.limits = [2]int{-1, -1}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			nc, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				r.pass(nc, &served)
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		r.breakAll([2]int{-1, -1})
		served.Wait()
	})
	return r
}

func (r *relay) pass(client net.Conn, served *sync.WaitGroup) {
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		client.Close()
		return
	}
	r.mu.Lock()
	limits := r.mu.limits
	r.mu.limits, r.mu.passed = [2]int{-1, -1}, [2]int{}
	r.mu.conns = append(r.mu.conns, client, server)
	r.mu.Unlock()
	for i, ends := range [2][2]net.Conn{{client, server}, {server, client}} {
		served.Go(func() {
			defer client.Close()
			defer server.Close()
			r.copy(ends[1], ends[0], limits[i], i)
		})
	}
}

// copy ends after limit bytes.
func (r *relay) copy(to io.Writer, from io.Reader, limit, direction int) {
	buf := make([]byte, 4096)
	for {
		if limit >= 0 && limit < len(buf) {
			buf = buf[:limit]
		}
		if len(buf) == 0 {
			return
		}
		n, err := from.Read(buf)
		if limit >= 0 {
			limit -= n
		}
		r.mu.Lock()
		r.mu.passed[direction] += n
		if r.mu.sinks && direction == 0 {
			r.mu.sunk += n
			n = 0
		}
		r.mu.Unlock()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// swallow keeps from the leader what is sent to it from now on.
func (r *relay) swallow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.sinks = true
}

func (r *relay) swallowed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.sunk
}

// breakAll breaks all connections; the next one gets limits.
func (r *relay) breakAll(limits [2]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, nc := range r.mu.conns {
		nc.Close()
	}
	r.mu.conns, r.mu.limits = nil, limits
}

// Wherever the connection to the leader breaks, in the handshake or later, on the way there or back, and wherever a request or
// reply is cut by that: reads are answered, and each write was executed as often as its client is told.
func TestConnectionBreaksAtEveryByte(t *testing.T) {
	c, leader, follower := pair(t)
	r := newRelay(t, leader.addr())
	c.setAddr("one", r.ln.Addr().String())
	direct := leader.dial()
	direct.want("set const value", "+OK¦")
	cl := follower.dial()
	lines := func(token string) []string {
		return []string{"get const", "append log <" + token + "a>", "ping", "multi", "append log <" + token + "b>", "get const", "exec", "strlen const",
			"append log <" + token + "c>", "echo x"}
	}
	r.breakAll([2]int{-1, -1})
	cl.do(lines("first")...)
	r.mu.Lock()
	passed := r.mu.passed
	r.mu.Unlock()
	fates := map[string]fate{}
	step := 1
	if testing.Short() {
		step = 7
	}
	for direction := range 2 {
		for n := 0; n <= passed[direction]; n += step {
			limits := [2]int{-1, -1}
			limits[direction] = n
			r.breakAll(limits)
			token := fmt.Sprintf("%d.%d", direction, n)
			cl.send(lines(token)...)
			for i, want := range []string{"$5\r\nvalue\r\n", "", "+PONG\r\n", "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "", ":5\r\n", "", "$1\r\nx\r\n"} {
				got := cl.reply()
				if want == "" {
					fates["<"+token+string("a....b.c"[i-1])+">"] = fateOf(t, got)
				} else if got != want {
					t.Errorf("%s: reply %d is %q, not %q", token, i, got, want)
				}
			}
		}
	}
	log, counts := direct.do("get log"), map[fate]int{}
	for token, f := range fates {
		n := strings.Count(log, token)
		counts[f]++
		if f == done && n != 1 || f == refused || n > 1 {
			t.Errorf("%s was executed %d times, and the client was told %d", token, n, f)
		}
	}
	t.Logf("%d bytes there, %d back: %d writes done, %d unknown", passed[0], passed[1], counts[done], counts[unknown])
	if counts[done] == 0 || counts[unknown] == 0 {
		t.Error("nothing was tested")
	}
}

// A connection that was closed while nobody used it is not used for a write, of which nobody would know what became. Nor is one with TLS.
func TestIdleConnectionBreaks(t *testing.T) {
	authority := httptest.NewUnstartedServer(nil)
	authority.StartTLS()
	defer authority.Close()
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", encrypted), func(t *testing.T) {
			c := newCluster(t)
			leader := c.start("leader", nil)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var config *tls.Config
			if encrypted {
				ln = tls.NewListener(ln, authority.TLS)
				config = &tls.Config{InsecureSkipVerify: true}
			}
			r := relayFrom(t, ln, leader.addr())
			follower := c.start("follower", func(o *Options) { o.TLS = func() *tls.Config { return config } })
			c.setAddr("leader", ln.Addr().String())
			c.lead("leader")
			cl := follower.dial()
			for n := range 10 {
				cl.want("append k x", fmt.Sprintf(":%d¦", n+1))
				if n%2 == 0 {
					made := r.made()
					cl.want("strlen k", fmt.Sprintf(":%d¦", n+1))
					if r.made() != made {
						t.Error("the connection was not used again")
					}
				}
				r.breakAll([2]int{-1, -1})
			}
		})
	}
}

// made is how many connections there were since the last break.
func (r *relay) made() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mu.conns) / 2
}
