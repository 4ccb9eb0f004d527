package command

import "github.com/gtinside/corecache/keyspace"

// lcsOptions are the options of LCS.
type lcsOptions struct {
	length, indexes, matchLen bool
	minMatch                  int64
}

func (c *Call) parseLCSOptions() (o lcsOptions, problem string) {
	for i := 3; i < len(c.Args); i++ {
		switch {
		case c.Is(i, "idx"):
			o.indexes = true
		case c.Is(i, "len"):
			o.length = true
		case c.Is(i, "withmatchlen"):
			o.matchLen = true
		case c.Is(i, "minmatchlen") && i+1 < len(c.Args):
			i++
			n, ok := keyspace.ParseInt(c.Args[i])
			if !ok {
				return o, errNotInteger
			}
			o.minMatch = max(n, 0)
		default:
			return o, errSyntax
		}
	}
	if o.length && o.indexes {
		return o, "ERR If you want both the length and indexes, please just use IDX."
	}
	return o, ""
}

func lcs(c *Call) {
	var a, b []byte
	ok, fits := false, false
	c.readTogether(c.Args[1:3], func(t *keyspace.Txn) (err error) {
		a, b, fits, err = c.lcsStrings(t)
		if err == keyspace.ErrWrongType {
			c.Out.Error("ERR The specified keys must contain string values")
			return nil
		}
		ok = err == nil
		return err
	})
	if !ok {
		return
	}
	o, problem := c.parseLCSOptions()
	switch {
	case problem != "":
		c.Out.Error(problem)
	case !fits:
		c.Out.Error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
	case o.length:
		_, n := newLCSTable(a, b, false)
		c.Out.Int(int64(n))
	case o.indexes:
		c.replyLCSIndexes(a, b, o)
	default:
		table, n := newLCSTable(a, b, true)
		c.Out.Bulk(table.subsequence(a, b, n))
	}
}

// lcsStrings returns copies of the two strings, empty where there is no key, unless they are so long that
// Redis' table would be too large.
func (c *Call) lcsStrings(t *keyspace.Txn) (a, b []byte, fits bool, err error) {
	x, _, err := t.String(c.Args[1])
	if err != nil {
		return nil, nil, false, err
	}
	y, _, err := t.String(c.Args[2])
	if err != nil || (x.Len()+1) > c.maxString()/4/(y.Len()+1) {
		return nil, nil, false, err
	}
	if a, err = x.Append(nil, 0, x.Len()); err == nil {
		b, err = y.Append(nil, 0, y.Len())
	}
	return a, b, true, err
}

// lcsTable has one bit for each pair of prefixes (i, j) of the two strings: whether the longest common
// subsequence of (i-1, j) is longer than that of (i, j-1). This is all that is needed to walk back; Redis
// keeps the lengths themselves, in 32 times the memory.
type lcsTable struct {
	width int
	bits  []uint64
}

func (l *lcsTable) up(i, j int) bool {
	at := i*l.width + j
	return l.bits[at/64]&(1<<(at%64)) != 0
}

// newLCSTable computes the length of the longest common subsequence, with the table if it is wanted.
func newLCSTable(a, b []byte, wanted bool) (l *lcsTable, length int) {
	l = &lcsTable{width: len(b) + 1}
	if wanted {
		l.bits = make([]uint64, ((len(a)+1)*l.width+63)/64)
	}
	row := make([]uint32, l.width) // of the prefix of a; row[j] still of the one before while j is ahead
	for i := 1; i <= len(a); i++ {
		diagonal := uint32(0)
		for j := 1; j <= len(b); j++ {
			above := row[j]
			switch {
			case a[i-1] == b[j-1]:
				row[j] = diagonal + 1
			case above > row[j-1]:
				if wanted {
					at := i*l.width + j
					l.bits[at/64] |= 1 << (at % 64)
				}
			default:
				row[j] = row[j-1]
			}
			diagonal = above
		}
	}
	return l, int(row[len(b)])
}

// matches walks back from the ends of the strings and calls f for each pair of equal bytes, as
// indexes in descending order.
func (l *lcsTable) matches(a, b []byte, f func(i, j int)) {
	for i, j := len(a), len(b); i > 0 && j > 0; {
		switch {
		case a[i-1] == b[j-1]:
			i--
			j--
			f(i, j)
		case l.up(i, j):
			i--
		default:
			j--
		}
	}
}

func (l *lcsTable) subsequence(a, b []byte, n int) []byte {
	out := make([]byte, n)
	l.matches(a, b, func(i, _ int) {
		n--
		out[n] = a[i]
	})
	return out
}

// lcsRange is a run of bytes that are equal in both strings; the last ones are inclusive.
type lcsRange struct{ a, aLast, b, bLast int }

// ranges joins matches that are next to each other, last ones first.
func (l *lcsTable) ranges(a, b []byte) (out []lcsRange) {
	l.matches(a, b, func(i, j int) {
		if n := len(out); n > 0 && out[n-1].a == i+1 && out[n-1].b == j+1 {
			out[n-1].a, out[n-1].b = i, j
			return
		}
		out = append(out, lcsRange{i, i, j, j})
	})
	return out
}

func (c *Call) replyLCSIndexes(a, b []byte, o lcsOptions) {
	table, length := newLCSTable(a, b, true)
	c.Out.Map(2)
	c.Out.BulkString("matches")
	start, n := c.Out.Len(), 0
	for _, r := range table.ranges(a, b) {
		size := int64(r.aLast - r.a + 1)
		if size < o.minMatch {
			continue
		}
		n++
		c.replyLCSRange(r, o, size)
	}
	c.Out.InsertArray(start, n)
	c.Out.BulkString("len")
	c.Out.Int(int64(length))
}

func (c *Call) replyLCSRange(r lcsRange, o lcsOptions, size int64) {
	if o.matchLen {
		c.Out.Array(3)
	} else {
		c.Out.Array(2)
	}
	c.Out.Array(2)
	c.Out.Int(int64(r.a))
	c.Out.Int(int64(r.aLast))
	c.Out.Array(2)
	c.Out.Int(int64(r.b))
	c.Out.Int(int64(r.bLast))
	if o.matchLen {
		c.Out.Int(size)
	}
}
