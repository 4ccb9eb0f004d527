package stream

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
)

// ReceiverOptions are for an owner who decides about each record, and what may be acknowledged. Zero values mean the default,
// given in parentheses.
type ReceiverOptions struct {
	// Apply applies records that have come together, each with DB.ApplyRecord (it does, and DB.SetCommitted of those which
	// the leader has committed). They are valid during the call; there may be none, but a new committed position, which may be beyond
	// them. An error ends Run.
	Apply func(list []wal.Record, committed uint64) error
	// Owned: Acknowledge is called by the owner (it is called when the log has moved, and all that is written counts).
	Owned bool
	// Arriving, if set, is called when a part of a large record has come.
	Arriving func()
}

// Receiver applies what a leader sends to a store whose log has been through Resume, or is known otherwise to agree with the leader's, and which was
// opened with Options.ExternalCommit. Nobody else may write to the store.
type Receiver struct {
	o    ReceiverOptions
	db   *engine.DB
	conn *link.Conn
	term uint64

	arrived atomic.Uint64 // sequence number
	applied atomic.Uint64 // sequence number
	heard   atomic.Uint64 // committed, as the leader said
	news    chan struct{} // applied has moved, and is to be synced

	// Owned by the goroutine that receives.
	list   []wal.Record // of a frame
	large  wal.Record   // whose payload is not complete; Count is 0 if there is none
	length int          // that it will have
	logged uint64       // up to here the log was written, or is to be by the other goroutine

	acks sync.Mutex
	told Ack // guarded by acks
}

// NewReceiver prepares to receive from the leader of a term.
func NewReceiver(db *engine.DB, conn *link.Conn, term uint64, o ReceiverOptions) *Receiver {
	r := &Receiver{o: o, db: db, conn: conn, term: term, news: make(chan struct{}, 1)}
	if o.Apply == nil {
		r.o.Apply = r.apply
	}
	r.arrived.Store(db.Last())
	r.applied.Store(db.Last())
	r.logged = db.Last()
	return r
}

func (r *Receiver) apply(list []wal.Record, committed uint64) error {
	for _, rec := range list {
		if err := r.db.ApplyRecord(rec); err != nil {
			return err
		}
	}
	r.db.SetCommitted(min(committed, r.db.Last()))
	return nil
}

// Committed is the leader's committed position, as far as it has been heard of; this node's log may not be
// so far yet.
func (r *Receiver) Committed() uint64 { return r.heard.Load() }

// Run receives until ctx ends, the link breaks, or a record can not be applied. It closes the link. When it has returned
// nothing is acknowledged any more, and its own goroutine, which waits for syncs, has ended.
func (r *Receiver) Run(ctx context.Context) error {
	life, end := context.WithCancelCause(ctx)
	if !r.o.Owned {
		defer r.db.WatchLog(func() { r.Acknowledge(r.arrived.Load()) }).Close()
	}
	var syncs sync.WaitGroup
	syncs.Go(func() {
		if err := r.sync(life); err != nil {
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
	syncs.Wait()
	return err
}

func (r *Receiver) receive() error {
	for {
		typ, b, err := r.conn.Receive()
		if err != nil {
			return err
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
	r.list = r.list[:0]
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
			r.arriving()
			return nil
		}
		r.list = append(r.list, rec)
		list = rest
	}
	return r.settle()
}

// piece adds to a large record. Memory grows with what has come, not with what was promised.
func (r *Receiver) piece(b []byte) error {
	if len(b) == 0 || len(r.large.Payload)+len(b) > r.length {
		return fmt.Errorf("%w: %d bytes more for a record of %d that has %d", ErrProtocol, len(b), r.length, len(r.large.Payload))
	}
	r.large.Payload = append(r.large.Payload, b...)
	if len(r.large.Payload) < r.length {
		r.arriving()
		return nil
	}
	r.list, r.large = append(r.list[:0], r.large), wal.Record{}
	return r.settle()
}

func (r *Receiver) arriving() {
	if r.o.Arriving != nil {
		r.o.Arriving()
	}
}

// settle applies the records of the list, commits what the leader has committed, of what is here, and has it acknowledged: the log
// is written here, unless more has come already. A sync is left to the other goroutine: while it waits for
// the disk more is applied, which is synced together the next time.
func (r *Receiver) settle() error {
	if n := len(r.list); n > 0 {
		r.arrived.Store(r.list[n-1].Last()) // others may write the log, and acknowledge, before Apply returns
	}
	if err := r.o.Apply(r.list, r.heard.Load()); err != nil {
		return err
	}
	if n := len(r.list); n > 0 {
		r.applied.Store(r.list[n-1].Last())
		clear(r.list) // of large ones nothing is kept
	}
	applied := r.applied.Load()
	if applied == r.logged {
		return nil
	}
	if r.db.LogsBriefly() {
		if r.conn.Buffered() {
			return nil
		}
		r.logged = applied
		return r.db.WaitLogged(applied)
	}
	r.logged = applied
	select {
	case r.news <- struct{}{}:
	default:
	}
	return nil
}

// sync has the log synced when something was applied.
func (r *Receiver) sync(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.news:
		}
		if err := r.db.WaitLogged(r.applied.Load()); err != nil {
			return err
		}
	}
}

// Acknowledge tells the leader how far the log is, if he does not know. What counts for him are records up to counts,
// of those which this receiver has applied. It does not wait; what finds no room in the link comes with the next.
func (r *Receiver) Acknowledge(counts uint64) {
	r.acks.Lock()
	defer r.acks.Unlock()
	now := r.position()
	now.Counts = max(min(counts, now.Written), r.told.Counts)
	now.Written, now.Synced = max(now.Written, r.told.Written), max(now.Synced, r.told.Synced)
	if now == r.told {
		return
	}
	var b [ackSize]byte
	if taken, err := r.conn.TrySend(frameAck, encodeAck(&b, r.term, now)); err == nil && taken { // an error ends the link, and Run
		r.told = now
	}
}

// position is how far the log is. The positions are read one after the other while the log grows; what has arrived bounds
// them, as the leader must not hear of more than he has sent.
func (r *Receiver) position() Ack {
	arrived := r.arrived.Load()
	p := r.db.LogPositions()
	return Ack{Written: min(p.Written, arrived), Synced: min(p.Synced, arrived)}
}
