package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
)

// Resume is the follower's beginning: it says how far its log is, and drops what the leader's log does not have. Term is the
// newest that the follower knows; the result is the leader's, which is not older. The log then ends where
// the records of the leader go on, and a Receiver may be run. The error wraps ErrFullSync, ErrDiverged or
// ErrTerm if this follower can not follow this leader that way; and then its log is as it was.
//
// Nothing may be written to db meanwhile. When ctx ends before the leader has answered, the link is closed:
// a leader that sends heartbeats need not be one that answers.
func Resume(ctx context.Context, conn *link.Conn, db *engine.DB, term uint64) (leaderTerm uint64, err error) {
	done := bound(ctx, conn)
	defer func() { err = done(err) }()
	s := state{term: term, last: db.Last(), committed: db.Committed(), epochs: db.Epochs()}
	if err := conn.Send(frameResume, s.encode()); err != nil {
		return 0, err
	}
	typ, b, err := conn.Receive()
	if err != nil {
		return 0, err
	}
	if typ != frameStart || len(b) != startSize {
		return 0, fmt.Errorf("%w: type %d, %d bytes instead of a start", ErrProtocol, typ, len(b))
	}
	leaderTerm, after := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[9:])
	switch how := b[8]; {
	case leaderTerm < term:
		return 0, fmt.Errorf("%w: the leader's is %d, %d is known", ErrTerm, leaderTerm, term)
	case how == startFullSync:
		return leaderTerm, ErrFullSync
	case how == startDiverged:
		return leaderTerm, fmt.Errorf("%w: committed is %d", ErrDiverged, s.committed)
	case how != startContinue || after > s.last:
		return 0, fmt.Errorf("%w: start %d after %d", ErrProtocol, how, after)
	}
	return leaderTerm, db.TruncateAfter(after)
}

// Answer is the leader's beginning: it reads what the follower presents and tells him where to go on. The
// follower's records begin at from, and the log is pinned from there on; the caller must Close the pin.
// The error wraps ErrFullSync or ErrDiverged if that is what the follower was told, and ErrTerm if he knows a newer
// term, so that this node leads no more. When ctx ends before that, the link is closed.
func Answer(ctx context.Context, conn *link.Conn, db *engine.DB, term uint64) (from uint64, pin *wal.Pin, err error) {
	done := bound(ctx, conn)
	defer func() { err = done(err) }()
	typ, b, err := conn.Receive()
	if err != nil {
		return 0, nil, err
	}
	if typ != frameResume {
		return 0, nil, fmt.Errorf("%w: type %d instead of a state", ErrProtocol, typ)
	}
	s, err := decodeState(b)
	if err != nil {
		return 0, nil, err
	}
	if s.term > term {
		return 0, nil, fmt.Errorf("%w: %d, node %q knows %d", ErrTerm, term, conn.Peer().Node, s.term)
	}
	after, pin, err := decide(db, s)
	how := byte(startContinue)
	switch {
	case errors.Is(err, ErrFullSync):
		how = startFullSync
	case errors.Is(err, ErrDiverged):
		how = startDiverged
	case err != nil:
		return 0, nil, err
	}
	reply := append(binary.LittleEndian.AppendUint64(nil, term), how)
	if e := conn.Send(frameStart, binary.LittleEndian.AppendUint64(reply, after)); e != nil || err != nil {
		if pin != nil {
			pin.Close()
		}
		return 0, nil, errors.Join(err, e)
	}
	return after + 1, pin, nil
}

// bound closes the link when ctx ends, until the result is called, which says so in place of the error
// that came of it.
func bound(ctx context.Context, conn *link.Conn) (done func(error) error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close("no answer in time") })
	return func(err error) error {
		if !stop() && err != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return err
	}
}

// decide finds where the follower goes on, and pins the log there.
func decide(db *engine.DB, s state) (after uint64, pin *wal.Pin, err error) {
	after, ok := engine.CommonEnd(db.Epochs(), db.Last(), s.epochs, s.last)
	switch {
	case !ok && s.committed > 0:
		return 0, nil, fmt.Errorf("%w: the tables of epochs have nothing in common", ErrFullSync)
	case after < s.committed:
		return 0, nil, fmt.Errorf("%w: it committed %d, the logs are the same up to %d", ErrDiverged, s.committed, after)
	}
	pin, err = db.PinLog(after + 1)
	if errors.Is(err, wal.ErrGone) {
		return 0, nil, fmt.Errorf("%w: %w", ErrFullSync, err)
	}
	return after, pin, err
}
