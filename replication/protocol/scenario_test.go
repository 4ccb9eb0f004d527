package protocol

import (
	"testing"
	"time"
)

// quiet returns a cluster without faults that has a leader, and all nodes in sync.
func quiet(t *testing.T, nodes int, settings Settings) *world {
	t.Helper()
	w := newWorld()
	w.custom = func(s *scenario) {
		cfg := s.cfg
		cfg.Settings = settings
		*s = scenario{nodes: nodes, cfg: cfg, length: 1 << 60, gap: 1000 * ms, writeGap: 2 * ms, readGap: 2 * ms}
	}
	w.begin(1)
	w.until(t, "all in sync", 300*ms, func() bool { return len(w.zk.state.ISR) == nodes && w.check.acknowledged > 0 })
	return w
}

// until runs until something holds, for at most limit, and returns how long it took.
func (w *world) until(t *testing.T, what string, limit int64, holds func() bool) int64 {
	t.Helper()
	start := w.now
	for !holds() {
		if w.step(); w.fail != nil {
			t.Fatal(w.fail)
		}
		if w.now-start > limit {
			t.Fatalf("%s: not within %v; state %+v", what, time.Duration(limit), w.zk.state)
		}
	}
	return w.now - start
}

// writes returns a condition: so many more writes were acknowledged.
func (w *world) writes(more int) func() bool {
	want := w.check.acknowledged + more
	return func() bool { return w.check.acknowledged >= want }
}

func (w *world) leader() *simNode { return w.nodes[w.index(w.zk.state.Leader)] }

func (w *world) pass(t *testing.T, d int64) {
	t.Helper()
	end := w.now + d
	w.until(t, "time passes", d+50*ms, func() bool { return w.now >= end })
}

func TestFailover(t *testing.T) {
	for _, synced := range []bool{false, true} {
		w := quiet(t, 3, Settings{MinReplicas: 1, AckSynced: synced})
		w.leader().kill()
		took := w.until(t, "a new leader acknowledges", 120*ms, w.writes(1))
		t.Logf("synced %v: %v after the leader's death, grace %v", synced, time.Duration(took), w.set.cfg.Grace)
		if len(w.zk.state.ISR) != 2 {
			t.Errorf("the live follower is not in the new ISR: %+v", w.zk.state)
		}
	}
}

func TestFollowerDies(t *testing.T) {
	w := quiet(t, 3, Settings{MinReplicas: 1})
	old := w.leader()
	w.nodes[(old.id+1)%3].kill()
	took := w.until(t, "writes go on", 60*ms, w.writes(10))
	t.Logf("ten writes %v after the follower's death, silence %v", time.Duration(took), w.set.cfg.Silence)
	if w.leader() != old || !old.serves() {
		t.Errorf("leadership moved: %+v", w.zk.state)
	}
}

func TestHandover(t *testing.T) {
	w := quiet(t, 3, Settings{MinReplicas: 1})
	old := w.leader()
	old.shutdown()
	took := w.until(t, "a new leader acknowledges", int64(w.set.cfg.Grace), func() bool { return w.leader() != old && w.leader().serves() })
	t.Logf("handed over in %v, grace %v", time.Duration(took), w.set.cfg.Grace)
	if len(w.zk.state.ISR) != 2 {
		t.Errorf("the other follower is not in the new ISR: %+v", w.zk.state)
	}
	w.until(t, "it has left, and came back", 300*ms, func() bool { return len(w.zk.state.ISR) == 3 })
}

func TestFollowerLeaves(t *testing.T) {
	w := quiet(t, 3, Settings{})
	old := w.leader()
	n := w.nodes[(old.id+1)%3]
	n.removed = true
	n.shutdown()
	took := w.until(t, "it has left", int64(w.set.cfg.Silence), func() bool { return !n.up })
	if _, member := w.zk.state.member(n.name); member {
		t.Errorf("it left while in the ISR")
	}
	t.Logf("left in %v", time.Duration(took))
	w.until(t, "writes go on", 20*ms, w.writes(3))
}

// TestKeeperDown loses ZooKeeper: as long as the ISR is whole, nothing happens.
func TestKeeperDown(t *testing.T) {
	w := quiet(t, 3, Settings{MinReplicas: 2})
	old, version := w.leader(), w.zk.version
	for i := range w.zk.down {
		w.zk.down[i] = 1 << 60
	}
	for range 20 {
		w.until(t, "writes go on", 40*ms, w.writes(1))
		w.pass(t, 50*ms)
		if !old.serves() {
			t.Fatal("the leader does not serve")
		}
	}
	if w.zk.version != version {
		t.Errorf("the state changed: %+v", w.zk.state)
	}
}

