package wal

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/engine/vfs"
)

// Ack is what must have happened to a record before it counts as
// acknowledged. Larger is weaker.
type Ack int32

const (
	// AckSynced: the record is on disk; it survives a loss of power.
	AckSynced Ack = iota
	// AckWritten: the record was handed to the operating system; it survives
	// the death of the process.
	AckWritten
	// AckBuffered: the record is in the log's memory and is written within
	// milliseconds.
	AckBuffered
)

func (a Ack) String() string {
	switch a {
	case AckSynced:
		return "synced"
	case AckWritten:
		return "written"
	case AckBuffered:
		return "buffered"
	}
	return fmt.Sprintf("Ack(%d)", int32(a))
}

// Options configure a log. Zero values mean the default, given in parentheses.
type Options struct {
	FS  vfs.FS // (vfs.OS)
	Dir string // made if it is missing; holds the segments, may hold other files
	// SegmentSize is the size at which the next segment is begun, in bytes (64 MiB).
	// A segment can be larger by one group of records.
	SegmentSize int64
	Ack         Ack // (AckSynced)
	// SyncInterval is how often a log that is not AckSynced is synced; 0:
	// only when a segment is full.
	SyncInterval time.Duration
	// KeepBytes is how much of what was released stays on disk for readers (0).
	KeepBytes int64
	// PinBytes is how much of what was released stays as long as a Pin wants it (0);
	// it includes KeepBytes.
	PinBytes int64
	// MaxBuffered bounds each of the two buffers, in bytes (4 MiB, at least
	// 4 KiB). Payloads larger than a quarter of it are written directly.
	MaxBuffered int
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	o.SegmentSize = max(cmp.Or(o.SegmentSize, 64<<20), 2*segmentHeaderSize)
	o.MaxBuffered = max(cmp.Or(o.MaxBuffered, 4<<20), 4<<10)
	return o
}

// Log is a write-ahead log. See the package documentation for how it commits. All methods
// may be called concurrently.
type Log struct {
	o      Options
	fs     vfs.FS
	direct int // payloads larger than this go around the buffer

	// Sequence numbers; each of the first three is at least the next.
	last    atomic.Uint64 // appended
	written atomic.Uint64 // handed to the file
	synced  atomic.Uint64 // durable

	ack       atomic.Int32
	interval  atomic.Int64 // time.Duration
	keepBytes atomic.Int64
	pinBytes  atomic.Int64
	failed    atomic.Bool   // mu.err is set
	untold    atomic.Bool   // watches do not know the newest
	appended  atomic.Uint64 // records, ever
	syncAvg   atomic.Int64  // moving average of an fsync, a time.Duration
	stats     stats

	wakeWriter chan struct{} // records wait to be written
	hurry      chan struct{} // and they are many
	wakeKeeper chan struct{} // something is to be synced, closed or prepared
	stop       chan struct{}
	background sync.WaitGroup
	closeOnce  sync.Once
	crowd      atomic.Int32  // the last groups had more than one record, up to so many before
	yields     atomic.Uint32 // calls of yield
	closeErr   error

	// trimMu serialises what removes segments. It comes before syncMu.
	trimMu sync.Mutex
	// syncMu serialises fsyncs and the closing of files. It comes before mu.
	syncMu  sync.Mutex
	syncing []*segment // scratch, guarded by syncMu

	// The token: whoever set mu.leading owns these until he passes it on.
	out    buffer // being written; after ErrFull, still to be written
	taken  uint64 // records, ever, that left the fill buffer
	expect int    // records that the next group probably gets
	misses int    // times in a row that they did not come
	pause  int    // groups to commit without waiting for anybody

	mu struct {
		sync.Mutex
		err       error // the log has failed or is closed
		full      error // the disk is full
		fill      buffer
		leading   bool // somebody holds the token
		exclusive bool // its holder wants nothing appended
		waiters   []*waiter
		segments  []*segment // by age, the one of fill last
		prepared  []*segment // for use, by id
		preparing int        // of which somebody is making another
		nextID    uint64
		released  uint64 // sequence number
		readers   map[*Reader]struct{}
		watches   []*Watch // never changed in place
		pins      map[*Pin]struct{}
	}
}

