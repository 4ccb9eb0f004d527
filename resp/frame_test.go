package resp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/redcon"
)

var testLimits = limits{bulk: 512 << 20, query: 1 << 30}

// frameErrors are streams that Redis answers with an error. Each was tried on redis-server
// 7.0, but for those marked.
var frameErrors = []struct {
	stream    string
	anonymous bool
	want      error
}{
	{stream: "*2147483648\r\n", want: errMultibulkLength},
	{stream: "*9223372036854775808\r\n", want: errMultibulkLength},
	{stream: "*01\r\n", want: errMultibulkLength},
	{stream: "*\r\n", want: errMultibulkLength},
	{stream: "* 1\r\n", want: errMultibulkLength},
	{stream: "*+1\r\n", want: errMultibulkLength},
	{stream: "*-0\r\n", want: errMultibulkLength},
	{stream: "*1x\r\n", want: errMultibulkLength},
	{stream: "*1\rX", want: errMultibulkLength}, // Redis skips what stands for the LF
	{stream: "*11\r\n", anonymous: true, want: errMultibulkAnon},
	{stream: "*" + strings.Repeat("1", 65<<10), want: errMultibulkLine},
	{stream: "*1\r\n$-1\r\n", want: errBulkLength},
	{stream: "*1\r\n$04\r\n", want: errBulkLength},
	{stream: "*1\r\n$\r\n", want: errBulkLength},
	{stream: "*1\r\n$a\r\n", want: errBulkLength},
	{stream: "*1\r\n$9223372036854775807\r\n", want: errBulkLength},
	{stream: "*1\r\n$536870913\r\n", want: errBulkLength},
	{stream: "*1\r\n$4\r\nPINGxx", want: errBulkLength}, // Redis skips what stands for CRLF
	{stream: "*1\r\n$16385\r\n", anonymous: true, want: errBulkAnon},
	{stream: "*1\r\n$" + strings.Repeat("1", 65<<10), want: errBulkLine},
	{stream: "*1\r\n" + strings.Repeat("x", 65<<10), want: errBulkLine},
	{stream: strings.Repeat("x", 65<<10), want: errInlineLine},
	{stream: strings.Repeat("x", 65<<10) + "\r\n", want: errInlineLine}, // Redis takes it when it comes in one piece
	{stream: "GET \"a\r\n", want: errQuotes},
	{stream: "GET 'a\r\n", want: errQuotes},
	{stream: "GET \"a\"b\r\n", want: errQuotes},
	{stream: "*1\r\n:3\r\n", want: errors.New("expected '$', got ':'")},
	{stream: "*1\r\n\r\n", want: errors.New("expected '$', got ' '")},
	{stream: "*2\r\n$1\r\na\r\nb\r\n", want: errors.New("expected '$', got 'b'")},
}

func TestFrameErrors(t *testing.T) {
	for _, c := range frameErrors {
		l := testLimits
		l.anonymous = c.anonymous
		for _, step := range []int{1 << 20, 1 + len(c.stream)/1000} {
			_, err := parseStream([]byte(c.stream), l, func(int) int { return step })
			if err == nil || err.Error() != c.want.Error() {
				t.Errorf("%.40q in steps of %d: error %v, want %v", c.stream, step, err, c.want)
			}
		}
	}
}

func TestFrameLimitsPass(t *testing.T) {
	for _, c := range []struct {
		stream    string
		anonymous bool
	}{
		{"*10\r\n" + strings.Repeat("$1\r\nx\r\n", 10), true},
		{"*1\r\n$16384\r\n" + strings.Repeat("x", 16384) + "\r\n", true},
		{"*11\r\n" + strings.Repeat("$1\r\nx\r\n", 11), false},
		{strings.Repeat("x", maxLine) + "\r\n", true},
	} {
		l := testLimits
		l.anonymous = c.anonymous
		cmds, err := parseStream([]byte(c.stream), l, func(int) int { return 1 << 20 })
		if err != nil || len(cmds) != 1 {
			t.Errorf("%.40q: %d commands, error %v", c.stream, len(cmds), err)
		}
	}
}