// TestAllLeave shuts all nodes down, the followers just when the leader has asked one of them to claim: nobody waits for
// anybody who will not answer.
func TestAllLeave(t *testing.T) {
	w := quiet(t, 3, Settings{})
	old := w.leader()
	for _, n := range w.nodes {
		n.removed = true
	}
	old.shutdown()
	w.until(t, "it has resigned", 50*ms, func() bool { return old.core.role == Resigned })
	for _, n := range w.nodes {
		if n != old {
			n.shutdown()
		}
	}
	took := w.until(t, "all have left", 40*ms, func() bool {
		return !w.nodes[0].up && !w.nodes[1].up && !w.nodes[2].up
	})
	t.Logf("all left in %v", time.Duration(took))
}

// TestLeaveWithoutLeader shuts a follower down whose leader has died, with nobody else to take over.
func TestLeaveWithoutLeader(t *testing.T) {
	w := quiet(t, 2, Settings{})
	old := w.leader()
	old.kill()
	n := w.nodes[1-old.id]
	n.removed = true
	n.run(n.core.Shutdown(n.clock(), time.Minute))
	w.until(t, "it has left", 4*int64(w.set.cfg.Grace), func() bool { return !n.up })
}

// TestBrokenDisk has a leader leave whose disk hangs: another node leads at once, and both followers stay in sync.
func TestBrokenDisk(t *testing.T) {
	w := quiet(t, 3, Settings{MinReplicas: 1})
	old := w.leader()
	old.removed, old.stalledUntil = true, 1<<60
	w.until(t, "it appends what it does not write", 20*ms, func() bool { return len(old.io) > 0 })
	old.run(old.core.Shutdown(old.clock(), 0))
	took := w.until(t, "a new leader acknowledges", int64(w.set.cfg.Grace), func() bool { return w.leader() != old && w.leader().serves() })
	t.Logf("another node leads after %v", time.Duration(took))
	if len(w.zk.state.ISR) != 2 || old.up {
		t.Errorf("it is up: %v, state %+v", old.up, w.zk.state)
	}
}

// TestBrokenDiskDeposed: a leader that was deposed leaves in time, though its disk never says that it has stopped.
func TestBrokenDiskDeposed(t *testing.T) {
	w := quiet(t, 3, Settings{})
	old := w.leader()
	old.removed, old.stalledUntil = true, 1<<60
	w.until(t, "it appends what it does not write", 20*ms, func() bool { return len(old.io) > 0 })
	old.pausedUntil = w.now + 200*ms
	w.until(t, "another node leads, and it knows", 400*ms, func() bool { return old.core.role == Stopping })
	old.run(old.core.Shutdown(old.clock(), 50*time.Millisecond))
	w.until(t, "it has left", 70*ms, func() bool { return !old.up })
}

// TestRollingRestart restarts each node in turn, the leader included.
func TestRollingRestart(t *testing.T) {
	w := quiet(t, 3, Settings{MinReplicas: 1})
	for _, n := range w.nodes {
		n.shutdown()
		w.until(t, "it left", 100*ms, func() bool { return !n.up })
		w.until(t, "it is back in sync", 300*ms, func() bool {
			_, member := w.zk.state.member(n.name)
			return n.up && member
		})
	}
}

func TestAllDown(t *testing.T) {
	for _, power := range []bool{false, true} {
		w := quiet(t, 3, Settings{MinReplicas: 1})
		for _, n := range w.nodes {
			if power {
				n.losePower()
			} else {
				n.kill()
			}
			w.post(w.between(0, 30*ms), event{kind: evStart, node: n.id})
		}
		took := w.until(t, "writes go on", 200*ms, w.writes(1))
		t.Logf("power failure %v: writes after %v", power, time.Duration(took))
		w.until(t, "all in sync", 300*ms, func() bool { return len(w.zk.state.ISR) == 3 })
	}
}

// TestWiped gives the only node in sync an empty disk: nobody may lead until a human says so.
func TestWiped(t *testing.T) {
	w := quiet(t, 2, Settings{})
	last := w.leader()
	other := w.nodes[1-last.id]
	other.kill()
	w.until(t, "one in sync", 100*ms, func() bool { return len(w.zk.state.ISR) == 1 })
	w.until(t, "writes alone", 60*ms, w.writes(5))
	last.kill()
	last.replaceDisk()
	w.post(0, event{kind: evStart, node: 0})
	w.post(0, event{kind: evStart, node: 1})
	epoch := w.zk.state.Epoch
	w.pass(t, 500*ms)
	if w.zk.state.Epoch != epoch {
		t.Fatalf("somebody claimed: %+v", w.zk.state)
	}
	if s := other.core.Status(other.clock()); s.InSync || len(s.Missing) != 0 || s.Leader != last.name {
		t.Errorf("status: %+v", s)
	}
	w.check.blocked = true
	w.force()
	w.until(t, "writes go on", 100*ms, w.writes(1))
	if w.leader() != other {
		t.Errorf("the empty node leads")
	}
}

