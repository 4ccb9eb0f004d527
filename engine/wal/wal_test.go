package wal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error %v, want %v", got, want)
	}
}

// open opens a log and returns what it replayed.
func open(t testing.TB, o Options, after uint64) (*Log, []Record) {
	t.Helper()
	o.Dir = "/log"
	var got []Record
	l, err := Open(o, after, func(r Record) error {
		r.Payload = bytes.Clone(r.Payload)
		got = append(got, r)
		return nil
	})
	must(t, err)
	return l, got
}

func openErr(t testing.TB, o Options, after uint64) error {
	t.Helper()
	o.Dir = "/log"
	l, err := Open(o, after, func(Record) error { return nil })
	if err == nil {
		must(t, l.Close())
		t.Fatal("opened")
	}
	return err
}

// record makes a record whose content follows from its number.
func record(seq uint64, count uint32, size int) Record {
	p := make([]byte, size)
	rnd := rand.New(rand.NewPCG(seq, 1))
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return Record{Epoch: seq / 10, Seq: seq, Count: count, Time: int64(seq) * 1000, Payload: p}
}

func add(t testing.TB, l *Log, r Record) {
	t.Helper()
	first, err := l.Append(r.Epoch, r.Count, r.Time, r.Payload)
	must(t, err)
	if first != r.Seq {
		t.Fatalf("sequence number %d, want %d", first, r.Seq)
	}
}

func wantRecords(t testing.TB, got, want []Record) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		wantRecord(t, got[i], want[i])
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
}

func wantRecord(t testing.TB, got, want Record) {
	t.Helper()
	if got.Epoch != want.Epoch || got.Seq != want.Seq || got.Count != want.Count || got.Time != want.Time ||
		!bytes.Equal(got.Payload, want.Payload) {
		t.Fatalf("record %d+%d epoch %d of %d bytes differs from %d+%d epoch %d of %d bytes",
			got.Seq, got.Count, got.Epoch, len(got.Payload), want.Seq, want.Count, want.Epoch, len(want.Payload))
	}
}

// eventually polls a condition that background work makes true.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

var allAcks = []Ack{AckSynced, AckWritten, AckBuffered}

func TestReopen(t *testing.T) {
	for _, ack := range allAcks {
		t.Run(ack.String(), func(t *testing.T) {
			o := Options{FS: vfs.NewMem(), Ack: ack, SegmentSize: 4096}
			var want []Record
			seq := uint64(1)
			for round := range 5 {
				l, got := open(t, o, 0)
				wantRecords(t, got, want)
				if l.Last() != seq-1 || l.Acked() != seq-1 {
					t.Fatalf("last %d, acked %d, want %d", l.Last(), l.Acked(), seq-1)
				}
				for i := range 20 * round {
					r := record(seq, uint32(1+i%3), i*10)
					add(t, l, r)
					want = append(want, r)
					seq = r.Last() + 1
					must(t, l.Wait(r.Last()))
				}
				must(t, l.Close())
				must(t, l.Close())
			}
			_, err := Check(o.FS, "/log", 0)
			must(t, err)
		})
	}
}

func TestReplayAfter(t *testing.T) {
	o := Options{FS: vfs.NewMem(), SegmentSize: 2048}
	l, _ := open(t, o, 0)
	var want []Record
	for seq := uint64(1); seq < 100; seq += 3 {
		r := record(seq, 3, 100)
		add(t, l, r)
		want = append(want, r)
	}
	must(t, l.Close())
	l, got := open(t, o, 50) // inside of the record 49..51
	wantRecords(t, got, want[16:])
	must(t, l.Close())
	l, got = open(t, o, 99)
	wantRecords(t, got, nil)
	must(t, l.Close())
	l, got = open(t, o, 200) // the caller has more: begin behind it
	wantRecords(t, got, nil)
	if first, err := l.Append(1, 1, 1, nil); first != 201 || err != nil {
		t.Fatalf("first %d, %v", first, err)
	}
	must(t, l.Close())
	l, got = open(t, o, 200)
	if len(got) != 1 || got[0].Seq != 201 {
		t.Fatalf("replayed %v", got)
	}
	must(t, l.Close())
	wantErr(t, openErr(t, o, 0), base.ErrCorrupt)
}

