package command

import (
	"strings"
	"testing"

	"github.com/gtinside/corecache/reply"
)

// stringCases are commands and their replies, from redis-server.
var stringCases = [][2]string{
	{"set a 1", "+OK¦"},
	{"get a", "$1¦1¦"},
	{"get none", "$-1¦"},
	{"set a 2 nx", "$-1¦"},
	{"set a 2 NX GET", "$1¦1¦"},
	{"set none 2 xx", "$-1¦"},
	{"set a 3 xx get", "$1¦1¦"},
	{"set a 3 nx xx", "-ERR syntax error¦"},
	{"set a 3 ex", "-ERR syntax error¦"},
	{"set a 3 ex 10 px 10", "-ERR syntax error¦"},
	{"set a 3 ex 10 keepttl", "-ERR syntax error¦"},
	{"set a 3 persist", "-ERR syntax error¦"},
	{"set a 3 ex 0", "-ERR invalid expire time in 'set' command¦"},
	{"set a 3 px -1", "-ERR invalid expire time in 'set' command¦"},
	{"set a 3 ex 9223372036854775807", "-ERR invalid expire time in 'set' command¦"},
	{"set a 3 px 9223372036854775807", "-ERR invalid expire time in 'set' command¦"},
	{"set a 3 ex x", "-ERR value is not an integer or out of range¦"},
	{"set a 3 ex 100", "+OK¦"},
	{"ttl a", ":100¦"},
	{"set a 4 keepttl", "+OK¦"},
	{"ttl a", ":100¦"},
	{"set a 5", "+OK¦"},
	{"ttl a", ":-1¦"},
	{"set a 5 pxat 4000000000000", "+OK¦"},
	{"expiretime a", ":4000000000¦"},
	{"pexpiretime a", ":4000000000000¦"},
	{"set a 5 exat 1", "+OK¦"},
	{"get a", "$-1¦"},
	{"set a 3", "+OK¦"},
	{"getex a ex 100", "$1¦3¦"},
	{"ttl a", ":100¦"},
	{"getex a persist", "$1¦3¦"},
	{"ttl a", ":-1¦"},
	{"getex a", "$1¦3¦"},
	{"getex a keepttl", "-ERR syntax error¦"},
	{"getex a ex 0", "-ERR invalid expire time in 'getex' command¦"},
	{"getex none ex 0", "$-1¦"},
	{"getex a exat 1", "$1¦3¦"},
	{"exists a", ":0¦"},
	{"setnx a 1", ":1¦"},
	{"setnx a 2", ":0¦"},
	{"setex a 10 v", "+OK¦"},
	{"ttl a", ":10¦"},
	{"psetex a 10000 v", "+OK¦"},
	{"ttl a", ":10¦"},
	{"setex a 0 v", "-ERR invalid expire time in 'setex' command¦"},
	{"psetex a x v", "-ERR value is not an integer or out of range¦"},
	{"getset a w", "$1¦v¦"},
	{"ttl a", ":-1¦"},
	{"getset fresh w", "$-1¦"},
	{"getdel a", "$1¦w¦"},
	{"getdel a", "$-1¦"},
	{"mset a 1 b 2 a 3", "+OK¦"},
	{"mget a b c", "*3¦$1¦3¦$1¦2¦$-1¦"},
	{"mset a 1 b", "-ERR wrong number of arguments for 'mset' command¦"},
	{"msetnx a 1 b", "-ERR wrong number of arguments for 'msetnx' command¦"},
	{"msetnx c 1 a 2", ":0¦"},
	{"exists c", ":0¦"},
	{"msetnx c 1 d 2 c 3", ":1¦"},
	{"get c", "$1¦3¦"},
	{"append e abc", ":3¦"},
	{"append e def", ":6¦"},
	{"strlen e", ":6¦"},
	{"strlen none", ":0¦"},
	{"getrange e 1 2", "$2¦bc¦"},
	{"getrange e -3 -1", "$3¦def¦"},
	{"getrange e -1 -3", "$0¦¦"},
	{"getrange e 0 100", "$6¦abcdef¦"},
	{"getrange e -100 -100", "$1¦a¦"},
	{"getrange e 7 9", "$0¦¦"},
	{"getrange e x 9", "-ERR value is not an integer or out of range¦"},
	{"getrange none 0 -1", "$0¦¦"},
	{"substr e 0 0", "$1¦a¦"},
	{"setrange e 1 XY", ":6¦"},
	{"get e", "$6¦aXYdef¦"},
	{"setrange f 2 z", ":3¦"},
	{"get f", "$3¦\x00\x00z¦"},
	{"setrange e -1 z", "-ERR offset is out of range¦"},
	{"setrange e 536870912 z", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)¦"},
	{"setrange e 9223372036854775807 z", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)¦"},
	{"incr n", ":1¦"},
	{"incrby n 10", ":11¦"},
	{"decr n", ":10¦"},
	{"decrby n 20", ":-10¦"},
	{"decrby n -9223372036854775808", "-ERR decrement would overflow¦"},
	{"incrby n 9223372036854775807", ":9223372036854775797¦"},
	{"incrby n 100", "-ERR increment or decrement would overflow¦"},
	{"incr e", "-ERR value is not an integer or out of range¦"},
	{"incrby n 1.5", "-ERR value is not an integer or out of range¦"},
	{"set n 10.50", "+OK¦"},
	{"incrbyfloat n 0.1", "$4¦10.6¦"},
	{"incrbyfloat n -5", "$3¦5.6¦"},
	{"incrbyfloat n 5.0e3", "$22¦5005.60000000000000009¦"},
	{"incrbyfloat n x", "-ERR value is not a valid float¦"},
	{"incrbyfloat e 1", "-ERR value is not a valid float¦"},
	{"incrbyfloat n inf", "-ERR increment would produce NaN or Infinity¦"},
	{"set x ohmytext", "+OK¦"},
	{"set y mynewtext", "+OK¦"},
	{"lcs x y", "$6¦mytext¦"},
	{"lcs x y len", ":6¦"},
	{"lcs x y idx", "*4¦$7¦matches¦*2¦*2¦*2¦:4¦:7¦*2¦:5¦:8¦*2¦*2¦:2¦:3¦*2¦:0¦:1¦$3¦len¦:6¦"},
	{"lcs x y idx minmatchlen 4 withmatchlen", "*4¦$7¦matches¦*1¦*3¦*2¦:4¦:7¦*2¦:5¦:8¦:4¦$3¦len¦:6¦"},
	{"lcs x y idx len", "-ERR If you want both the length and indexes, please just use IDX.¦"},
	{"lcs x y minmatchlen", "-ERR syntax error¦"},
	{"lcs x y minmatchlen x", "-ERR value is not an integer or out of range¦"},
	{"lcs none y", "$0¦¦"},
	{"lcs none y idx", "*4¦$7¦matches¦*0¦$3¦len¦:0¦"},
	{"get", "-ERR wrong number of arguments for 'get' command¦"},
	{"set a", "-ERR wrong number of arguments for 'set' command¦"},
}