// buffer holds bytes for one place in one segment.
type buffer struct {
	b       []byte
	seg     *segment
	off     int64
	records int
	head    head   // of the last of them that is not short
	last    uint64 // sequence number of the last record
}

// addHeader appends the header of a record whose payload comes next.
func (b *buffer) addHeader(h header) {
	if b.records > 0 && b.head.leads(h) {
		b.b = b.head.appendShort(b.b, h)
		return
	}
	n := len(b.b)
	b.b = h.appendTo(b.b, b.seg.ident)
	b.head = headOf(h, b.b[n:])
}

func (b *buffer) end() int64 { return b.off + int64(len(b.b)) }

// Open opens the log in a directory or begins one. It calls replay for each
// record whose last sequence number is greater than after, in order; the payload is valid
// during the call. The caller has everything up to after elsewhere, durably:
// a new log, and one that lost unsynced records which the caller has, goes on
// with after+1.
//
// What a crash left unfinished at the end is cut. Damage elsewhere is an error
// that wraps base.ErrCorrupt, and then nothing on disk was changed.
func Open(o Options, after uint64, replay func(Record) error) (*Log, error) {
	o = o.withDefaults()
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return nil, err
	}
	found, err := recoverLog(o.FS, o.Dir, after, replay)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l := &Log{
		o: o, fs: o.FS, direct: o.MaxBuffered / 4,
		wakeWriter: make(chan struct{}, 1),
		hurry:      make(chan struct{}, 1),
		wakeKeeper: make(chan struct{}, 1),
		stop:       make(chan struct{}),
	}
	l.ack.Store(int32(o.Ack))
	l.interval.Store(int64(o.SyncInterval))
	l.keepBytes.Store(o.KeepBytes)
	l.pinBytes.Store(o.PinBytes)
	l.last.Store(found.last)
	l.written.Store(found.last)
	l.synced.Store(found.last)
	l.mu.released = after
	l.mu.readers = map[*Reader]struct{}{}
	l.mu.pins = map[*Pin]struct{}{}
	l.mu.segments = found.segments
	l.mu.nextID = found.nextID
	if err := l.begin(); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l.background.Add(2)
	go l.runWriter()
	go l.runKeeper()
	return l, nil
}

// begin makes the first segment of this life of the log, and makes it durable, because
// its header is the evidence that all before it is complete.
func (l *Log) begin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rotateLocked(l.last.Load() + 1)
	fill := &l.mu.fill
	if err := l.write(fill.seg, fill.b, 0); err != nil {
		return errors.Join(err, closeFile(fill.seg))
	}
	if err := fill.seg.file.Sync(); err != nil {
		return errors.Join(err, closeFile(fill.seg))
	}
	fill.seg.end = fill.end()
	fill.off, fill.b = fill.end(), fill.b[:0]
	return nil
}

// Close writes and syncs what was appended and ends the log. Records that
// could not be written are lost, and then Close returns an error. Only the first call does
// something; the others return what it returned.
func (l *Log) Close() error {
	l.closeOnce.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Log) close() error {
	l.beginExclusive()
	err := l.writeOut()
	if err == nil {
		err = l.syncWritten()
	}
	if err == nil {
		err = l.writeMark()
	}
	l.mu.Lock()
	l.mu.err = ErrClosed
	l.failed.Store(true)
	l.movedLocked()
	l.mu.Unlock()
	l.endExclusive()
	close(l.stop)
	l.background.Wait()
	l.tell()

	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range append(l.mu.segments, l.mu.prepared...) {
		err = errors.Join(err, closeFile(s))
	}
	if err == nil {
		l.tidyLocked()
	}
	return err
}