func TestAppendErrors(t *testing.T) {
	l, _ := open(t, Options{FS: vfs.NewMem()}, 0)
	if _, err := l.Append(1, 0, 1, nil); err == nil {
		t.Fatal("appended a record of no operations")
	}
	add(t, l, record(1, 4, 10))
	wantErr(t, l.AppendAt(record(4, 1, 10)), ErrNotNext)
	wantErr(t, l.AppendAt(record(6, 1, 10)), ErrNotNext)
	wantErr(t, l.AppendAt(record(0, 1, 10)), ErrNotNext)
	must(t, l.AppendAt(record(5, 1, 10)))
	wantErr(t, l.Wait(6), ErrTruncated)
	must(t, l.Wait(5))
	must(t, l.Close())
	must(t, l.Wait(5))
	wantErr(t, l.Wait(6), ErrClosed)
	wantErr(t, l.Sync(), ErrClosed)
	wantErr(t, l.AppendAt(record(6, 1, 10)), ErrClosed)
	wantErr(t, l.TruncateAfter(1), ErrClosed)
	_, err := l.NewReader(1)
	wantErr(t, err, ErrClosed)
	l.Release(5)
	l.SetAck(AckWritten)
}

func TestUnwaitedRecordsAreWritten(t *testing.T) {
	for _, ack := range allAcks {
		l, _ := open(t, Options{FS: vfs.NewMem(), Ack: ack}, 0)
		add(t, l, record(1, 1, 10))
		eventually(t, "written", func() bool { return l.Written() == 1 })
		if ack == AckSynced {
			eventually(t, "synced", func() bool { return l.Synced() == 1 })
		}
		must(t, l.Close())
	}
}

func TestSyncInterval(t *testing.T) {
	l, _ := open(t, Options{FS: vfs.NewMem(), Ack: AckWritten}, 0)
	add(t, l, record(1, 1, 10))
	must(t, l.Wait(1))
	if l.Synced() != 0 {
		t.Fatal("synced without being asked")
	}
	l.SetSyncInterval(time.Millisecond)
	eventually(t, "synced", func() bool { return l.Synced() == 1 })
	must(t, l.Close())
}

// holdSync makes the next fsync, which closes begun, last until end is closed.
func holdSync(fault *vfs.Fault) (begun <-chan struct{}, end chan<- struct{}) {
	b, e := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fault.SetPolicy(func(c vfs.Call) error {
		if c.Op == vfs.OpSync {
			once.Do(func() {
				close(b)
				<-e
			})
		}
		return nil
	})
	return b, e
}

// A flush and the keeper make the log durable beside those whom a write is enough.
func TestFsyncHoldsNobodyUp(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem(), nil)
	l, _ := open(t, Options{FS: fault, Ack: AckWritten, SegmentSize: 4 << 10}, 0)
	eventually(t, "prepared", func() bool { return l.Metrics().Prepared == 1 })
	add(t, l, record(1, 1, 10))
	begun, end := holdSync(fault)
	synced := make(chan error)
	go func() { synced <- l.Sync() }()
	<-begun
	for seq := uint64(2); seq <= 20; seq++ { // into other segments
		add(t, l, record(seq, 1, 1000))
		must(t, l.Wait(seq))
	}
	if l.Synced() != 0 {
		t.Fatal("durable before the fsync has ended")
	}
	close(end)
	must(t, <-synced)
	if l.Synced() < 1 {
		t.Fatal("not durable after Sync")
	}
	must(t, l.Sync())
	if l.Synced() != 20 {
		t.Fatalf("durable up to %d of 20", l.Synced())
	}
	must(t, l.Close())
}

func TestSetAck(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem(), nil)
	l, _ := open(t, Options{FS: fault, Ack: AckBuffered}, 0)
	add(t, l, record(1, 1, 10))
	must(t, l.Wait(1))
	l.SetAck(AckSynced)
	before := fault.Calls(vfs.OpSync)
	must(t, l.Wait(1))
	if l.Synced() != 1 || fault.Calls(vfs.OpSync) == before {
		t.Fatal("not synced")
	}
	l.SetAck(AckWritten)
	add(t, l, record(2, 1, 10))
	must(t, l.Wait(2))
	must(t, l.Sync())
	if l.Synced() != 2 {
		t.Fatal("not synced")
	}
	must(t, l.Close())
}

