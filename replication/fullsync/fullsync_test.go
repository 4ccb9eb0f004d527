package fullsync

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/link/linktest"
	"github.com/gtinside/corecache/replication/stream"
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

func options(fs vfs.FS) engine.Options {
	o := engine.Options{FS: fs, ExternalCommit: true, LogSegmentSize: 32 << 10, TableSize: 32 << 10}
	o.MemTableSize, o.Ack, o.LogPinBytes = 128<<10, wal.AckWritten, 1<<40
	return o
}

func open(t testing.TB, o engine.Options) *engine.DB {
	t.Helper()
	return openAt(t, "db", o)
}

func openAt(t testing.TB, dir string, o engine.Options) *engine.DB {
	t.Helper()
	db, err := engine.Open(dir, o)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// write commits n keys that name their owner.
func write(t testing.TB, db *engine.DB, owner string, n int) {
	t.Helper()
	value, noise := make([]byte, 1000), rand.NewChaCha8([32]byte{})
	for i := range n {
		_, _ = noise.Read(value)
		b := db.NewBatch()
		b.Set(fmt.Appendf(nil, "%s-%06d", owner, i), value)
		seq, err := db.Apply(b)
		must(t, err)
		b.Release()
		db.SetCommitted(seq)
	}
	must(t, db.WaitLogged(db.Last()))
}

// content is all that a store holds.
func content(t testing.TB, db *engine.DB) map[string]string {
	t.Helper()
	m := map[string]string{}
	it := db.NewIter(engine.IterOptions{Latest: true})
	for ok := it.First(); ok; ok = it.Next() {
		m[string(it.Key())] = string(it.Value())
	}
	must(t, errors.Join(it.Error(), it.Close()))
	return m
}

func same(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// world is a leader with a source, and a network to it.
type world struct {
	t      testing.TB
	fs     vfs.FS
	leader *engine.DB
	source *Source
	net    *linktest.Network
}

func newWorld(t testing.TB, so SourceOptions, change func(*engine.Options)) *world {
	t.Helper()
	w := &world{t: t, fs: vfs.NewMem(), net: linktest.New(t, link.Options{MaxFrame: 8 << 10, Heartbeat: 20 * time.Millisecond})}
	o := options(w.fs)
	if change != nil {
		change(&o)
	}
	w.leader = open(t, o)
	if so.FS == nil {
		so.FS = w.fs
	}
	so.Dir = "outgoing"
	var err error
	w.source, err = NewSource(w.leader, so)
	must(t, err)
	t.Cleanup(func() { must(t, w.source.Close()) })
	return w
}

// sync lets a node fetch into staging once, and returns what both sides say.
func (w *world) sync(node string, o FetchOptions) (Result, uint64, error, error) {
	lc, fc, err := w.net.Connect(node)
	if err != nil {
		return Result{}, 0, err, err
	}
	var r Result
	var serveErr error
	var serving sync.WaitGroup
	serving.Go(func() { r, serveErr = w.source.Serve(w.t.Context(), lc, 7) })
	position, _, err := Fetch(w.t.Context(), fc, 7, o)
	serving.Wait()
	return r, position, serveErr, err
}

// outgoing is what the leader holds.
func (w *world) outgoing() []string {
	names, err := w.fs.List("outgoing")
	if err != nil {
		return nil
	}
	return names
}

// TestFullSync: a follower with other data becomes the leader's copy while the leader writes on, and goes on from
// its log, although that keeps nothing that is not pinned.
func TestFullSync(t *testing.T) {
	t.Run("memory", func(t *testing.T) { testFullSync(t, vfs.NewMem()) })
	t.Run("disk", func(t *testing.T) {
		t.Chdir(t.TempDir())
		testFullSync(t, vfs.OS)
	})
}

func testFullSync(t *testing.T, fs vfs.FS) {
	w := newWorld(t, SourceOptions{FS: fs}, func(o *engine.Options) { o.FS = fs })
	w.fs = fs
	_, err := w.leader.BeginEpoch(7)
	must(t, err)
	write(t, w.leader, "leader", 2000)
	must(t, w.leader.Flush())

	db := openAt(t, "follower/db", options(fs))
	write(t, db, "other", 500)
	must(t, db.Close())

	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				write(t, w.leader, fmt.Sprint("more-", i%3), 50)
			}
		}
	})
	seen := int64(0)
	r, position, serveErr, err := w.sync("f", FetchOptions{FS: fs, Staging: "follower/staging", Progress: func(have, total int64) {
		if seen = have; have > total {
			t.Errorf("%d of %d", have, total)
		}
	}})
	must(t, errors.Join(serveErr, err))
	if r.Position != position || position == 0 || seen == 0 || len(w.outgoing()) != 0 {
		t.Fatalf("position %d, %d, progress %d, left %v", r.Position, position, seen, w.outgoing())
	}
	must(t, Install(fs, "follower/db", "follower/staging"))
	db = openAt(t, "follower/db", options(fs))
	if db.Last() != position || db.Committed() != position || db.Epoch() != 7 {
		t.Fatalf("installed at %d, %d, epoch %d", db.Last(), db.Committed(), db.Epoch())
	}
	write(t, w.leader, "burst", 3000) // what was not pinned is gone by now
	close(stop)
	writer.Wait()
	must(t, w.leader.Flush())

	lc, fc, err := w.net.Connect("f")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan *stream.Sender, 1)
	var both sync.WaitGroup
	both.Go(func() {
		from, pin, err := stream.Answer(ctx, lc, w.leader, 7)
		must(t, err)
		r.Pin.Close() // the stream has its own
		s, err := stream.NewSender(w.leader, lc, 7, from, stream.SenderOptions{Pin: pin})
		must(t, err)
		answered <- s
		_ = s.Run(ctx)
		pin.Close()
	})
	term, err := stream.Resume(ctx, fc, db, 7)
	must(t, err)
	both.Go(func() { _ = stream.NewReceiver(db, fc, term, stream.ReceiverOptions{}).Run(ctx) })
	s := <-answered
	eventually(t, "the follower is there", func() bool { return s.Progress().Acked.Written == w.leader.Last() })
	cancel()
	both.Wait()
	if !same(content(t, db), content(t, w.leader)) {
		t.Fatal("the stores differ")
	}
	must(t, db.Close())
	report, err := engine.Check(fs, "follower/db")
	must(t, errors.Join(append(report.Problems, err)...))
}

