package protocol

import (
	"math/rand/v2"
	"testing"
	"time"
)

// testConfig is that of a small and fast cluster.
func testConfig(node string) Config {
	return Config{
		Node: node, Incarnation: "1", Beacon: 10 * time.Millisecond, Silence: 30 * time.Millisecond,
		Lag: 50 * time.Millisecond, Lease: 45 * time.Millisecond, Grace: 50 * time.Millisecond,
	}
}

// TestGarbage feeds a node what no correct cluster sends: it must not panic, and it must
// keep what it has committed.
func TestGarbage(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		number := func() uint64 { return [...]uint64{0, 1, 2, 3, 5, 8, 1 << 40, ^uint64(0)}[rng.IntN(8)] }
		position := func() Position { return Position{number(), number()} }
		log := func() LogID { return LogID{uint64(rng.IntN(3)), uint32(rng.IntN(2))} }
		name := func() string { return [...]string{"", "a", "b", "c", "d"}[rng.IntN(5)] }
		state := func() State {
			s := State{Epoch: number(), Leader: name(), Incarnation: "1"}
			for range rng.IntN(4) {
				s.ISR = append(s.ISR, Member{name(), log()})
			}
			return s
		}
		n, err := New(0, testConfig("a"), Log{ID: LogID{1, 0}, Base: Position{1, 2}, Epochs: []EpochStart{{1, 3}, {2, 5}}, Last: 8, Committed: 4})
		if err != nil {
			t.Fatal(err)
		}
		committed := uint64(4)
		now := int64(0)
		for range 200 {
			now += rng.Int64N(20 * ms)
			var out []Action
			switch rng.IntN(12) {
			case 0:
				out = n.StateRead(now, state(), int32(rng.IntN(5)))
			case 1:
				out = n.Swapped(now, Result(rng.IntN(6)), int32(rng.IntN(5)))
			case 2:
				out = n.Appended(now, number())
			case 3:
				out = n.Members(now, []string{name(), name()})
			case 4, 5:
				out = n.Tick(now)
			case 6:
				out = n.Disconnected(now, name())
			default:
				m := Message{
					Kind: Kind(rng.IntN(12)), Epoch: number(), Session: number(), At: int64(number()), Seq: number(), Commit: number(),
					Last: position(), Point: position(), Log: log(), Incarnation: "1", Full: rng.IntN(5) == 0, Reply: rng.IntN(2) == 0,
				}
				out = n.Received(now, name(), m)
			}
			for _, a := range out {
				switch {
				case a.Do == SetCommitted && a.Seq < committed, a.Do == Truncate && a.Seq < committed:
					t.Fatalf("seed %d: %s %d after %d was committed", seed, a.Do, a.Seq, committed)
				case a.Do == SetCommitted:
					committed = a.Seq
				}
			}
			n.Status(now)
		}
	}
}

// TestFounder: nobody begins a cluster before its founder was heard, who may bring data.
func TestFounder(t *testing.T) {
	n, err := New(0, testConfig("b"), Log{ID: LogID{2, 0}})
	if err != nil {
		t.Fatal(err)
	}
	founded := State{ISR: []Member{{Node: "a"}}}
	n.StateRead(0, founded, 0)
	now := int64(0)
	claims := func() bool {
		for end := now + 500*ms; now < end; now += 5 * ms {
			for _, a := range n.Tick(now) {
				if a.Do == Claim {
					return true
				}
			}
			n.StateRead(now, founded, 0)
		}
		return false
	}
	answer := func(last Position) {
		n.Received(now, "a", Message{Kind: Standing, Reply: true, At: now, Incarnation: "1", Log: LogID{1, 0}, Last: last})
	}
	if claims() {
		t.Error("it claims before it has heard of the founder")
	}
	answer(Position{0, 5})
	if claims() {
		t.Error("it claims although the founder has data")
	}
	answer(Position{})
	if !claims() {
		t.Error("it does not claim though it may")
	}
}

