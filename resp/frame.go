package resp

import (
	"bytes"
	"errors"
	"math"
)

// Limits of Redis on requests that are not configurable.
const (
	maxLine        = 64 << 10 // length of an inline command, or of the line in front of an array or a bulk string
	maxArgs        = math.MaxInt32
	anonymousArgs  = 10       // arguments of one command before AUTH
	anonymousBulk  = 16 << 10 // bytes of one argument before AUTH
	argumentMemory = 24       // what an argument takes besides its bytes: a slice header
)

// Protocol errors, with the texts of Redis. They are sent behind "ERR Protocol error: "
// and end the connection.
var (
	errMultibulkLength = errors.New("invalid multibulk length")
	errMultibulkAnon   = errors.New("unauthenticated multibulk length")
	errMultibulkLine   = errors.New("too big mbulk count string")
	errBulkLength      = errors.New("invalid bulk length")
	errBulkAnon        = errors.New("unauthenticated bulk length")
	errBulkLine        = errors.New("too big bulk count string")
	errInlineLine      = errors.New("too big inline request")
	errQuotes          = errors.New("unbalanced quotes in request")
)

// errQueryBuffer ends a connection without a reply: a command is longer than
// client-query-buffer-limit.
var errQueryBuffer = errors.New("max query buffer length reached")

// frameKind says what a frame is.
type frameKind uint8

const (
	frameNone   frameKind = iota // not complete yet
	frameArray                   // *n of bulk strings: what redcon parses
	frameInline                  // a line of words
	frameEmpty                   // nothing to do: an empty line, *0, *-1
)

// framer finds the end of the command at the front of a buffer and refuses what
// redcon's parser must not see. It remembers how far it has come, so that a command that
// arrives in pieces is scanned once, whatever the pieces are.
//
//	array   = "*" count CRLF count * ( "$" length CRLF length * OCTET CRLF )
//	inline  = *OCTET [ CR ] LF                          ; not beginning with "*"
//
// Numbers are decimal without leading zeros or plus sign.
type framer struct {
	off      int // bytes of the command that have been scanned
	searched int // end of a line not found before this offset
	args     int // arguments to come, valid when inArray
	argc     int // arguments of the command
	bulk     int // length of the argument at off, valid when inBulk
	inArray  bool
	inBulk   bool
}

// limits are the bounds that hold for a command.
type limits struct {
	bulk      int  // proto-max-bulk-len
	query     int  // client-query-buffer-limit
	anonymous bool // the session has not authenticated
}

// next returns the length and the kind of the command at the front of b: frameNone
// when it is not complete. b must begin with the same bytes until a command is complete.
func (f *framer) next(b []byte, l limits) (int, frameKind, error) {
	if len(b) == 0 {
		return 0, frameNone, nil
	}
	if b[0] != '*' {
		return f.inline(b)
	}
	if !f.inArray {
		done, err := f.arrayHeader(b, l)
		if err != nil || !f.inArray {
			return f.finish(done, frameEmpty, err)
		}
	}
	for f.args > 0 {
		if !f.inBulk {
			if ok, err := f.bulkHeader(b, l); !ok {
				return 0, frameNone, err
			}
		}
		end := f.off + f.bulk
		if len(b) < end+2 {
			return 0, frameNone, f.checkQuery(len(b), l)
		}
		if b[end] != '\r' || b[end+1] != '\n' {
			return 0, frameNone, errBulkLength
		}
		f.off, f.inBulk = end+2, false
		f.args--
	}
	return f.finish(true, frameArray, nil)
}

// finish ends a command at off and makes the framer ready for the next one.
func (f *framer) finish(done bool, kind frameKind, err error) (int, frameKind, error) {
	if !done || err != nil {
		return 0, frameNone, err
	}
	n := f.off
	*f = framer{}
	return n, kind, nil
}

// need is the number of bytes, from the start of the command, that it takes at least.
func (f *framer) need() int {
	if f.inBulk {
		return f.off + f.bulk + 2
	}
	return f.off + 1
}

// scanned is the number of arguments that have come of an unfinished command.
func (f *framer) scanned() int { return f.argc - f.args }

// argumentCount is the number of arguments of a complete array.
func argumentCount(frame []byte) int {
	f := framer{}
	n, _, _ := f.number(frame, errMultibulkLine, errMultibulkLength)
	return n
}

// checkQuery applies client-query-buffer-limit to a command of which n bytes have come.
func (f *framer) checkQuery(n int, l limits) error {
	if n+f.scanned()*argumentMemory > l.query {
		return errQueryBuffer
	}
	return nil
}

