package reply

import (
	"math/big"
	"strconv"
)

// Writer appends encoded replies to Buf. It is used by one goroutine at a time.
// The zero value speaks RESP2.
type Writer struct {
	// Buf holds the replies encoded so far. Its owner may cut, take or replace it
	// between replies.
	Buf []byte
	// Proto is the version of the protocol, 2 or 3. Anything below 3 means 2.
	Proto int
}

// Len is the number of bytes encoded so far.
func (w *Writer) Len() int { return len(w.Buf) }

// Reset empties the buffer and keeps its memory.
func (w *Writer) Reset() { w.Buf = w.Buf[:0] }

// Truncate cuts the buffer to its first n bytes: it takes replies back.
func (w *Writer) Truncate(n int) { w.Buf = w.Buf[:n] }

// Raw appends bytes which are encoded already.
func (w *Writer) Raw(b []byte) { w.Buf = append(w.Buf, b...) }

// OK is the status reply +OK.
func (w *Writer) OK() { w.Buf = append(w.Buf, "+OK\r\n"...) }

// Simple is a status reply. s must hold neither CR nor LF.
func (w *Writer) Simple(s string) {
	w.Buf = append(w.Buf, '+')
	w.Buf = append(w.Buf, s...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// Error is an error reply; s is the whole text with its prefix ("ERR ...",
// "WRONGTYPE ...") and without the leading '-'. CR and LF might come from a client: as in
// Redis they are left out at the end and become spaces elsewhere.
func (w *Writer) Error(s string) {
	for len(s) > 0 && (s[len(s)-1] == '\r' || s[len(s)-1] == '\n') {
		s = s[:len(s)-1]
	}
	w.Buf = append(w.Buf, '-')
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		w.Buf = append(w.Buf, c)
	}
	w.Buf = append(w.Buf, '\r', '\n')
}

// Int is an integer reply.
func (w *Writer) Int(n int64) { w.header(':', n) }

// Bulk is a bulk string; nil is the empty string, see Null.
func (w *Writer) Bulk(b []byte) {
	w.header('$', int64(len(b)))
	w.Buf = append(w.Buf, b...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// BulkString is a bulk string.
func (w *Writer) BulkString(s string) {
	w.header('$', int64(len(s)))
	w.Buf = append(w.Buf, s...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// BulkInt is an integer in the form of a bulk string.
func (w *Writer) BulkInt(n int64) {
	var digits [20]byte
	w.Bulk(strconv.AppendInt(digits[:0], n, 10))
}

// BulkHeader starts a bulk string of n bytes: the caller appends exactly n bytes
// to Buf and calls BulkEnd. It saves a copy of a large value.
func (w *Writer) BulkHeader(n int) { w.header('$', int64(n)) }

// BulkEnd ends a bulk string started by BulkHeader.
func (w *Writer) BulkEnd() { w.Buf = append(w.Buf, '\r', '\n') }

// Null is the absent value: $-1 in RESP2, _ in RESP3.
func (w *Writer) Null() {
	if w.Proto >= 3 {
		w.Buf = append(w.Buf, "_\r\n"...)
		return
	}
	w.Buf = append(w.Buf, "$-1\r\n"...)
}

// NullArray is the absent array: *-1 in RESP2, _ in RESP3.
func (w *Writer) NullArray() {
	if w.Proto >= 3 {
		w.Buf = append(w.Buf, "_\r\n"...)
		return
	}
	w.Buf = append(w.Buf, "*-1\r\n"...)
}

// Array starts an array: n replies follow.
func (w *Writer) Array(n int) { w.header('*', int64(n)) }

// Map starts a map of n pairs: 2n replies follow, key and value in turn. RESP2
// gets an array of 2n.
func (w *Writer) Map(n int) {
	if w.Proto >= 3 {
		w.header('%', int64(n))
		return
	}
	w.header('*', 2*int64(n))
}

// Set starts a set of n replies; RESP2 gets an array.
func (w *Writer) Set(n int) { w.header(w.kind('~'), int64(n)) }

// Push starts an out-of-band message of n replies; RESP2 gets an array.
func (w *Writer) Push(n int) { w.header(w.kind('>'), int64(n)) }

// Attribute starts n pairs of auxiliary data in front of a reply: 2n replies and
// then the reply itself follow. RESP2 has none: it returns false, nothing is
// written and the pairs are to be left out.
func (w *Writer) Attribute(n int) bool {
	if w.Proto < 3 {
		return false
	}
	w.header('|', int64(n))
	return true
}

// Bool is #t or #f; RESP2 gets :1 or :0.
func (w *Writer) Bool(b bool) {
	switch {
	case w.Proto >= 3 && b:
		w.Buf = append(w.Buf, "#t\r\n"...)
	case w.Proto >= 3:
		w.Buf = append(w.Buf, "#f\r\n"...)
	case b:
		w.Buf = append(w.Buf, ":1\r\n"...)
	default:
		w.Buf = append(w.Buf, ":0\r\n"...)
	}
}

// Double is a floating point number, printed by AppendDouble; RESP2 gets a bulk string.
func (w *Writer) Double(f float64) {
	var digits [maxDouble]byte
	d := AppendDouble(digits[:0], f)
	if w.Proto < 3 {
		w.Bulk(d)
		return
	}
	w.Buf = append(w.Buf, ',')
	w.Buf = append(w.Buf, d...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// BigNumber is an integer of any size; RESP2 gets a bulk string. It allocates.
func (w *Writer) BigNumber(n *big.Int) {
	if w.Proto < 3 {
		w.BulkString(n.String())
		return
	}
	w.Buf = append(w.Buf, '(')
	w.Buf = n.Append(w.Buf, 10)
	w.Buf = append(w.Buf, '\r', '\n')
}

// Verbatim is text in a format of three letters, "txt" or "mkd"; RESP2 gets a bulk string.
func (w *Writer) Verbatim(format, s string) {
	if w.Proto < 3 {
		w.BulkString(s)
		return
	}
	w.header('=', int64(len(s))+4)
	w.Buf = append(w.Buf, format...)
	w.Buf = append(w.Buf, ':')
	w.Buf = append(w.Buf, s...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// InsertArray puts the header of an array of n replies in front of what has been
// written since Len was at, for handlers that know the number only afterwards.
func (w *Writer) InsertArray(at, n int) { w.insert(at, '*', int64(n)) }

// InsertMap is InsertArray for a map of n pairs.
func (w *Writer) InsertMap(at, n int) {
	if w.Proto >= 3 {
		w.insert(at, '%', int64(n))
		return
	}
	w.insert(at, '*', 2*int64(n))
}

// InsertSet is InsertArray for a set.
func (w *Writer) InsertSet(at, n int) { w.insert(at, w.kind('~'), int64(n)) }

// kind is the marker of an aggregate: itself in RESP3, '*' in RESP2.
func (w *Writer) kind(marker byte) byte {
	if w.Proto >= 3 {
		return marker
	}
	return '*'
}

func (w *Writer) header(marker byte, n int64) {
	if 0 <= n && n < 10 {
		w.Buf = append(w.Buf, marker, '0'+byte(n), '\r', '\n')
		return
	}
	w.Buf = append(w.Buf, marker)
	w.Buf = strconv.AppendInt(w.Buf, n, 10)
	w.Buf = append(w.Buf, '\r', '\n')
}

func (w *Writer) insert(at int, marker byte, n int64) {
	end := len(w.Buf)
	w.header(marker, n)
	var head [24]byte
	size := copy(head[:], w.Buf[end:])
	copy(w.Buf[at+size:], w.Buf[at:end])
	copy(w.Buf[at:], head[:size])
}