func TestLargePayloads(t *testing.T) {
	o := Options{FS: vfs.NewMem(), SegmentSize: 64 << 10, MaxBuffered: 16 << 10}
	l, _ := open(t, o, 0)
	var want []Record
	for i, size := range []int{10, 200 << 10, 4096, 4097, 10, 5 << 20, 16 << 10, 1, 70 << 10} {
		want = append(want, record(uint64(i+1), 1, size))
		add(t, l, want[i])
	}
	must(t, l.Sync())
	r, err := l.NewReader(1)
	must(t, err)
	for _, w := range want {
		got, err := r.Next(context.Background())
		must(t, err)
		wantRecord(t, got, w)
	}
	must(t, r.Close())
	must(t, l.Close())
	l, got := open(t, o, 0)
	wantRecords(t, got, want)
	must(t, l.Close())
}

func TestBuffersAreBounded(t *testing.T) {
	o := Options{FS: vfs.NewMem(), MaxBuffered: 8 << 10, Ack: AckBuffered, SegmentSize: 1 << 20}
	l, _ := open(t, o, 0)
	for seq := range uint64(2000) {
		add(t, l, record(seq+1, 1, 1000))
		l.mu.Lock()
		n := len(l.mu.fill.b)
		l.mu.Unlock()
		if n > o.MaxBuffered+segmentHeaderSize {
			t.Fatalf("%d bytes in the buffer", n)
		}
	}
	must(t, l.Close())
}

func TestReleaseRecycles(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem(), nil)
	o := Options{FS: fault, SegmentSize: 16 << 10}
	l, _ := open(t, o, 0)
	var want []Record
	creates := int64(0)
	for seq := uint64(1); seq <= 2000; seq++ {
		r := record(seq, 1, 500)
		add(t, l, r)
		must(t, l.Wait(seq))
		if want = append(want, r); seq%20 == 0 {
			l.Release(seq - 10)
			want = want[len(want)-10:]
		}
		if seq == 1000 {
			creates = fault.Calls(vfs.OpCreate)
		}
	}
	if n := fault.Calls(vfs.OpCreate) - creates; n > 15 {
		t.Errorf("%d segments were created, not recycled", n)
	}
	if m := l.Metrics(); m.Segments > 4 || m.CleanupErrors > 0 {
		t.Errorf("metrics %+v", m)
	}
	must(t, l.Close())
	l, got := open(t, o, 1990)
	wantRecords(t, got, want)
	must(t, l.Close())
}

func TestKeepBytes(t *testing.T) {
	o := Options{FS: vfs.NewMem(), SegmentSize: 16 << 10, KeepBytes: 100 << 10}
	l, _ := open(t, o, 0)
	for seq := uint64(1); seq <= 1000; seq++ {
		add(t, l, record(seq, 1, 1000))
		must(t, l.Wait(seq))
	}
	l.Release(1000)
	if m := l.Metrics(); m.DiskSize < o.KeepBytes || m.DiskSize > o.KeepBytes+3*o.SegmentSize {
		t.Fatalf("%d bytes on disk", m.DiskSize)
	}
	_, err := l.NewReader(1)
	wantErr(t, err, ErrGone)
	r, err := l.NewReader(920)
	must(t, err)
	rec, err := r.Next(context.Background())
	must(t, err)
	wantRecord(t, rec, record(920, 1, 1000))
	l.SetKeep(0, 0)
	l.Release(1000)
	for seq := uint64(921); ; seq++ { // the segment that the reader is in is still there for it
		rec, err := r.Next(context.Background())
		if errors.Is(err, ErrGone) {
			if seq == 921 {
				t.Fatal("the file was taken away from under the reader")
			}
			break
		}
		must(t, err)
		wantRecord(t, rec, record(seq, 1, 1000))
	}
	must(t, r.Close())
	must(t, l.Close())
}

