package wal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
)

// world runs a log on a disk that loses power, beside a model: the list of
// all records that the log may have.
type world struct {
	t   testing.TB
	rnd *rand.Rand
	o   Options

	disk  *vfs.Crash
	fault *vfs.Fault
	log   *Log

	records []Record // in the log's order
	durable uint64   // sequence number up to which they must survive a crash
	written uint64   // and the death of the process
	after   uint64   // what the caller has elsewhere
	pin     *Pin
	armed   bool // everything fails from some moment on
	killed  bool // the process died last time, not the machine
	trace   []string
}

func newWorld(t testing.TB, seed uint64) *world {
	rnd := rand.New(rand.NewPCG(seed, 0))
	w := &world{t: t, rnd: rnd, disk: vfs.NewCrash(seed), o: Options{
		Dir:         "/log",
		SegmentSize: int64(2048 << rnd.IntN(5)),
		MaxBuffered: 4096 << rnd.IntN(3),
		KeepBytes:   int64(rnd.IntN(2) * rnd.IntN(20000)),
		PinBytes:    int64(rnd.IntN(3) * rnd.IntN(50000)),
		Ack:         Ack(rnd.IntN(3)),
	}}
	w.open()
	return w
}

func (w *world) fatal(format string, args ...any) {
	w.t.Helper()
	for _, s := range w.trace[max(0, len(w.trace)-60):] {
		w.t.Log(s)
	}
	w.t.Fatalf(format, args...)
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) last() uint64 {
	if len(w.records) == 0 {
		return w.after
	}
	return w.records[len(w.records)-1].Last()
}

// open opens the log, which may be interrupted, and checks what it replays.
func (w *world) open() {
	for tries := 0; ; tries++ {
		w.fault = vfs.NewFault(w.disk, nil)
		if w.armed = tries < 3 && w.rnd.IntN(4) == 0; w.armed {
			w.fault.SetPolicy(vfs.FailFrom(1+w.rnd.Int64N(30), vfs.ErrInjected))
		}
		w.o.FS = w.fault
		var got []Record
		l, err := Open(w.o, w.after, func(r Record) error {
			r.Payload = append([]byte{}, r.Payload...)
			got = append(got, r)
			return nil
		})
		if err != nil {
			if !w.armed {
				w.fatal("open after %d, durable %d: %v", w.after, w.durable, err)
			}
			w.note("open was interrupted: %v", err)
			if !w.killed {
				w.disk = w.disk.Crash()
			}
			continue
		}
		w.log, w.pin = l, nil
		w.compare(got)
		return
	}
}

// compare checks that what was recovered is a prefix of the model's records that are
// behind after, with all that are durable, and makes it the model.
func (w *world) compare(got []Record) {
	want := w.records
	for len(want) > 0 && want[0].Last() <= w.after {
		want = want[1:]
	}
	if len(got) > len(want) {
		w.fatal("%d records invented", len(got)-len(want))
	}
	for i := range got {
		if got[i].Seq != want[i].Seq {
			w.fatal("record %d where %d was expected", got[i].Seq, want[i].Seq)
		}
		wantRecord(w.t, got[i], want[i])
	}
	last := max(w.after, w.log.Last())
	if len(got) > 0 && got[len(got)-1].Last() != last || last < w.durable || w.log.Last() < w.after {
		w.fatal("recovered up to %d, after %d, %d must be there", last, w.after, w.durable)
	}
	if len(got) < len(want) {
		w.records = w.records[:len(w.records)-(len(want)-len(got))]
	}
	if w.last() < last {
		w.records = nil // the caller had more than the log
	}
	w.durable, w.written = last, last
	w.note("recovered up to %d", last)
}

// watch takes note of what the log promises.
func (w *world) watch() {
	w.durable = max(w.durable, min(w.log.Synced(), w.last()))
	w.written = max(w.written, min(w.log.Written(), w.last()))
}

// stopped looks at the error of an operation; after one there is a crash.
func (w *world) stopped(err error) bool {
	if err == nil {
		return false
	}
	if !w.armed {
		w.fatal("error %v", err)
	}
	w.note("stopped by %v", err)
	w.crash()
	return true
}

// crash loses power, or kills the process, and opens the log again.
func (w *world) crash() {
	w.watch()
	w.fault.SetPolicy(func(vfs.Call) error { return vfs.ErrInjected })
	if w.killed = w.rnd.IntN(3) == 0; w.killed {
		w.watch()
		w.note("kill, %d was written", w.written)
		w.durable = w.written // the operating system lives
		_ = w.log.Close()
	} else {
		w.watch()
		w.note("power loss, %d was synced", w.durable)
		w.disk = w.disk.Crash()
		_ = w.log.Close()
	}
	if w.rnd.IntN(4) == 0 {
		if _, err := Check(w.disk, "/log", w.after); err != nil {
			w.fatal("check: %v", err)
		}
	}
	w.open()
}

func (w *world) append() {
	size := w.rnd.IntN(200)
	switch w.rnd.IntN(12) {
	case 0:
		size = w.rnd.IntN(20000)
	case 1:
		size = 0
	}
	r := record(w.last()+1, 1+uint32(w.rnd.IntN(3)), size)
	r.Epoch = w.rnd.Uint64() // a record that is cut and appended again may differ or not
	if w.rnd.IntN(2) == 0 {
		r.Epoch = 7
	}
	w.note("append %d+%d, %d bytes", r.Seq, r.Count, size)
	first, err := w.log.Append(r.Epoch, r.Count, r.Time, r.Payload)
	if err == nil && first != r.Seq {
		w.fatal("appended as %d, want %d", first, r.Seq)
	}
	if err == nil || size > w.o.MaxBuffered/4 {
		w.records = append(w.records, r) // a large one may turn up after a failure
	}
	w.stopped(err)
}

