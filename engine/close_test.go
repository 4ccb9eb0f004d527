package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

// TestCloseWhileReading: reads that a Close overtakes end with ErrClosed, and no
// table stays open.
func TestCloseWhileReading(t *testing.T) {
	for range 20 {
		o := smallOptions(vfs.NewMem())
		o.CacheSize, o.MaxOpenFiles = 4*kib, 2
		db := open(t, o)
		fill(t, db, 500, 100)
		must(t, db.Flush())
		late := db.NewIter(IterOptions{})
		if !late.First() {
			t.Fatal(late.Error())
		}
		var readers sync.WaitGroup
		var started sync.WaitGroup
		for n := range 4 {
			started.Add(1)
			readers.Go(func() {
				for i := 0; ; i++ {
					_, err := db.Get(nil, fmt.Appendf(nil, "key-%06d", (i*7+n)%500))
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if i == 0 {
						started.Done()
					}
				}
			})
		}
		started.Wait()
		must(t, db.Close())
		readers.Wait()
		for late.Next() {
		}
		if err := late.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if n := db.tables.open.Load(); n != 0 {
			t.Fatalf("%d descriptors stay open", n)
		}
	}
}

// TestCheckpointOnFullDisk: what is committed but can not be written does not
// make a checkpoint wait, and a Close not either.
func TestCheckpointOnFullDisk(t *testing.T) {
	var disk vfs.DiskFull
	o := smallOptions(vfs.NewFault(vfs.NewMem(), func(c vfs.Call) error {
		if strings.HasSuffix(c.Name, ".wal") && strings.HasPrefix(c.Name, "db") {
			return disk.Policy(c)
		}
		return nil
	}))
	o.Ack = wal.AckBuffered
	db := open(t, o)
	set(t, db, "a", "1")
	disk.Fill(0)
	set(t, db, "b", "2")
	within(t, func() {
		if err := db.Checkpoint("copy"); !vfs.IsNoSpace(err) {
			t.Error(err)
		}
	})
	disk.Relieve()
	must(t, db.Checkpoint("copy"))
}

// TestCloseEndsCheckpoint: a checkpoint that is under way does not outlast Close.
func TestCloseEndsCheckpoint(t *testing.T) {
	linking, closing := make(chan struct{}), make(chan struct{})
	o := smallOptions(vfs.NewFault(vfs.NewMem(), func(c vfs.Call) error {
		if c.Op == vfs.OpLink && strings.HasPrefix(c.Name, "copy") {
			close(linking)
			<-closing
		}
		return nil
	}))
	db := open(t, o)
	set(t, db, "a", "1")
	must(t, db.Flush())
	set(t, db, "b", "2") // in the log
	var checkpoint error
	var both sync.WaitGroup
	both.Go(func() { checkpoint = db.Checkpoint("copy") })
	<-linking
	both.Go(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	<-db.life.Done()
	close(closing)
	within(t, both.Wait)
	if !errors.Is(checkpoint, ErrClosed) {
		t.Errorf("checkpoint: %v", checkpoint)
	}
	if err := db.Checkpoint("copy"); !errors.Is(err, ErrClosed) {
		t.Errorf("checkpoint after Close: %v", err)
	}
}

// within fails the test when run takes too long.
func within(t *testing.T, run func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); run() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it hangs")
	}
}

// TestCloseRefusesWriters: while Close waits for a flush, writers do not fill
// more memtables than there may be.
func TestCloseRefusesWriters(t *testing.T) {
	flushing, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	o := smallOptions(vfs.NewFault(vfs.NewMem(), func(c vfs.Call) error {
		if c.Op == vfs.OpCreate && strings.HasSuffix(c.Name, ".sst") {
			once.Do(func() { close(flushing) })
			<-release
		}
		return nil
	}))
	db := open(t, o)
	var both sync.WaitGroup
	refused := make(chan struct{})
	both.Go(func() {
		defer close(refused)
		b := db.NewBatch()
		b.Set([]byte("key"), make([]byte, 1000))
		for most := 4 * int64(db.opts.MaxMemTables) * db.opts.MemTableSize; most > 0; most -= 1000 {
			if _, err := db.Apply(b); err != nil {
				if !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
				return
			}
		}
		t.Error("writes went on")
	})
	<-flushing
	both.Go(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	within(t, func() { <-refused })
	close(release)
	within(t, both.Wait)
}
