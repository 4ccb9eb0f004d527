package stream

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
)

// SenderOptions are the settings of a Sender. Zero values mean the default, given in parentheses.
type SenderOptions struct {
	// Window bounds what was sent and is not acknowledged as written, in bytes (16 MiB); one
	// record may exceed it.
	Window int64
	// Batch is the size at which a frame of records is sent, in bytes (256 KiB, at most the link's largest).
	Batch int
	// CommitPause is how long a new committed position may wait for records to ride on (10 ms).
	CommitPause time.Duration
	// Acked, if set, is called with each acknowledgement, by one goroutine; it must not block.
	Acked func(Ack)
	// Pin, if set, is advanced as the follower acknowledges. It stays the caller's.
	Pin *wal.Pin
}

// Sender sends the log to one follower. Methods may be called concurrently; Run once.
//
// Whoever has written to the log sends what he has written, while nothing is under way to the follower and it takes no waiting
// (offer): a lone write loses no time by a change of goroutines. The rest is for Run, which gathers meanwhile what others write.
type Sender struct {
	o      SenderOptions
	db     *engine.DB
	conn   *link.Conn
	term   uint64
	reader *wal.Reader

	committed atomic.Uint64
	shut      atomic.Bool   // the window was, for whoever looked last
	pausing   atomic.Bool   // a new committed position waits for its pause
	wake      chan struct{} // there is something for Run to do

	sending sync.Mutex // guards what follows, up to mu, which comes after it
	batch   []byte
	last    uint64     // of the batch; 0: it is empty
	held    wal.Record // did not fit into the batch before; Count is 0 if there is none
	carried uint64     // committed, as the batch says
	told    uint64     // and as the follower knows it

	mu struct {
		sync.Mutex
		flight []inFlight // not acknowledged, oldest first
		bytes  int64      // of these
		sent   uint64
		acked  Ack
	}
}

// inFlight is one frame's records.
type inFlight struct {
	last  uint64
	bytes int64
}

// Progress is how far a follower is.
type Progress struct {
	Sent     uint64 // sequence number
	Acked    Ack
	InFlight int64 // bytes sent and not acknowledged
}

// NewSender prepares to send the records of db from sequence number from on, as the leader of a term. The error
// wraps wal.ErrGone if the log does not reach back so far.
func NewSender(db *engine.DB, conn *link.Conn, term, from uint64, o SenderOptions) (*Sender, error) {
	o.Window = cmp.Or(o.Window, 16<<20)
	o.Batch = min(cmp.Or(o.Batch, 256<<10), conn.MaxFrame())
	o.CommitPause = cmp.Or(o.CommitPause, 10*time.Millisecond)
	reader, err := db.NewLogReader(from)
	if err != nil {
		return nil, err
	}
	s := &Sender{o: o, db: db, conn: conn, term: term, reader: reader, wake: make(chan struct{}, 1)}
	s.mu.sent = from - 1
	return s, nil
}

// SetCommitted tells the follower, soon, that everything up to seq is committed. It never goes back.
func (s *Sender) SetCommitted(seq uint64) {
	for {
		old := s.committed.Load()
		if seq <= old {
			return
		}
		if s.committed.CompareAndSwap(old, seq) {
			break
		}
	}
	if !s.pausing.Swap(true) {
		s.look()
	}
}

// look makes Run look.
func (s *Sender) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Progress returns how far the follower is.
func (s *Sender) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Progress{Sent: s.mu.sent, Acked: s.mu.acked, InFlight: s.mu.bytes}
}

// Run sends until ctx ends, the link breaks, or the log fails or does not hold what is next (wal.ErrGone).
// It closes the link. Its own goroutine, which reads acknowledgements, has ended when it returns.
func (s *Sender) Run(ctx context.Context) error {
	var acks sync.WaitGroup
	ackErr := make(chan error, 1)
	acks.Go(func() { ackErr <- s.readAcks() })
	watch := s.db.WatchLog(s.offer)
	err := s.send(ctx)
	watch.Close()
	err = errors.Join(err, s.conn.Close("the stream ends"))
	acks.Wait()
	if errors.Is(err, errLinkEnded) {
		err = <-ackErr
	}
	return errors.Join(err, s.reader.Close())
}

// offer sends what the log has, if nothing is under way and that takes no waiting for anybody; otherwise Run will.
func (s *Sender) offer() {
	if s.Progress().InFlight > 0 || !s.sending.TryLock() {
		s.look()
		return
	}
	defer s.sending.Unlock()
	if !s.conn.Idle() {
		s.look()
		return
	}
	switch more, err := s.sendBatch(s.trySend); {
	case err != nil, more && len(s.batch) >= s.o.Batch/2, s.held.Count > 0:
		s.look()
	}
}

// errNoRoom can not be: nobody else sends.
var errNoRoom = errors.New("an idle link has no room")

// trySend is for an idle link, whose queue therefore has room. Without it the records would be missing, so the link ends.
func (s *Sender) trySend(batch []byte) error {
	taken, err := s.conn.TrySend(frameRecords, batch)
	if err == nil && !taken {
		return errors.Join(errNoRoom, s.conn.Close(errNoRoom.Error()))
	}
	return err
}

// errLinkEnded says that the goroutine which reads acknowledgements knows why.
var errLinkEnded = errors.New("the link ended")

