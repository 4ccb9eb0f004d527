package keyspace

import (
	"bytes"
	"math/big"
)

// Float is a number of INCRBYFLOAT. Redis calculates with the 80-bit long double of
// x86: 64 bits of mantissa, 15 of exponent. So does Float, but for denormal numbers. The zero value is 0.
type Float struct{ v *big.Float }

const (
	floatPrec   = 64
	floatMaxExp = 16384 // of numbers in [0.5, 1) * 2^exp
	floatMinExp = -16445
	// floatMaxText is the longest text that Redis reads as a number.
	floatMaxText = 5*1024 - 1
	// floatDigits is the number of digits behind the point that Redis prints.
	floatDigits = 17
)

// ParseFloat reads a number as C's strtold does: decimal or hexadecimal, or infinite, without space in
// front. Numbers too large or too small for a long double are refused, and so is NaN.
func ParseFloat(b []byte) (f Float, ok bool) {
	if len(b) > floatMaxText {
		return f, false
	}
	sign, digits := "", b
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		sign, digits = string(b[:1]), b[1:]
	}
	if bytes.EqualFold(digits, []byte("inf")) || bytes.EqualFold(digits, []byte("infinity")) {
		return Float{new(big.Float).SetInf(sign == "-")}, true
	}
	base := 10
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		base, digits = 16, digits[2:]
	}
	if !isNumber(digits, base) {
		return f, false
	}
	v, _, err := new(big.Float).SetPrec(floatPrec).Parse(sign+string(digits), base)
	if err != nil || v.IsInf() || v.Sign() != 0 && !inRange(v) || v.Sign() == 0 && hasDigit(digits, base) {
		return f, false
	}
	return Float{v}, true
}

func inRange(v *big.Float) bool {
	exp := v.MantExp(nil)
	return exp <= floatMaxExp && exp >= floatMinExp
}

// isNumber reports whether b is digits, with at most one point among them, and maybe an exponent.
func isNumber(b []byte, base int) bool {
	n, point := 0, false
	for len(b) > 0 {
		switch c := b[0]; {
		case isDigit(c, base):
			n++
		case c == '.' && !point:
			point = true
		default:
			return n > 0 && isExponent(b, base)
		}
		b = b[1:]
	}
	return n > 0
}

func isExponent(b []byte, base int) bool {
	mark := byte('e')
	if base == 16 {
		mark = 'p'
	}
	if b[0]|0x20 != mark {
		return false
	}
	b = b[1:]
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		b = b[1:]
	}
	for _, c := range b {
		if !isDigit(c, 10) {
			return false
		}
	}
	return len(b) > 0
}

func isDigit(c byte, base int) bool {
	return '0' <= c && c <= '9' || base == 16 && 'a' <= c|0x20 && c|0x20 <= 'f'
}

// hasDigit reports whether the mantissa is not zero.
func hasDigit(b []byte, base int) bool {
	for _, c := range b {
		switch {
		case c == '0' || c == '.':
		default:
			return isDigit(c, base)
		}
	}
	return false
}

// Add returns the sum, and false when it is not a finite number.
func (f Float) Add(g Float) (Float, bool) {
	sum := new(big.Float).SetPrec(floatPrec)
	switch {
	case f.v == nil:
		f.v = sum
	case g.v == nil:
		g.v = sum
	}
	if f.v.IsInf() || g.v.IsInf() {
		return Float{}, false
	}
	sum = new(big.Float).SetPrec(floatPrec).Add(f.v, g.v)
	return Float{sum}, sum.Sign() == 0 || sum.MantExp(nil) <= floatMaxExp
}

// Append appends the number as Redis prints it: with 17 digits behind the point, of which
// zeros at the end are left out.
func (f Float) Append(dst []byte) []byte {
	if f.v == nil {
		return append(dst, '0')
	}
	start := len(dst)
	dst = f.v.Append(dst, 'f', floatDigits)
	if bytes.IndexByte(dst[start:], '.') >= 0 {
		dst = bytes.TrimRight(dst, "0")
		dst = bytes.TrimSuffix(dst, []byte("."))
	}
	if string(dst[start:]) == "-0" {
		dst = append(dst[:start], '0')
	}
	return dst
}
