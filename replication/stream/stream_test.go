package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/link/linktest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after a minute", what)
		}
	}
}

func openStore(t testing.TB, change func(*engine.Options)) *engine.DB {
	t.Helper()
	o := engine.Options{FS: vfs.NewMem(), ExternalCommit: true, LogSegmentSize: 1 << 20}
	o.MemTableSize, o.Ack, o.LogKeepBytes = 1<<20, wal.AckWritten, 1<<40
	if change != nil {
		change(&o)
	}
	db, err := engine.Open("db", o)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func write(t testing.TB, db *engine.DB, key, value string) uint64 {
	t.Helper()
	b := db.NewBatch()
	defer b.Release()
	b.Set([]byte(key), []byte(value))
	b.Add(1, 1)
	seq, err := db.Apply(b)
	must(t, err)
	return seq
}

// nodes is a network with a leader and a follower.
type nodes struct {
	t testing.TB
	*linktest.Network
}

func newNodes(t testing.TB) *nodes {
	return &nodes{t, linktest.New(t, link.Options{MaxFrame: 64 << 10})}
}

func (n *nodes) connect() (leader, follower *link.Conn, err error) { return n.Connect("follower") }

// stream is a follower that follows.
type stream struct {
	sender   *Sender
	receiver *Receiver
	results  chan error // of both
	cancel   context.CancelFunc
}

// follow connects, resumes and runs both sides.
func (n *nodes) follow(leader, follower *engine.DB, term uint64, o SenderOptions) (*stream, error) {
	lc, fc, err := n.connect()
	if err != nil {
		return nil, err
	}
	type answer struct {
		from uint64
		pin  *wal.Pin
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		from, pin, err := Answer(n.t.Context(), lc, leader, term)
		answers <- answer{from, pin, err}
	}()
	got, err := Resume(n.t.Context(), fc, follower, 0)
	if err != nil {
		_ = fc.Close("")
	}
	a := <-answers
	if a.pin != nil {
		n.t.Cleanup(a.pin.Close)
	}
	if err != nil || a.err != nil {
		_ = fc.Close("")
		_ = lc.Close("")
		return nil, errors.Join(err, a.err)
	}
	if got != term || a.from != follower.Last()+1 {
		n.t.Fatalf("term %d, from %d after %d", got, a.from, follower.Last())
	}
	o.Pin = a.pin
	s := &stream{results: make(chan error, 2), receiver: NewReceiver(follower, fc, term, ReceiverOptions{})}
	s.sender, err = NewSender(leader, lc, term, a.from, o)
	must(n.t, err)
	ctx, cancel := context.WithCancel(n.t.Context())
	s.cancel = cancel
	go func() { s.results <- s.sender.Run(ctx) }()
	go func() { s.results <- s.receiver.Run(ctx) }()
	return s, nil
}

func (s *stream) stop() (errs []error) {
	s.cancel()
	return []error{<-s.results, <-s.results}
}

// sameStores compares all that two stores hold, at their last positions.
func sameStores(t testing.TB, a, b *engine.DB) {
	t.Helper()
	x, y := a.NewIter(engine.IterOptions{Latest: true}), b.NewIter(engine.IterOptions{Latest: true})
	n := 0
	for ok, ok2 := x.First(), y.First(); ok || ok2; ok, ok2 = x.Next(), y.Next() {
		if ok != ok2 || !bytes.Equal(x.Key(), y.Key()) || !bytes.Equal(x.Value(), y.Value()) {
			t.Fatalf("after %d keys: %v %v", n, ok, ok2)
		}
		n++
	}
	must(t, errors.Join(x.Error(), y.Error(), x.Close(), y.Close()))
	if a.Counter(1) != b.Counter(1) || a.Last() != b.Last() || fmt.Sprint(a.Epochs()) != fmt.Sprint(b.Epochs()) {
		t.Fatalf("counters %d %d, last %d %d, epochs %v %v", a.Counter(1), b.Counter(1), a.Last(), b.Last(), a.Epochs(), b.Epochs())
	}
}

// TestFollow: what many writers write arrives, large records too, while segments rotate and memtables are flushed;
// positions come back, and the committed position arrives also when nothing is written any more.
func TestFollow(t *testing.T) {
	for _, ack := range []wal.Ack{wal.AckWritten, wal.AckSynced} {
		t.Run(ack.String(), func(t *testing.T) {
			set := func(o *engine.Options) { o.Ack, o.SyncInterval = ack, 5*time.Millisecond }
			leader, follower, n := openStore(t, set), openStore(t, set), newNodes(t)
			_, err := leader.BeginEpoch(3)
			must(t, err)
			var s *stream
			ready := make(chan struct{})
			s, err = n.follow(leader, follower, 3, SenderOptions{Acked: func(a Ack) {
				<-ready
				s.sender.SetCommitted(a.Written)
				leader.SetCommitted(a.Written)
			}})
			must(t, err)
			close(ready)
			var writers sync.WaitGroup
			for w := range 4 {
				writers.Go(func() {
					for i := range 500 {
						size := 100
						if i%100 == 7 {
							size = 300 << 10
						}
						seq := write(t, leader, fmt.Sprintf("%d-%d", w, i), fmt.Sprintf("%*d", size, i))
						if i%5 == 0 {
							must(t, leader.Wait(seq))
						}
					}
				})
			}
			writers.Wait()
			last := leader.Last()
			must(t, leader.Wait(last))
			eventually(t, "the follower is synced", func() bool { return s.sender.Progress().Acked.Synced == last })
			eventually(t, "the follower knows what is committed", func() bool { return follower.Committed() == last })
			if p := s.sender.Progress(); p.InFlight != 0 || p.Sent != last || s.receiver.Committed() != last {
				t.Errorf("%+v, %d", p, s.receiver.Committed())
			}
			for _, err := range s.stop() {
				if !errors.Is(err, context.Canceled) && !errors.Is(err, link.ErrClosed) {
					t.Error(err)
				}
			}
			sameStores(t, leader, follower)
		})
	}
}

// TestCuts breaks the connection after any number of bytes, again and again, while the leader writes.
func TestCuts(t *testing.T) {
	leader, follower, n := openStore(t, nil), openStore(t, nil), newNodes(t)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			size := 10
			if i%20 == 0 {
				size = 100 << 10
			}
			seq := write(t, leader, fmt.Sprint(i%1000), fmt.Sprintf("%*d", size, i))
			must(t, leader.WaitLogged(seq))
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	})
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	broken := 0
	for cut := int64(0); cut < 120; cut++ {
		n.CutAfter(cut*9 + rnd.Int64N(1<<(4+cut%16)))
		s, err := n.follow(leader, follower, 0, SenderOptions{Window: 200 << 10})
		if err != nil {
			continue
		}
		broken++
		<-s.results
		s.cancel()
		<-s.results
	}
	close(stop)
	writer.Wait()
	n.CutAfter(-1)
	s, err := n.follow(leader, follower, 0, SenderOptions{})
	must(t, err)
	eventually(t, "the follower is there", func() bool { return s.sender.Progress().Acked.Written == leader.Last() })
	s.stop()
	sameStores(t, leader, follower)
	if broken < 20 {
		t.Errorf("only %d of the connections got as far as the stream", broken)
	}
}

