package workload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/bench/measure"
	"github.com/gtinside/corecache/bench/store"
)

// run is one workload on one open store.
type run struct {
	spec     Spec
	workload Workload
	engine   store.Engine
	options  store.Options
	values   *values
	zipf     *zipf
	// versions[i] is the newest version put to prepared record i; 0: none.
	// Each record has one writer at a time.
	versions []uint32

	db       store.Store
	seed     uint64 // of the next worker
	inserted atomic.Uint64
	puts     atomic.Int64
	started  time.Time // opening the store
	result   Result
}

// Run executes the spec.
func Run(spec Spec) (Result, error) {
	r, err := newRun(spec)
	if err != nil {
		return Result{}, err
	}
	if err := r.execute(); err != nil {
		return Result{}, fmt.Errorf("%s on %s: %w", spec.Workload, spec.Engine, err)
	}
	return r.result, nil
}

func newRun(spec Spec) (*run, error) {
	w, err := Find(spec.Workload)
	if err != nil {
		return nil, err
	}
	engine, err := store.Find(spec.Engine)
	if err != nil {
		return nil, err
	}
	r := &run{
		spec: spec, workload: w, engine: engine,
		options:  store.Options{Durability: w.Durability, Cache: spec.Scale.Cache, Memtable: spec.Scale.Memtable, Compactions: 2},
		values:   newValues(spec.Scale.ValueSize),
		zipf:     newZipf(spec.Scale.Keys),
		versions: make([]uint32, spec.Scale.Keys),
		result:   Result{Engine: spec.Engine, Workload: spec.Workload, Round: spec.Round},
	}
	r.result.Budget = r.options.Cache + 4*r.options.Memtable
	if w.Prepared {
		err = r.loadVersions()
	}
	return r, err
}

func (r *run) execute() error {
	runtime.GC()
	base := measure.Anonymous()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	peak := measure.PeakMemory(ctx)
	r.started = time.Now()
	db, err := r.engine.Open(r.spec.Dir, r.options)
	if err != nil {
		return err
	}
	r.db = db
	err = r.workload.run(r)
	r.result.PeakMemory = peak() - base
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return r.space()
}

func (r *run) space() error {
	size, err := measure.DirSize(r.spec.Dir)
	live := r.inserted.Load()
	for _, v := range r.versions {
		if v > 0 {
			live++
		}
	}
	r.result.SpaceAmp = float64(size) / float64(max(1, live)*uint64(r.recordSize()))
	return err
}

func (r *run) recordSize() int { return keySize + r.spec.Scale.ValueSize }

// bound ends a measured part: after so many operations in all, or so many
// seconds.
type bound struct {
	ops     int
	seconds float64
}

func (r *run) seconds() bound { return bound{seconds: r.spec.Scale.Seconds} }

// worker is one client. Its operations use its buffers.
type worker struct {
	*run
	id, of   int
	rng      *rand.Rand
	key      []byte
	value    []byte
	got      []byte
	last     []byte
	inserts  uint64
	latency  measure.Histogram
	progress atomic.Int64
}

func (r *run) workers(n int) []*worker {
	ws := make([]*worker, n)
	for i := range ws {
		r.seed++
		ws[i] = &worker{run: r, id: i, of: n, rng: rand.New(rand.NewPCG(uint64(r.spec.Round), r.seed))}
	}
	return ws
}

