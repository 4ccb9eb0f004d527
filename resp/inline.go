package resp

import (
	"bytes"
	"strconv"

	"github.com/gtinside/corecache/config"
)

// appendInline appends an inline command as an array of bulk strings, so that redcon sees
// only those. argc is 0, and nothing is appended, when the line holds no words. Redis splits
// requests like lines of its configuration; a zero byte ends them.
func appendInline(dst, line []byte) (out []byte, argc int, err error) {
	line, _, _ = bytes.Cut(line, []byte{0})
	words, err := config.Split(string(line))
	if err != nil {
		return dst, 0, errQuotes
	}
	if len(words) == 0 {
		return dst, 0, nil
	}
	dst = appendHeader(dst, '*', len(words))
	for _, word := range words {
		dst = appendHeader(dst, '$', len(word))
		dst = append(dst, word...)
		dst = append(dst, '\r', '\n')
	}
	return dst, len(words), nil
}

func appendHeader(dst []byte, marker byte, n int) []byte {
	dst = strconv.AppendInt(append(dst, marker), int64(n), 10)
	return append(dst, '\r', '\n')
}
