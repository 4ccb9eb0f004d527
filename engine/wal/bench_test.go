package wal

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
)

// benchWriters lets writers append records of 100 bytes in a closed loop.
func benchWriters(b *testing.B, ack Ack, writers int) {
	l, err := Open(Options{FS: vfs.OS, Dir: b.TempDir(), Ack: ack}, 0, func(Record) error { return nil })
	must(b, err)
	payload := make([]byte, 100)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var done sync.WaitGroup
	b.ResetTimer()
	for range writers {
		done.Go(func() {
			for left.Add(-1) >= 0 {
				seq, err := l.Append(1, 1, 1, payload)
				if err == nil {
					err = l.Wait(seq)
				}
				if err != nil {
					b.Error(err)
					return
				}
				if seq%100000 == 0 {
					l.Release(seq)
				}
			}
		})
	}
	done.Wait()
	b.StopTimer()
	m := l.Metrics()
	b.ReportMetric(float64(m.Records)/float64(m.Groups.Count), "records/write")
	if m.Syncs.Count > 0 {
		b.ReportMetric(float64(m.Records)/float64(m.Syncs.Count), "records/sync")
		b.ReportMetric(float64(m.Syncs.Sum)/float64(m.Syncs.Count), "µs/sync")
	}
	must(b, l.Close())
}

func BenchmarkSynced1(b *testing.B)    { benchWriters(b, AckSynced, 1) }
func BenchmarkSynced16(b *testing.B)   { benchWriters(b, AckSynced, 16) }
func BenchmarkSynced64(b *testing.B)   { benchWriters(b, AckSynced, 64) }
func BenchmarkWritten1(b *testing.B)   { benchWriters(b, AckWritten, 1) }
func BenchmarkWritten50(b *testing.B)  { benchWriters(b, AckWritten, 50) }
func BenchmarkBuffered1(b *testing.B)  { benchWriters(b, AckBuffered, 1) }
func BenchmarkBuffered50(b *testing.B) { benchWriters(b, AckBuffered, 50) }

// BenchmarkAppend is the part of a write that happens under the engine's commit lock.
func BenchmarkAppend(b *testing.B) {
	l, err := Open(Options{FS: vfs.NewMem(), Dir: "/", Ack: AckBuffered, SegmentSize: 1 << 20}, 0, func(Record) error { return nil })
	must(b, err)
	payload := make([]byte, 100)
	for b.Loop() {
		seq, err := l.Append(1, 1, 1, payload)
		must(b, err)
		if seq%10000 == 0 {
			l.Release(seq)
		}
	}
	must(b, l.Close())
}