// TestWindow: a follower that takes everything and acknowledges nothing gets no more than the window, and
// another one is not held back.
func TestWindow(t *testing.T) {
	leader, n := openStore(t, nil), newNodes(t)
	lc, fc, err := n.connect()
	must(t, err)
	var got atomic.Int64
	go func() {
		for {
			_, b, err := fc.Receive()
			if err != nil {
				return
			}
			got.Add(int64(len(b)))
		}
	}()
	const window = 100 << 10
	slow, err := NewSender(leader, lc, 0, 1, SenderOptions{Window: window})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- slow.Run(ctx) }()
	follower := openStore(t, nil)
	s, err := n.follow(leader, follower, 0, SenderOptions{})
	must(t, err)
	for i := range 3000 {
		write(t, leader, fmt.Sprint(i), fmt.Sprintf("%1000d", i))
	}
	eventually(t, "the other follower is there", func() bool { return s.sender.Progress().Acked.Written == leader.Last() })
	eventually(t, "the window is full", func() bool { return slow.Progress().InFlight >= window })
	if p := slow.Progress(); p.InFlight > window+64<<10 || got.Load() > window+64<<10 {
		t.Errorf("%d in flight, %d arrived", p.InFlight, got.Load())
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.stop()
}

// TestRejoin: a former leader whose log went on drops what the new one does not have, and only that.
func TestRejoin(t *testing.T) {
	a, b, n := openStore(t, nil), openStore(t, nil), newNodes(t)
	_, err := a.BeginEpoch(1)
	must(t, err)
	for i := range 100 {
		write(t, a, fmt.Sprint(i), "both")
	}
	s, err := n.follow(a, b, 1, SenderOptions{})
	must(t, err)
	common := a.Last()
	eventually(t, "b has it", func() bool { return b.LogPositions().Written == common })
	s.stop()
	a.SetCommitted(common)
	for i := range 50 {
		write(t, a, fmt.Sprint(i), "only the old leader")
	}
	_, err = b.BeginEpoch(2)
	must(t, err)
	for i := range 10 {
		write(t, b, fmt.Sprint(i), "the new leader")
	}
	cuts := a.Truncations()
	s, err = n.follow(b, a, 2, SenderOptions{})
	must(t, err)
	if a.Truncations() == cuts {
		t.Error("nothing was dropped")
	}
	eventually(t, "a has it", func() bool { return s.sender.Progress().Acked.Written == b.Last() })
	s.stop()
	sameStores(t, a, b)
}

