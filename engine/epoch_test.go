package engine

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
)

// historyLog is a log of which only the epoch of each record is kept.
type historyLog []uint64

func (h historyLog) table() []Epoch {
	var t epochs
	t.set(nil)
	for i, e := range h {
		t.note(e, uint64(i+1))
	}
	return t.all()
}

// common is what CommonEnd must find: logs that have the same record are the same before it.
func (h historyLog) common(o historyLog) (n int) {
	for n < len(h) && n < len(o) && h[n] == o[n] {
		n++
	}
	return n
}

// TestCommonEnd lets leaders come and go on three logs and compares the tables with the logs.
func TestCommonEnd(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	var logs [3]historyLog
	epoch, leader := uint64(0), 0
	for step := range 5000 {
		switch x := rnd.IntN(10); {
		case x == 0:
			leader = rnd.IntN(3)
			epoch += 1 + rnd.Uint64N(2)
			logs[leader] = append(logs[leader], epoch)
		case x < 5:
			if n := len(logs[leader]); n > 0 && logs[leader][n-1] == epoch {
				logs[leader] = append(logs[leader], epoch)
			}
		default: // a follower is cut and brought up to date, perhaps not all the way
			i := rnd.IntN(3)
			n := logs[i].common(logs[leader])
			to := n + rnd.IntN(len(logs[leader])-n+1)
			logs[i] = append(logs[i][:n:n], logs[leader][n:to]...)
		}
		a, b := logs[rnd.IntN(3)], logs[rnd.IntN(3)]
		got, ok := CommonEnd(a.table(), uint64(len(a)), b.table(), uint64(len(b)))
		if want := a.common(b); !ok || got != uint64(want) {
			t.Fatalf("seed %d, step %d: %d, %v, want %d, of %v and %v", seed, step, got, ok, want, a.table(), b.table())
		}
		if step%250 == 249 {
			logs, epoch = [3]historyLog{}, 0
		}
	}
	if _, ok := CommonEnd([]Epoch{{5, 9}}, 20, []Epoch{{6, 9}}, 20); ok {
		t.Error("tables with nothing in common")
	}
}

// TestEpochsAreBounded: the oldest are forgotten, in memory, in the manifest and after a restart.
func TestEpochsAreBounded(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	db := open(t, o)
	for e := range uint64(maxEpochs + 50) {
		_, err := db.BeginEpoch(e + 1)
		must(t, err)
	}
	for range 3 {
		list := db.Epochs()
		if len(list) != maxEpochs || list[0] != (Epoch{51, 51}) || db.Epoch() != maxEpochs+50 {
			t.Fatalf("%d epochs from %v", len(list), list[0])
		}
		must(t, db.Flush())
		must(t, db.Close())
		db = open(t, o)
	}
}

// TestWaitsOfAFormerLeader: who waits is told at once when leadership is lost, and a number that is used
// again does not pass for the one before.
func TestWaitsOfAFormerLeader(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	o.ExternalCommit = true
	db := open(t, o)
	write := func() uint64 {
		b := db.NewBatch()
		defer b.Release()
		b.Set([]byte("k"), []byte("v"))
		seq, err := db.Apply(b)
		must(t, err)
		return seq
	}
	before, seq := db.Truncations(), write()
	must(t, db.WaitLogged(seq))
	if p := db.LogPositions(); p.Written < seq || p.Err != nil {
		t.Fatalf("%+v", p)
	}
	result := make(chan error)
	go func() { result <- db.Wait(seq) }()
	deposed := errors.New("deposed")
	db.RefuseWaits(deposed)()
	if err := <-result; !errors.Is(err, deposed) {
		t.Fatal(err)
	}
	if err := db.Wait(seq); !errors.Is(err, deposed) {
		t.Fatal(err)
	}
	must(t, db.TruncateAfter(0))
	if err := db.Wait(seq); !errors.Is(err, ErrTruncated) || errors.Is(err, ErrReadOnly) {
		t.Fatal(err)
	}
	db.RefuseWaits(nil)()
	if again := write(); again != seq {
		t.Fatalf("%d again as %d", seq, again)
	}
	db.SetCommitted(seq)
	must(t, db.Wait(seq))
	if db.Truncations() == before {
		t.Fatal("nothing tells that the number has changed hands")
	}
	must(t, db.Close())
	if err := db.WaitLogged(seq + 1); !errors.Is(err, ErrClosed) || errors.Is(err, ErrReadOnly) {
		t.Fatal(err)
	}
}
