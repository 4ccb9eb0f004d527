package proxy

import (
	"strings"
	"testing"
)

func TestForwarded(t *testing.T) {
	_, leader, follower := pair(t)
	c, direct := follower.dial(), leader.dial()
	c.want("set a 1", "+OK¦")
	direct.want("get a", "$1¦1¦")
	c.want("get a", "$1¦1¦")
	if got := c.do("set a 2", "ping", "incr a", "echo x", "get a", "nosuch", "get", "get a"); got !=
		"+OK¦+PONG¦:3¦$1¦x¦$1¦3¦-ERR unknown command 'nosuch', with args beginning with: ¦-ERR wrong number of arguments for 'get' command¦$1¦3¦" {
		t.Errorf("got %q", got)
	}
	if got := c.do("select 1", "set a db1", "select 0", "get a", "select 1", "get a"); got != "+OK¦+OK¦+OK¦$1¦3¦+OK¦$3¦db1¦" {
		t.Errorf("got %q", got)
	}
	c.want("select 0", "+OK¦")
	c.want("multi", "+OK¦")
	c.want("incr a", "+QUEUED¦")
	c.want("get a", "+QUEUED¦")
	c.want("exec", "*2¦:4¦$1¦4¦")
	if got := c.do("multi", "set a 7", "exec", "get a"); got != "+OK¦+QUEUED¦*1¦+OK¦$1¦7¦" {
		t.Errorf("got %q", got)
	}
	if got := c.do("multi", "select 2", "set a two", "ping", "client getname", "exec", "get a"); got != "+OK¦+QUEUED¦+QUEUED¦+QUEUED¦+QUEUED¦*4¦+OK¦+OK¦+PONG¦$-1¦$3¦two¦" {
		t.Errorf("got %q", got)
	}
	c.want("get a", "$3¦two¦")
	c.wantPrefix("hello 3", "%7¦")
	c.want("get none", "_¦")
	big := strings.Repeat("x", 3<<20)
	c.want("set big "+big, "+OK¦")
	if got := c.do("get a", "get big", "get a"); got != "$3¦two¦$3145728¦"+big+"¦$3¦two¦" {
		t.Errorf("got %d bytes", len(got))
	}
}