func TestReaderTails(t *testing.T) {
	l, _ := open(t, Options{FS: vfs.NewMem(), SegmentSize: 8 << 10, Ack: AckWritten}, 0)
	r, err := l.NewReader(1)
	must(t, err)
	done := make(chan error)
	go func() {
		for seq := uint64(1); seq <= 3000; seq++ {
			got, err := r.Next(context.Background())
			if err == nil && !bytes.Equal(got.Payload, record(seq, 1, int(seq%500)).Payload) {
				err = fmt.Errorf("record %d differs", seq)
			}
			if err != nil {
				done <- err
				return
			}
		}
		_, err := r.Next(context.Background())
		done <- err
	}()
	for seq := uint64(1); seq <= 3000; seq++ {
		add(t, l, record(seq, 1, int(seq%500)))
	}
	eventually(t, "written", func() bool { return l.Written() == 3000 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r2, err := l.NewReader(3001)
	must(t, err)
	_, err = r2.Next(ctx)
	wantErr(t, err, context.Canceled)
	_, err = l.NewReader(3002)
	wantErr(t, err, ErrTruncated)
	must(t, r.Close())
	wantErr(t, <-done, ErrClosed)
	must(t, l.Close())
	_, err = r2.Next(context.Background())
	wantErr(t, err, ErrClosed)
	must(t, r2.Close())
}

func TestTruncateAfter(t *testing.T) {
	o := Options{FS: vfs.NewMem(), SegmentSize: 8 << 10}
	l, _ := open(t, o, 0)
	var want []Record
	for seq := uint64(1); seq <= 300; seq += 3 {
		want = append(want, record(seq, 3, 400))
		add(t, l, want[len(want)-1])
		must(t, l.Wait(seq))
	}
	behind, err := l.NewReader(200)
	must(t, err)
	_, err = behind.Next(context.Background())
	must(t, err)
	before, err := l.NewReader(100)
	must(t, err)
	_, err = before.Next(context.Background())
	must(t, err)

	wantErr(t, l.TruncateAfter(100), ErrNotBoundary)
	wantErr(t, l.TruncateAfter(400), ErrTruncated)
	must(t, l.TruncateAfter(300))
	must(t, l.TruncateAfter(150))
	if l.Last() != 150 || l.Synced() != 150 || l.Acked() != 150 {
		t.Fatalf("last %d, synced %d", l.Last(), l.Synced())
	}
	_, err = behind.Next(context.Background())
	wantErr(t, err, ErrTruncated)
	want = want[:50]
	for seq := uint64(151); seq <= 200; seq++ {
		want = append(want, record(seq, 1, 300))
		add(t, l, want[len(want)-1])
		must(t, l.Wait(seq))
	}
	for _, w := range want[34:] {
		got, err := before.Next(context.Background())
		must(t, err)
		wantRecord(t, got, w)
	}
	must(t, before.Close())
	must(t, behind.Close())
	must(t, l.Close())
	l, got := open(t, o, 0)
	wantRecords(t, got, want)
	must(t, l.TruncateAfter(0))
	add(t, l, record(1, 1, 5))
	must(t, l.Close())
	l, got = open(t, o, 0)
	wantRecords(t, got, []Record{record(1, 1, 5)})
	must(t, l.Close())
}

// TestTruncateThenSameRecord appends, after a cut, the very record that was
// cut, behind which the file once held a valid next one.
func TestTruncateThenSameRecord(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		o := Options{FS: vfs.NewMem()}
		l, _ := open(t, o, 0)
		for seq := uint64(1); seq <= 3; seq++ {
			add(t, l, record(seq, 1, 100))
		}
		must(t, l.TruncateAfter(1))
		if reopen {
			must(t, l.Close())
			l, _ = open(t, o, 0)
		}
		add(t, l, record(2, 1, 100))
		must(t, l.Close())
		l, got := open(t, o, 0)
		wantRecords(t, got, []Record{record(1, 1, 100), record(2, 1, 100)})
		must(t, l.Close())
	}
}

func TestFailedSyncStopsTheLog(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpWrite} {
		fault := vfs.NewFault(vfs.NewMem(), nil)
		l, _ := open(t, Options{FS: fault}, 0)
		add(t, l, record(1, 1, 10))
		must(t, l.Wait(1))
		eventually(t, "prepared", func() bool { return l.Metrics().Prepared == 1 })
		fault.SetPolicy(vfs.FailNth(1, vfs.ErrInjected, op))
		add(t, l, record(2, 1, 10))
		err := l.Wait(2)
		wantErr(t, err, ErrFailed)
		wantErr(t, err, vfs.ErrInjected)
		wantErr(t, l.AppendAt(record(3, 1, 10)), ErrFailed)
		must(t, l.Wait(1))
		wantErr(t, l.Sync(), ErrFailed)
		wantErr(t, l.TruncateAfter(1), ErrFailed)
		if !l.Metrics().Failed {
			t.Fatal("not counted as failed")
		}
		wantErr(t, l.Close(), ErrFailed)
	}
}

