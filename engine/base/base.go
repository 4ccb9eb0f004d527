package base

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// Sequence numbers have 56 bits. Zero is never assigned to a record of the
// log; tables use it for records that no reader can tell apart any more.
const (
	MaxSeq = uint64(1)<<56 - 1
)

// Kind says what a record does to its key.
type Kind uint8

const (
	// KindDelete hides all older records of the key.
	KindDelete Kind = 0
	// KindSet gives the key a value.
	KindSet Kind = 1
	// KindSetExpiring gives the key a value whose last 8 bytes are the
	// deadline in unix milliseconds, big endian.
	KindSetExpiring Kind = 2
	// KindDeleteRange hides all older records in [key, value). It exists in
	// batches only; see the engine's range tombstones.
	KindDeleteRange Kind = 3
	// KindAdd adds a number to one of the engine's counters. It exists in
	// batches only.
	KindAdd Kind = 4
	// KindEpoch does nothing; the record that consists of it begins an epoch.
	// It exists in batches only.
	KindEpoch Kind = 5
)

// MaxKind is the largest kind a table may hold.
const MaxKind = KindSetExpiring

// Trailer is the part of an internal key that follows the user key:
// the sequence number in the upper 56 bits, the kind in the lower 8.
//
// Internal keys are ordered by user key ascending, then trailer descending,
// so that the newest record of a key comes first.
type Trailer uint64

// MakeTrailer packs a sequence number (at most MaxSeq) and a kind.
func MakeTrailer(seq uint64, kind Kind) Trailer { return Trailer(seq<<8 | uint64(kind)) }

// SeekTrailer is the trailer that sorts before every record of a key that a
// reader at seq may see.
func SeekTrailer(seq uint64) Trailer { return Trailer(seq<<8 | 0xff) }

// Seq returns the sequence number.
func (t Trailer) Seq() uint64 { return uint64(t) >> 8 }

// Kind returns the kind.
func (t Trailer) Kind() Kind { return Kind(t & 0xff) }

func (t Trailer) String() string { return fmt.Sprintf("#%d,%d", t.Seq(), t.Kind()) }

// Compare orders internal keys.
func Compare(aKey []byte, a Trailer, bKey []byte, b Trailer) int {
	if c := bytes.Compare(aKey, bKey); c != 0 {
		return c
	}
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

// Iterator walks internal keys in order. Key and Value stay valid until the
// next positioning call; they must not be modified. All positioning methods
// report whether the iterator stands on a record; when they return false,
// Error tells an end from a failure. An Iterator is used by one goroutine.
type Iterator interface {
	First() bool
	Last() bool
	// SeekGE moves to the first internal key >= (key, trailer).
	SeekGE(key []byte, trailer Trailer) bool
	// SeekLT moves to the last internal key < (key, trailer).
	SeekLT(key []byte, trailer Trailer) bool
	Next() bool
	Prev() bool
	Valid() bool
	Key() []byte
	Trailer() Trailer
	Value() []byte
	Error() error
	Close() error
}

// ErrCorrupt marks damaged data on disk. Errors that wrap it name the file
// and the offset; see Corrupt.
var ErrCorrupt = errors.New("corrupt data")

// Corrupt returns an error that wraps ErrCorrupt and names the place.
func Corrupt(file string, offset int64, format string, args ...any) error {
	return fmt.Errorf("%w: %s at offset %d: %s", ErrCorrupt, file, offset, fmt.Sprintf(format, args...))
}

// Whole is the n of Head for all of a value.
const Whole = math.MaxInt

// Head returns the first n bytes of a value, or all of it when it is no longer, or when
// its last bytes matter because they are a deadline.
func Head(value []byte, kind Kind, n int) []byte {
	if len(value) <= n || kind == KindSetExpiring {
		return value
	}
	return value[:n]
}
