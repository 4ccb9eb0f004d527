package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
)

// The payloads of frames, all numbers little endian. Every one begins with the term of its sender.
//
//	resume   8  term: the newest that the follower knows
//	         8  last sequence number of its log
//	         8  committed
//	         4  number of epochs, at most 4096
//	            each: 8 number, 8 first sequence number
//
//	start    8  term of the leader
//	         1  1 continue, 2 full sync, 3 the logs do not belong together
//	         8  continue after this sequence number; else 0
//
//	records  8  term
//	         8  committed
//	            records, possibly none; each:
//	             0   4  length of the payload
//	             4   4  count: how many sequence numbers it takes
//	             8   8  epoch
//	            16   8  first sequence number
//	            24   8  time, unix milliseconds
//	            32      payload
//
//	large    as records, with one record of whose payload only the beginning is there
//	piece    8  term
//	            the next bytes of the large record's payload; nothing else comes before it is complete
//
//	ack      8  term
//	         8  counts: up to this sequence number the follower answers for its log
//	         8  written: up to this one the log survives the death of the process
//	         8  synced: and up to this one a loss of power
const (
	frameResume = link.FirstType + iota
	frameStart
	frameRecords
	frameLarge
	framePiece
	frameAck
)

const (
	batchHeader  = 16
	recordHeader = 32
	pieceHeader  = 8
	ackSize      = 32
	startSize    = 17
	maxEpochs    = 4096
	maxRecord    = math.MaxInt32 // as the engine has it
)

const (
	startContinue = iota + 1
	startFullSync
	startDiverged
)

var (
	// ErrProtocol marks a frame that is malformed or does not belong where it is.
	ErrProtocol = errors.New("stream: unexpected frame")
	// ErrTerm says that the other side knows a newer term, or sends an older one.
	ErrTerm = errors.New("stream: old term")
	// ErrFullSync says that the follower can not go on from its log: the leader's does not reach back so
	// far, or the tables of epochs have nothing in common.
	ErrFullSync = errors.New("stream: a full sync is needed")
	// ErrDiverged says that the follower has committed what the leader does not have. Nothing may be
	// dropped then by a program: the data is of another cluster, or was lost by the leader.
	ErrDiverged = errors.New("stream: the follower has committed what the leader does not have")
)

// Ack is how far a follower's log is.
type Ack struct {
	Counts  uint64 // as durable as it has to be, in the eyes of the follower's owner; not beyond Written
	Written uint64 // survives the death of the process
	Synced  uint64 // survives a loss of power
}

func appendRecordHeader(dst []byte, r wal.Record) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Payload)))
	dst = binary.LittleEndian.AppendUint32(dst, r.Count)
	dst = binary.LittleEndian.AppendUint64(dst, r.Epoch)
	dst = binary.LittleEndian.AppendUint64(dst, r.Seq)
	return binary.LittleEndian.AppendUint64(dst, uint64(r.Time))
}

// cutRecord takes the first record off a list. It is not whole if the list ends within its payload,
// whose beginning is then there.
func cutRecord(list []byte) (r wal.Record, length int, rest []byte, err error) {
	if len(list) < recordHeader {
		return r, 0, nil, fmt.Errorf("%w: %d bytes where a record begins", ErrProtocol, len(list))
	}
	length = int(binary.LittleEndian.Uint32(list))
	r.Count = binary.LittleEndian.Uint32(list[4:])
	r.Epoch = binary.LittleEndian.Uint64(list[8:])
	r.Seq = binary.LittleEndian.Uint64(list[16:])
	r.Time = int64(binary.LittleEndian.Uint64(list[24:]))
	list = list[recordHeader:]
	n := min(length, len(list))
	r.Payload = list[:n:n]
	return r, length, list[n:], nil
}

func appendBatchHeader(dst []byte, term, committed uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, term), committed)
}

func encodeAck(dst *[ackSize]byte, term uint64, a Ack) []byte {
	binary.LittleEndian.PutUint64(dst[0:], term)
	binary.LittleEndian.PutUint64(dst[8:], a.Counts)
	binary.LittleEndian.PutUint64(dst[16:], a.Written)
	binary.LittleEndian.PutUint64(dst[24:], a.Synced)
	return dst[:]
}

func decodeAck(b []byte) (term uint64, a Ack, err error) {
	if len(b) != ackSize {
		return 0, a, fmt.Errorf("%w: an acknowledgement of %d bytes", ErrProtocol, len(b))
	}
	u := binary.LittleEndian.Uint64
	return u(b), Ack{Counts: u(b[8:]), Written: u(b[16:]), Synced: u(b[24:])}, nil
}

// state is what a follower presents.
type state struct {
	term, last, committed uint64
	epochs                []engine.Epoch
}

func (s state) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, s.term)
	b = binary.LittleEndian.AppendUint64(b, s.last)
	b = binary.LittleEndian.AppendUint64(b, s.committed)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.epochs)))
	for _, e := range s.epochs {
		b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, e.Number), e.First)
	}
	return b
}

func decodeState(b []byte) (s state, err error) {
	const fixed = 28
	u := binary.LittleEndian.Uint64
	if len(b) < fixed {
		return s, fmt.Errorf("%w: a state of %d bytes", ErrProtocol, len(b))
	}
	n := int(binary.LittleEndian.Uint32(b[24:]))
	if n > maxEpochs || len(b) != fixed+16*n {
		return s, fmt.Errorf("%w: a state of %d bytes with %d epochs", ErrProtocol, len(b), n)
	}
	s = state{term: u(b), last: u(b[8:]), committed: u(b[16:])}
	for e := b[fixed:]; len(e) > 0; e = e[16:] {
		s.epochs = append(s.epochs, engine.Epoch{Number: u(e), First: u(e[8:])})
	}
	return s, nil
}
