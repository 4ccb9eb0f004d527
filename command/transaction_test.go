package command

import "testing"

// transactionCases are commands and their replies, from redis-server.
var transactionCases = [][2]string{
	{"exec", "-ERR EXEC without MULTI¦"},
	{"discard", "-ERR DISCARD without MULTI¦"},
	{"multi", "+OK¦"},
	{"multi", "-ERR MULTI calls can not be nested¦"},
	{"watch a", "-ERR WATCH inside MULTI is not allowed¦"},
	{"exec", "*0¦"},
	{"multi", "+OK¦"},
	{"set a 1", "+QUEUED¦"},
	{"incr a", "+QUEUED¦"},
	{"append a 0", "+QUEUED¦"},
	{"get", "-ERR wrong number of arguments for 'get' command¦"},
	{"exec", "-EXECABORT Transaction discarded because of previous errors.¦"},
	{"exists a", ":0¦"},
	{"multi", "+OK¦"},
	{"set a 1 ex 100", "+QUEUED¦"},
	{"incr a", "+QUEUED¦"},
	{"append a 0", "+QUEUED¦"},
	{"set b x", "+QUEUED¦"},
	{"incr b", "+QUEUED¦"},
	{"get a", "+QUEUED¦"},
	{"ttl a", "+QUEUED¦"},
	{"rename a c", "+QUEUED¦"},
	{"mget a b c", "+QUEUED¦"},
	{"dbsize", "+QUEUED¦"},
	{"exec", "*10¦+OK¦:2¦:2¦+OK¦-ERR value is not an integer or out of range¦$2¦20¦:100¦+OK¦*3¦$-1¦$1¦x¦$2¦20¦:2¦"},
	{"get c", "$2¦20¦"},
	{"multi", "+OK¦"},
	{"set a 5", "+QUEUED¦"},
	{"discard", "+OK¦"},
	{"get a", "$-1¦"},
	{"multi", "+OK¦"},
	{"select 1", "+QUEUED¦"},
	{"set d 1", "+QUEUED¦"},
	{"keys *", "+QUEUED¦"},
	{"swapdb 0 1", "+QUEUED¦"},
	{"exists b c", "+QUEUED¦"},
	{"flushdb", "+QUEUED¦"},
	{"dbsize", "+QUEUED¦"},
	{"select 0", "+QUEUED¦"},
	{"dbsize", "+QUEUED¦"},
	{"randomkey", "+QUEUED¦"},
	{"scan 0", "+QUEUED¦"},
	{"flushall", "+QUEUED¦"},
	{"dbsize", "+QUEUED¦"},
	{"set e 1", "+QUEUED¦"},
	{"unwatch", "+QUEUED¦"},
	{"exec", "*15¦+OK¦+OK¦*1¦$1¦d¦+OK¦:2¦+OK¦:0¦+OK¦:1¦$1¦d¦*2¦$1¦0¦*1¦$1¦d¦+OK¦:0¦+OK¦+OK¦"},
	{"keys *", "*1¦$1¦e¦"},
	{"watch e", "+OK¦"},
	{"set e 2", "+OK¦"},
	{"multi", "+OK¦"},
	{"set e 3", "+QUEUED¦"},
	{"exec", "*-1¦"},
	{"get e", "$1¦2¦"},
	{"watch e none", "+OK¦"},
	{"multi", "+OK¦"},
	{"set e 3", "+QUEUED¦"},
	{"exec", "*1¦+OK¦"},
	{"watch e", "+OK¦"},
	{"set e 4", "+OK¦"},
	{"unwatch", "+OK¦"},
	{"multi", "+OK¦"},
	{"set e 5", "+QUEUED¦"},
	{"exec", "*1¦+OK¦"},
	{"watch e", "+OK¦"},
	{"set e 6", "+OK¦"},
	{"multi", "+OK¦"},
	{"discard", "+OK¦"},
	{"multi", "+OK¦"},
	{"exec", "*0¦"},
	{"watch", "-ERR wrong number of arguments for 'watch' command¦"},
}

func TestTransactions(t *testing.T) {
	newClient(t, newServer(t)).wantAll(transactionCases)
}

func TestWatchAcrossClients(t *testing.T) {
	s := newServer(t)
	a, b := newClient(t, s), newClient(t, s)
	a.want("watch x y", "+OK¦")
	b.want("set y 1", "+OK¦")
	a.want("multi", "+OK¦")
	a.want("set x 1", "+QUEUED¦")
	a.want("exec", "*-1¦")
	a.want("get x", "$-1¦")
	a.want("watch x", "+OK¦")
	a.want("select 1", "+OK¦")
	b.want("select 1", "+OK¦")
	b.want("set x 1", "+OK¦") // another database
	a.want("multi", "+OK¦")
	a.want("ping", "+QUEUED¦")
	a.want("exec", "*1¦+PONG¦")
	a.do("hello 3")
	a.want("watch x", "+OK¦")
	b.want("flushall", "+OK¦")
	a.want("multi", "+OK¦")
	a.want("exec", "_¦")
}

// A watching client that goes leaves nothing behind.
func TestCloseSessionUnwatches(t *testing.T) {
	s := newServer(t)
	c := newClient(t, s)
	c.want("watch x", "+OK¦")
	c.want("multi", "+OK¦")
	s.CloseSession(c.sess)
	if n := c.sess.watch.Len(); n != 0 {
		t.Errorf("%d keys are watched", n)
	}
}

func TestExecWhileLoading(t *testing.T) {
	c := newClient(t, newLoadingServer(t))
	c.want("watch a", "-LOADING Redis is loading the dataset in memory¦")
	c.want("multi", "+OK¦")
	c.want("exec", "*0¦")
}

// A command that panics may have written half of what it had to: nothing of the transaction stays.
func TestPanicDiscardsTransaction(t *testing.T) {
	c := newClient(t, newServer(t))
	c.wantAll([][2]string{
		{"multi", "+OK¦"},
		{"set a 1", "+QUEUED¦"},
		{"debug panic", "+QUEUED¦"},
		{"exec", "-EXECABORT Transaction discarded because of: an internal error in a command¦"},
		{"get a", "$-1¦"},
		{"set a 2", "+OK¦"},
	})
}
