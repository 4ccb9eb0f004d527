package engine

import (
	"bytes"
	"time"
)

// Which compaction comes next, in this order:
//
//	drop        tables that a range tombstone covers, tombstones that hide nothing: an edit, no I/O
//	size        the level that is furthest above its size, level 0 by its number of tables
//	intra-L0    level 0 into itself, while its way down is busy: keeps reads cheap
//	manual      DB.Compact
//	ranges      tables that a range tombstone covers partly
//	garbage     tables of mostly tombstones or expired records
//
// Sizes. The last level with data gives the measure: each level above may have
// 1/multiplier of the one below, down to BaseLevelSize; the level where that
// ends is the base, which level 0 is compacted into. So space that old
// versions take is about 1/multiplier of the data, however much there is.

// targets are the sizes of the levels.
type targets struct {
	base int
	size [NumLevels]int64
}

func (db *DB) targets(v *version) targets {
	bottom, first := int64(0), NumLevels-1
	for n := NumLevels - 1; n > 0; n-- {
		if len(v.levels[n].files) > 0 {
			bottom, first = max(bottom, v.levels[n].bytes), n
		}
	}
	t := targets{base: NumLevels - 1}
	size := float64(bottom)
	t.size[t.base] = max(bottom, db.opts.BaseLevelSize)
	for size > float64(db.opts.BaseLevelSize) && t.base > 1 {
		size /= db.opts.LevelMultiplier
		t.base--
		t.size[t.base] = max(int64(size), db.opts.BaseLevelSize)
	}
	// Levels above the base that still hold tables are drained into it.
	for n := first; n < t.base; n++ {
		t.size[n] = 1
	}
	t.base = min(t.base, first)
	return t
}

// tableSize is the size at which a table of a level is cut: smaller in the
// upper levels, so that compactions out of them are small.
func (db *DB) tableSize(level int) int64 {
	return max(db.opts.TableSize>>min(NumLevels-1-level, 2), 4*kib)
}

// compaction is one job.
type compaction struct {
	reason  string
	level   int         // of inputs
	out     int         // of the result
	inputs  []*fileMeta // level 0: newest first
	lower   []*fileMeta // of level out, when it is not level
	move    bool        // put the inputs into level out as they are
	dropped []uint64    // range tombstones to drop; then inputs are removed
	gone    []placed    // tables to drop
	manual  *manualCompaction

	rs                *readState
	smallest, largest []byte // bounds of inputs and lower
}

func (c *compaction) files() []*fileMeta {
	all := append([]*fileMeta(nil), c.inputs...)
	all = append(all, c.lower...)
	for _, p := range c.gone {
		all = append(all, p.file)
	}
	return all
}

func bounds(files []*fileMeta) (smallest, largest []byte) {
	for _, f := range files {
		if smallest == nil || bytes.Compare(f.smallest, smallest) < 0 {
			smallest = f.smallest
		}
		if largest == nil || bytes.Compare(f.largest, largest) > 0 {
			largest = f.largest
		}
	}
	return smallest, largest
}

func sizeOf(files []*fileMeta) (n int64) {
	for _, f := range files {
		n += f.size
	}
	return n
}

func anyBusy(files []*fileMeta) bool {
	for _, f := range files {
		if f.compacting || f.damaged != nil {
			return true
		}
	}
	return false
}

// schedule starts what there is to do.
func (db *DB) schedule() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.scheduleLocked()
}

func (db *DB) scheduleLocked() {
	for !db.mu.closed && !db.mu.installing && db.mu.compactions < db.live.Load().MaxCompactions {
		c := db.pickLocked()
		if c == nil {
			return
		}
		c.rs = db.acquire()
		c.smallest, c.largest = bounds(c.files())
		for _, f := range c.files() {
			f.compacting = true
		}
		if c.isDrop() {
			db.mu.dropping = true
		} else if c.level == 0 && c.out > 0 {
			db.mu.baseBusy = true
		}
		db.mu.compactions++
		db.mu.background.Add(1)
		go db.compact(c)
	}
}

func (c *compaction) isDrop() bool { return len(c.gone)+len(c.dropped) > 0 }

// pickLocked returns the next job, or nil. Called with mu held.
func (db *DB) pickLocked() *compaction {
	if time.Now().Before(db.mu.retryAt) {
		return nil
	}
	v := db.state.Load().version
	if c := db.pickDropLocked(v); c != nil {
		return c
	}
	t := db.targets(v)
	if c := db.pickSizeLocked(v, &t); c != nil {
		return c
	}
	if c := db.pickIntraL0Locked(v, &t); c != nil {
		return c
	}
	if c := db.pickManualLocked(v, &t); c != nil {
		return c
	}
	return db.pickGarbageLocked(v, &t)
}

// score says how far a level is above its size.
func (db *DB) score(v *version, t *targets, n int) float64 {
	l := &v.levels[n]
	if n == 0 {
		free, size := 0, int64(0)
		for _, f := range l.files {
			if !f.compacting {
				free++
				size += f.size
			}
		}
		return float64(free) / float64(db.l0Trigger(size, v.levels[t.base].bytes))
	}
	if n < t.base || n == NumLevels-1 || t.size[n] == 0 {
		return 0
	}
	size := int64(0)
	for _, f := range l.files {
		if !f.compacting {
			size += f.size
		}
	}
	return float64(size) / float64(t.size[n])
}