func TestDiskFull(t *testing.T) {
	for _, ack := range []Ack{AckSynced, AckWritten} {
		for _, size := range []int{100, 3 << 20} {
			for _, room := range []int64{0, 1, 48, 60, 1 << 20} {
				t.Run(fmt.Sprintf("%v %d %d", ack, size, room), func(t *testing.T) { testDiskFull(t, ack, size, room) })
			}
		}
	}
}

func testDiskFull(t *testing.T, ack Ack, size int, room int64) {
	var disk vfs.DiskFull
	o := Options{FS: vfs.NewFault(vfs.NewMem(), disk.Policy), Ack: ack, SegmentSize: 64 << 10}
	l, _ := open(t, o, 0)
	add(t, l, record(1, 1, 100))
	must(t, l.Wait(1))
	want := []Record{record(1, 1, 100)}
	disk.Fill(room)
	for next := uint64(2); ; {
		r := record(next, 1, size)
		_, err := l.Append(r.Epoch, r.Count, r.Time, r.Payload)
		if err != nil {
			wantErr(t, err, ErrFull)
			break
		}
		want = append(want, r) // taken; whether it is acknowledged is another question
		if err := l.Wait(next); err != nil {
			wantErr(t, err, ErrFull)
		}
		next++
	}
	if err := l.Sync(); size < 1<<20 && !vfs.IsNoSpace(err) || !l.Metrics().Full && err != nil {
		t.Fatal("the disk is not full")
	}
	disk.Relieve()
	must(t, l.Wait(l.Last()))
	r := record(l.Last()+1, 1, size)
	add(t, l, r)
	must(t, l.Wait(r.Seq))
	want = append(want, r)
	must(t, l.Close())
	l, got := open(t, o, 0)
	wantRecords(t, got, want)
	must(t, l.Close())
}

func TestDiskFullIsRetriedInTheBackground(t *testing.T) {
	var disk vfs.DiskFull
	l, _ := open(t, Options{FS: vfs.NewFault(vfs.NewMem(), disk.Policy), Ack: AckWritten}, 0)
	disk.Fill(10)
	add(t, l, record(1, 1, 100))
	wantErr(t, l.Wait(1), ErrFull)
	disk.Relieve()
	eventually(t, "written", func() bool { return l.Written() == 1 })
	must(t, l.Close())
}

func TestVersion(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	l, _ := open(t, o, 0)
	add(t, l, record(1, 1, 1))
	must(t, l.Close())
	s := newSegment("/log", 1)
	b := s.appendHeader(nil, 0)
	b[7] = formatVersion + 1
	for _, off := range []int{0, segmentCopySize} {
		binary.LittleEndian.PutUint32(b[off+40:], crc32Of(b[off:off+40]))
	}
	f, err := o.FS.OpenReadWrite(s.path)
	must(t, err)
	_, err = f.WriteAt(b, 0)
	must(t, err)
	must(t, f.Close())
	wantErr(t, openErr(t, o, 0), ErrVersion)
}