// TestCuts breaks the connection again and again; each time what has arrived is not sent again, also when a
// new checkpoint takes the place of one that was given up, and what was damaged meanwhile is.
func TestCuts(t *testing.T) {
	w := newWorld(t, SourceOptions{}, nil)
	write(t, w.leader, "leader", 3000)
	must(t, w.leader.Flush())
	fs := vfs.NewMem()
	o := FetchOptions{FS: fs, Staging: "staging"}
	tries, before := 0, w.net.Passed()
	for {
		tries++
		w.net.CutAfter(int64(50 * tries * tries)) // first within the handshake, later between files
		r, _, serveErr, err := w.sync("f", o)
		if err == nil {
			must(t, serveErr)
			r.Pin.Close()
			break
		}
		if tries == 40 { // a restart of the leader's side
			must(t, w.source.Close())
			if len(w.outgoing()) != 0 {
				t.Fatalf("left: %v", w.outgoing())
			}
			w.source, err = NewSource(w.leader, w.source.o)
			must(t, err)
		}
		if tries == 50 {
			damage(t, fs)
		}
	}
	w.net.CutAfter(-1)
	passed, size := w.net.Passed()-before, size(t, fs, "staging")
	t.Logf("%d connections, %d bytes for %d", tries, passed, size)
	if tries < 55 || passed > size*4/3 {
		t.Errorf("%d connections, %d bytes passed for %d", tries, passed, size)
	}
	before = w.net.Passed()
	r, _, serveErr, err := w.sync("f", o) // all is there
	must(t, errors.Join(serveErr, err))
	r.Pin.Close()
	if again := w.net.Passed() - before; again > size/20 {
		t.Errorf("%d bytes passed although all was there", again)
	}
	must(t, Install(fs, "db", "staging"))
	db := open(t, options(fs))
	if !same(content(t, db), content(t, w.leader)) {
		t.Fatal("the stores differ")
	}
}

// damage changes a byte of a file in staging.
func damage(t *testing.T, fs vfs.FS) {
	names, err := fs.List("staging")
	must(t, err)
	f, err := fs.OpenReadWrite(filepath.Join("staging", names[0]))
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 1000)
	must(t, err)
	b[0]++
	_, err = f.WriteAt(b, 1000)
	must(t, errors.Join(err, f.Close()))
}

func size(t *testing.T, fs vfs.FS, dir string) (n int64) {
	names, err := fs.List(dir)
	must(t, err)
	for _, name := range names {
		info, err := fs.Stat(filepath.Join(dir, name))
		must(t, err)
		n += info.Size
	}
	return n
}