// l0Trigger is the number of tables that makes level 0 wait for compaction:
// more of them while they are little beside the base that they are merged
// with, fewer when nothing is written, for the readers' sake.
func (db *DB) l0Trigger(size, base int64) int {
	switch n := db.opts.L0Tables; {
	case db.mu.quiet:
		return min(n, 2)
	case size < base/4:
		return min(2*n, db.opts.L0Slow)
	default:
		return n
	}
}

// quietAfter is how long after the last flush the tree is tidied for readers.
const quietAfter = time.Second

// stirLocked notes a flush, and sees to it that somebody looks when no other follows.
func (db *DB) stirLocked() {
	db.mu.quiet = false
	if !db.mu.watched {
		db.mu.watched = true
		db.mu.background.Add(1)
		go db.awaitQuiet(db.stats.flushes.Load())
	}
}

func (db *DB) awaitQuiet(flushes uint64) {
	defer db.mu.background.Done()
	for db.pause(quietAfter) {
		now := db.stats.flushes.Load()
		if now == flushes {
			break
		}
		flushes = now
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.mu.watched, db.mu.quiet = false, true
	db.scheduleLocked()
}

// pickSizeLocked goes through the levels from the highest score down.
func (db *DB) pickSizeLocked(v *version, t *targets) *compaction {
	var tried [NumLevels]bool
	for {
		best, at := 1.0, -1
		for n := 0; n < NumLevels-1; n++ {
			if s := db.score(v, t, n); !tried[n] && s >= best {
				best, at = s, n
			}
		}
		if at < 0 {
			return nil
		}
		tried[at] = true
		var c *compaction
		if at == 0 {
			c = db.pickL0Locked(v, t)
		} else {
			c = db.pickLevelLocked(v, at)
		}
		if c != nil {
			return c
		}
	}
}

// maxL0Bytes bounds one compaction out of level 0.
const maxL0Bytes = 2 * gib

// pickL0Locked takes the oldest tables of level 0 into the base level.
func (db *DB) pickL0Locked(v *version, t *targets) *compaction {
	files := v.levels[0].files
	if db.mu.baseBusy || len(files) == 0 {
		return nil
	}
	if c := db.pickL0Move(v, t); c != nil {
		return c
	}
	i, size := len(files), int64(0)
	for i > 0 && !files[i-1].compacting && files[i-1].damaged == nil && (size == 0 || size+files[i-1].size <= maxL0Bytes) {
		i--
		size += files[i].size
	}
	if i == len(files) {
		return nil
	}
	c := &compaction{reason: "level 0", out: t.base, inputs: files[i:]}
	smallest, largest := bounds(c.inputs)
	c.lower = v.overlap(t.base, smallest, largest)
	if anyBusy(c.lower) {
		return nil
	}
	return c
}

// pickL0Move finds old tables of level 0 that overlap nothing of level 0 or of
// the base: ascending writes make them. They go down without being rewritten.
func (db *DB) pickL0Move(v *version, t *targets) *compaction {
	files := v.levels[0].files
	c := &compaction{reason: "move", out: t.base, move: true}
	for i := len(files) - 1; i >= 0; i-- {
		f := files[i]
		if f.compacting || f.damaged != nil || len(v.overlap(0, f.smallest, f.largest)) > 1 ||
			len(v.overlap(t.base, f.smallest, f.largest)) > 0 {
			break
		}
		c.inputs = append(c.inputs, f)
	}
	if len(c.inputs) == 0 {
		return nil
	}
	return c
}

// pickLevelLocked takes the table whose compaction rewrites the least of the next level
// for what it brings.
func (db *DB) pickLevelLocked(v *version, n int) *compaction {
	var best *compaction
	bestCost := 0.0
	for _, f := range v.levels[n].files {
		if f.compacting || f.damaged != nil {
			continue
		}
		lower := v.overlap(n+1, f.smallest, f.largest)
		if anyBusy(lower) {
			continue
		}
		cost := float64(sizeOf(lower)) / float64(f.size) / (1 + float64(f.tombstones)/float64(f.entries+1))
		if best == nil || cost < bestCost {
			best = &compaction{reason: "size", level: n, out: n + 1, inputs: []*fileMeta{f}, lower: lower}
			bestCost = cost
		}
	}
	if best != nil && len(best.lower) == 0 && db.movable(v, best) {
		best.reason, best.move = "move", true
	}
	return best
}

// movable reports whether moving a table now would make a later compaction too large.
func (db *DB) movable(v *version, c *compaction) bool {
	if c.out+1 >= NumLevels {
		return true
	}
	f := c.inputs[0]
	return sizeOf(v.overlap(c.out+1, f.smallest, f.largest)) <= 20*db.tableSize(c.out+1)
}

// minIntraL0 is the least number of tables that are merged within level 0.
const minIntraL0 = 4

// pickIntraL0Locked merges the newest tables of level 0 while the oldest are on
// their way down or can not go, as long as small tables join small ones.
func (db *DB) pickIntraL0Locked(v *version, t *targets) *compaction {
	files := v.levels[0].files
	if len(files) < db.opts.L0Tables+minIntraL0 || db.score(v, t, 0) < 1 {
		return nil
	}
	i, size := 0, int64(0)
	for i < len(files) && !files[i].compacting && files[i].damaged == nil {
		if i >= minIntraL0 && files[i].size > size {
			break
		}
		size += files[i].size
		i++
	}
	if i < minIntraL0 || size > maxL0Bytes/4 {
		return nil
	}
	return &compaction{reason: "intra-L0", inputs: files[:i]}
}

// pickDropLocked finds tables that range tombstones cover entirely and
// tombstones that hide nothing any more.
func (db *DB) pickDropLocked(v *version) *compaction {
	if len(v.tombstones) == 0 || db.mu.dropping {
		return nil
	}
	snaps := db.snaps.view()
	c := &compaction{reason: "drop"}
	seen := make(map[uint64]bool)
	for _, h := range v.hidden {
		if f := h.file; !seen[f.num] && !f.compacting && v.hides(f, &snaps) {
			seen[f.num] = true
			c.gone = append(c.gone, h.placed)
		}
	}
	needed := make(map[uint64]bool)
	for _, h := range v.hidden {
		needed[h.seq] = true
	}
	for _, t := range v.tombstones {
		if !needed[t.seq] {
			c.dropped = append(c.dropped, t.seq)
		}
	}
	if !c.isDrop() {
		return nil
	}
	return c
}

// hides reports whether range tombstones hide all of a table from everybody.
func (v *version) hides(f *fileMeta, snaps *snapshotView) bool {
	i := v.ranges.at(f.smallest)
	if i < 0 {
		return false
	}
	for ; ; i++ {
		if !v.ranges.hidesAt(i, f, snaps) {
			return false
		}
		if bytes.Compare(f.largest, v.ranges.bounds[i+1]) < 0 {
			return true
		}
	}
}

// hidesAt reports whether a fragment has a tombstone that is newer than the
// table, with no snapshot that sees records of the table but not the tombstone.
func (f *fragments) hidesAt(i int, t *fileMeta, snaps *snapshotView) bool {
	seq := f.oldestAfter(i, t.largestSeq)
	return seq > 0 && !snaps.between(t.smallestSeq, seq)
}

// pickGarbageLocked rewrites tables which mostly hold what nobody needs.
func (db *DB) pickGarbageLocked(v *version, t *targets) *compaction {
	snaps := db.snaps.view()
	for _, h := range v.hidden {
		if snaps.between(h.file.smallestSeq, h.seq) {
			continue // a snapshot may need what is hidden
		}
		if h.level == 0 {
			if c := db.pickL0Locked(v, t); c != nil {
				return c
			}
		} else if c := db.downLocked(v, h.level, []*fileMeta{h.file}); c != nil {
			c.reason = "range tombstone"
			return c
		}
	}
	var best *compaction
	worst := 0.0
	for n := 1; n < NumLevels; n++ {
		for _, f := range v.levels[n].files {
			if f.compacting || f.damaged != nil {
				continue
			}
			g := garbage(f, n, &snaps)
			if g <= worst {
				continue
			}
			if c := db.downLocked(v, n, []*fileMeta{f}); c != nil {
				worst, best = g, c
			}
		}
	}
	if best != nil {
		best.reason = "garbage"
	}
	return best
}

// garbage is the share of a table, above a threshold, that its compaction would drop.
func garbage(f *fileMeta, n int, snaps *snapshotView) float64 {
	tombs := float64(f.tombstones)
	if len(snaps.seqs) > 0 && snaps.seqs[0] < f.largestSeq {
		tombs = 0 // a snapshot keeps them
	}
	expired := uint64(0)
	if f.largestSeq <= snaps.horizon.Seq { // else some of what has expired may have to stay
		expired = f.expiredBy(snaps.horizon.Deadline)
	}
	share := (tombs + float64(expired)) / float64(f.entries+1)
	if n == NumLevels-1 && tombs > 0 {
		share += 0.3 // nothing is below: each tombstone goes
	}
	if share < 0.5 {
		return 0
	}
	return share
}

// downLocked compacts tables of a sorted run into the next level that has
// tables in their range, or rewrites them where they are when there is none.
func (db *DB) downLocked(v *version, n int, files []*fileMeta) *compaction {
	c := &compaction{level: n, out: n, inputs: files}
	smallest, largest := bounds(files)
	if n+1 < NumLevels {
		if lower := v.overlap(n+1, smallest, largest); len(lower) > 0 || v.below(n+1, smallest, largest) {
			c.out, c.lower = n+1, lower
		}
	}
	if anyBusy(c.lower) || anyBusy(files) {
		return nil
	}
	return c
}

// below reports whether a level deeper than n has tables in the range.
func (v *version) below(n int, smallest, largest []byte) bool {
	for n++; n < NumLevels; n++ {
		if len(v.overlap(n, smallest, largest)) > 0 {
			return true
		}
	}
	return false
}