// drive lets every worker repeat op until the bound. It takes the latency of
// each sample-th operation.
func drive(ws []*worker, b bound, sample int, op func(*worker) error) error {
	var stop atomic.Bool
	if b.seconds > 0 {
		timer := time.AfterFunc(time.Duration(b.seconds*float64(time.Second)), func() { stop.Store(true) })
		defer timer.Stop()
	}
	errs := make([]error, len(ws))
	var group sync.WaitGroup
	for i, w := range ws {
		group.Go(func() {
			errs[i] = w.loop(b.ops/len(ws), sample, &stop, op)
			if errs[i] != nil {
				stop.Store(true)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (w *worker) loop(ops, sample int, stop *atomic.Bool, op func(*worker) error) error {
	done := int64(0)
	defer func() { w.progress.Store(done) }()
	for !stop.Load() && (ops == 0 || done < int64(ops)) {
		if done%int64(sample) != 0 {
			if err := op(w); err != nil {
				return err
			}
			done++
			continue
		}
		start := time.Now()
		if err := op(w); err != nil {
			return err
		}
		w.latency.Add(time.Since(start))
		done++
		w.progress.Store(done)
	}
	return nil
}

// measured runs the part of a workload that counts.
func (r *run) measured(ws []*worker, part func() error) error {
	runtime.GC()
	stopProfile, err := r.profile()
	if err != nil {
		return err
	}
	// The kernel counts a page cache folio, up to half a megabyte, as written each time that it
	// becomes dirty, so after many small syncs the count says nothing.
	cpu, written, puts := measure.CPU(), measure.BytesWritten(), r.puts.Load()
	start := time.Now()
	if err := part(); err != nil {
		return err
	}
	r.result.Seconds = time.Since(start).Seconds()
	stopProfile()
	puts = r.puts.Load() - puts
	if puts > 0 {
		r.result.SettleSeconds = measure.Settle(2 * time.Minute).Seconds()
		if r.workload.Durability != store.Synced {
			r.result.WriteAmp = float64(measure.BytesWritten()-written) / float64(puts*int64(r.recordSize()))
		}
	}
	r.account(ws, measure.CPU()-cpu)
	return nil
}

func (r *run) account(ws []*worker, cpu time.Duration) {
	var all measure.Histogram
	for _, w := range ws {
		r.result.Ops += w.progress.Load()
		all.Merge(&w.latency)
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	r.result.OpsPerSec = float64(r.result.Ops) / r.result.Seconds
	r.result.CPUMicros = us(cpu) / float64(max(1, r.result.Ops))
	r.result.Micros = Latency{us(all.Quantile(0.5)), us(all.Quantile(0.99)), us(all.Quantile(0.999)), us(all.Max())}
}

func (r *run) profile() (stop func(), err error) {
	if r.spec.Profile == "" {
		return func() {}, nil
	}
	f, err := os.Create(r.spec.Profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}

// watch counts the operations of each second while part runs.
func (r *run) watch(ws []*worker, part func() error) error {
	done := make(chan error, 1)
	go func() { done <- part() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := int64(0)
	for {
		select {
		case err := <-done:
			r.summarise()
			return err
		case <-tick.C:
		}
		now := int64(0)
		for _, w := range ws {
			now += w.progress.Load()
		}
		r.result.PerSecond = append(r.result.PerSecond, now-last)
		last = now
	}
}

func (r *run) summarise() {
	if s := slices.Sorted(slices.Values(r.result.PerSecond)); len(s) > 0 {
		r.result.SlowestSecond, r.result.MedianSecond = s[0], s[len(s)/2]
	}
}

// verify reads every step-th prepared record and wants its newest version.
func (r *run) verify(step int) error {
	w := r.workers(1)[0]
	for i := r.spec.Round % step; i < len(r.versions); i += step {
		want := r.versions[i]
		version, err := w.get(preparedID(i))
		switch {
		case want == 0 && errors.Is(err, store.ErrNotFound):
		case err != nil:
			return fmt.Errorf("verify record %d: %w", i, err)
		case version != want:
			return fmt.Errorf("record %d has version %d, put last was %d", i, version, want)
		}
	}
	return nil
}

func (r *run) loadVersions() error {
	b, err := os.ReadFile(r.spec.Versions)
	if err != nil {
		return err
	}
	if len(b) != 4*len(r.versions) {
		return fmt.Errorf("%s has %d bytes for %d records", r.spec.Versions, len(b), len(r.versions))
	}
	for i := range r.versions {
		r.versions[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return nil
}

func (r *run) saveVersions() error {
	b := make([]byte, 0, 4*len(r.versions))
	for _, v := range r.versions {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return os.WriteFile(r.spec.Versions, b, 0o644)
}
