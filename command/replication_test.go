package command

import (
	"context"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// testCluster is a Cluster and Replication that a test sets.
type testCluster struct {
	term, held atomic.Uint64
	writable   atomic.Bool
	written    atomic.Int64
	moved      chan struct{}
	leader     atomic.Pointer[string]
}

func (c *testCluster) Self() string             { return "me" }
func (c *testCluster) Leads() uint64            { return c.term.Load() }
func (c *testCluster) Holds(term uint64) bool   { return c.held.Load() == term }
func (c *testCluster) Changed() <-chan struct{} { return nil }
func (c *testCluster) Writable() bool           { return c.writable.Load() }
func (c *testCluster) Moved() <-chan struct{}   { return c.moved }

func (c *testCluster) Leader() (id, addr string) {
	if p := c.leader.Load(); p != nil {
		return *p, "10.0.0.2:6379"
	}
	return "me", ""
}

func (c *testCluster) Acknowledged(uint64) (written, synced int) {
	return int(c.written.Load()), int(c.written.Load())
}

func (c *testCluster) Status() ReplicationStatus {
	return ReplicationStatus{Role: "leader", Epoch: 3, Last: 20, Committed: 10, ISR: []string{"me", "n2"}, LinkUp: true, Lease: -time.Millisecond,
		Followers: []ReplicaStatus{{ID: "n2", Addr: "10.0.0.2:6379", InSync: true, Online: true, Offset: 9, Lag: 1500 * time.Millisecond}}}
}

// newClusterServer returns a server that leads in term 7.
func newClusterServer(t *testing.T) (*Server, *testCluster, *testClient) {
	s := newServer(t)
	c := &testCluster{moved: make(chan struct{})}
	c.term.Store(7)
	c.held.Store(7)
	c.writable.Store(true)
	s.cluster, s.replication = c, c
	return s, c, newClient(t, s)
}

func TestOnlyTheLeaderExecutes(t *testing.T) {
	_, cl, c := newClusterServer(t)
	c.want("set k v", "+OK¦")
	cl.writable.Store(false)
	c.want("set k w", "-"+errNoReplicas+"¦")
	c.want("get k", "$1¦v¦")
	cl.term.Store(0)
	other := "n2"
	cl.leader.Store(&other)
	refused := "-" + ErrClusterDown + "this node has no proxy¦"
	c.wantAll([][2]string{{"get k", refused}, {"set k w", refused}, {"dbsize", refused}, {"watch k", refused}, {"ping", "+PONG¦"},
		{"multi", "+OK¦"}, {"get k", "+QUEUED¦"}, {"exec", "-EXECABORT Transaction discarded because of: " + strings.TrimPrefix(refused, "-")},
		{"role", "*5¦$5¦slave¦$8¦10.0.0.2¦:6379¦$9¦connected¦:10¦"}})
}

// Nothing that was executed in a term leaves after it.
func TestRepliesOfALeaderThatWasDeposed(t *testing.T) {
	s, cl, c := newClusterServer(t)
	c.want("set k v", "+OK¦")
	c.w.Reset()
	c.dispatch("echo", "x")
	c.dispatch("get", "k")
	c.dispatch("set", "k", "w")
	c.dispatch("set", "k", "w", "bad")
	if !s.underWay() {
		t.Error("the unit is not seen")
	}
	cl.held.Store(0)
	if err := s.EndUnit(c.sess, &c.w); err != nil {
		t.Error(err)
	}
	want := "$1\r\nx\r\n-" + ErrLeaderMoved + "\r\n" + strings.Repeat("-"+ErrOutcomeUnknown+errDeposed.Error()+"\r\n", 2)
	if got := string(c.w.Buf); got != want {
		t.Errorf("got %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.Quiet(ctx)
	if ctx.Err() != nil {
		t.Error("a unit that has ended is waited for")
	}
}

func TestWaitForFollowers(t *testing.T) {
	_, cl, c := newClusterServer(t)
	cl.written.Store(1)
	c.want("set k v", "+OK¦")
	c.want("wait 1 0", ":1¦")
	c.want("wait 2 20", ":1¦")
	c.want("waitaof 1 1 0", "*2¦:1¦:1¦")
	go func() {
		cl.written.Store(2)
		close(cl.moved)
	}()
	c.want("wait 2 0", ":2¦")
	other := "n2"
	cl.leader.Store(&other)
	cl.term.Store(0)
	c.want("wait 3 0", "-"+ErrClusterDown+"this node has no proxy¦")
}

// In a later term of the same node the sequence number waited for may be that of another write.
func TestWaitEndsWithItsTerm(t *testing.T) {
	s, cl, c := newClusterServer(t)
	c.want("set k v", "+OK¦")
	go func() {
		for s.clients.blocked.Load() == 0 && t.Context().Err() == nil {
			runtime.Gosched()
		}
		cl.held.Store(8)
		cl.term.Store(8)
		cl.written.Store(1)
		close(cl.moved)
	}()
	c.want("wait 1 0", "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)¦")
}

func TestInfoOfACluster(t *testing.T) {
	_, cl, c := newClusterServer(t)
	c.w.Reset()
	got := c.do("info replication")
	for _, want := range []string{"role:master", "connected_slaves:1", "slave0:ip=10.0.0.2,port=6379,state=online,offset=9,lag=1,id=n2,in_sync=1,records_behind=11,lag_ms=1500",
		"master_repl_offset:10", "cluster_epoch:3", "cluster_isr:me,n2", "min_slaves_good_slaves:1"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %s", want, got)
		}
	}
	other := "n2"
	cl.leader.Store(&other)
	got = c.do("info replication")
	for _, want := range []string{"role:slave", "master_host:10.0.0.2", "master_port:6379", "master_link_status:up"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %s", want, got)
		}
	}
}
