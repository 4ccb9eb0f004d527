package proxy

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowd starts a leader behind a relay, and a follower with one event loop that has got connections for its lane.
func crowd(t *testing.T, change func(*Options)) (leader, follower *node, r *relay) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return crowdBehind(t, ln, change)
}

// encryptedCrowd is crowd, in which nodes forward over TLS.
func encryptedCrowd(t *testing.T) (leader, follower *node, r *relay) {
	t.Helper()
	authority := httptest.NewUnstartedServer(nil)
	authority.StartTLS()
	t.Cleanup(authority.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return crowdBehind(t, tls.NewListener(ln, authority.TLS), func(o *Options) {
		o.TLS = func() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
	})
}

func crowdBehind(t *testing.T, ln net.Listener, change func(*Options)) (leader, follower *node, r *relay) {
	t.Helper()
	c := newCluster(t)
	c.loops = 1
	leader, follower = c.start("leader", nil), c.start("follower", change)
	r = relayFrom(t, ln, leader.addr())
	c.setAddr("leader", r.ln.Addr().String())
	c.lead("leader")
	follower.warm()
	return leader, follower, r
}

// warm leaves connections behind that a lane can take, one for each class.
func (n *node) warm() {
	n.t.Helper()
	var all []*client
	for range 3 {
		cl := n.dial()
		cl.want("watch warm", "+OK¦")
		all = append(all, cl)
	}
	for _, cl := range all {
		cl.want("unwatch", "+OK¦")
		cl.Close()
	}
}

// overdue is how many lines carry something for so long that it is looked after.
func (n *node) overdue() (count int) {
	for _, ln := range n.proxy.guarded() {
		if ln.overdue() {
			count++
		}
	}
	return count
}

// Whatever sessions forward at the same time, each gets its own replies, in order, and in its own database and version of RESP.
func TestLaneKeepsSessionsApart(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		_, follower, _ := crowd(t, nil)
		testLaneKeepsSessionsApart(t, follower)
	})
	t.Run("TLS", func(t *testing.T) {
		_, follower, _ := encryptedCrowd(t)
		testLaneKeepsSessionsApart(t, follower)
	})
}

func testLaneKeepsSessionsApart(t *testing.T, follower *node) {
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			cl := follower.dial()
			db := i % 3
			cl.want(fmt.Sprintf("select %d", db), "+OK¦")
			for round := range 60 {
				key, value := fmt.Sprintf("k%d", i), fmt.Sprintf("%d.%d", i, round)
				none := "$-1¦"
				if i%2 == 1 {
					none = "_¦"
					if round == 0 {
						cl.do("hello 3")
					}
				}
				lines := []string{"set " + key + " " + value, "get " + key, "get nobody", "echo " + value, "strlen " + key, "client reply skip", "get " + key, "get " + key}
				cl.send(lines...)
				var got strings.Builder
				for range len(lines) - 2 {
					got.WriteString(cl.reply())
				}
				bulk := fmt.Sprintf("$%d¦%s¦", len(value), value)
				want := "+OK¦" + bulk + none + bulk + fmt.Sprintf(":%d¦", len(value)) + bulk
				if got := strings.ReplaceAll(got.String(), "\r\n", "¦"); got != want {
					t.Errorf("client %d, round %d:\n got %q\nwant %q", i, round, got, want)
					return
				}
			}
		})
	}
	all.Wait()
	if len(follower.proxy.guarded()) == 0 {
		t.Error("there was no line")
	}
}

// Wherever a line breaks, each of its sessions is told the truth of its own requests.
func TestLineBreaksAtEveryByte(t *testing.T) {
	leader, follower, r := crowd(t, nil)
	direct := leader.dial()
	direct.want("set const value", "+OK¦")
	var all []*client
	for range 4 {
		all = append(all, follower.dial())
	}
	r.breakAll([2]int{-1, -1})
	step := 3
	if testing.Short() {
		step = 29
	}
	counts, lines := map[fate]int{}, 0
	for direction := range 2 {
		for n := 150; n < 1300; n += step { // the handshake has about 200 bytes each way
			limits := [2]int{-1, -1}
			limits[direction] = n
			r.breakAll(limits)
			all[0].want("get const", "$5¦value¦") // makes the connection that will break, or breaks it
			token := fmt.Sprintf("<%d.%d>", direction, n)
			var told [4]fate
			var asked sync.WaitGroup
			for i, cl := range all {
				asked.Go(func() {
					for _, read := range []string{"get const", "strlen const"} {
						got := cl.do("append log"+fmt.Sprint(i)+" "+token, read)
						write, rest, _ := strings.Cut(got, "¦")
						if want := map[string]string{"get const": "$5¦value¦", "strlen const": ":5¦"}[read]; rest != want {
							t.Errorf("%s: a read gave %q", token, rest)
						}
						told[i] = max(told[i], fateOf(t, write))
					}
				})
			}
			asked.Wait()
			lines += len(follower.proxy.guarded())
			for i := range all {
				times := strings.Count(direct.do(fmt.Sprintf("get log%d", i)), token)
				counts[told[i]]++
				if told[i] == done && times != 2 || told[i] == refused || times > 2 {
					t.Errorf("%s was executed %d times, and client %d was told %d", token, times, i, told[i])
				}
			}
			direct.do("del log0 log1 log2 log3")
		}
	}
	t.Logf("%d done, %d unknown, %d lines", counts[done], counts[unknown], lines)
	if counts[done] == 0 || counts[unknown] == 0 || lines == 0 {
		t.Error("nothing was tested")
	}
}