func crc32Of(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// TestWaitAllocatesNothing holds the hot path to its promise.
func TestWaitAllocatesNothing(t *testing.T) {
	for _, ack := range allAcks {
		l, _ := open(t, Options{FS: vfs.NewMem(), Ack: ack, SegmentSize: 1 << 30}, 0)
		p := make([]byte, 100)
		step := func() {
			seq, err := l.Append(1, 1, 1, p)
			if err == nil {
				err = l.Wait(seq)
			}
			must(t, err)
		}
		for range 10000 {
			step()
		}
		if n := testing.AllocsPerRun(2000, step); n >= 1 {
			t.Errorf("%v: %v allocations", ack, n)
		}
		must(t, l.Close())
	}
}

// TestPin: a pin keeps segments that were released, up to its budget.
// TestBehind estimates within a segment, and counts whole ones.
func TestBehind(t *testing.T) {
	o := Options{FS: vfs.NewMem(), SegmentSize: 16 << 10, KeepBytes: 1 << 30, Ack: AckWritten}
	l, _ := open(t, o, 0)
	if n := l.Behind(0); n != 0 {
		t.Errorf("an empty log has %d bytes", n)
	}
	for seq := uint64(1); seq <= 100; seq++ {
		add(t, l, record(seq, 1, 1000))
	}
	must(t, l.Wait(100))
	for seq := uint64(0); seq <= 101; seq++ {
		want := int64(1000 * (100 - min(seq, 100)))
		if n := l.Behind(seq); n < want || n > want+want/5+1500 || seq >= 100 && n != 0 || seq < 100 && n == 0 {
			t.Errorf("behind %d come %d bytes, want about %d", seq, n, want)
		}
	}
	p, err := l.Pin(50)
	must(t, err)
	must(t, l.Close())
	if !p.Lost() {
		t.Error("a pin of a log that is closed keeps something")
	}
}

func TestPin(t *testing.T) {
	o := Options{FS: vfs.NewMem(), SegmentSize: 16 << 10, PinBytes: 100 << 10, Ack: AckWritten}
	l, _ := open(t, o, 0)
	p, err := l.Pin(10)
	must(t, err)
	grow := func(upTo uint64) {
		for seq := l.Last() + 1; seq <= upTo; seq++ {
			add(t, l, record(seq, 1, 1000))
			must(t, l.Wait(seq))
		}
		must(t, l.Sync())
		l.Release(upTo)
	}
	grow(90)
	r, err := l.NewReader(10)
	must(t, err)
	must(t, r.Close())
	p.Advance(60)
	l.Release(90)
	if _, err := l.NewReader(10); !errors.Is(err, ErrGone) || p.Lost() {
		t.Fatalf("the pin moved on: %v, lost %v", err, p.Lost())
	}
	firm, err := l.PinFirmly(60)
	must(t, err)
	grow(400)
	if p.Lost() || firm.Lost() {
		t.Fatal("a firm pin was lost")
	}
	firm.Close()
	firm.Close()
	if !p.Lost() {
		t.Fatal("the budget was not kept")
	}
	if m := l.Metrics(); m.DiskSize < o.PinBytes || m.DiskSize > o.PinBytes+3*o.SegmentSize {
		t.Fatalf("%d bytes on disk", m.DiskSize)
	}
	p.Close()
	if m := l.Metrics(); m.DiskSize > 2*o.SegmentSize {
		t.Fatalf("%d bytes on disk and no pin", m.DiskSize)
	}
	_, err = l.Pin(10)
	wantErr(t, err, ErrGone)
	must(t, l.Close())
	_, err = l.Pin(400)
	wantErr(t, err, ErrClosed)
}

// TestWatch: every move of the written and the synced position wakes.
func TestWatch(t *testing.T) {
	l, _ := open(t, Options{FS: vfs.NewMem(), Ack: AckWritten}, 0)
	moved := make(chan struct{}, 1)
	w := l.Watch(func() { wake(moved) })
	for seq := uint64(1); seq <= 3; seq++ {
		add(t, l, record(seq, 1, 10))
		for l.Written() < seq {
			<-moved
		}
		go func() { _ = l.Sync() }()
		for l.Synced() < seq {
			<-moved
		}
	}
	go func() { _ = l.TruncateAfter(1) }()
	for l.Last() != 1 {
		<-moved
	}
	go func() { _ = l.Close() }()
	for l.Err() == nil {
		<-moved
	}
	w.Close()
}

// TestTryNext: nothing is there, then something is.
func TestTryNext(t *testing.T) {
	l, _ := open(t, Options{FS: vfs.NewMem(), Ack: AckWritten}, 0)
	r, err := l.NewReader(1)
	must(t, err)
	_, ok, err := r.TryNext()
	must(t, err)
	if ok {
		t.Fatal("a record out of nothing")
	}
	add(t, l, record(1, 2, 10))
	for !ok {
		<-r.notify
		var rec Record
		rec, ok, err = r.TryNext()
		must(t, err)
		if ok {
			wantRecord(t, rec, record(1, 2, 10))
		}
	}
	must(t, r.Close())
	if _, _, err = r.TryNext(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	must(t, l.Close())
}

// TestShortRecords puts records into one buffer of which some can be short and some can not, and reads, cuts and recovers them.
func TestShortRecords(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := open(t, Options{FS: fs, Ack: AckBuffered}, 0)
	var want []Record
	next := func(epoch uint64, count uint32, time int64, size int) {
		r := Record{Epoch: epoch, Seq: l.last.Load() + 1, Count: count, Time: time, Payload: bytes.Repeat([]byte{byte(len(want) + 1)}, size)}
		want = append(want, r)
		add(t, l, r)
	}
	l.mu.Lock()
	l.takeLocked() // nobody writes
	l.mu.Unlock()
	next(1, 1, 5000, 10)
	whole := len(l.mu.fill.b)
	for i := range 5 {
		next(1, uint32(i+1), 5000+int64(i), i)
	}
	if n := len(l.mu.fill.b) - whole; n != 5*shortSize+10 {
		t.Errorf("5 short records have %d bytes", n)
	}
	next(1, math.MaxUint16, 5000+math.MaxUint16, 3)
	next(1, math.MaxUint16+1, 5000, 3)  // too many operations
	next(1, 1, 4999, 3)                 // earlier than the head
	next(1, 1, 5000+math.MaxUint16, 3)  // much later
	next(2, 1, 5000+math.MaxUint16, 3)  // another epoch
	next(2, 1, 5000+math.MaxUint16, 30) // short again
	l.finish()
	must(t, l.Sync())
	for from := range want {
		r, err := l.NewReader(want[from].Seq)
		must(t, err)
		for _, w := range want[from:] {
			if got, err := r.Next(t.Context()); err != nil || !reflect.DeepEqual(got, w) {
				t.Fatalf("from %d: got %+v, %v, want %+v", from, got, err, w)
			}
		}
		must(t, r.Close())
	}
	must(t, l.TruncateAfter(want[3].Last()))
	want = want[:4]
	next(1, 1, 6000, 10)
	next(1, 1, 6000, 10)
	must(t, l.Close())
	l, got := open(t, Options{FS: fs}, 0)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("recovered %+v, want %+v", got, want)
	}
	must(t, l.Close())
}

// TestToldBesideFsync: who has waited for a record knows that watches know of it, whoever has written it, and while an fsync takes long.
func TestToldBesideFsync(t *testing.T) {
	for _, test := range []struct {
		name string
		size int
		sync func(*Log) error // begins the fsync
	}{
		{"of a flush, which has written the record", 100, (*Log).Sync},
		{"of the keeper, by its appender", 2 << 20, func(l *Log) error { l.SetSyncInterval(time.Millisecond); return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			fault := vfs.NewFault(vfs.NewMem(), nil)
			l, _ := open(t, Options{FS: fault, Ack: AckWritten}, 0)
			eventually(t, "prepared", func() bool { return l.Metrics().Prepared == 1 })
			add(t, l, record(1, 1, 10))
			must(t, l.Wait(1))
			begun, end := holdSync(fault)
			var told atomic.Uint64
			w := l.Watch(func() { told.Store(l.Written()) })
			if test.size < 1<<20 {
				add(t, l, record(2, 1, test.size))
			}
			synced := make(chan error, 1)
			go func() { synced <- test.sync(l) }()
			<-begun
			if test.size >= 1<<20 {
				add(t, l, record(2, 1, test.size))
			}
			must(t, l.Wait(2))
			if told.Load() != 2 {
				t.Errorf("told of %d", told.Load())
			}
			close(end)
			must(t, <-synced)
			w.Close()
			must(t, l.Close())
		})
	}
}