// TestCrashes stops the follower at a random file operation of Fetch and of Install, with and without loss of
// power, until it has the leader's data; before that it has its own.
func TestCrashes(t *testing.T) {
	runs := 10
	if testing.Short() {
		runs = 3
	}
	for range runs {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { testCrashes(t, seed) })
	}
}

func testCrashes(t *testing.T, seed uint64) {
	w := newWorld(t, SourceOptions{}, nil)
	write(t, w.leader, "leader", 300)
	must(t, w.leader.Flush())
	theirs := content(t, w.leader)
	rnd := rand.New(rand.NewPCG(seed, 0))
	disk := vfs.NewCrash(seed)
	db := open(t, options(disk))
	write(t, db, "other", 200)
	own := content(t, db)
	must(t, db.Close())
	fetched := 0
	for try := 0; ; try++ {
		fault := vfs.NewFault(disk, vfs.FailFrom(1+rnd.Int64N(int64(20+try*10)), vfs.ErrInjected))
		r, _, serveErr, err := w.sync("f", FetchOptions{FS: fault, Staging: "staging"})
		if r.Pin != nil {
			r.Pin.Close()
		}
		if err == nil {
			must(t, serveErr)
			fetched++
			err = Install(fault, "db", "staging")
		}
		if err != nil && !errors.Is(err, vfs.ErrInjected) {
			t.Fatalf("try %d: %v", try, err)
		}
		if rnd.IntN(3) > 0 {
			disk = disk.Crash()
		}
		db := open(t, options(disk))
		got := content(t, db)
		must(t, db.Close())
		switch {
		case same(got, theirs):
			must(t, Discard(disk, "staging"))
			t.Logf("%d tries, %d complete", try+1, fetched)
			return
		case err == nil:
			t.Fatalf("try %d: installed, and it is not there", try)
		case !same(got, own):
			t.Fatalf("try %d (%v): a mixture of %d keys", try, err, len(got))
		}
	}
}

// TestInstallOfHalf: what is not complete can not be installed.
func TestInstallOfHalf(t *testing.T) {
	w := newWorld(t, SourceOptions{}, nil)
	write(t, w.leader, "leader", 1000)
	must(t, w.leader.Flush())
	fs := vfs.NewMem()
	db := open(t, options(fs))
	write(t, db, "own", 10)
	own := content(t, db)
	must(t, db.Close())
	for cut := int64(3000); ; cut *= 2 {
		w.net.CutAfter(cut)
		if _, _, _, err := w.sync("f", FetchOptions{FS: fs, Staging: "staging"}); err == nil {
			break
		}
		if err := Install(fs, "db", "staging"); err == nil {
			t.Fatal("installed")
		}
		db = open(t, options(fs))
		if !same(content(t, db), own) {
			t.Fatal("something has changed")
		}
		must(t, db.Close())
	}
}

