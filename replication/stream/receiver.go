package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
)

// ReceiverOptions are for an owner who decides about each record. Zero values mean the default, given in parentheses.
type ReceiverOptions struct {
	// Apply applies a record (DB.ApplyRecord). An error ends Run.
	Apply func(wal.Record) error
	// Arriving, if set, is called when something has come, be it a part of a record.
	Arriving func()
	// Committed is told what the leader has committed, which may be beyond what was applied
	// (DB.SetCommitted of what was).
	Committed func(seq uint64)
}

// Receiver applies what a leader sends to a store whose log has been through Resume, or is known otherwise to agree with the leader's, and which was
// opened with Options.ExternalCommit. Nobody else may write to the store.
type Receiver struct {
	o    ReceiverOptions
	db   *engine.DB
	conn *link.Conn
	term uint64

	applied atomic.Uint64 // sequence number
	news    chan struct{} // applied has moved

	// Owned by the goroutine that receives.
	large  wal.Record // whose payload is not complete; Count is 0 if there is none
	length int        // that it will have

	heard atomic.Uint64 // committed, as the leader said
}

// NewReceiver prepares to receive from the leader of a term.
func NewReceiver(db *engine.DB, conn *link.Conn, term uint64, o ReceiverOptions) *Receiver {
	if o.Apply == nil {
		o.Apply = db.ApplyRecord
	}
	r := &Receiver{o: o, db: db, conn: conn, term: term, news: make(chan struct{}, 1)}
	r.applied.Store(db.Last())
	return r
}

// Committed is the leader's committed position, as far as it has been heard of; this node's log may not be
// so far yet.
func (r *Receiver) Committed() uint64 { return r.heard.Load() }

// Run receives until ctx ends, the link breaks, or a record can not be applied. It closes the link. When it has returned
// nothing is acknowledged any more, and its own goroutine, which acknowledges, has ended.
func (r *Receiver) Run(ctx context.Context) error {
	life, end := context.WithCancelCause(ctx)
	var acks sync.WaitGroup
	acks.Go(func() {
		if err := r.acknowledge(life); err != nil {
			end(err)
		}
	})
	closed := make(chan struct{})
	stop := context.AfterFunc(life, func() {
		_ = r.conn.Close("the follower stops")
		close(closed)
	})
	err := r.receive()
	if stop() {
		_ = r.conn.Close(err.Error())
	} else {
		<-closed
		err = context.Cause(life)
	}
	end(err)
	acks.Wait()
	return err
}

func (r *Receiver) receive() error {
	for {
		typ, b, err := r.conn.Receive()
		if err != nil {
			return err
		}
		if r.o.Arriving != nil {
			r.o.Arriving()
		}
		if len(b) < pieceHeader {
			return fmt.Errorf("%w: type %d, %d bytes", ErrProtocol, typ, len(b))
		}
		if term := binary.LittleEndian.Uint64(b); term != r.term {
			return fmt.Errorf("%w: a frame of %d in %d", ErrTerm, term, r.term)
		}
		switch {
		case typ == framePiece && r.large.Count > 0:
			err = r.piece(b[pieceHeader:])
		case (typ == frameRecords || typ == frameLarge) && r.large.Count == 0:
			err = r.records(b, typ == frameLarge)
		default:
			err = fmt.Errorf("%w: type %d", ErrProtocol, typ)
		}
		if err != nil {
			return err
		}
	}
}

// records applies a frame of records, or the beginning of a large one.
func (r *Receiver) records(b []byte, large bool) error {
	if len(b) < batchHeader {
		return fmt.Errorf("%w: %d bytes of records", ErrProtocol, len(b))
	}
	r.heard.Store(max(r.heard.Load(), binary.LittleEndian.Uint64(b[8:])))
	for list := b[batchHeader:]; len(list) > 0; {
		rec, length, rest, err := cutRecord(list)
		if err != nil {
			return err
		}
		if whole := length == len(rec.Payload); whole == large || rec.Count == 0 || large && len(rest) > 0 || length > maxRecord {
			return fmt.Errorf("%w: %d bytes of a record of %d", ErrProtocol, len(rec.Payload), length)
		}
		if large {
			rec.Payload = append([]byte(nil), rec.Payload...)
			r.large, r.length = rec, length
			return nil
		}
		if err := r.o.Apply(rec); err != nil {
			return err
		}
		r.applied.Store(rec.Last())
		list = rest
	}
	r.settle()
	return nil
}

// piece adds to a large record. Memory grows with what has come, not with what was promised.
func (r *Receiver) piece(b []byte) error {
	if len(b) == 0 || len(r.large.Payload)+len(b) > r.length {
		return fmt.Errorf("%w: %d bytes more for a record of %d that has %d", ErrProtocol, len(b), r.length, len(r.large.Payload))
	}
	r.large.Payload = append(r.large.Payload, b...)
	if len(r.large.Payload) < r.length {
		return nil
	}
	rec := r.large
	r.large = wal.Record{}
	if err := r.o.Apply(rec); err != nil {
		return err
	}
	r.applied.Store(rec.Last())
	r.settle()
	return nil
}

// settle commits what the leader has committed, of what is here, and has it acknowledged.
func (r *Receiver) settle() {
	if r.o.Committed != nil {
		r.o.Committed(r.heard.Load())
	} else {
		r.db.SetCommitted(min(r.heard.Load(), r.applied.Load()))
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// acknowledge has the log written, or synced, as its settings say, and tells the leader how far it is. While it waits for
// the disk more is applied, which is written together the next time.
func (r *Receiver) acknowledge(ctx context.Context) error {
	watch := r.db.WatchLog()
	defer watch.Close()
	var b [ackSize]byte
	told := Ack{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.news:
		case <-watch.C:
		}
		if err := r.db.WaitLogged(r.applied.Load()); err != nil {
			return err
		}
		now := r.position()
		if now == told {
			continue
		}
		if err := r.conn.Send(frameAck, encodeAck(&b, r.term, now)); err != nil {
			if errors.Is(err, link.ErrClosed) || ctx.Err() != nil {
				return nil
			}
			return err
		}
		told = now
	}
}

// position is how far the log is. The positions are read one after the other while the log grows; applied bounds
// them, as the leader must not hear of more than he has sent.
func (r *Receiver) position() Ack {
	applied := r.applied.Load()
	p := r.db.LogPositions()
	a := Ack{Written: min(p.Written, applied), Synced: min(p.Synced, applied)}
	return a
}