func (s *Sender) send(ctx context.Context) error {
	pause := time.NewTimer(time.Hour)
	defer pause.Stop()
	pause.Stop()
	waits := false // pause runs
	for {
		more, err := s.sendNext()
		if err != nil {
			return err
		}
		if more {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			default:
			}
			continue
		}
		if s.pausing.Load() && !waits {
			waits = true
			pause.Reset(s.o.CommitPause)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.conn.Done():
			return errLinkEnded
		case <-s.wake:
		case <-pause.C:
			waits = false
			s.pausing.Store(false) // before the position is looked at
			if err := s.tellCommitted(); err != nil {
				return err
			}
		}
	}
}

// sendNext is sendBatch for Run, which may wait.
func (s *Sender) sendNext() (more bool, err error) {
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.held.Count > 0 && recordHeader+batchHeader+len(s.held.Payload) > s.conn.MaxFrame() {
		if s.full() {
			return false, nil
		}
		s.begin()
		r := s.held
		s.held = wal.Record{}
		return true, s.sendLarge(r)
	}
	return s.sendBatch(func(batch []byte) error { return s.put(frameRecords, batch) })
}

// tellCommitted sends the committed position alone, if no records have carried it.
func (s *Sender) tellCommitted() error {
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.committed.Load() <= s.told {
		return nil
	}
	s.begin()
	s.told = s.carried
	return s.put(frameRecords, s.batch)
}

// sendBatch sends what the log has, up to the size of a batch, if the window is open. There may
// be more if it sent something. It leaves a large record in s.held.
func (s *Sender) sendBatch(put func(batch []byte) error) (more bool, err error) {
	if s.full() {
		return false, nil
	}
	s.begin()
	for len(s.batch) < s.o.Batch {
		r, ok, err := s.next()
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		if len(s.batch)+recordHeader+len(r.Payload) > s.conn.MaxFrame() {
			s.held = r // its payload is valid until the next one is read
			break
		}
		s.batch = append(appendRecordHeader(s.batch, r), r.Payload...)
		s.last = r.Last()
	}
	if s.last == 0 {
		return s.held.Count > 0, nil
	}
	s.sent(len(s.batch))
	s.told = s.carried
	return true, put(s.batch)
}

// next returns the next record, if there is one.
func (s *Sender) next() (r wal.Record, ok bool, err error) {
	if r = s.held; r.Count > 0 {
		s.held = wal.Record{}
		return r, true, nil
	}
	return s.reader.TryNext()
}

// begin starts an empty batch.
func (s *Sender) begin() {
	s.carried = s.committed.Load()
	s.batch, s.last = appendBatchHeader(s.batch[:0], s.term, s.carried), 0
}

func (s *Sender) put(typ byte, parts ...[]byte) error {
	if err := s.conn.Send(typ, parts...); err != nil {
		return fmt.Errorf("%w: %w", errLinkEnded, err)
	}
	return nil
}

// sendLarge sends a record that does not fit into a frame, while the batch is empty.
func (s *Sender) sendLarge(r wal.Record) error {
	s.batch = appendRecordHeader(s.batch, r)
	size := min(max(s.o.Batch, 4<<10), s.conn.MaxFrame()) // so that the follower sees soon that something comes
	first := size - len(s.batch)
	s.last = r.Last()
	s.sent(len(s.batch) + len(r.Payload))
	s.told = s.carried
	if err := s.put(frameLarge, s.batch, r.Payload[:first]); err != nil {
		return err
	}
	term := binary.LittleEndian.AppendUint64(s.batch[:0], s.term)
	for rest := r.Payload[first:]; len(rest) > 0; {
		n := min(len(rest), size-pieceHeader)
		if err := s.put(framePiece, term, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// sent counts what is about to be sent.
func (s *Sender) sent(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.flight = append(s.mu.flight, inFlight{s.last, int64(bytes)})
	s.mu.bytes += int64(bytes)
	s.mu.sent = s.last
}

func (s *Sender) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	shut := s.mu.bytes >= s.o.Window
	s.shut.Store(shut)
	return shut
}

// readAcks reads until the link ends.
func (s *Sender) readAcks() error {
	for {
		typ, b, err := s.conn.Receive()
		if err != nil {
			return err
		}
		term, a, err := decodeAck(b)
		if err == nil && typ != frameAck {
			err = fmt.Errorf("%w: type %d instead of an acknowledgement", ErrProtocol, typ)
		}
		if err == nil && term != s.term {
			err = fmt.Errorf("%w: an acknowledgement of %d in %d", ErrTerm, term, s.term)
		}
		if err == nil {
			err = s.acked(a)
		}
		if err != nil {
			return errors.Join(err, s.conn.Close(err.Error()))
		}
		if s.o.Pin != nil {
			s.o.Pin.Advance(a.Written + 1)
		}
		if s.o.Acked != nil {
			s.o.Acked(a)
		}
		if s.shut.Load() {
			s.look()
		}
	}
}

func (s *Sender) acked(a Ack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.mu.acked
	if a.Written > s.mu.sent || a.Synced > a.Written || a.Counts > a.Written || a.Written < was.Written || a.Synced < was.Synced {
		return fmt.Errorf("%w: acknowledged is %+v after %+v, sent is %d", ErrProtocol, a, s.mu.acked, s.mu.sent)
	}
	s.mu.acked = a
	n := 0
	for n < len(s.mu.flight) && s.mu.flight[n].last <= a.Written {
		s.mu.bytes -= s.mu.flight[n].bytes
		n++
	}
	if n > 0 {
		s.mu.flight = append(s.mu.flight[:0], s.mu.flight[n:]...)
	}
	return nil
}
