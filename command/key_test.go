package command

import (
	"fmt"
	"strings"
	"testing"
)

// keyCases are commands and their replies, from redis-server.
var keyCases = [][2]string{
	{"mset a 1 b 2 c 3", "+OK¦"},
	{"exists a b a none", ":3¦"},
	{"touch a none", ":1¦"},
	{"type a", "+string¦"},
	{"type none", "+none¦"},
	{"del a a none", ":1¦"},
	{"unlink b c", ":2¦"},
	{"dbsize", ":0¦"},
	{"randomkey", "$-1¦"},
	{"set a 1", "+OK¦"},
	{"randomkey", "$1¦a¦"},
	{"rename none b", "-ERR no such key¦"},
	{"rename none none", "-ERR no such key¦"},
	{"rename a a", "+OK¦"},
	{"renamenx a a", ":0¦"},
	{"rename a b", "+OK¦"},
	{"renamenx none c", "-ERR no such key¦"},
	{"set a 2 ex 100", "+OK¦"},
	{"renamenx a b", ":0¦"},
	{"renamenx a c", ":1¦"},
	{"ttl c", ":100¦"},
	{"rename c b", "+OK¦"},
	{"ttl b", ":100¦"},
	{"keys *", "*1¦$1¦b¦"},
	{"copy b b", "-ERR source and destination objects are the same¦"},
	{"copy b d", ":1¦"},
	{"ttl d", ":100¦"},
	{"copy b d", ":0¦"},
	{"copy none d replace", ":0¦"},
	{"copy b d replace", ":1¦"},
	{"copy b b db 1", ":1¦"},
	{"copy b b db 0", "-ERR source and destination objects are the same¦"},
	{"copy b b db 16", "-ERR DB index is out of range¦"},
	{"copy b b db x", "-ERR value is not an integer or out of range¦"},
	{"copy b b db 4294967296", "-ERR value is out of range, value must between -2147483648 and 2147483647¦"},
	{"copy b b db", "-ERR syntax error¦"},
	{"copy b e foo", "-ERR syntax error¦"},
	{"move b 0", "-ERR source and destination objects are the same¦"},
	{"move b 1", ":0¦"},
	{"move b 2", ":1¦"},
	{"move none 2", ":0¦"},
	{"move d -1", "-ERR DB index is out of range¦"},
	{"move d x", "-ERR value is not an integer or out of range¦"},
	{"swapdb 0 2", "+OK¦"},
	{"keys *", "*1¦$1¦b¦"},
	{"ttl b", ":100¦"},
	{"swapdb 0 16", "-ERR DB index is out of range¦"},
	{"swapdb x 1", "-ERR invalid first DB index¦"},
	{"swapdb 16 x", "-ERR invalid second DB index¦"},
	{"flushdb foo", "-ERR syntax error¦"},
	{"flushall sync async", "-ERR syntax error¦"},
	{"flushdb sync", "+OK¦"},
	{"dbsize", ":0¦"},
	{"swapdb 0 1", "+OK¦"},
	{"dbsize", ":1¦"},
	{"flushall async", "+OK¦"},
	{"dbsize", ":0¦"},

	{"set a 1", "+OK¦"},
	{"expire none 10", ":0¦"},
	{"expire a 100", ":1¦"},
	{"ttl a", ":100¦"},
	{"expire a 50 gt", ":0¦"},
	{"expire a 150 gt", ":1¦"},
	{"expire a 200 lt", ":0¦"},
	{"expire a 100 LT", ":1¦"},
	{"expire a 100 nx", ":0¦"},
	{"expire a 100 xx", ":1¦"},
	{"persist a", ":1¦"},
	{"persist a", ":0¦"},
	{"persist none", ":0¦"},
	{"expire a 100 xx", ":0¦"},
	{"expire a 100 gt", ":0¦"},
	{"expire a 100 lt", ":1¦"},
	{"expire a 90 xx gt", ":0¦"},
	{"expire a 100 nx xx", "-ERR NX and XX, GT or LT options at the same time are not compatible¦"},
	{"expire a 100 nx gt", "-ERR NX and XX, GT or LT options at the same time are not compatible¦"},
	{"expire a 100 gt lt", "-ERR GT and LT options at the same time are not compatible¦"},
	{"expire a 100 foo", "-ERR Unsupported option foo¦"},
	{"expire a x", "-ERR value is not an integer or out of range¦"},
	{"expire a 9223372036854775807", "-ERR invalid expire time in 'expire' command¦"},
	{"expire a -9223372036854775808", "-ERR invalid expire time in 'expire' command¦"},
	{"pexpire a 9223372036854775807", "-ERR invalid expire time in 'pexpire' command¦"},
	{"expireat a 9223372036854776", "-ERR invalid expire time in 'expireat' command¦"},
	{"pexpire a 100000", ":1¦"},
	{"ttl a", ":100¦"},
	{"expireat a 4000000000", ":1¦"},
	{"expiretime a", ":4000000000¦"},
	{"pexpireat a 4000000000500", ":1¦"},
	{"pexpiretime a", ":4000000000500¦"},
	{"expiretime a", ":4000000001¦"},
	{"ttl none", ":-2¦"},
	{"pttl none", ":-2¦"},
	{"expiretime none", ":-2¦"},
	{"set b 1", "+OK¦"},
	{"pttl b", ":-1¦"},
	{"pexpiretime b", ":-1¦"},
	{"expire a -1", ":1¦"},
	{"exists a", ":0¦"},
	{"expireat b 0", ":1¦"},
	{"exists b", ":0¦"},

	{"set a 1", "+OK¦"},
	{"object encoding a", "$3¦int¦"},
	{"object refcount a", ":2147483647¦"},
	{"object idletime a", ":0¦"},
	{"object freq a", "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.¦"},
	{"append a x", ":2¦"},
	{"object encoding a", "$3¦raw¦"},
	{"object refcount a", ":1¦"},
	{"set a abc", "+OK¦"},
	{"object encoding a", "$6¦embstr¦"},
	{"object encoding none", "$-1¦"},
	{"object freq none", "$-1¦"},
	{"object foo a", "-ERR unknown subcommand 'foo'. Try OBJECT HELP.¦"},
	{"object encoding", "-ERR wrong number of arguments for 'object|encoding' command¦"},
	{"object", "-ERR wrong number of arguments for 'object' command¦"},

	{"keys a*", "*1¦$1¦a¦"},
	{"keys b*", "*0¦"},
	{"scan 0", "*2¦$1¦0¦*1¦$1¦a¦"},
	{"scan 0 match b*", "*2¦$1¦0¦*0¦"},
	{"scan 0 match * count 100 type string", "*2¦$1¦0¦*1¦$1¦a¦"},
	{"scan 0 type hash", "*2¦$1¦0¦*0¦"},
	{"scan x", "-ERR invalid cursor¦"},
	{"scan 0 count 0", "-ERR syntax error¦"},
	{"scan 0 count x", "-ERR value is not an integer or out of range¦"},
	{"scan 0 match", "-ERR syntax error¦"},
	{"scan 0 foo 1", "-ERR syntax error¦"},
	{"flushall", "+OK¦"},
	{"scan 0", "*2¦$1¦0¦*0¦"},
}

