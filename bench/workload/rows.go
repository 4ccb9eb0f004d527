package workload

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gtinside/corecache/bench/measure"
)

// Latency is sampled where an operation is so short that reading the clock
// twice would change what is measured.
const (
	every  = 1
	eighth = 8
)

// prepare builds the data that most rows start from: all records in random
// order, then a quarter of them again.
func prepare(r *run) error {
	ws := r.workers(8)
	scattered := func(w *worker) error {
		return w.put(scatter(int(w.progress.Load())*w.of+w.id, len(r.versions)))
	}
	if err := drive(ws, bound{ops: len(r.versions) / 8 * 8}, every, scattered); err != nil {
		return err
	}
	tail := r.workers(1)[0]
	for i := range r.versions {
		if r.versions[i] > 0 {
			continue
		}
		if err := tail.put(i); err != nil {
			return err
		}
	}
	again := func(w *worker) error { return w.put(w.own(w.uniform())) }
	if err := drive(r.workers(8), bound{ops: len(r.versions) / 4}, eighth, again); err != nil {
		return err
	}
	measure.Settle(5 * time.Minute)
	return errors.Join(r.verify(7), r.saveVersions())
}

// scatter walks all 0 <= i < n in an order that looks random: a stride
// without a common divisor.
func scatter(i, n int) int {
	stride := n*618/1000 | 1
	for gcd(stride, n) != 1 {
		stride += 2
	}
	return int(uint64(i) * uint64(stride) % uint64(n))
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// write measures writers and verifies the outcome.
func (r *run) write(n int, b bound, sample int, next func(*worker) int) error {
	ws := r.workers(n)
	op := func(w *worker) error { return w.put(w.own(next(w))) }
	err := r.measured(ws, func() error { return drive(ws, b, sample, op) })
	return errors.Join(err, r.verify(13))
}

func fillSeq(r *run) error {
	next := 0
	return r.write(1, bound{ops: len(r.versions)}, eighth, func(*worker) int {
		next++
		return next - 1
	})
}

func fillRandom(r *run) error {
	return r.write(1, bound{ops: len(r.versions)}, eighth, (*worker).uniform)
}

func overwrite(r *run) error {
	return r.write(clients, bound{ops: len(r.versions)}, eighth, (*worker).uniform)
}

func fillSync(writers int) func(*run) error {
	return func(r *run) error { return r.write(writers, r.seconds(), every, (*worker).uniform) }
}

func stall(r *run) error {
	ws := r.workers(clients)
	op := func(w *worker) error { return w.put(w.own(w.uniform())) }
	err := r.measured(ws, func() error {
		return r.watch(ws, func() error { return drive(ws, bound{seconds: r.spec.Duration.Seconds()}, every, op) })
	})
	return errors.Join(err, r.verify(13))
}

// mixed warms up for a quarter of the time, then measures.
func (r *run) mixed(n int, op func(*worker) error) error {
	warm, ws := r.workers(n), r.workers(n)
	if err := drive(warm, bound{seconds: r.spec.Scale.Seconds / 4}, eighth, op); err != nil {
		return err
	}
	for i := range ws {
		ws[i].inserts = warm[i].inserts
	}
	err := r.measured(ws, func() error { return drive(ws, r.seconds(), eighth, op) })
	if err == nil && r.puts.Load() > 0 {
		err = r.verify(13)
	}
	return err
}

func readRandom(r *run) error {
	return r.mixed(readers, func(w *worker) error { return w.read(w.uniform()) })
}

func readZipfian(r *run) error {
	return r.mixed(readers, func(w *worker) error { return w.read(w.popular()) })
}

func readMissing(r *run) error {
	return r.mixed(readers, func(w *worker) error { return w.missing(w.uniform()) })
}

// readHot takes care that the blocks of its keys fill no more than a third of
// the cache.
func readHot(r *run) error {
	hot := make([]int, min(1000, r.spec.Scale.Cache/(12<<10)))
	for i := range hot {
		hot[i] = scatter(i, len(r.versions))
	}
	return r.mixed(readers, func(w *worker) error { return w.read(hot[w.rng.IntN(len(hot))]) })
}

func seekNext(r *run) error {
	return r.mixed(readers, func(w *worker) error { return w.scan(w.uniform(), 11) })
}

func ycsbA(r *run) error { return r.readOrWrite(50) }
func ycsbB(r *run) error { return r.readOrWrite(95) }
func ycsbC(r *run) error { return r.readOrWrite(100) }

func (r *run) readOrWrite(reads int) error {
	return r.mixed(clients, func(w *worker) error {
		if w.rng.IntN(100) < reads {
			return w.read(w.popular())
		}
		return w.put(w.own(w.popular()))
	})
}

func ycsbD(r *run) error {
	return r.mixed(clients, func(w *worker) error {
		if w.rng.IntN(100) < 95 {
			return w.readLatest()
		}
		return w.insert()
	})
}

func ycsbE(r *run) error {
	return r.mixed(clients, func(w *worker) error {
		if w.rng.IntN(100) < 95 {
			return w.scan(w.popular(), 1+w.rng.IntN(100))
		}
		return w.insert()
	})
}

func ycsbF(r *run) error {
	return r.mixed(clients, func(w *worker) error {
		if w.rng.IntN(100) < 50 {
			return w.read(w.popular())
		}
		return w.readModifyWrite(w.popular())
	})
}

// readWhileWriting measures the readers only; the writer keeps a fixed pace,
// so that a slow writer is no help to its readers.
func readWhileWriting(r *run) error {
	const perTick, pause = 100, 5 * time.Millisecond
	stop := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		w := r.workers(1)[0]
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				failed <- nil
				return
			case <-tick.C:
			}
			for range perTick {
				if err := w.put(w.uniform()); err != nil {
					failed <- err
					return
				}
			}
		}
	}()
	ws := r.workers(readers)
	err := r.measured(ws, func() error {
		err := drive(ws, bound{seconds: 2 * r.spec.Scale.Seconds}, every, func(w *worker) error { return w.read(w.uniform()) })
		close(stop)
		return errors.Join(err, <-failed)
	})
	return errors.Join(err, r.verify(13))
}

// killLoad overwrites a number of records that differs per round, says so,
// and waits to be killed.
func killLoad(r *run) error {
	w := r.workers(1)[0]
	for range len(r.versions)/5 + r.spec.Round*len(r.versions)/17 {
		if err := w.put(w.uniform()); err != nil {
			return err
		}
	}
	if err := r.saveVersions(); err != nil {
		return err
	}
	fmt.Println(KillReady)
	_, err := os.Stdin.Read(make([]byte, 1))
	return fmt.Errorf("not killed: %w", err)
}

// KillReady is the line by which the load asks for the kill.
const KillReady = "ready to be killed"

// reopen measures the time until the first read is answered, then counts what
// the kill has lost. Only engines that buffer writes may have lost any.
func reopen(r *run) error {
	w := r.workers(1)[0]
	if _, err := w.get(preparedID(0)); err != nil {
		return err
	}
	r.result.OpenMillis = float64(time.Since(r.started).Microseconds()) / 1000
	for i, want := range r.versions {
		version, err := w.get(preparedID(i))
		if err != nil {
			return err
		}
		if version > want {
			return fmt.Errorf("record %d has version %d, put last was %d", i, version, want)
		}
		if version < want {
			r.result.Lost++
		}
	}
	if r.result.Lost > 0 && !r.engine.MayLose {
		return fmt.Errorf("%d records written before the kill are lost", r.result.Lost)
	}
	return nil
}
