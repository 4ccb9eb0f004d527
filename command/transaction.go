package command

import "github.com/gtinside/corecache/keyspace"

// watchSet is the set of keys that a session watches.
type watchSet = keyspace.Watcher

func multi(c *Call) {
	if c.Session.Multi.Open {
		c.Out.Error("ERR MULTI calls can not be nested")
		return
	}
	c.Session.OpenMulti()
	c.Out.OK()
}

func discard(c *Call) {
	if !c.Session.Multi.Open {
		c.Out.Error("ERR DISCARD without MULTI")
		return
	}
	c.endMulti()
	c.Out.OK()
}

// endMulti leaves MULTI and forgets the watched keys.
func (c *Call) endMulti() {
	c.Session.resetMulti()
	c.unwatch(c.Session)
}

func watch(c *Call) {
	sess := c.Session
	if sess.Multi.Open {
		c.Out.Error("ERR WATCH inside MULTI is not allowed")
		return
	}
	if c.Loading() {
		c.Out.Error("LOADING Redis is loading the dataset in memory")
		return
	}
	for _, key := range c.Args[1:] {
		seq, err := c.Keyspace.Watch(&sess.watch, sess.DB(), c.Now, key)
		if err != nil {
			c.fail(err)
			return
		}
		c.Wrote(seq)
	}
	sess.watched.Store(int32(sess.watch.Len()))
	c.Out.OK()
}

func unwatchCommand(c *Call) {
	c.unwatch(c.Session)
	c.Out.OK()
}

// unwatch forgets the keys that a session watches.
func (s *Server) unwatch(sess *Session) {
	if sess.up != nil {
		sess.up.Unwatch()
	}
	if sess.watch.Len() > 0 {
		s.Keyspace.Unwatch(&sess.watch)
		sess.watched.Store(0)
	}
}

// exec runs the queue with all its keys locked, each command seeing the writes of those before it, and
// applies all writes as one batch.
func exec(c *Call) {
	sess := c.Session
	if !sess.Multi.Open {
		c.Out.Error("ERR EXEC without MULTI")
		return
	}
	if sess.Multi.Aborted {
		c.endMulti()
		c.Out.Error("EXECABORT Transaction discarded because of previous errors.")
		return
	}
	if sess.watchesAway() { // watched before this node led: nobody knows any more whether the keys have changed
		c.endMulti()
		c.Out.NullArray()
		return
	}
	start, queue := c.Out.Len(), sess.Multi.Queue
	if c.Loading() || c.cluster != nil && sess.unit.term == 0 { // nothing in the queue needs data
		c.runQueue(queue)
		return
	}
	keys, all := queuedKeys(queue)
	t := c.Keyspace.BeginMulti(sess.DB(), c.Now, &sess.watch, all, keys...)
	c.Txn = t
	defer func() {
		if c.Txn != nil { // something has panicked
			c.Txn = nil
			t.Discard()
		}
		c.endMulti()
	}()
	changed := t.Changed(&sess.watch)
	if !changed {
		t.Unwatch(&sess.watch)
		sess.watched.Store(0)
		c.runQueue(queue)
	}
	c.Txn = nil
	if changed {
		c.Wrote(t.Discard())
		c.Out.NullArray()
		return
	}
	seq, err := t.Commit()
	if err != nil {
		c.Out.Truncate(start)
		c.WriteFailed(err)
		return
	}
	c.Wrote(seq)
}

func (c *Call) runQueue(queue []Queued) {
	c.Session.resetMulti()
	c.Out.Array(len(queue))
	for _, q := range queue {
		c.exec(q)
	}
}

// queuedKeys returns the keys of all commands in a queue; all means that some concern more than the
// keys they name.
func queuedKeys(queue []Queued) (keys [][]byte, all bool) {
	for _, q := range queue {
		refs, ok := q.Cmd.keyRefs(q.Args)
		if !ok && q.Cmd.Flags&(Write|ReadOnly) != 0 || q.Cmd.Flags&Protected != 0 { // DEBUG names no keys, and reads some
			return nil, true
		}
		for _, ref := range refs {
			keys = append(keys, q.Args[ref.Arg])
		}
	}
	return keys, false
}

const transactionFlags = NoScript | Loading | Stale

var transactionCommands = []Command{
	{Name: "multi", Arity: 1, Flags: transactionFlags | Fast | AllowBusy | anyTime | nodeLocal, Categories: CatTransaction, Handler: multi,
		Group: "transactions", Since: "1.2.0", Complexity: "O(1)", Summary: "Begins a transaction: the commands that follow wait for EXEC."},
	{Name: "exec", Arity: 1, Flags: transactionFlags | SkipSlowlog | anyTime, Categories: CatTransaction, Handler: exec, stays: execStays, kind: RequestExec,
		Group: "transactions", Since: "1.2.0", Complexity: "Depends on commands in the transaction", Summary: "Executes the commands of a transaction at once."},
	{Name: "discard", Arity: 1, Flags: transactionFlags | Fast | AllowBusy | anyTime | nodeLocal, Categories: CatTransaction, Handler: discard,
		Group: "transactions", Since: "2.0.0", Complexity: "O(N) where N is the number of queued commands", Summary: "Forgets the commands of a transaction."},
	{Name: "watch", Arity: -2, Flags: transactionFlags | Fast | AllowBusy | anyTime, Categories: CatTransaction, Keys: keys(1, -1, 1, KeyRO), Handler: watch, stays: watchStays, kind: RequestWatch,
		Group: "transactions", Since: "2.2.0", Complexity: "O(1) for every key", Syntax: "key [key ...]",
		Summary: "Lets the next EXEC do nothing if one of the keys changes before."},
	{Name: "unwatch", Arity: 1, Flags: transactionFlags | Fast | AllowBusy, Categories: CatTransaction, Handler: unwatchCommand, stays: unwatchStays, kind: RequestUnwatch,
		Group: "transactions", Since: "2.2.0", Complexity: "O(1)", Summary: "Forgets the watched keys."},
}
