package reply

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// scanAll passes all of b through a scanner in pieces of the given size, and returns how much belongs to the reply.
func scanAll(s *Scanner, b []byte, piece int) (total int, done bool, err error) {
	from := 0 // what is left of the last piece is given again
	for to := min(piece, len(b)); ; to = min(to+piece, len(b)) {
		n, done, err := s.Scan(b[from:to])
		from += n
		if done || err != nil || to == len(b) {
			return from, done, err
		}
	}
}

var replies = []string{
	"+OK\r\n", "-ERR no\r\n", ":12\r\n", "$-1\r\n", "$0\r\n\r\n", "$5\r\nhe\r\no\r\n", "*-1\r\n", "*0\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(123\r\n",
	"=7\r\ntxt:abc\r\n", "!5\r\nERR x\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n", "~1\r\n+a\r\n", "%0\r\n",
	"|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n", "*1\r\n|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n", ">2\r\n+message\r\n*1\r\n_\r\n", "*3\r\n*0\r\n*-1\r\n$-1\r\n",
}

func TestScanner(t *testing.T) {
	for _, r := range replies {
		for piece := 1; piece <= len(r)+3; piece++ {
			var s Scanner
			n, done, err := scanAll(&s, []byte(r+":7\r\n"), piece)
			if n != len(r) || !done || err != nil {
				t.Errorf("%q in pieces of %d: %d of %d bytes, done %v, %v", r, piece, n, len(r), done, err)
			}
			if s.Push() != (r[0] == '>') {
				t.Errorf("%q: push %v", r, s.Push())
			}
		}
		for n := range len(r) {
			if _, _, ok := First([]byte(r[:n])); ok {
				t.Errorf("%q is taken for complete", r[:n])
			}
		}
	}
}

func TestScannerMalformed(t *testing.T) {
	for _, r := range []string{
		"x\r\n", "\r\n", "$x\r\n", "$\r\n", "$-2\r\n", "$1\n", "$1\rx", "*1x\r\n", "%-1\r\n", "$1\r\nabc", "$?\r\n", "*99999999999999999999\r\n", "$2199023255552\r\n",
		"*" + strings.Repeat("0", 40), strings.Repeat("*1\r\n", maxDepth+1),
	} {
		var s Scanner
		if n, done, err := s.Scan([]byte(r)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.40q: %d bytes, done %v, %v", r, n, done, err)
		}
	}
}

func TestFirst(t *testing.T) {
	all := []byte(strings.Join(replies, ""))
	for _, want := range replies {
		first, rest, ok := First(all)
		if string(first) != want || !ok {
			t.Fatalf("got %q, want %q", first, want)
		}
		all = rest
	}
	if n, at := Elements([]byte("*12\r\n:1\r\n")); n != 12 || at != 5 {
		t.Errorf("%d elements at %d", n, at)
	}
	for _, r := range []string{"", "*", "*-1\r\n", "+OK\r\n", "*x\r\n"} {
		if n, _ := Elements([]byte(r)); n != -1 {
			t.Errorf("%q has %d elements", r, n)
		}
	}
}

// However bytes are cut into pieces, the scanner says the same of them, and it never takes more than it is given.
func FuzzScanner(f *testing.F) {
	for _, r := range replies {
		f.Add([]byte(r), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		var whole, pieces Scanner
		n, done, err := whole.Scan(b)
		if n < 0 || n > len(b) {
			t.Fatalf("%d of %d bytes", n, len(b))
		}
		pn, pdone, perr := scanAll(&pieces, b, 1+int(piece))
		if len(b) > 0 && (err == nil && n != pn || done != pdone || !errors.Is(perr, err)) { // where a mistake is noticed does not matter
			t.Fatalf("at once %d %v %v, in pieces of %d: %d %v %v", n, done, err, 1+int(piece), pn, pdone, perr)
		}
		if done {
			first, rest, ok := First(b)
			if !ok || !bytes.Equal(append(bytes.Clone(first), rest...), b) {
				t.Fatalf("%q: first %q, rest %q", b, first, rest)
			}
		} else if err == nil && len(b)-n >= maxHead {
			t.Fatalf("%d bytes are left to be given again", len(b)-n)
		}
	})
}