func TestQueryLimit(t *testing.T) {
	l := limits{bulk: 512 << 20, query: 1000}
	for _, stream := range []string{
		"*1\r\n$5000\r\n" + strings.Repeat("x", 2000),
		"*100000\r\n" + strings.Repeat("$0\r\n\r\n", 100), // 600 bytes, but 100 arguments
	} {
		if _, err := parseStream([]byte(stream), l, func(int) int { return 10 }); err != errQueryBuffer {
			t.Errorf("%.40q: error %v, want %v", stream, err, errQueryBuffer)
		}
	}
}

func TestInlineWords(t *testing.T) {
	for line, want := range map[string][]string{
		"PING\n":                      {"PING"},
		"  SET  a\t b \r\n":           {"SET", "a", "b"},
		`SET "a b" 'c d'` + "\r\n":    {"SET", "a b", "c d"},
		`A "\x41\xfF\n\t\q\""` + "\n": {"A", "A\xff\n\tq\""},
		`A '\n\'' ""` + "\n":          {"A", `\n'`, ""},
		`PING foo"bar"` + "\n":        {"PING", "foobar"},
		"PING a\x00b c\n":             {"PING", "a"},
	} {
		cmds, err := parseStream([]byte(line), testLimits, func(int) int { return 1 << 20 })
		if err != nil || len(cmds) != 1 || !slices.Equal(cmds[0], want) {
			t.Errorf("%q: %q, %v, want %q", line, cmds, err, want)
		}
	}
}

// parseStream sends a stream through input, framer and redcon as a client does, in
// pieces of the sizes that step returns, and returns the commands in front of an error.
func parseStream(stream []byte, l limits, step func(left int) int) ([][]string, error) {
	var in input
	var f framer
	var cmds [][]string
	var argsbuf [][]byte
	ws := &workspace{in: make([]byte, chunkSize)}
	for len(stream) > 0 {
		space := in.space(ws, f.need())
		n := copy(space, stream[:min(max(step(len(stream)), 1), len(stream))])
		stream = stream[n:]
		in.end += n
		for {
			n, kind, err := f.next(in.bytes(), l)
			if err != nil {
				return cmds, err
			}
			if kind == frameNone {
				break
			}
			args, err := parseFrame(in.take(n), kind, argsbuf[:0])
			if err != nil {
				return cmds, err
			}
			if kind != frameEmpty && len(args) > 0 {
				cmds = append(cmds, copyStrings(args))
			}
			argsbuf = args
		}
		if in.len()%3 == 0 {
			in.space(ws, f.need()) // a connection tries to read before it is silent
			in.park(ws)
			if n := in.held(); n > 8*in.len()+2*smallRest {
				panic(fmt.Sprintf("%d bytes are held for %d", n, in.len()))
			}
			if ws.in == nil {
				ws.in = make([]byte, chunkSize)
			}
			clear(ws.in) // somebody else uses it
		}
	}
	return cmds, nil
}

func parseFrame(frame []byte, kind frameKind, argsbuf [][]byte) ([][]byte, error) {
	switch kind {
	case frameEmpty:
		return nil, nil
	case frameInline:
		line, argc, err := appendInline(nil, frame)
		if argc == 0 {
			return nil, err
		}
		frame = line
	}
	complete, args, _, rest, err := redcon.ReadNextCommand(frame, argsbuf)
	if !complete || len(rest) > 0 || err != nil {
		panic(fmt.Sprintf("redcon refuses %.100q: %v", frame, err))
	}
	return args, nil
}

func copyStrings(args [][]byte) []string {
	s := make([]string, len(args))
	for i, a := range args {
		s[i] = string(a)
	}
	return s
}

// referenceParse is the plainest way to take a stream apart: it looks at all of it at once.
func referenceParse(stream string, l limits) (cmds [][]string, err error) {
	for {
		args, rest, ok, err := referenceCommand(stream, l)
		if !ok || err != nil {
			return cmds, err
		}
		if len(args) > 0 {
			cmds = append(cmds, args)
		}
		stream = rest
	}
}