func TestKeys(t *testing.T) {
	newClient(t, newServer(t)).wantAll(keyCases)
}

// A complete iteration finds each key once, with any count.
func TestScan(t *testing.T) {
	c := newClient(t, newServer(t))
	const n = 500
	for i := range n {
		c.do(fmt.Sprintf("set key:%d v", i))
	}
	for _, options := range []string{"", "count 1", "count 7", "match * count 1000", "type string count 100"} {
		seen := map[string]int{}
		calls := 0
		for cursor := "0"; ; calls++ {
			words := strings.Split(c.do("scan "+cursor+" "+options), "\r\n")
			cursor = words[2]
			for i := 5; i < len(words); i += 2 {
				seen[words[i]]++
			}
			if cursor == "0" {
				break
			}
		}
		for i := range n {
			if got := seen[fmt.Sprint("key:", i)]; got != 1 {
				t.Fatalf("scan %s: key %d was found %d times in %d calls", options, i, got, calls)
			}
		}
	}
}

// Every key has a fair chance.
func TestRandomKey(t *testing.T) {
	for _, name := range []string{"key:%d", "{tag}:%d"} {
		c := newClient(t, newServer(t))
		const n = 50
		for i := range n {
			c.do(fmt.Sprintf("set "+name+" v", i))
		}
		seen := map[string]int{}
		for range 100 * n {
			seen[c.do("randomkey")]++
		}
		for key, times := range seen {
			if times > 100*6 {
				t.Errorf("%q came %d times instead of about 100", key, times)
			}
		}
		if len(seen) != n {
			t.Errorf("%d of %d keys came", len(seen), n)
		}
	}
}
