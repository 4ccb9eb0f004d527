package wal

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine/vfs"
)

// TestConcurrent lets writers, readers and everything else run at once.
func TestConcurrent(t *testing.T) {
	for _, ack := range allAcks {
		t.Run(ack.String(), func(t *testing.T) { testConcurrent(t, ack) })
	}
}

func testConcurrent(t *testing.T, ack Ack) {
	const writers, each = 8, 400
	o := Options{FS: vfs.NewMem(), Ack: ack, SegmentSize: 16 << 10, MaxBuffered: 8 << 10,
		SyncInterval: time.Millisecond, KeepBytes: 1 << 30}
	l, _ := open(t, o, 0)
	var payloads sync.Map // sequence number to payload
	var writing, reading sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				size := (w*31 + i*7) % 300
				if i%100 == 50 {
					size = 5000
				}
				p := fmt.Appendf(nil, "%d/%d/%*d", w, i, size, 0)
				first, err := l.Append(1, 2, 3, p)
				if err == nil {
					payloads.Store(first, string(p))
					err = l.Wait(first + 1)
				}
				if err != nil || l.Acked() < first+1 {
					t.Errorf("append %d: %v", first, err)
					return
				}
			}
		})
	}
	for range 3 {
		reading.Go(func() {
			r, err := l.NewReader(1)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = r.Close() }()
			for seq := uint64(1); seq < 2*writers*each; seq += 2 {
				rec, err := r.Next(t.Context())
				if err != nil || rec.Seq != seq {
					t.Errorf("record %d: %v, %v", seq, rec.Seq, err)
					return
				}
				var want any
				for ok := false; !ok; { // Append may not have returned yet
					want, ok = payloads.Load(seq)
				}
				if string(rec.Payload) != want {
					t.Errorf("record %d differs", seq)
				}
			}
		})
	}
	var stop atomic.Bool
	reading.Go(func() {
		for !stop.Load() {
			must(t, l.Sync())
			l.Release(l.Synced())
			l.Metrics()
			l.SetSyncInterval(time.Duration(1+l.Last()%5) * time.Millisecond)
		}
	})
	writing.Wait()
	stop.Store(true)
	reading.Wait()
	must(t, l.Close())
	_, got := open(t, o, 0)
	if len(got) != writers*each {
		t.Fatalf("%d records", len(got))
	}
}

// TestConcurrentFailure lets the disk fail under writers: each of them sees
// the error, and what was acknowledged before is there.
func TestConcurrentFailure(t *testing.T) {
	for n := int64(1); n < 60; n += 3 {
		disk := vfs.NewCrash(uint64(n))
		fault := vfs.NewFault(disk, nil)
		l, _ := open(t, Options{FS: fault, SegmentSize: 8 << 10}, 0)
		fault.SetPolicy(vfs.FailNth(n, vfs.ErrInjected, vfs.OpSync, vfs.OpWrite))
		var acked atomic.Uint64
		var writing sync.WaitGroup
		for range 4 {
			writing.Go(func() {
				for range 300 { // it may be a segment being prepared that failed, which nobody needs
					seq, err := l.Append(1, 1, 1, []byte("payload"))
					if err == nil {
						err = l.Wait(seq)
					}
					if err != nil {
						if !errors.Is(err, ErrFailed) {
							t.Errorf("error %v", err)
						}
						return
					}
					for old := acked.Load(); old < seq && !acked.CompareAndSwap(old, seq); old = acked.Load() {
					}
				}
			})
		}
		writing.Wait()
		disk = disk.Crash()
		_ = l.Close()
		l, got := open(t, Options{FS: disk}, 0)
		if uint64(len(got)) < acked.Load() {
			t.Fatalf("%d records, %d were acknowledged", len(got), acked.Load())
		}
		must(t, l.Close())
	}
}
