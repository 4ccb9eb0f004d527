package config

import (
	"errors"
	"strings"
)

var errQuotes = errors.New("unbalanced quotes")

// Split cuts a line into words as redis.conf and redis-cli do: blanks separate words,
// "..." may hold blanks and the escapes \n \r \t \b \a \xHH \" \\, '...' may hold
// blanks and \'. A closing quote must end its word.
func Split(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t\r\n\v\f")
		if line == "" {
			return words, nil
		}
		word, rest, err := cutWord(line)
		if err != nil {
			return nil, err
		}
		words, line = append(words, word), rest
	}
}

func isBlank(c byte) bool { return strings.IndexByte(" \t\r\n\v\f\x00", c) >= 0 }

// cutWord takes the first word off line, which begins with it.
func cutWord(line string) (word, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case isBlank(c):
			return b.String(), line[i+1:], nil
		case c == '"' || c == '\'':
			n, ok := quoted(&b, line[i:])
			if !ok {
				return "", "", errQuotes
			}
			return b.String(), line[i+n:], nil
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", nil
}

// quoted reads a quoted string, the quotes included, and returns its length.
func quoted(b *strings.Builder, s string) (n int, ok bool) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return i + 1, i+1 == len(s) || isBlank(s[i+1])
		case s[i] == '\\' && i+1 < len(s) && (quote == '"' || s[i+1] == '\''):
			i += escape(b, s[i+1:])
		default:
			b.WriteByte(s[i])
		}
	}
	return 0, false
}

var escapes = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'a': '\a'}

// escape writes what s, the text behind a backslash, stands for, and returns how many bytes it took.
func escape(b *strings.Builder, s string) int {
	if len(s) >= 3 && s[0] == 'x' {
		hi, lo := hexDigit(s[1]), hexDigit(s[2])
		if hi >= 0 && lo >= 0 {
			b.WriteByte(byte(hi<<4 | lo))
			return 3
		}
	}
	c := s[0]
	if e, ok := escapes[c]; ok {
		c = e
	}
	b.WriteByte(c)
	return 1
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// quote writes s as one word that Split reads back.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, needsQuotes) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		writeEscaped(&b, s[i])
	}
	b.WriteByte('"')
	return b.String()
}

func needsQuotes(r rune) bool {
	return r <= ' ' || r >= 0x7f || r == '"' || r == '\'' || r == '\\' || r == '#'
}

func writeEscaped(b *strings.Builder, c byte) {
	const hex = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		b.WriteByte('\\')
		b.WriteByte(c)
	case c < ' ' || c >= 0x7f:
		b.WriteString("\\x")
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	default:
		b.WriteByte(c)
	}
}
