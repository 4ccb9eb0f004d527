package keyspace

import (
	"strconv"
	"testing"
)

// slowParseInt is what ParseInt has to agree with.
func slowParseInt(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == s
}

func TestParseInt(t *testing.T) {
	for _, s := range []string{"0", "-0", "00", "01", "-01", "+1", "1", "-1", "", "-", "9223372036854775807", "9223372036854775808",
		"-9223372036854775808", "-9223372036854775809", "18446744073709551616", "99999999999999999999", " 1", "1 ", "1.0", "0x1", "1_0"} {
		n, ok := ParseInt([]byte(s))
		want, wantOK := slowParseInt(s)
		if ok != wantOK || ok && n != want {
			t.Errorf("%q: %d %v, want %d %v", s, n, ok, want, wantOK)
		}
	}
}

// Sums as redis-server prints them.
func TestFloat(t *testing.T) {
	for _, x := range []struct{ a, b, want string }{
		{"0", "0.1", "0.1"},
		{"0.1", "0.2", "0.3"},
		{"10.50", "0.1", "10.6"},
		{"5.0e3", "2.0e2", "5200"},
		{"3", "1.000000000000000005", "4.00000000000000001"},
		{"1", "-1", "0"},
		{"-0.0000000000000000001", "0", "0"},
		{"0", "-0", "0"},
		{"1e20", "1", "100000000000000000000"},
		{"0x1p3", ".5", "8.5"},
		{"1.1", "-1.1", "0"},
		{"12345678901234567890", "1", "12345678901234567891"},
		{"3.0000000000000001", "0", "3.0000000000000001"},
	} {
		a, okA := ParseFloat([]byte(x.a))
		b, okB := ParseFloat([]byte(x.b))
		sum, ok := a.Add(b)
		if got := string(sum.Append(nil)); !okA || !okB || !ok || got != x.want {
			t.Errorf("%s + %s = %s, want %s", x.a, x.b, got, x.want)
		}
	}
	for _, s := range []string{"", " 1", "1 ", "nan", "1e", "abc", "1e5000", "1e-5000", "0x", "1_0", "0b1", "1e99999999999999999999", "--1", "0x1p"} {
		if _, ok := ParseFloat([]byte(s)); ok {
			t.Errorf("%q is taken for a number", s)
		}
	}
	inf, ok := ParseFloat([]byte("-Inf"))
	if _, finite := inf.Add(Float{}); !ok || finite {
		t.Error("infinity is taken for finite")
	}
}
