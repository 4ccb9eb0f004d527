package glob

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"**", "", false}, {"?", "", false},
		{"*", "abc", true}, {"a*", "a", true}, {"a*c", "abbc", true}, {"a*c", "abbd", false},
		{"h?llo", "hello", true}, {"h?llo", "hllo", false}, {"h[ae]llo", "hallo", true}, {"h[ae]llo", "hillo", false},
		{"h[^e]llo", "hello", false}, {"h[^e]llo", "hbllo", true}, {"h[a-b]llo", "hbllo", true}, {"h[b-a]llo", "hallo", true},
		{`h\*llo`, "h*llo", true}, {`h\*llo`, "hello", false}, {`a\`, `a\`, true}, {`[\]]`, "]", true}, {`[\-x]`, "-", true},
		{"[abc", "b", true}, {"[abc", "d", false}, {"[", "[", false}, {"[]", "]", false}, {"[^]", "x", true}, {"[^", "x", true},
		{"[a-", "-", true}, {"a**b", "ab", true}, {"a**b", "axyb", true}, {"*a*b", "xxaxxbxb", true}, {"a*?", "a", false},
		{"*[0-9]", "x9", true}, {"*[0-9]", "x9y", false}, {"A", "a", false},
	} {
		if got := Match([]byte(tc.pattern), []byte(tc.s)); got != tc.want {
			t.Errorf("Match(%q, %q) = %v", tc.pattern, tc.s, got)
		}
	}
}

func TestMatchFold(t *testing.T) {
	for _, p := range []string{"HELLO", "h?LLo", "H[A-F]llo", "h*O"} {
		if !MatchFold([]byte(p), []byte("hello")) {
			t.Errorf("MatchFold(%q)", p)
		}
	}
	if MatchFold([]byte("h[^E]llo"), []byte("hello")) {
		t.Error("complement of a set must fold too")
	}
}

func TestHostilePatternIsBounded(t *testing.T) {
	pattern := []byte(strings.Repeat("a*", 1000) + "b")
	s := bytes.Repeat([]byte("a"), 10000)
	start := time.Now()
	if Match(pattern, s) {
		t.Fatal("matched")
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Fatalf("took %v", d)
	}
}

// slow is the textbook recursion, as the specification of Match.
func slow(p, s []byte) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	if p[0] == '*' {
		return slow(p[1:], s) || len(s) > 0 && slow(p, s[1:])
	}
	if len(s) == 0 {
		return false
	}
	n, ok := matchByte(p, s[0], false)
	return ok && slow(p[n:], s[1:])
}

func FuzzMatch(f *testing.F) {
	for _, p := range []string{"a*b?[c-e]\\x", "[^", "**", "[a-", "\\"} {
		f.Add([]byte(p), []byte("abxcx"))
	}
	f.Fuzz(func(t *testing.T, p, s []byte) {
		got := Match(p, s)
		MatchFold(p, s)
		if len(s) == 0 || bytes.Count(p, []byte("*")) > 4 || len(s) > 40 {
			return
		}
		if want := slow(p, s); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", p, s, got, want)
		}
	})
}
