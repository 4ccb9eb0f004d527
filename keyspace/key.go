package keyspace

// Exists reports whether there is a key.
func (t *Txn) Exists(key []byte) (bool, error) {
	e, err := t.readHead(key)
	return e.found, err
}

// Type returns the type of a key, TypeNone when it does not exist.
func (t *Txn) Type(key []byte) (Type, error) {
	e, err := t.readHead(key)
	if err != nil || !e.found {
		return TypeNone, err
	}
	return e.meta.typ(), nil
}

// Delete deletes a key and reports whether it existed.
func (t *Txn) Delete(key []byte) (bool, error) {
	e, err := t.lookupHead(key)
	if err != nil || !e.found {
		return false, err
	}
	return true, t.remove(&e)
}

// Deadline returns when a key expires, in unix milliseconds, 0 for never.
func (t *Txn) Deadline(key []byte) (deadline int64, ok bool, err error) {
	e, err := t.readHead(key)
	if err != nil || !e.found {
		return 0, false, err
	}
	return e.meta.deadline, true, nil
}

// ExpireCondition says when Expire changes a deadline. Conditions are combined by
// or-ing; all have to hold.
type ExpireCondition uint8

// Conditions of Expire. For the last two, a key without deadline counts as living forever.
const (
	IfPersistent ExpireCondition = 1 << iota // the key has no deadline
	IfExpiring                               // it has one
	IfLater                                  // the new deadline is later
	IfEarlier                                // the new deadline is earlier
)

func (c ExpireCondition) holds(old, deadline int64) bool {
	switch {
	case c&IfPersistent != 0 && old != 0,
		c&IfExpiring != 0 && old == 0,
		c&IfLater != 0 && (old == 0 || deadline <= old),
		c&IfEarlier != 0 && old != 0 && deadline >= old:
		return false
	}
	return true
}

// Expire gives a key a deadline (unix milliseconds) and reports whether it did. A
// deadline that is not in the future deletes the key.
func (t *Txn) Expire(key []byte, deadline int64, c ExpireCondition) (bool, error) {
	e, err := t.lookup(key)
	if err != nil || !e.found || !c.holds(e.meta.deadline, deadline) {
		return false, err
	}
	if deadline <= t.now {
		return true, t.remove(&e)
	}
	t.setDeadline(&e, deadline)
	return true, nil
}

// Persist takes the deadline of a key away and reports whether it had one.
func (t *Txn) Persist(key []byte) (bool, error) {
	e, err := t.lookup(key)
	if err != nil || !e.found || e.meta.deadline == 0 {
		return false, err
	}
	t.setDeadline(&e, 0)
	return true, nil
}

func (t *Txn) setDeadline(e *entry, deadline int64) {
	m := e.meta
	m.deadline = deadline
	t.put(e, m)
}

// Rename gives the value of a key, with its deadline, to another key, which loses its own. With ifAbsent
// the other must not exist; otherwise nothing is done and done is false. It returns ErrNoKey when from
// does not exist. The elements of the value stay where they are.
func (t *Txn) Rename(from, to []byte, ifAbsent bool) (done bool, err error) {
	src, err := t.lookup(from)
	if err != nil {
		return false, err
	}
	if !src.found {
		return false, ErrNoKey
	}
	if string(from) == string(to) {
		return !ifAbsent, nil
	}
	dst, err := t.lookup(to)
	if err != nil || dst.found && ifAbsent {
		return false, err
	}
	if dst.found {
		if err := t.dropElements(&dst); err != nil {
			return false, err
		}
	}
	m := src.meta
	t.forget(&src)
	t.put(&dst, m)
	return true, nil
}

// Copy copies the value of a key of the selected database, with its deadline, to a key of another. It
// reports false when from does not exist, or to exists and replace is false.
func (t *Txn) Copy(from, to []byte, db int, replace bool) (bool, error) {
	_, ok, err := t.copyTo(from, to, db, replace)
	return ok, err
}

// Move moves a key of the selected database to another, where it must not exist.
func (t *Txn) Move(key []byte, db int) (bool, error) {
	src, ok, err := t.copyTo(key, key, db, false)
	if err != nil || !ok {
		return false, err
	}
	return true, t.remove(&src)
}

func (t *Txn) copyTo(from, to []byte, db int, replace bool) (src entry, ok bool, err error) {
	src, err = t.lookup(from)
	if err != nil || !src.found {
		return src, false, err
	}
	dst, err := t.lookupIn(db, to, headSize)
	if err != nil || dst.found && !replace {
		return src, false, err
	}
	if dst.found {
		if err := t.dropElements(&dst); err != nil {
			return src, false, err
		}
	}
	m, err := t.copyElements(&dst, &src)
	if err != nil {
		return src, false, err
	}
	t.put(&dst, m)
	return src, true, nil
}

// Object describes a key for OBJECT, DEBUG OBJECT and MEMORY USAGE.
type Object struct {
	Type     Type
	Encoding string // as Redis would name it
	Written  int64  // unix milliseconds: when the key was last written
	Deadline int64  // unix milliseconds, 0 = none
	Length   int64  // bytes of a string
	Size     int64  // bytes that key and value take, uncompressed
	Shared   bool   // a small integer, of which Redis keeps one copy for all keys
}

// Object describes a key. It counts as no access.
func (t *Txn) Object(key []byte) (o Object, ok bool, err error) {
	e, err := t.lookup(key)
	if err != nil || !e.found {
		return o, false, err
	}
	o = Object{Type: e.meta.typ(), Written: e.meta.written, Deadline: e.meta.deadline}
	o.Size = int64(metaHeader + len(key) + valueHeader + len(e.meta.payload))
	if o.Type != TypeString {
		return o, true, nil
	}
	s, err := t.stringOf(&e)
	if err != nil {
		return o, false, err
	}
	o.Length = s.Len()
	if s.big {
		o.Size += o.Length + chunksOf(o.Length)*(elementHeader+4)
	}
	o.Encoding, o.Shared = stringEncoding(&s, e.meta.kind)
	return o, true, nil
}

// stringEncoding is the encoding that Redis would choose.
func stringEncoding(s *String, kind byte) (encoding string, shared bool) {
	const embstrMax, sharedIntegers = 44, 10000
	n, isInt := ParseInt(s.inline)
	switch {
	case s.big || kind&kindRaw != 0 || len(s.inline) > embstrMax:
		return "raw", false
	case isInt && kind&kindText == 0:
		return "int", 0 <= n && n < sharedIntegers
	}
	return "embstr", false
}