// arrayHeader reads "*count\r\n". done is false when the line is not complete; an array of nothing
// is done and leaves inArray unset.
func (f *framer) arrayHeader(b []byte, l limits) (done bool, err error) {
	n, ok, err := f.number(b, errMultibulkLine, errMultibulkLength)
	if !ok {
		return false, err
	}
	switch {
	case n > maxArgs:
		return false, errMultibulkLength
	case l.anonymous && n > anonymousArgs:
		return false, errMultibulkAnon
	case n > 0:
		f.inArray, f.args, f.argc = true, n, n
	}
	return true, nil
}

// bulkHeader reads "$length\r\n"; ok is false when the line is not complete or wrong.
func (f *framer) bulkHeader(b []byte, l limits) (ok bool, err error) {
	if f.off < len(b) && b[f.off] != '$' {
		return false, f.notBulk(b)
	}
	n, ok, err := f.number(b, errBulkLine, errBulkLength)
	if !ok {
		if err == nil {
			err = f.checkQuery(len(b), l)
		}
		return false, err
	}
	switch {
	case n < 0 || n > l.bulk:
		return false, errBulkLength
	case l.anonymous && n > anonymousBulk:
		return false, errBulkAnon
	}
	f.bulk, f.inBulk = n, true
	return true, nil
}

// notBulk is the error for an argument that does not begin with '$'. Redis looks at
// the line only once it is complete.
func (f *framer) notBulk(b []byte) error {
	if bytes.IndexByte(b[f.off:], '\r') < 0 {
		if len(b)-f.off > maxLine {
			return errBulkLine
		}
		return nil
	}
	return errors.New("expected '$', got '" + printable(b[f.off]) + "'")
}

// printable shows a byte the way it appears in the error of Redis, which ends the text at a zero byte.
func printable(c byte) string {
	switch c {
	case '\r', '\n':
		return " "
	case 0:
		return ""
	}
	return string([]byte{c})
}

// number reads the line at off: one character, a number, CRLF. On success off is
// moved behind it.
func (f *framer) number(b []byte, tooLong, invalid error) (n int, ok bool, err error) {
	n, size := shortNumber(b[f.off:])
	if size > 0 {
		f.off += size
		f.searched = 0
		return n, true, nil
	}
	return f.longNumber(b, tooLong, invalid)
}

// shortNumber reads what nearly all lines are: a complete one with up to nine
// digits. Its size is 0 when the line is something else.
func shortNumber(b []byte) (n, size int) {
	for i := 1; i < len(b) && i <= 10; i++ {
		c := b[i]
		if c == '\r' {
			if i == 1 || b[1] == '0' && i > 2 || i+1 >= len(b) || b[i+1] != '\n' {
				return 0, 0
			}
			return n, i + 2
		}
		if c < '0' || c > '9' {
			return 0, 0
		}
		n = n*10 + int(c-'0')
	}
	return 0, 0
}

func (f *framer) longNumber(b []byte, tooLong, invalid error) (int, bool, error) {
	from := max(f.searched, f.off)
	i := bytes.IndexByte(b[min(from, len(b)):], '\r')
	if i < 0 {
		f.searched = len(b)
		if len(b)-f.off > maxLine {
			return 0, false, tooLong
		}
		return 0, false, nil
	}
	end := from + i
	if end+1 >= len(b) {
		f.searched = end
		return 0, false, nil
	}
	n, ok := parseInt(b[f.off+1 : end])
	if !ok || b[end+1] != '\n' {
		return 0, false, invalid
	}
	f.off, f.searched = end+2, 0
	return n, true, nil
}

// parseInt reads a decimal number as strictly as Redis does: no leading zeros, no
// plus sign, no minus zero, within 64 bits. A number too large for an int is none: no limit is.
func parseInt(b []byte) (int, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 || b[0] == '0' && (len(b) > 1 || negative) {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if negative {
		return int(max(int64(-n), math.MinInt)), n <= 1<<63
	}
	return int(n), n <= math.MaxInt
}

// inline finds the end of a line.
func (f *framer) inline(b []byte) (int, frameKind, error) {
	i := bytes.IndexByte(b[f.searched:], '\n')
	if i < 0 {
		f.searched = len(b)
		if len(b) > maxLine {
			return 0, frameNone, errInlineLine
		}
		return 0, frameNone, nil
	}
	f.off = f.searched + i + 1
	if f.off > maxLine+2 {
		return 0, frameNone, errInlineLine
	}
	if f.off == 1 || f.off == 2 && b[0] == '\r' {
		return f.finish(true, frameEmpty, nil)
	}
	return f.finish(true, frameInline, nil)
}