// TestReceiving: a stream that takes long for one record is stuck only if nothing comes.
func TestReceiving(t *testing.T) {
	for _, comes := range []bool{false, true} {
		n, err := New(0, testConfig("a"), Log{ID: LogID{1, 0}})
		if err != nil {
			t.Fatal(err)
		}
		n.StateRead(0, State{Epoch: 1, Leader: "b", Incarnation: "1", ISR: []Member{{"b", LogID{2, 0}}, {"a", LogID{1, 0}}}}, 1)
		n.Received(0, "b", Message{Kind: Answer, Epoch: 1, Session: 7, Log: LogID{1, 0}})
		if n.Session() != 7 {
			t.Fatal("no session")
		}
		for now := int64(0); now < 500*ms; now += 10 * ms {
			if comes {
				n.Receiving(now)
			}
			n.Received(now, "b", Message{Kind: Beacon, Epoch: 1, Session: 7, At: now, Seq: 5})
		}
		if (n.Session() == 7) != comes {
			t.Errorf("something comes: %v, session %d", comes, n.Session())
		}
	}
}

func TestHistory(t *testing.T) {
	// ours:   epoch 1: 1-4, 3: 5-9, 6: 10-12
	ours := history{}
	ours.extend(1, 4)
	ours.extend(3, 9)
	ours.extend(6, 11)
	ours.extend(6, 12)
	for _, c := range []struct {
		theirs, point Position
	}{
		{Position{0, 0}, Position{0, 0}},
		{Position{1, 4}, Position{1, 4}},
		{Position{1, 6}, Position{1, 4}}, // more of an epoch than we have
		{Position{2, 8}, Position{1, 4}}, // an epoch that we do not have
		{Position{3, 7}, Position{3, 7}}, // less than we have
		{Position{5, 11}, Position{3, 9}},
		{Position{6, 12}, Position{6, 12}},
		{Position{6, 15}, Position{6, 12}},
		{Position{9, 20}, Position{6, 12}},
	} {
		if got, ok := ours.divergence(c.theirs); !ok || got != c.point {
			t.Errorf("divergence(%v) = %v, %v; want %v", c.theirs, got, ok, c.point)
		}
	}
	if seq, ok := ours.keep(Position{3, 7}); !ok || seq != 7 {
		t.Errorf("keep: %d %v", seq, ok)
	}
	if seq, ok := ours.keep(Position{5, 11}); !ok || seq != 9 {
		t.Errorf("keep: %d %v", seq, ok)
	}
	ours.release(6)
	if ours.base != (Position{3, 6}) || ours.starts[0] != (EpochStart{3, 7}) {
		t.Errorf("released: %+v", ours)
	}
	for _, p := range []Position{{1, 4}, {2, 8}, {3, 5}} {
		if got, ok := ours.divergence(p); ok {
			t.Errorf("divergence(%v) = %v although the log begins behind it", p, got)
		}
	}
	if got, ok := ours.divergence(Position{3, 6}); !ok || got != (Position{3, 6}) {
		t.Errorf("divergence at the base: %v %v", got, ok)
	}
	ours.cut(8)
	if end := ours.end(); end != (Position{3, 8}) {
		t.Errorf("end after the cut: %v", end)
	}
	ours.release(8)
	if end := ours.end(); end != (Position{3, 8}) || len(ours.starts) != 0 {
		t.Errorf("end of an empty log: %v, %v", end, ours.starts)
	}
	ours.extend(3, 10)
	ours.extend(7, 11)
	if p, ok := ours.divergence(Position{4, 30}); !ok || p != (Position{3, 10}) {
		t.Errorf("divergence after an empty log: %v %v", p, ok)
	}
}

func TestConfig(t *testing.T) {
	if err := (Config{}).Validate(); err == nil {
		t.Error("an empty configuration is valid")
	}
	for _, l := range []Log{
		{},
		{ID: LogID{1, 0}, Last: 3},
		{ID: LogID{1, 0}, Last: 3, Epochs: []EpochStart{{2, 1}, {1, 2}}},
		{ID: LogID{1, 0}, Last: 3, Epochs: []EpochStart{{2, 2}}},
		{ID: LogID{1, 0}, Last: 3, Epochs: []EpochStart{{2, 1}, {3, 9}}},
		{ID: LogID{1, 0}, Last: 3, Epochs: []EpochStart{{2, 1}}, Committed: 4},
		{ID: LogID{1, 0}, Base: Position{2, 5}, Last: 4},
	} {
		if _, err := l.history(); err == nil {
			t.Errorf("%+v is valid", l)
		}
	}
}