// TestStateLost empties ZooKeeper: nodes with data do not begin a new cluster.
func TestStateLost(t *testing.T) {
	w := quiet(t, 2, Settings{})
	for _, n := range w.nodes {
		n.kill()
		w.post(0, event{kind: evStart, node: n.id})
	}
	w.zk.reset(w)
	w.pass(t, 500*ms)
	if w.zk.version != -1 {
		t.Fatalf("somebody claimed: %+v", w.zk.state)
	}
	if s := w.nodes[0].core.Status(w.nodes[0].clock()); !s.StateLost {
		t.Errorf("status: %+v", s)
	}
}

// TestNoReplicas asks for more replicas than there are: reads go on, writes wait.
func TestNoReplicas(t *testing.T) {
	w := quiet(t, 2, Settings{MinReplicas: 1})
	n := w.leader()
	w.nodes[1-n.id].kill()
	w.until(t, "no writes are taken", 100*ms, func() bool { return !n.writable })
	if !n.serves() {
		t.Error("reads are not served")
	}
	before := w.check.acknowledged
	w.pass(t, 200*ms)
	if w.check.acknowledged != before {
		t.Error("writes were acknowledged")
	}
	w.set.cfg.MinReplicas = 0
	n.run(n.core.SetSettings(n.clock(), Settings{}))
	w.until(t, "writes go on", 20*ms, w.writes(3))
}

// TestFirstStart begins a cluster of nodes of which one has data from a life
// without a cluster.
func TestFirstStart(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld()
		w.custom = func(s *scenario) {
			*s = scenario{nodes: 3, cfg: s.cfg, length: 1 << 60, gap: 1000 * ms, writeGap: 2 * ms, readGap: 2 * ms}
			s.cfg.Settings = Settings{}
		}
		w.begin(seed)
		n := w.nodes[seed%3]
		for range 5 {
			n.log = append(n.log, w.newRecord(0, 0))
		}
		n.synced, n.flushed = 5, 5
		w.check.committed = append(w.check.committed, n.log...)
		w.until(t, "all in sync", 300*ms, func() bool { return len(w.zk.state.ISR) == 3 })
		if w.leader() != n {
			t.Errorf("seed %d: %s leads, %s has the data", seed, w.leader().name, n.name)
		}
	}
}

// hotCore returns a leader with two followers in sync.
func hotCore(tb testing.TB) (n *Node, seq uint64, sessions [2]uint64) {
	cfg := Config{
		Node: "a", Incarnation: "1", Beacon: 100 * time.Millisecond, Silence: 600 * time.Millisecond,
		Lag: time.Second, Lease: time.Second, Grace: 1200 * time.Millisecond,
	}
	n, err := New(0, cfg, Log{ID: LogID{Lineage: 1}})
	if err != nil {
		tb.Fatal(err)
	}
	n.Members(0, []string{"a", "b", "c"})
	n.StateRead(0, State{}, -1)
	n.Tick(2e9)
	n.Swapped(2e9, Applied, 0)
	n.Appended(2e9, 1)
	for i, f := range []string{"b", "c"} {
		for _, a := range n.Received(2e9, f, Message{Kind: Join, Epoch: 1, Log: LogID{Lineage: uint64(i) + 2}}) {
			if a.Do == Stream {
				sessions[i] = a.Session
			}
		}
		n.Received(2e9, f, Message{Kind: Ack, Epoch: 1, Session: sessions[i], Seq: 1, At: 2e9})
	}
	for version := range int32(2) {
		n.Tick(2.05e9)
		n.Swapped(2.05e9, Applied, version+1)
	}
	if s := n.Status(2.05e9); len(s.ISR) != 3 || !s.Serving {
		tb.Fatalf("%+v", s)
	}
	return n, 1, sessions
}

func TestHotPathAllocates(t *testing.T) {
	n, seq, sessions := hotCore(t)
	committed := uint64(0)
	allocs := testing.AllocsPerRun(1000, func() {
		seq += 10
		n.Appended(2.1e9, seq)
		n.Received(2.1e9, "b", Message{Kind: Ack, Epoch: 1, Session: sessions[0], Seq: seq, At: NoBeacon})
		for _, a := range n.Received(2.1e9, "c", Message{Kind: Ack, Epoch: 1, Session: sessions[1], Seq: seq, At: NoBeacon}) {
			if a.Do == SetCommitted {
				committed = a.Seq
			}
		}
	})
	if allocs != 0 || committed != seq {
		t.Errorf("%v allocations, %d of %d committed", allocs, committed, seq)
	}
}

func BenchmarkCommit(b *testing.B) {
	n, seq, sessions := hotCore(b)
	b.ReportAllocs()
	for b.Loop() {
		seq += 10
		n.Appended(2.1e9, seq)
		n.Received(2.1e9, "b", Message{Kind: Ack, Epoch: 1, Session: sessions[0], Seq: seq, At: NoBeacon})
		n.Received(2.1e9, "c", Message{Kind: Ack, Epoch: 1, Session: sessions[1], Seq: seq, At: NoBeacon})
	}
}