// tidyLocked gives back the space that was kept for what does not come any more. Open would do that
// too, so failures are only counted.
func (l *Log) tidyLocked() {
	for _, s := range l.mu.prepared {
		if l.fs.Remove(s.path) != nil {
			l.stats.cleanupErrors.Add(1)
		}
	}
	l.mu.prepared = nil
}

// writeMark notes at the end of the log that everything before is durable, and cuts what is behind. The caller
// holds the token, exclusively, and everything was synced.
func (l *Log) writeMark() error {
	l.mu.Lock()
	fill := &l.mu.fill
	last := l.last.Load()
	b := header{seq: last + 1, synced: last, time: time.Now().UnixMilli()}.appendTo(fill.b, fill.seg.ident)
	seg, off := fill.seg, fill.off
	l.mu.Unlock()
	if err := l.write(seg, b, off); err != nil {
		if vfs.IsNoSpace(err) {
			return nil // everything acknowledged is safe without it
		}
		return err
	}
	if seg.file.Truncate(off+int64(len(b))) != nil {
		l.stats.cleanupErrors.Add(1) // it only keeps space that was reserved
	}
	return seg.file.Sync()
}

func closeFile(s *segment) error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// Last returns the sequence number of the last record appended.
func (l *Log) Last() uint64 { return l.last.Load() }

// Written returns up to which sequence number records survive the death of the process.
func (l *Log) Written() uint64 { return l.written.Load() }

// Synced returns up to which sequence number records survive a loss of power.
func (l *Log) Synced() uint64 { return l.synced.Load() }

// AcksSynced reports whether records are acknowledged only when they are synced.
func (l *Log) AcksSynced() bool { return Ack(l.ack.Load()) == AckSynced }

// Acked returns up to which sequence number records are acknowledged at the
// configured level. A log that failed acknowledges nothing that is only in memory.
func (l *Log) Acked() uint64 {
	switch Ack(l.ack.Load()) {
	case AckSynced:
		return l.synced.Load()
	case AckBuffered:
		if !l.failed.Load() {
			return l.last.Load()
		}
	}
	return l.written.Load()
}

// SetAck changes the level, also for those who wait.
func (l *Log) SetAck(a Ack) {
	l.ack.Store(int32(a))
	l.mu.Lock()
	l.takeLocked()
	l.mu.Unlock()
	l.finish()
}

// SetSyncInterval changes Options.SyncInterval.
func (l *Log) SetSyncInterval(d time.Duration) {
	l.interval.Store(int64(d))
	wake(l.wakeKeeper)
}

// SetKeep changes Options.KeepBytes and Options.PinBytes from the next Release on.
func (l *Log) SetKeep(keepBytes, pinBytes int64) {
	l.keepBytes.Store(keepBytes)
	l.pinBytes.Store(pinBytes)
}

// wake makes the goroutine that receives from c look, now or when it comes to it.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Err returns what made the log refuse records for good, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.err
}

// Fail makes the log refuse everything from now on, as a failed write does,
// because the caller has lost track of what is in it. It returns the error
// that others get.
func (l *Log) Fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failLocked(fmt.Errorf("%w: %w", errFatal, err))
}

// failLocked takes note of a failed write or fsync and returns the error that
// everybody gets from now on. A full disk is not a failure: the bytes stay
// and are written again, to the same place.
func (l *Log) failLocked(err error) error {
	if l.mu.err != nil {
		return l.mu.err
	}
	if vfs.IsNoSpace(err) && !errors.Is(err, errFatal) {
		l.mu.full = fmt.Errorf("%w: %w", ErrFull, err)
		wake(l.wakeWriter)
		return l.mu.full
	}
	l.mu.err = fmt.Errorf("%w: %w", ErrFailed, err)
	l.failed.Store(true)
	l.movedLocked()
	wake(l.wakeKeeper)
	return l.mu.err
}
