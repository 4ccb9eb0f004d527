package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"
)

// reply is one reply as it came over the wire, with its structure.
type reply struct {
	kind  byte     // the type byte of RESP; 0 when the connection ended instead
	text  []byte   // of a line or bulk
	parts []*reply // of an aggregate; a map has its keys and values in turn
	raw   []byte
}

func (r *reply) String() string { return strconv.Quote(string(r.raw)) }

// closed stands for the end of the connection, silent for no reply in time.
var (
	closed = &reply{raw: []byte("(connection closed)")}
	silent = &reply{raw: []byte("(no reply)")}
)

// conn is a raw client connection.
type conn struct {
	net.Conn
	in *bufio.Reader
}

const replyTimeout = 10 * time.Second

func dial(t testing.TB, addr string) *conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, replyTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &conn{Conn: c, in: bufio.NewReader(c)}
}

// encode is the command as clients send it.
func encode(args []string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b
}

// do sends a command and returns its reply.
func (c *conn) do(args ...string) *reply {
	if err := c.send(encode(args)); err != nil {
		return closed
	}
	return c.receive(replyTimeout)
}

func (c *conn) send(b []byte) error {
	_, err := c.Write(b)
	return err
}

// receive returns closed or silent when there is no whole reply.
func (c *conn) receive(timeout time.Duration) *reply {
	if err := c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return closed
	}
	r, err := readReply(c.in)
	var timedOut net.Error
	switch {
	case err == nil:
		return r
	case errors.As(err, &timedOut) && timedOut.Timeout():
		return silent
	case errors.Is(err, errProtocol):
		return &reply{raw: []byte(err.Error())}
	}
	return closed
}

var errProtocol = errors.New("not RESP")

func readReply(in *bufio.Reader) (*reply, error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return nil, fmt.Errorf("%w: line %q", errProtocol, line)
	}
	r := &reply{kind: line[0], text: line[1 : len(line)-2], raw: slices.Clone(line)}
	switch r.kind {
	case '+', '-', ':', '_', '#', ',', '(':
		return r, nil
	case '$', '!', '=':
		return r, r.readBulk(in)
	case '*', '~', '>':
		return r, r.readParts(in, 1)
	case '%', '|':
		return r, r.readParts(in, 2)
	}
	return nil, fmt.Errorf("%w: line %q", errProtocol, line)
}

func (r *reply) readBulk(in io.Reader) error {
	n, err := strconv.Atoi(string(r.text))
	if err != nil {
		return fmt.Errorf("%w: length %q", errProtocol, r.text)
	}
	if n < 0 {
		r.text = nil
		return nil
	}
	body := make([]byte, n+2)
	if _, err := io.ReadFull(in, body); err != nil {
		return err
	}
	if !bytes.HasSuffix(body, []byte("\r\n")) {
		return fmt.Errorf("%w: bulk of %d bytes without end", errProtocol, n)
	}
	r.text, r.raw = body[:n], append(r.raw, body...)
	return nil
}

func (r *reply) readParts(in *bufio.Reader, each int) error {
	n, err := strconv.Atoi(string(r.text))
	if err != nil {
		return fmt.Errorf("%w: count %q", errProtocol, r.text)
	}
	for range n * each {
		part, err := readReply(in)
		if err != nil {
			return err
		}
		r.parts, r.raw = append(r.parts, part), append(r.raw, part.raw...)
	}
	return nil
}

// Ways to compare two replies.

func sameBytes(a, b *reply) bool { return bytes.Equal(a.raw, b.raw) }

// sameShape compares the type and whether it is null, of an error its first
// word too.
func sameShape(a, b *reply) bool {
	if a.kind != b.kind || a.null() != b.null() {
		return false
	}
	if a.kind == '-' {
		return bytes.Equal(firstWord(a.text), firstWord(b.text))
	}
	return true
}

func (r *reply) null() bool {
	return bytes.HasPrefix(r.raw, []byte("$-1")) || bytes.HasPrefix(r.raw, []byte("*-1"))
}

func firstWord(b []byte) []byte {
	word, _, _ := bytes.Cut(b, []byte(" "))
	return word
}

// sameTime lets integers differ by what two servers' clocks and two calls may:
// a second, said in seconds or milliseconds.
func sameTime(a, b *reply) bool {
	if a.kind != b.kind || len(a.parts) != len(b.parts) {
		return false
	}
	if len(a.parts) > 0 {
		return slices.EqualFunc(a.parts, b.parts, sameTime)
	}
	if a.kind != ':' {
		return sameBytes(a, b)
	}
	x, errX := strconv.ParseInt(string(a.text), 10, 64)
	y, errY := strconv.ParseInt(string(b.text), 10, 64)
	if errX != nil || errY != nil || (x < 0) != (y < 0) {
		return sameBytes(a, b)
	}
	// The two servers get a call one after the other, on a machine that may pause.
	tolerance := int64(5)
	if max(x, y) > 10_000 && max(x, y) < 1_000_000_000 || max(x, y) > 100_000_000_000 {
		tolerance = 5000
	}
	return max(x, y)-min(x, y) <= tolerance
}

// sameElements compares aggregates in any order, down to the leaves.
func sameElements(a, b *reply) bool { return bytes.Equal(a.sorted(), b.sorted()) }

// sorted is the reply with the parts of every aggregate in order.
func (r *reply) sorted() []byte {
	if len(r.parts) == 0 {
		return r.raw
	}
	each := 1
	if r.kind == '%' || r.kind == '|' {
		each = 2
	}
	var parts [][]byte
	for group := range slices.Chunk(r.parts, each) {
		var b []byte
		for _, p := range group {
			b = append(b, p.sorted()...)
		}
		parts = append(parts, b)
	}
	slices.SortFunc(parts, bytes.Compare)
	return append([]byte(string(r.kind)+string(r.text)+"\r\n"), bytes.Join(parts, nil)...)
}