func TestStrings(t *testing.T) {
	newClient(t, newServer(t)).wantAll(stringCases)
}

func TestStringsRESP3(t *testing.T) {
	c := newClient(t, newServer(t))
	c.do("hello 3")
	c.wantAll([][2]string{
		{"get none", "_¦"},
		{"set none v xx", "_¦"},
		{"mset x ab y ab", "+OK¦"},
		{"mget x none", "*2¦$2¦ab¦_¦"},
		{"lcs x y idx", "%2¦$7¦matches¦*1¦*2¦*2¦:0¦:1¦*2¦:0¦:1¦$3¦len¦:2¦"},
	})
}

// A pipeline sees its own writes before they are committed.
func TestPipelineSeesItsWrites(t *testing.T) {
	c := newClient(t, newServer(t))
	got := c.unit("set a 1", "get a", "mget a b", "append a 2", "strlen a", "exists a b", "dbsize", "del a", "get a", "keys *")
	want := "+OK¦$1¦1¦*2¦$1¦1¦$-1¦:2¦:2¦:1¦:1¦:1¦$-1¦*0¦"
	if want = strings.ReplaceAll(want, "¦", "\r\n"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLongStrings(t *testing.T) {
	c := newClient(t, newServer(t))
	long := strings.Repeat("0123456789abcdef", 20_000) // 320,000 bytes
	c.want("set a "+long, "+OK¦")
	c.want("strlen a", ":320000¦")
	c.want("append a xyz", ":320003¦")
	c.want("getrange a 319998 320001", "$4¦efxy¦")
	c.want("setrange a 70000 !!!", ":320003¦")
	c.want("getrange a 69999 70003", "$5¦f!!!3¦")
	c.want("rename a b", "+OK¦")
	c.want("copy b c", ":1¦")
	c.want("move b 3", ":1¦")
	c.want("incr c", "-ERR value is not an integer or out of range¦")
	c.want("object encoding c", "$3¦raw¦")
	c.do("select 3")
	want := long[:70000] + "!!!" + long[70003:] + "xyz"
	c.want("get b", "$320003¦"+want+"¦")
	c.want("getset b v", "$320003¦"+want+"¦")
	c.want("setrange b 500000000 v", ":500000001¦") // costs one chunk
	c.want("getrange b 499999998 -1", "$3¦\x00\x00v¦")
	c.want("getdel c", "$-1¦")
	if err := c.srv.Keyspace.Check(); err != nil {
		t.Error(err)
	}
}

// The limit of INCRBYFLOAT and of LCS' table.
func TestLimits(t *testing.T) {
	c := newClient(t, newServer(t, "--proto-max-bulk-len 1mb"))
	c.do("set a " + strings.Repeat("a", 600))
	c.want("lcs a a len", "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len¦")
	c.want("append a "+strings.Repeat("x", 1<<20), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)¦")
	if got := c.do("incrbyfloat f 1e4932"); !strings.HasPrefix(got, "$4933\r\n10000000000000000000060189493879638913") {
		t.Errorf("incrbyfloat: %.60q", got)
	}
	c.want("incrbyfloat f 1e4932", "-ERR increment would produce NaN or Infinity¦")
}

// GET and SET allocate nothing.
func TestGetAndSetDoNotAllocate(t *testing.T) {
	if raceEnabled {
		return // the detector allocates
	}
	c := newClient(t, newServer(t))
	for _, line := range []string{"set key:1 value", "get key:1", "incr n", "get none"} {
		args := [][]byte{}
		for _, word := range strings.Fields(line) {
			args = append(args, []byte(word))
		}
		w := &reply.Writer{Buf: make([]byte, 0, 4096)}
		n := testing.AllocsPerRun(2000, func() {
			w.Reset()
			c.srv.Dispatch(c.sess, args, w)
			c.srv.EndUnit(c.sess, w)
		})
		if n > 0 {
			t.Errorf("%s allocates %v times", line, n)
		}
	}
}