// TestRefusals: who can not follow is told why, and keeps what he has.
func TestRefusals(t *testing.T) {
	n := newNodes(t)
	released := openStore(t, func(o *engine.Options) { o.LogKeepBytes, o.LogSegmentSize = 0, 4<<10 })
	for i := range 3000 {
		write(t, released, fmt.Sprint(i), fmt.Sprintf("%100d", i))
	}
	released.SetCommitted(released.Last())
	must(t, released.Flush())
	if _, err := n.follow(released, openStore(t, nil), 0, SenderOptions{}); !errors.Is(err, ErrFullSync) {
		t.Errorf("the log is gone: %v", err)
	}

	a, b := openStore(t, nil), openStore(t, nil)
	write(t, a, "x", "a")
	_, err := b.BeginEpoch(1)
	must(t, err)
	a.SetCommitted(a.Last())
	if _, err := n.follow(b, a, 1, SenderOptions{}); !errors.Is(err, ErrDiverged) || a.Last() != 2 {
		t.Errorf("committed elsewhere: %v, %d", err, a.Last())
	}

	lc, fc, err := n.connect()
	must(t, err)
	go func() { _, _ = Resume(t.Context(), fc, b, 9) }()
	if _, _, err := Answer(t.Context(), lc, a, 8); !errors.Is(err, ErrTerm) {
		t.Errorf("a leader of old: %v", err)
	}
	must(t, errors.Join(lc.Close(""), fc.Close("")))
}

