package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gtinside/corecache/replication/link"
	"github.com/gtinside/corecache/replication/protocol"
)

// A link between two nodes has one of these purposes:
//
//	control                      messages of the cores, from who dials to who accepts
//	stream <epoch> <session>     package stream; the leader dials
//	fullsync <epoch>             package fullsync; the follower dials
//
// The frame of a control link has type 16 and one message, all numbers little endian:
//
//	 0   1  kind, see protocol.Kind
//	 1   1  bit 0: full, bit 1: reply, bit 2: synced
//	 2   8  epoch
//	10   8  session
//	18   8  at
//	26   8  seq
//	34   8  commit
//	42  16  last: epoch, seq
//	58  16  point: epoch, seq
//	74  12  log: lineage, tears
//	86      incarnation
const (
	purposeControl  = "control"
	purposeStream   = "stream"
	purposeFullSync = "fullsync"

	frameMessage = link.FirstType

	messageHeader  = 86
	maxIncarnation = 255
)

var errMessage = errors.New("replication: not a message")

func appendMessage(b []byte, m *protocol.Message) []byte {
	flags := byte(0)
	if m.Full {
		flags |= 1
	}
	if m.Reply {
		flags |= 2
	}
	if m.Synced {
		flags |= 4
	}
	b = append(b, byte(m.Kind), flags)
	for _, n := range [...]uint64{m.Epoch, m.Session, uint64(m.At), m.Seq, m.Commit,
		m.Last.Epoch, m.Last.Seq, m.Point.Epoch, m.Point.Seq, m.Log.Lineage} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, m.Log.Tears)
	return append(b, m.Incarnation...)
}

func decodeMessage(b []byte) (m protocol.Message, err error) {
	if len(b) < messageHeader || len(b) > messageHeader+maxIncarnation || b[1] > 7 {
		return m, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	at := 2
	next := func() uint64 { at += 8; return binary.LittleEndian.Uint64(b[at-8:]) }
	m = protocol.Message{Kind: protocol.Kind(b[0]), Full: b[1]&1 != 0, Reply: b[1]&2 != 0, Synced: b[1]&4 != 0, Epoch: next(), Session: next(), At: int64(next()),
		Seq: next(), Commit: next()}
	m.Last = protocol.Position{Epoch: next(), Seq: next()}
	m.Point = protocol.Position{Epoch: next(), Seq: next()}
	m.Log = protocol.LogID{Lineage: next(), Tears: binary.LittleEndian.Uint32(b[at:])}
	m.Incarnation = string(b[messageHeader:])
	if m.Kind == protocol.Records || m.Kind == 0 || m.Kind > protocol.Fenced { // records come by streams only
		return m, fmt.Errorf("%w: kind %d", errMessage, m.Kind)
	}
	return m, nil
}

func streamPurpose(epoch, session uint64) string {
	return fmt.Sprint(purposeStream, " ", epoch, " ", session)
}

func syncPurpose(epoch uint64) string { return fmt.Sprint(purposeFullSync, " ", epoch) }

// parsePurpose returns the purpose without its numbers, which are 0 if there are none.
func parsePurpose(s string) (kind string, epoch, session uint64) {
	words := strings.Fields(s)
	for i, w := range words {
		n, _ := strconv.ParseUint(w, 10, 64)
		switch i {
		case 0:
			kind = w
		case 1:
			epoch = n
		case 2:
			session = n
		}
	}
	return kind, epoch, session
}
