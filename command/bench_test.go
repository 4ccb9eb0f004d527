package command

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/gtinside/corecache/reply"
)

// BenchmarkCommands runs commands in units of 16, on 100,000 keys in memory.
func BenchmarkCommands(b *testing.B) {
	s := newServer(b)
	c := newClient(b, s)
	const n = 100_000
	for i := range n {
		c.dispatch("set", fmt.Sprintf("key:%07d", i), strings.Repeat("v", 64))
		if i%100 == 99 {
			s.EndUnit(c.sess, &c.w)
			c.w.Reset()
		}
	}
	value := strings.Repeat("w", 64)
	many := strings.Repeat("key:0000000 ", 10)
	pairs := strings.Repeat("key:0000000 "+value+" ", 10)
	for _, line := range []string{
		"get key:0000000", "set key:0000000 " + value, "incr n", "mget " + many, "mset " + pairs,
		"exists key:0000000", "expire key:0000000 100", "get none:0000000",
	} {
		words := strings.Fields(line)
		b.Run(words[0]+strings.Repeat("-none", strings.Count(line, "none")), func(b *testing.B) {
			args := make([][]byte, len(words))
			for i, word := range words {
				args[i] = []byte(word)
			}
			w := &reply.Writer{Buf: make([]byte, 0, 1<<20)}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for j, arg := range args {
					if bytes.HasPrefix(arg, []byte("key:")) {
						setNumber(arg[4:], (i*7919+j*31)%n)
					}
				}
				s.Dispatch(c.sess, args, w)
				if i%16 == 15 {
					s.EndUnit(c.sess, w)
					w.Reset()
				}
			}
			s.EndUnit(c.sess, w)
		})
	}
}

func setNumber(digits []byte, n int) {
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
}
