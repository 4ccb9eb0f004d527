package reply

import (
	"math"
	"strconv"
)

// maxDouble bounds the length of a printed float64: sign, 17 digits, up to
// seven zeros or a point, exponent.
const maxDouble = 32

// FormatDouble prints f as Redis 7.2 does: the shortest digits that read back as
// f, an exponent only for very large or small numbers.
func FormatDouble(f float64) string {
	var buf [maxDouble]byte
	return string(AppendDouble(buf[:0], f))
}

// AppendDouble appends f as FormatDouble prints it. It does not allocate when dst
// has room for 32 bytes.
//
// With d digits and the decimal exponent e of the first digit, plain notation is
// used for whole numbers while e < d+7, and for fractions whose last digit stands
// less than 7 places behind the point or while |e| < 4. Everything else is d.ddde±x.
// (Redis 7.0 prints %.17g instead: 0.1 as 0.10000000000000001.)
func AppendDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	}
	if math.Signbit(f) {
		dst, f = append(dst, '-'), -f
	}
	if f == 0 {
		return append(dst, '0')
	}
	var buf [maxDouble]byte
	digits, e := shortest(buf[:0], f)
	return appendDecimal(dst, digits, e)
}

// shortest returns the digits of f > 0 and the decimal exponent of the first one.
func shortest(buf []byte, f float64) (digits []byte, e int) {
	buf = strconv.AppendFloat(buf, f, 'e', -1, 64) // d[.ddd]e±dd
	i := len(buf) - 1
	for buf[i] != 'e' {
		i--
	}
	for _, c := range buf[i+2:] {
		e = e*10 + int(c-'0')
	}
	if buf[i+1] == '-' {
		e = -e
	}
	if i > 1 { // close the gap of the point
		copy(buf[1:], buf[2:i])
		i--
	}
	return buf[:i], e
}

// appendDecimal appends 0.digits * 10^(e+1).
func appendDecimal(dst, digits []byte, e int) []byte {
	k := e - len(digits) + 1 // exponent of the last digit
	switch {
	case k >= 0 && e < len(digits)+7:
		dst = append(dst, digits...)
		return appendZeros(dst, k)
	case k < 0 && e >= 0 && (k > -7 || e < 4):
		dst = append(dst, digits[:e+1]...)
		dst = append(dst, '.')
		return append(dst, digits[e+1:]...)
	case k < 0 && (k > -7 || -e < 4 && e < 0):
		dst = append(dst, '0', '.')
		dst = appendZeros(dst, -e-1)
		return append(dst, digits...)
	}
	dst = append(dst, digits[0])
	if len(digits) > 1 {
		dst = append(dst, '.')
		dst = append(dst, digits[1:]...)
	}
	if e < 0 {
		dst, e = append(dst, 'e', '-'), -e
	} else {
		dst = append(dst, 'e', '+')
	}
	return strconv.AppendInt(dst, int64(e), 10)
}

func appendZeros(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, '0')
	}
	return dst
}