// TestHostileFrames: no frame makes the receiver apply something that is not the next record, or panic.
func TestHostileFrames(t *testing.T) {
	rec := func(r wal.Record) []byte {
		return append(appendRecordHeader(appendBatchHeader(nil, 5, 0), r), r.Payload...)
	}
	one := wal.Record{Epoch: 1, Seq: 1, Count: 1, Payload: []byte{0, 1, 'a'}}
	late, long := one, one
	late.Seq = 9
	cut := rec(one)
	for name, frames := range map[string][]struct {
		typ byte
		b   []byte
	}{
		"term":        {{frameRecords, appendBatchHeader(nil, 4, 0)}},
		"short":       {{frameRecords, []byte{1}}},
		"gap":         {{frameRecords, rec(late)}},
		"cut":         {{frameRecords, cut[:len(cut)-1]}},
		"no record":   {{frameRecords, append(appendBatchHeader(nil, 5, 0), 1, 2, 3)}},
		"piece":       {{framePiece, binary.LittleEndian.AppendUint64(nil, 5)}},
		"ack":         {{frameAck, make([]byte, ackSize)}},
		"whole large": {{frameLarge, rec(long)}},
		"long piece":  {{frameLarge, cut[:len(cut)-1]}, {framePiece, append(binary.LittleEndian.AppendUint64(nil, 5), 1, 2)}},
		"no piece":    {{frameLarge, cut[:len(cut)-1]}, {frameRecords, rec(one)}},
	} {
		t.Run(name, func(t *testing.T) {
			n, db := newNodes(t), openStore(t, nil)
			lc, fc, err := n.connect()
			must(t, err)
			done := make(chan error, 1)
			go func() { done <- NewReceiver(db, fc, 5, ReceiverOptions{}).Run(t.Context()) }()
			for _, f := range frames {
				must(t, lc.Send(f.typ, f.b))
			}
			if err := <-done; !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrTerm) && !errors.Is(err, wal.ErrNotNext) {
				t.Error(err)
			}
			if db.Last() != 0 {
				t.Errorf("something was applied: %d", db.Last())
			}
			must(t, lc.Close(""))
		})
	}
}

// TestOnlyWhatIsWrittenIsAcknowledged: while the disk takes nothing, more is applied but no position moves.
func TestOnlyWhatIsWrittenIsAcknowledged(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem(), nil)
	db := openStore(t, func(o *engine.Options) { o.FS = fault })
	r := &Receiver{db: db}
	must(t, db.ApplyRecord(wal.Record{Seq: 1, Count: 1, Payload: []byte{0, 1, 'a'}}))
	must(t, db.WaitLogged(1))
	r.arrived.Store(1)
	if a := r.position(); a != (Ack{Written: 1}) {
		t.Fatalf("%+v", a)
	}
	hold := make(chan struct{})
	fault.SetPolicy(func(c vfs.Call) error {
		if c.Op == vfs.OpWrite {
			<-hold
		}
		return nil
	})
	must(t, db.ApplyRecord(wal.Record{Seq: 2, Count: 1, Payload: []byte{0, 1, 'a'}}))
	r.arrived.Store(2)
	if a := r.position(); a != (Ack{Written: 1}) {
		t.Errorf("acknowledged %+v, which is in memory only", a)
	}
	close(hold)
	must(t, db.WaitLogged(2))
	must(t, db.Sync())
	if a := r.position(); a != (Ack{Written: 2, Synced: 2}) {
		t.Errorf("%+v", a)
	}
}

func FuzzFormat(f *testing.F) {
	r := wal.Record{Epoch: 1, Seq: 2, Count: 3, Time: -4, Payload: []byte("abc")}
	f.Add(append(appendRecordHeader(nil, r), r.Payload...))
	f.Add(state{term: 1, last: 2, committed: 1, epochs: []engine.Epoch{{Number: 0, First: 1}}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeState(b); err == nil && !bytes.Equal(s.encode(), b) {
			t.Fatalf("%+v", s)
		}
		if term, a, err := decodeAck(b); err == nil && !bytes.Equal(encodeAck(new([ackSize]byte), term, a), b) {
			t.Fatalf("%+v", a)
		}
		var again []byte
		for list := b; len(list) > 0; {
			r, length, rest, err := cutRecord(list)
			if err != nil || length != len(r.Payload) {
				return
			}
			again = append(appendRecordHeader(again, r), r.Payload...)
			list = rest
		}
		if !bytes.Equal(again, b) {
			t.Fatal("the records are not those that came")
		}
	})
}

