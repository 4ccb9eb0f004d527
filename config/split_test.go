package config

import (
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string
	}{
		{"", nil},
		{"  \t\r\n", nil},
		{"port 6379", []string{"port", "6379"}},
		{"  a\tb  c \r\n", []string{"a", "b", "c"}},
		{`requirepass "a b"`, []string{"requirepass", "a b"}},
		{`x ""`, []string{"x", ""}},
		{`x ''`, []string{"x", ""}},
		{`"\x41\n\r\t\b\a\"\\\q\x4"`, []string{"A\n\r\t\b\a\"\\qx4"}},
		{`'a\'b\n'`, []string{`a'b\n`}},
		{`ab"cd"`, []string{"abcd"}},
		{`"\xfF\x0a"`, []string{"\xff\n"}},
	} {
		got, err := Split(c.line)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Split(%q) = %q, %v; want %q", c.line, got, err, c.want)
		}
	}
	for _, bad := range []string{`"a`, `'a`, `"a"b`, `'a'b`, `"a\"`, `x "`} {
		if got, err := Split(bad); err == nil {
			t.Errorf("Split(%q) = %q; want an error", bad, got)
		}
	}
}

func TestQuoteReadsBack(t *testing.T) {
	for _, s := range []string{"", "a", "a b", `"`, `\`, "'", "\x00\xff\n", "#no comment", "é"} {
		got, err := Split(quote(s))
		if err != nil || !slices.Equal(got, []string{s}) {
			t.Errorf("Split(quote(%q)) = %q, %v", s, got, err)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{`set "a b" 'c\'d' \x41`, `"\xzz"`, "a\tb\x00c", `""""`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := Split(line)
		if err != nil {
			return
		}
		again, err := Split(quoteAll(words))
		if err != nil || !slices.Equal(words, again) {
			t.Fatalf("%q: %q read back as %q, %v", line, words, again, err)
		}
	})
}