func referenceCommand(s string, l limits) (args []string, rest string, ok bool, err error) {
	if s == "" {
		return nil, "", false, nil
	}
	if s[0] != '*' {
		return referenceInline(s)
	}
	count, s, ok, err := referenceNumber(s, errMultibulkLine, errMultibulkLength)
	if !ok || err != nil || count <= 0 {
		return nil, s, ok, err
	}
	if count > maxArgs {
		return nil, "", false, errMultibulkLength
	}
	if l.anonymous && count > 10 {
		return nil, "", false, errMultibulkAnon
	}
	for range count {
		if cr := strings.IndexByte(s, '\r'); s != "" && s[0] != '$' && cr >= 0 {
			return nil, "", false, errors.New("expected '$', got '" + printable(s[0]) + "'")
		}
		size, after, ok, err := referenceNumber(s, errBulkLine, errBulkLength)
		if !ok || err != nil {
			return nil, "", false, err
		}
		if size < 0 || size > l.bulk {
			return nil, "", false, errBulkLength
		}
		if l.anonymous && size > 16384 {
			return nil, "", false, errBulkAnon
		}
		if len(after) < size+2 {
			return nil, "", false, nil
		}
		if after[size:size+2] != "\r\n" {
			return nil, "", false, errBulkLength
		}
		args, s = append(args, after[:size]), after[size+2:]
	}
	return args, s, true, nil
}

func referenceNumber(s string, tooLong, invalid error) (n int, rest string, ok bool, err error) {
	cr := strings.IndexByte(s, '\r')
	if cr < 0 {
		if len(s) > maxLine {
			err = tooLong
		}
		return 0, "", false, err
	}
	if cr+1 == len(s) {
		return 0, "", false, nil
	}
	n, e := strconv.Atoi(s[1:cr])
	if e != nil || strconv.Itoa(n) != s[1:cr] || s[cr+1] != '\n' {
		return 0, "", false, invalid
	}
	return n, s[cr+2:], true, nil
}

func referenceInline(s string) (args []string, rest string, ok bool, err error) {
	lf := strings.IndexByte(s, '\n')
	if lf > maxLine+1 || lf < 0 && len(s) > maxLine {
		return nil, "", false, errInlineLine
	}
	if lf < 0 {
		return nil, "", false, nil
	}
	out, argc, err := appendInline(nil, []byte(s[:lf+1]))
	if argc == 0 {
		return nil, s[lf+1:], true, err
	}
	args, _, ok, err = referenceCommand(string(out), testLimits)
	return args, s[lf+1:], ok, err
}

// FuzzFraming compares the guard in front of redcon with the reference, for any stream in any pieces.
func FuzzFraming(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\na\r\n*0\r\nPING\r\n*-1\r\n\r\n"), uint64(1), false)
	f.Add([]byte("*1\r\n$4\r\nPI"), uint64(2), true)
	f.Add([]byte("SET a \"b\\x41\"\r\n*3\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$0\r\n\r\n"), uint64(3), false)
	for i, c := range frameErrors {
		f.Add([]byte(c.stream[:min(len(c.stream), 100)]), uint64(i), c.anonymous)
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64, anonymous bool) {
		l := limits{bulk: 1 << 20, query: 1 << 30, anonymous: anonymous}
		checkFraming(t, stream, seed, l)
	})
}

func checkFraming(t *testing.T, stream []byte, seed uint64, l limits) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	got, gotErr := parseStream(bytes.Clone(stream), l, func(left int) int { return r.IntN(1 + r.IntN(left+1)) })
	want, wantErr := referenceParse(string(stream), l)
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("seed %d: %.300q\n got %.300q\nwant %.300q", seed, stream, got, want)
	}
	if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
		t.Fatalf("seed %d: %.300q: error %v, want %v", seed, stream, gotErr, wantErr)
	}
}