// fillLog writes records of 128 bytes on the real file system.
func fillLog(b *testing.B, n int) *engine.DB {
	db := openStore(b, func(o *engine.Options) {
		o.FS, o.MemTableSize, o.LogSegmentSize = vfs.OS, 1<<28, 64<<20
	})
	value := string(make([]byte, 100))
	for i := range n {
		write(b, db, fmt.Sprintf("key:%012d", i*7919%n), value)
	}
	must(b, db.WaitLogged(db.Last()))
	return db
}

// BenchmarkShip sends a log that is there: to a peer that only acknowledges, and to a real follower.
func BenchmarkShip(b *testing.B) {
	b.Chdir(b.TempDir())
	const records = 500_000
	leader := fillLog(b, records)
	b.Run("sender", func(b *testing.B) {
		for b.Loop() {
			n := newNodes(b)
			n.Direct = true
			lc, fc, err := n.connect()
			must(b, err)
			s, err := NewSender(leader, lc, 0, 1, SenderOptions{})
			must(b, err)
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error)
			go func() { done <- s.Run(ctx) }()
			var ack [ackSize]byte
			for last := uint64(0); last < leader.Last(); {
				_, p, err := fc.Receive()
				must(b, err)
				for list := p[batchHeader:]; len(list) > 0; {
					r, _, rest, err := cutRecord(list)
					must(b, err)
					last, list = r.Last(), rest
				}
				must(b, fc.Send(frameAck, encodeAck(&ack, 0, Ack{Written: last})))
			}
			cancel()
			<-done
			_ = fc.Close("")
		}
		b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("follower", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			n := newNodes(b)
			n.Direct = true
			follower := openStoreIn(b, fmt.Sprintf("follower%d", i))
			s, err := n.follow(leader, follower, 0, SenderOptions{})
			must(b, err)
			eventually(b, "all is there", func() bool { return s.sender.Progress().Acked.Written == leader.Last() })
			s.stop()
		}
		b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
}

func openStoreIn(t testing.TB, dir string) *engine.DB {
	o := engine.Options{ExternalCommit: true}
	o.MemTableSize, o.Ack = 1<<28, wal.AckWritten
	db, err := engine.Open(dir, o)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// BenchmarkLatency is one write at a time, until the follower has written it and the leader knows.
func BenchmarkLatency(b *testing.B) {
	b.Chdir(b.TempDir())
	leader, follower, n := openStoreIn(b, "leader"), openStoreIn(b, "follower"), newNodes(b)
	n.Direct = true
	s, err := n.follow(leader, follower, 0, SenderOptions{Acked: func(a Ack) { leader.SetCommitted(a.Written) }})
	must(b, err)
	value := string(make([]byte, 100))
	for b.Loop() {
		must(b, leader.Wait(write(b, leader, "k", value)))
	}
	s.stop()
}

// TestWrittenBeforeApplied: the log may be written by others before Apply returns; what is there is acknowledged all the same.
func TestWrittenBeforeApplied(t *testing.T) {
	n := newNodes(t)
	leader := openStore(t, nil)
	follower := openStore(t, func(o *engine.Options) { o.ExternalCommit = true })
	lc, fc, err := n.connect()
	must(t, err)
	r := NewReceiver(follower, fc, 1, ReceiverOptions{Apply: func(list []wal.Record, committed uint64) error {
		for _, rec := range list {
			if err := follower.ApplyRecord(rec); err != nil {
				return err
			}
			if err := follower.WaitLogged(rec.Last()); err != nil {
				return err
			}
		}
		return nil
	}})
	s, err := NewSender(leader, lc, 1, 1, SenderOptions{})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- s.Run(ctx) }()
	go func() { ended <- r.Run(ctx) }()
	seq := write(t, leader, "a", "b")
	eventually(t, "acknowledged", func() bool { return s.Progress().Acked.Written >= seq })
	cancel()
	<-ended
	<-ended
}