func (w *world) wait() {
	seq := w.last()
	w.note("wait %d", seq)
	if !w.stopped(w.log.Wait(seq)) && w.log.Acked() < seq {
		w.fatal("acked %d, waited for %d", w.log.Acked(), seq)
	}
}

func (w *world) sync() {
	w.note("sync")
	if !w.stopped(w.log.Sync()) && w.log.Synced() != w.last() {
		w.fatal("synced %d of %d", w.log.Synced(), w.last())
	}
}

func (w *world) truncate() {
	keep := w.rnd.IntN(len(w.records) + 1)
	cut := w.after
	if keep > 0 {
		cut = w.records[keep-1].Last()
	}
	if cut < w.after {
		return
	}
	if keep == 0 && len(w.records) > 0 {
		cut = w.records[0].Seq - 1
	}
	if cut < w.after {
		return
	}
	w.watch()
	w.durable, w.written = min(w.durable, cut), min(w.written, cut)
	w.note("truncate after %d", cut)
	if err := w.log.TruncateAfter(cut); err != nil {
		// Synced and Written may be from before the cut; the model has the
		// records still, as some may be there.
		w.note("truncation failed: %v", err)
		w.fault.SetPolicy(func(vfs.Call) error { return vfs.ErrInjected })
		w.disk, w.killed = w.disk.Crash(), false
		_ = w.log.Close()
		if !w.armed {
			w.fatal("error %v", err)
		}
		w.open()
		return
	}
	w.records = w.records[:keep]
	w.durable, w.written = cut, cut
}

func (w *world) release() {
	w.watch()
	w.after += w.rnd.Uint64N(w.last() - w.after + 1)
	w.note("release %d", w.after)
	w.log.Release(w.after)
	if w.rnd.IntN(2) == 0 {
		for len(w.records) > 0 && w.records[0].Last() <= w.after {
			w.records = w.records[1:] // keep the model short
		}
	}
}

// pinned makes, moves, checks and ends a pin: unless it says that it is lost, its
// records are there.
func (w *world) pinned() {
	if w.pin == nil {
		from := 1 + w.rnd.Uint64N(w.last()+1)
		w.log.mu.Lock()
		first := w.log.firstLocked()
		w.log.mu.Unlock()
		p, err := w.log.pin(from, w.rnd.IntN(3) == 0)
		if errors.Is(err, ErrGone) && from < first {
			return
		}
		if !w.stopped(err) {
			w.pin = p
			w.note("pin %d, firm %v", from, p.firm)
		}
		return
	}
	if w.rnd.IntN(2) == 0 {
		w.pin.Advance(min(w.pin.from+w.rnd.Uint64N(100), w.last()+1))
	}
	w.note("pin at %d, lost %v", w.pin.from, w.pin.Lost())
	if w.pin.firm && w.pin.Lost() {
		w.fatal("a firm pin was lost")
	}
	r, err := w.log.NewReader(w.pin.from)
	switch {
	case err == nil:
		_ = r.Close()
	case errors.Is(err, ErrGone) && w.pin.Lost(), errors.Is(err, ErrTruncated) && w.pin.from > w.last()+1:
	default:
		w.stopped(err)
		return
	}
	if w.rnd.IntN(4) == 0 {
		w.pin.Close()
		w.pin = nil
	}
}

// read compares everything behind after with the model.
func (w *world) read() {
	if w.stopped(w.log.Sync()) {
		return
	}
	i := 0
	for i < len(w.records) && w.records[i].Last() <= w.after {
		i++
	}
	if i == len(w.records) {
		return
	}
	r, err := w.log.NewReader(w.records[i].Seq)
	if w.stopped(err) {
		return
	}
	defer func() { _ = r.Close() }()
	for _, want := range w.records[i:] {
		got, err := r.Next(context.Background())
		if w.stopped(err) {
			return
		}
		wantRecord(w.t, got, want)
	}
}

func (w *world) reopen() {
	w.note("close")
	if w.stopped(w.log.Close()) {
		return
	}
	w.durable, w.written = w.last(), w.last()
	w.open()
}

func (w *world) step() {
	switch n := w.rnd.IntN(100); {
	case n < 60:
		w.append()
	case n < 75:
		w.wait()
	case n < 80:
		w.sync()
	case n < 83:
		w.truncate()
	case n < 87:
		w.release()
	case n < 90:
		w.read()
	case n < 92:
		w.reopen()
	case n < 94:
		w.log.SetAck(Ack(w.rnd.IntN(3)))
	case n < 96:
		w.note("arm")
		w.armed = true
		w.fault.SetPolicy(vfs.FailFrom(1+w.rnd.Int64N(40), vfs.ErrInjected))
	case n < 97:
		w.crash()
	case n < 99:
		w.pinned()
	}
	w.watch()
}

// TestModel runs random operations and crashes. WAL_SEED repeats one run,
// WAL_RUNS sets how many there are.
func TestModel(t *testing.T) {
	runs := uint64(150)
	if testing.Short() {
		runs = 30
	}
	if n, err := strconv.ParseUint(os.Getenv("WAL_RUNS"), 10, 64); err == nil {
		runs = n
	}
	first := rand.Uint64()
	if n, err := strconv.ParseUint(os.Getenv("WAL_SEED"), 10, 64); err == nil {
		first, runs = n, 1
	}
	for seed := first; seed != first+runs; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range 600 {
				w.step()
			}
			w.crash()
			w.fault.SetPolicy(nil)
			_ = w.log.Close()
		})
	}
}
