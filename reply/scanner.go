package reply

import (
	"bytes"
	"errors"
)

// Scanner finds the end of an encoded reply of RESP2 or RESP3 in bytes that come piece by piece. It keeps nothing but
// counters, so that replies of any size pass it. The zero value is at the beginning of a reply.
//
// What it accepts: every type of RESP3 except those streamed in chunks of unknown number, which no server sends. An attribute and
// what it describes are one reply. A push is one, too: whether somebody waits for it is for the caller to know (Scanner.Push).
type Scanner struct {
	state scanState
	kind  byte  // first byte of the reply, 0 = none yet
	bulk  int64 // bytes of a bulk string that are to come, with its CR LF
	depth int   // aggregates that are open
	left  [maxDepth]int64
}

type scanState uint8

const (
	scanHead scanState = iota // at the first byte of a value
	scanLine                  // inside of a line of any length
	scanBulk                  // inside of a bulk string
)

const (
	maxDepth = 128     // aggregates in aggregates
	maxHead  = 24      // bytes of a line that holds a length: type, digits, CR LF
	maxCount = 1 << 40 // elements of an aggregate, bytes of a bulk string
)

// ErrMalformed is what Scan returns for bytes that are not a reply.
var ErrMalformed = errors.New("reply: malformed")

// Reset begins another reply.
func (s *Scanner) Reset() { s.state, s.kind, s.bulk, s.depth = scanHead, 0, 0, 0 }

// Push reports whether the reply is an out-of-band message, once its first byte was seen.
func (s *Scanner) Push() bool { return s.kind == '>' }

// Scan looks at the next bytes. n of them belong to the reply, which ends with them if done. What is left when it is not
// done, less than 24 bytes, has to be given again together with what follows.
func (s *Scanner) Scan(b []byte) (n int, done bool, err error) {
	for n < len(b) {
		var took int
		var ended bool
		switch s.state {
		case scanHead:
			took, ended, err = s.head(b[n:])
			if err != nil || took == 0 {
				return n, false, err
			}
		case scanLine:
			took, ended, err = s.line(b[n:])
			if err != nil {
				return n, false, err
			}
		case scanBulk:
			took = int(min(s.bulk, int64(len(b)-n)))
			s.bulk -= int64(took)
			ended = s.bulk == 0
			if ended && b[n+took-1] != '\n' {
				return n, false, ErrMalformed
			}
		}
		n += took
		if ended {
			s.state = scanHead
			if s.close() {
				return n, true, nil
			}
		}
	}
	return n, false, nil
}

// head takes the first line of a value; took is 0 when it is not complete. ended says that it is the whole value.
func (s *Scanner) head(b []byte) (took int, ended bool, err error) {
	kind := b[0]
	if s.kind == 0 {
		s.kind = kind
	}
	switch kind {
	case '+', '-', ':', '_', '#', ',', '(':
		s.state = scanLine
		took, ended, err = s.line(b[1:])
		return took + 1, ended, err
	case '$', '=', '!', '*', '~', '>', '%', '|':
	default:
		return 0, false, ErrMalformed
	}
	v, took, err := length(b)
	if took == 0 || err != nil {
		return 0, false, err
	}
	switch {
	case v < 0:
		if kind != '$' && kind != '*' {
			return 0, false, ErrMalformed
		}
		return took, true, nil
	case kind == '$' || kind == '=' || kind == '!':
		s.state, s.bulk = scanBulk, v+2
		return took, false, nil
	case kind == '%':
		v *= 2
	case kind == '|':
		v = 2*v + 1 // the reply which it describes belongs to it
		if s.kind == '|' && s.depth == 0 {
			s.kind = 0
		}
	}
	if v == 0 {
		return took, true, nil
	}
	if s.depth == maxDepth {
		return 0, false, ErrMalformed
	}
	s.left[s.depth] = v
	s.depth++
	return took, false, nil
}

// line goes on in a line of any length.
func (s *Scanner) line(b []byte) (took int, ended bool, err error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return len(b), false, nil
	}
	return i + 1, true, nil
}

// close counts a value that is complete, and reports whether the reply is.
func (s *Scanner) close() bool {
	for s.depth > 0 {
		s.left[s.depth-1]--
		if s.left[s.depth-1] > 0 {
			return false
		}
		s.depth--
	}
	return true
}

// length reads a line like "$12": took is 0 when it is not complete.
func length(b []byte) (v int64, took int, err error) {
	i := 1
	negative := len(b) > 1 && b[1] == '-'
	if negative {
		i++
	}
	digits := i
	for ; i < len(b); i++ {
		d := b[i] - '0'
		if d > 9 {
			break
		}
		v = v*10 + int64(d)
		if v > maxCount {
			return 0, 0, ErrMalformed
		}
	}
	switch {
	case i >= maxHead-1:
		return 0, 0, ErrMalformed
	case i == len(b), i+1 == len(b) && b[i] == '\r':
		return 0, 0, nil
	case i == digits, b[i] != '\r', b[i+1] != '\n', negative && v != 1:
		return 0, 0, ErrMalformed
	case negative:
		v = -1
	}
	return v, i + 2, nil
}

// Elements is the number of elements of an encoded array, and where they begin; n is -1 for anything else.
func Elements(encoded []byte) (n, at int) {
	if len(encoded) == 0 || encoded[0] != '*' {
		return -1, 0
	}
	v, took, err := length(encoded)
	if err != nil || took == 0 {
		return -1, 0
	}
	return int(v), took
}

// First returns the first reply of several, and the rest. ok is false when there is no complete one.
func First(encoded []byte) (first, rest []byte, ok bool) {
	var s Scanner
	n, done, err := s.Scan(encoded)
	if err != nil || !done {
		return nil, encoded, false
	}
	return encoded[:n], encoded[n:], true
}