// Replies that are too long for a line get through, and so do those behind them.
func TestLineHandsOver(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		leader, follower, _ := crowd(t, nil)
		testLineHandsOver(t, leader, follower)
	})
	t.Run("TLS", func(t *testing.T) {
		leader, follower, _ := encryptedCrowd(t)
		testLineHandsOver(t, leader, follower)
	})
}

func testLineHandsOver(t *testing.T, leader, follower *node) {
	leader.dial().want(fmt.Sprintf("setrange big %d x", 100<<10), fmt.Sprintf(":%d¦", 100<<10+1))
	leader.dial().want("set small 1", "+OK¦")
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			cl := follower.dial()
			for range 25 {
				if i%3 == 0 {
					if got := cl.do("get small", "get big"); len(got) != len("$1¦1¦$102401¦¦")+100<<10+1 {
						t.Errorf("%d bytes: %.40q", len(got), got)
					}
				}
				cl.want("get small", "$1¦1¦")
				cl.wantPrefix("append log x", ":")
			}
		})
	}
	all.Wait()
	follower.dial().want("strlen log", ":300¦")
}

// A client that is closed while the leader does not answer goes at once, and the node does not wait for it.
func TestClientLeavesALane(t *testing.T) {
	_, follower, r := crowd(t, nil)
	cl, other, killer := follower.dial(), follower.dial(), follower.dial()
	id := strings.Trim(cl.do("client id"), ":¦")
	cl.want("append k x", ":1¦")
	r.swallow()
	cl.send("append k x")
	other.send("append k y")
	eventually(t, "a line is overdue", func() bool { return follower.overdue() > 0 })
	killer.want("client kill id "+id, ":1¦")
	eventually(t, "the client is gone", func() bool { return !strings.Contains(string(killer.doRaw("client list")), "id="+id+" ") })
	ended := make(chan struct{})
	go func() {
		follower.stop()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the node waits for clients that are lost")
	}
}

// A client that goes away while the leader does not answer is not kept for ever; one that only closes its end gets its replies.
func TestClientDesertsALane(t *testing.T) {
	_, follower, r := crowd(t, nil)
	half, cl, other := follower.dial(), follower.dial(), follower.dial()
	half.send("append k x")
	half.Conn.(*net.TCPConn).CloseWrite()
	if got := half.reply(); got != ":1\r\n" {
		t.Errorf("got %q", got)
	}
	cl.want("append k x", ":2¦")
	r.swallow()
	cl.send("append k x")
	eventually(t, "a line is overdue", func() bool { return follower.overdue() > 0 })
	addr := cl.LocalAddr().String()
	cl.Close()
	eventually(t, "the client is gone", func() bool { return !strings.Contains(string(other.doRaw("client list")), "addr="+addr+" ") })
}

// When a node has not heard of the leader for long, it does not wait for replies any more: who knows whether what writes was executed?
func TestLeaderFallsSilent(t *testing.T) {
	var silent sync.Map
	_, follower, r := crowd(t, func(o *Options) {
		o.Wait = 200 * time.Millisecond
		o.Hears = func() bool {
			_, yes := silent.Load("leader")
			return !yes
		}
	})
	shared, alone, reads := follower.dial(), follower.dial(), follower.dial()
	shared.want("append k x", ":1¦")
	r.swallow()
	shared.send("append k x")
	reads.send("get k")
	alone.send("multi", "append k y", "exec")
	eventually(t, "lines are overdue", func() bool { return follower.overdue() > 0 })
	silent.Store("leader", true)
	if got := shared.reply(); !strings.HasPrefix(got, "-UNKNOWN") {
		t.Errorf("a write gave %q", got)
	}
	alone.reply()
	alone.reply()
	if got := alone.reply(); !strings.HasPrefix(got, "-UNKNOWN") {
		t.Errorf("a transaction gave %q", got)
	}
	if got := reads.reply(); !strings.HasPrefix(got, "-CLUSTERDOWN") && !strings.HasPrefix(got, "-TRYAGAIN") {
		t.Errorf("a read gave %q", got)
	}
}

// When there is much to read from a line, clients get their replies in between, and nothing is forgotten.
func TestLineHasMuchToRead(t *testing.T) {
	leader, follower, _ := crowd(t, nil)
	const size = 50 << 10
	leader.dial().want(fmt.Sprintf("setrange big %d x", size-1), fmt.Sprintf(":%d¦", size))
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() {
			cl := follower.dial()
			for range 10 {
				if got := cl.do("get big"); len(got) != len("$51200¦¦")+size {
					t.Errorf("%d bytes: %.40q", len(got), got)
				}
			}
		})
	}
	all.Wait()
}
