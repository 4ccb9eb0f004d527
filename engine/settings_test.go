package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
)

// TestCommittedNeverGoesBack changes what acknowledges a write while there are
// writes: whoever has seen a position, or has waited for it, sees no lower one later.
func TestCommittedNeverGoesBack(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	o.Ack = wal.AckBuffered
	db := open(t, o)
	var seen atomic.Uint64
	look := func(least uint64) {
		if at := db.Committed(); at < least {
			t.Errorf("committed is %d, it was %d", at, least)
		} else {
			for old := seen.Load(); old < at && !seen.CompareAndSwap(old, at); old = seen.Load() {
			}
		}
	}
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for i := range 2000 {
				b := db.NewBatch()
				b.Set(fmt.Appendf(nil, "key-%d", i%100), []byte("value"))
				seq, err := db.Apply(b)
				b.Release()
				if err == nil {
					err = db.Wait(seq)
				}
				if err != nil {
					t.Error(err)
					return
				}
				look(max(seq, seen.Load()))
			}
		})
	}
	live := db.Live()
	for i := range 500 {
		live.Ack = wal.Ack(i % 3)
		must(t, db.SetOptions(live))
		look(seen.Load())
	}
	writers.Wait()
}