// TestBudget: when the log behind the checkpoint outgrows its budget, the sync is given up and nothing is held.
func TestBudget(t *testing.T) {
	w := newWorld(t, SourceOptions{Rate: 200 << 10}, func(o *engine.Options) { o.LogPinBytes = 256 << 10 })
	write(t, w.leader, "leader", 2000)
	must(t, w.leader.Flush())
	started := make(chan struct{})
	var once sync.Once
	var writer sync.WaitGroup
	writer.Go(func() {
		<-started
		write(t, w.leader, "burst", 3000)
		must(t, w.leader.Flush())
		w.source.SetRate(0)
	})
	_, _, serveErr, err := w.sync("f", FetchOptions{FS: vfs.NewMem(), Staging: "staging",
		Progress: func(int64, int64) { once.Do(func() { close(started) }) }})
	writer.Wait()
	if !errors.Is(serveErr, ErrBudget) || err == nil {
		t.Errorf("%v, %v", serveErr, err)
	}
	if left := w.outgoing(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// smallDisk says how much is free.
type smallDisk struct {
	vfs.FS
	free uint64
}

func (d smallDisk) DiskUsage(string) (total, free uint64, err error) { return 1 << 40, d.free, nil }

// TestLimits: what is held, how long, for how many, at what rate, and how much disk stays free.
func TestLimits(t *testing.T) {
	w := newWorld(t, SourceOptions{MaxSyncs: 1, Linger: time.Hour}, nil)
	write(t, w.leader, "leader", 500)
	must(t, w.leader.Flush())
	cut := func() {
		w.net.CutAfter(100 << 10)
		if _, _, serveErr, err := w.sync("f", FetchOptions{FS: vfs.NewMem(), Staging: "staging"}); err == nil || serveErr == nil {
			t.Fatal("not cut")
		}
		w.net.CutAfter(-1)
	}
	cut()
	if len(w.outgoing()) != 1 {
		t.Fatalf("held: %v", w.outgoing())
	}
	if _, _, serveErr, _ := w.sync("g", FetchOptions{FS: vfs.NewMem(), Staging: "staging"}); !errors.Is(serveErr, ErrBusy) {
		t.Errorf("another follower: %v", serveErr)
	}
	must(t, w.source.Close())
	if len(w.outgoing()) != 0 {
		t.Errorf("after Close: %v", w.outgoing())
	}
	o := w.source.o
	o.Linger = time.Millisecond
	must(t, w.fs.MkdirAll("outgoing/9"))
	must(t, vfs.WriteFile(w.fs, "outgoing/9/CURRENT", []byte("left by a crash")))
	var err error
	w.source, err = NewSource(w.leader, o)
	must(t, err)
	if len(w.outgoing()) != 0 {
		t.Errorf("at the start: %v", w.outgoing())
	}
	cut()
	eventually(t, "nobody came back", func() bool { return len(w.outgoing()) == 0 })

	_, _, serveErr, err := w.sync("f", FetchOptions{FS: smallDisk{vfs.NewMem(), 100 << 10}, Staging: "staging"})
	if !errors.Is(err, ErrNoSpace) || serveErr == nil {
		t.Errorf("a full follower: %v, %v", err, serveErr)
	}
	must(t, w.source.Close())
	o.FS, o.MinFree = smallDisk{w.fs, 100}, 101
	w.source, err = NewSource(w.leader, o)
	must(t, err)
	if _, _, serveErr, _ = w.sync("f", FetchOptions{FS: vfs.NewMem(), Staging: "staging"}); !errors.Is(serveErr, ErrNoSpace) {
		t.Errorf("a full leader: %v", serveErr)
	}
	o.MinFree, o.Rate = 0, 2<<20
	w.source, err = NewSource(w.leader, o)
	must(t, err)
	start, fs := time.Now(), vfs.NewMem()
	r, _, serveErr, err := w.sync("f", FetchOptions{FS: fs, Staging: "staging"})
	must(t, errors.Join(serveErr, err))
	r.Pin.Close()
	atLeast := time.Duration(float64(size(t, fs, "staging")-chunk) / float64(o.Rate) * 0.9 * float64(time.Second))
	if took := time.Since(start); took < atLeast || atLeast < 100*time.Millisecond {
		t.Errorf("took %v, at least %v", took, atLeast)
	}
}

// TestTerms: a leader of old is told, and so is his follower.
func TestTerms(t *testing.T) {
	w := newWorld(t, SourceOptions{}, nil)
	lc, fc, err := w.net.Connect("f")
	must(t, err)
	go func() { _, _, _ = Fetch(t.Context(), fc, 8, FetchOptions{FS: vfs.NewMem(), Staging: "staging"}) }()
	if _, err := w.source.Serve(t.Context(), lc, 7); !errors.Is(err, ErrTerm) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	lc, fc, err = w.net.Connect("f")
	must(t, err)
	cancel()
	if _, err := w.source.Serve(ctx, lc, 7); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, _, err := Fetch(ctx, fc, 7, FetchOptions{FS: vfs.NewMem(), Staging: "staging"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestHostileLeader: what does not fit together ends Fetch, and gives no store.
func TestHostileLeader(t *testing.T) {
	two := []file{{"a.sst", 3}, {currentName, 0}}
	data := func(index uint32, off uint64, b string) []byte {
		h := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, index), off)
		return append(h, b...)
	}
	end := func(index uint32, size, hash uint64) []byte {
		return binary.LittleEndian.AppendUint64(data(index, size, ""), hash)
	}
	type frame struct {
		typ byte
		b   []byte
	}
	for name, c := range map[string]struct {
		files  []file
		frames []frame
		want   error
	}{
		"wrong hash": {two, []frame{{frameData, data(0, 0, "abc")}, {frameEnd, end(0, 3, 1)}}, ErrDamaged},
		"too short":  {two, []frame{{frameData, data(0, 0, "ab")}, {frameEnd, end(0, 3, 1)}}, ErrDamaged},
		"too long":   {two, []frame{{frameData, data(0, 0, "abcd")}}, ErrProtocol},
		"gap":        {two, []frame{{frameData, data(0, 1, "b")}}, ErrProtocol},
		"other file": {two, []frame{{frameData, data(1, 0, "b")}}, ErrProtocol},
		"empty":      {two, []frame{{frameData, data(0, 0, "")}}, ErrProtocol},
		"path":       {[]file{{"../x", 1}, {currentName, 0}}, nil, ErrProtocol},
		"part":       {[]file{{"x.part", 1}, {currentName, 0}}, nil, ErrProtocol},
		"twice":      {[]file{{"x", 1}, {"x", 1}, {currentName, 0}}, nil, ErrProtocol},
		"no CURRENT": {[]file{{"x", 1}}, nil, ErrProtocol},
		"nothing":    {nil, nil, ErrProtocol},
		"too much":   {[]file{{"x", 1 << 50}, {currentName, 0}}, nil, ErrNoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			net, fs := linktest.New(t, link.Options{}), vfs.NewMem()
			lc, fc, err := net.Connect("f")
			must(t, err)
			o := offer{term: 7, files: c.files}
			list, _ := appendFiles(nil, c.files, lc.MaxFrame())
			must(t, lc.Send(frameOffer, encodeOffer(&o)))
			must(t, lc.Send(frameFiles, list))
			for _, f := range c.frames {
				must(t, lc.Send(f.typ, f.b))
			}
			if _, _, err = Fetch(t.Context(), fc, 7, FetchOptions{FS: fs, Staging: "staging"}); !errors.Is(err, c.want) {
				t.Error(err)
			}
			must(t, lc.Close(""))
			if err := Install(fs, "db", "staging"); err == nil {
				t.Error("installed")
			}
			if _, err := fs.Stat("staging/a.sst"); err == nil {
				t.Error("a file that is not whole has its name")
			}
		})
	}
}

func FuzzFormat(f *testing.F) {
	list, _ := appendFiles(nil, []file{{"000001.sst", 9}, {"CURRENT", 3}}, 1000)
	f.Add(list)
	f.Add(encodeOffer(&offer{term: 1, position: 2, files: make([]file, 3)}))
	f.Add(encodeGet(1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		if files, err := decodeFiles(b); err == nil {
			for _, f := range files {
				if filepath.Base(f.name) != f.name || f.name == ".." || f.size < 0 {
					t.Fatalf("%q", f.name)
				}
			}
			if again, left := appendFiles(nil, files, len(b)); len(left) > 0 || !bytes.Equal(again, b) {
				t.Fatalf("%v", files)
			}
		}
		if o, n, err := decodeOffer(b); err == nil {
			o.files = make([]file, n)
			if !bytes.Equal(encodeOffer(&o), b) {
				t.Fatalf("%+v", o)
			}
		}
		if i, n, h, err := decodeGet(b, []file{{"a", 9}, {"b", 9}}); err == nil && !bytes.Equal(encodeGet(i, n, h), b) {
			t.Fatal(i, n, h)
		}
	})
}

// BenchmarkFetch is a full sync of 64 MB over loopback in frames of 8 KiB, with files of the operating system, synced.
func BenchmarkFetch(b *testing.B) {
	b.Chdir(b.TempDir())
	w := newWorld(b, SourceOptions{FS: vfs.OS}, func(o *engine.Options) {
		o.FS, o.TableSize, o.MemTableSize, o.LogSegmentSize = vfs.OS, 32<<20, 64<<20, 64<<20
	})
	w.net.Direct = true
	write(b, w.leader, "leader", 64_000)
	must(b, w.leader.Flush())
	total := int64(0)
	for b.Loop() {
		r, _, serveErr, err := w.sync("f", FetchOptions{Staging: "staging", Progress: func(_, n int64) { total = n }})
		must(b, errors.Join(serveErr, err))
		r.Pin.Close()
		must(b, Discard(vfs.OS, "staging"))
	}
	b.SetBytes(total)
}

// A leader whose link is alive and that sends nothing, as its disk hangs, is given up.
func TestSilentLeader(t *testing.T) {
	net := linktest.New(t, link.Options{Heartbeat: 5 * time.Millisecond})
	lc, fc, err := net.Connect("follower")
	if err != nil {
		t.Fatal(err)
	}
	defer lc.Close("")
	if _, _, err := Fetch(t.Context(), fc, 7, FetchOptions{FS: vfs.NewMem(), Staging: "staging", Patience: 50 * time.Millisecond}); !errors.Is(err, ErrSilent) {
		t.Errorf("the fetch ends with %v", err)
	}
}