// TestFramingModel runs the comparison over random streams which are mostly right.
func TestFramingModel(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 300 {
		var stream []byte
		for range r.IntN(20) {
			stream = appendRandom(stream, r)
		}
		checkFraming(t, stream, seed+uint64(i), limits{bulk: 1 << 20, query: 1 << 30})
	}
}

func appendRandom(b []byte, r *rand.Rand) []byte {
	switch r.IntN(12) {
	case 0:
		return append(b, "*0\r\n"...)
	case 1:
		return append(b, "\r\n"...)
	case 2:
		return append(b, "SET a 'b c'\r\n"...)
	case 3:
		if r.IntN(10) == 0 && len(b) > 0 {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		return b
	}
	argc := 1 + r.IntN(5)
	if r.IntN(20) == 0 {
		argc = r.IntN(5000)
	}
	b = appendHeader(b, '*', argc)
	for range argc {
		n := r.IntN(20)
		if r.IntN(50) == 0 && argc < 10 {
			n = r.IntN(300_000)
		}
		b = appendHeader(b, '$', n)
		for range n {
			b = append(b, byte(r.Uint32()))
		}
		b = append(b, '\r', '\n')
	}
	return b
}

// TestSplitAtEveryByte cuts a pipeline of every kind of command in two, everywhere.
func TestSplitAtEveryByte(t *testing.T) {
	stream := "*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\n*0\r\nSET a \"b c\"\r\n\r\n*-12\r\n*1\r\n$0\r\n\r\nPING\n"
	want, _ := referenceParse(stream, testLimits)
	for cut := 1; cut < len(stream); cut++ {
		got, err := parseStream([]byte(stream), testLimits, func(left int) int {
			if done := len(stream) - left; done < cut {
				return cut - done
			}
			return left
		})
		if err != nil || !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("cut at %d: %q, %v, want %q", cut, got, err, want)
		}
	}
}

// TestGrowthIsLinear counts what is copied while a long argument arrives in small pieces.
func TestGrowthIsLinear(t *testing.T) {
	const size = 32 << 20
	var in input
	var f framer
	ws := &workspace{in: make([]byte, chunkSize)}
	stream := append(appendHeader([]byte("*2\r\n$3\r\nSET\r\n"), '$', size), make([]byte, size+2)...)
	copy(stream[len(stream)-2:], "\r\n")
	total, allocated, last := 0, 0, 0
	for len(stream) > 0 {
		n := copy(in.space(ws, f.need()), stream[:min(len(stream), 30_000)])
		in.end += n
		stream = stream[n:]
		total += n
		if in.own && cap(in.buf) != last {
			last = cap(in.buf)
			allocated += last
			if last > max(4*total, 4*chunkSize) {
				t.Fatalf("%d bytes allocated when %d had come", last, total)
			}
		}
		if n, kind, err := f.next(in.bytes(), testLimits); err != nil || kind != frameNone && n != total {
			t.Fatalf("after %d bytes: %d, %v, %v", total, n, kind, err)
		}
	}
	if f.off != 0 {
		t.Fatal("the command is not complete")
	}
	if allocated > 3*size {
		t.Errorf("%d bytes allocated for %d", allocated, size)
	}
}

func BenchmarkFraming(b *testing.B) {
	frame := []byte("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$64\r\n" + strings.Repeat("x", 64) + "\r\n")
	var f framer
	var args [][]byte
	b.Run("guard", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.next(frame, testLimits)
		}
	})
	b.Run("redcon.ReadNextCommand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, args, _, _, _ = redcon.ReadNextCommand(frame, args[:0])
		}
	})
	b.Run("redcon.Reader", func(b *testing.B) {
		b.ReportAllocs()
		rd := redcon.NewReader(&endless{frame: bytes.Repeat(frame, 100)})
		for b.Loop() {
			if _, err := rd.ReadCommand(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// endless repeats a pipeline.
type endless struct {
	frame []byte
	off   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.frame[e.off:])
	e.off = (e.off + n) % len(e.frame)
	return n, nil
}
