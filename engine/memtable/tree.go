package memtable

// find returns the leaf in which the target belongs, and its version. With strict,
// a target that is the first record of a leaf belongs in the leaf before.
func (t *Table) find(to *target, strict bool) (*leaf, uint32) {
	for {
		if l, v, ok := t.descend(to, strict); ok {
			return l, v
		}
	}
}

// descend goes from the root to a leaf. It gives up when a node on the way is
// split: a split ends at the lowest node, so what was read of a parent is true
// if it has not changed when the child is seen to be stable.
func (t *Table) descend(to *target, strict bool) (l *leaf, v uint32, ok bool) {
	r := t.root.Load()
	at := latchAt(t, r.node())
	v = at.stable()
	if t.root.Load() != r {
		return nil, 0, false
	}
	offset := r.node()
	for range r.height() {
		n := t.inner(offset)
		offset = n.children[n.search(t, to, strict)].Load()
		if !n.still(v) {
			return nil, 0, false
		}
		childVersion := latchAt(t, offset).stable()
		if !n.still(v) {
			return nil, 0, false
		}
		v = childVersion
	}
	return t.leaf(offset), v, true
}

// seekGE returns the first record that is not before the target, or nil.
func (t *Table) seekGE(to *target) *record {
	for {
		l, v := t.find(to, false)
		o := order(l.order.Load())
		at := l.position(t, o, to)
		var found uint32
		if at < o.len() {
			found = l.records[o.slot(at)].Load()
		}
		next := l.next.Load()
		if !l.still(v) {
			continue
		}
		switch {
		case found != 0:
			return t.record(found)
		case next == 0:
			return nil
		}
		return t.firstOf(t.leaf(next))
	}
}

// firstOf returns the first record of a leaf that has some.
func (t *Table) firstOf(l *leaf) *record {
	for {
		v := l.stable()
		first := l.records[order(l.order.Load()).slot(0)].Load()
		if l.still(v) {
			return t.record(first)
		}
	}
}

// insert puts a record into the tree.
func (t *Table) insert(to *target, e entry) {
	for {
		l, v, ok := t.behindLast(to)
		if !ok {
			l, v = t.find(to, false)
		}
		if !l.lock(v) {
			continue
		}
		o := order(l.order.Load())
		full := o.len() == leafSize
		if !full {
			l.add(o, l.position(t, o, to), e)
		}
		l.unlock(v)
		if full {
			t.split(to, e)
		}
		return
	}
}

// behindLast returns the last leaf if the target belongs behind all of its
// records. It saves ascending keys the way from the root.
func (t *Table) behindLast(to *target) (*leaf, uint32, bool) {
	l := t.leaf(t.last.Load())
	v := l.stable()
	o := order(l.order.Load())
	if n := o.len(); n == 0 || !l.before(t, o.slot(n-1), to) {
		return nil, 0, false
	}
	return l, v, l.next.Load() == 0 && l.still(v)
}

// maxHeight bounds the inner levels: even half full nodes hold more records than
// offsets can name.
const maxHeight = 8

// path is the way from the root to a leaf: per level above the leaves, an inner
// node and the index of the child.
type path struct {
	nodes  [maxHeight + 1]*inner
	childs [maxHeight + 1]int
	height int
}

// split inserts a record whose leaf is full. Splits are done one at a time.
func (t *Table) split(to *target, e entry) {
	t.splits.Lock()
	defer t.splits.Unlock()
	p, l := t.pathTo(to)
	for !l.lock(l.stable()) {
	}
	o := order(l.order.Load())
	at := l.position(t, o, to)
	if o.len() < leafSize { // somebody else has split it
		l.add(o, at, e)
		l.unlock(l.stable())
		return
	}
	l.beginSplit()
	right, first, appended := t.splitLeaf(l, o, at, e)
	t.addChild(&p, 1, first, right, appended)
	l.endSplit()
}

func (t *Table) pathTo(to *target) (p path, l *leaf) {
	r := t.root.Load()
	p.height = r.height()
	offset := r.node()
	for level := p.height; level > 0; level-- {
		n := t.inner(offset)
		i := n.search(t, to, false)
		p.nodes[level], p.childs[level] = n, i
		offset = n.children[i].Load()
	}
	return p, t.leaf(offset)
}

// splitLeaf divides the records of a full leaf and one more among it and a new
// leaf. When the record comes behind all others of the table, the new leaf gets
// only that, so that ascending keys fill all leaves.
func (t *Table) splitLeaf(l *leaf, o order, at int, e entry) (right uint32, first entry, appended bool) {
	var all [leafSize + 1]entry
	for i := range leafSize {
		slot := o.slot(i)
		to := i
		if i >= at {
			to++
		}
		all[to] = entry{l.prefixes[slot].Load(), l.records[slot].Load()}
	}
	all[at] = e
	cut := len(all) / 2
	next := l.next.Load()
	if appended = at == leafSize && next == 0; appended {
		cut = leafSize
	}
	right = t.newNode(leafBytes)
	r := t.leaf(right)
	r.state.Store(0)
	r.next.Store(next)
	r.fill(all[cut:])
	if !appended {
		l.fill(all[:cut])
	}
	l.next.Store(right)
	if next == 0 {
		t.last.Store(right)
	}
	return right, all[cut], appended
}

// addChild adds a separator and the node right of it to the inner node at a
// level, which it splits when it is full, and so on upwards. Nodes that are split
// stay latched until their parents are right.
func (t *Table) addChild(p *path, level int, separator entry, child uint32, appended bool) {
	if level > p.height {
		t.grow(separator, child)
		return
	}
	n, at := p.nodes[level], p.childs[level]
	n.beginSplit()
	defer n.endSplit()
	if n.count.Load() < innerSize {
		n.add(at, separator, child)
		return
	}
	right := t.newNode(innerBytes)
	r := t.inner(right)
	r.state.Store(0)
	if appended {
		r.count.Store(0)
		r.children[0].Store(child)
		t.addChild(p, level+1, separator, right, true)
		return
	}
	const cut = innerSize / 2
	up := n.moveTo(r, cut)
	if at <= cut {
		n.add(at, separator, child)
	} else {
		r.add(at-cut-1, separator, child)
	}
	t.addChild(p, level+1, up, right, false)
}

// grow puts a new root above the old one, which has been split.
func (t *Table) grow(separator entry, right uint32) {
	r := t.root.Load()
	offset := t.newNode(innerBytes)
	n := t.inner(offset)
	n.state.Store(0)
	n.count.Store(0)
	n.children[0].Store(r.node())
	n.add(0, separator, right)
	t.root.Store(makeRoot(offset, r.height()+1))
}
