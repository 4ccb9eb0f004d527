package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gtinside/corecache/engine/sstable"
)

// fileMeta describes a table. It is immutable but for what stands below the line.
type fileMeta struct {
	num                     uint64
	size                    int64
	smallest, largest       []byte // user keys, both inclusive
	smallestSeq, largestSeq uint64
	entries                 uint64
	tombstones              uint64
	expiring                uint64
	deadlines               []int64 // quantiles of the deadlines of expiring records, ascending
	created                 int64   // unix ms
	cleanSeq                uint64  // no range tombstone of the version up to here hides a record of the table

	// ---
	refs       atomic.Int32 // versions that hold it
	reader     atomic.Pointer[sstable.Reader]
	opening    sync.Mutex
	compacting bool  // guarded by DB.mu
	damaged    error // guarded by DB.mu: the corruption that a compaction met in it
}

func newFileMeta(num uint64, size int64, p *sstable.Properties, cleanSeq uint64) *fileMeta {
	return &fileMeta{
		num: num, size: size,
		smallest: p.Smallest, largest: p.Largest,
		smallestSeq: p.SmallestSeq, largestSeq: p.LargestSeq,
		entries: p.Entries, tombstones: p.Tombstones, expiring: p.Expiring,
		deadlines: p.Deadlines, created: p.CreatedAt,
		cleanSeq: cleanSeq,
	}
}

// expiredBy estimates how many records have a deadline <= ms (unix).
func (f *fileMeta) expiredBy(ms int64) uint64 {
	p := sstable.Properties{Expiring: f.expiring, Deadlines: f.deadlines}
	return p.ExpiredBy(ms)
}

// overlaps reports whether the table may hold keys in [start, end].
func (f *fileMeta) overlaps(start, end []byte) bool {
	return bytes.Compare(f.largest, start) >= 0 && bytes.Compare(f.smallest, end) <= 0
}

func (f *fileMeta) String() string {
	return fmt.Sprintf("%06d[%q..%q #%d..%d %dB]", f.num, f.smallest, f.largest, f.smallestSeq, f.largestSeq, f.size)
}

// level is one level of a version. Level 0: tables newest first, each a sorted
// run of its own, whose ranges of sequence numbers do not overlap. Deeper
// levels: one sorted run; no user key stands in two tables.
type level struct {
	files []*fileMeta
	bytes int64

	// For the search by key in a sorted run: all keys of the run start with
	// common; ends holds the 8 bytes that follow it in the largest key of each table.
	common []byte
	ends   []uint64
}

// prefix8 packs the first 8 bytes of a key so that smaller means a smaller key.
func prefix8(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func newLevel(n int, files []*fileMeta) level {
	l := level{files: files}
	for _, f := range files {
		l.bytes += f.size
	}
	if n == 0 || len(files) == 0 {
		return l
	}
	first := files[0].smallest
	l.common = first[:commonPrefix(first, files[len(files)-1].largest)]
	l.ends = make([]uint64, len(files))
	for i, f := range files {
		l.ends[i] = prefix8(f.largest[min(len(l.common), len(f.largest)):]) // what is out of order, check refuses
	}
	return l
}

// seek returns the first table of a sorted run whose largest key is >= key, or len(files).
func (l *level) seek(key []byte) int {
	n := len(l.common)
	if n > 0 && (len(key) < n || !bytes.Equal(key[:n], l.common)) {
		if bytes.Compare(key, l.common) < 0 {
			return 0
		}
		return len(l.files)
	}
	p := prefix8(key[n:])
	lo, hi := 0, len(l.ends)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if e := l.ends[mid]; e < p || e == p && bytes.Compare(l.files[mid].largest, key) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// find returns the table of a sorted run that may hold key, or nil.
func (l *level) find(key []byte) *fileMeta {
	if i := l.seek(key); i < len(l.files) && bytes.Compare(l.files[i].smallest, key) <= 0 {
		return l.files[i]
	}
	return nil
}

// overlap returns the tables that may hold keys in [start, end] of a sorted run.
func (l *level) overlap(start, end []byte) []*fileMeta {
	i := l.seek(start)
	j := i
	for j < len(l.files) && bytes.Compare(l.files[j].smallest, end) <= 0 {
		j++
	}
	return l.files[i:j]
}

// version is an immutable set of tables and of the range tombstones over them.
// Read states hold references on it; see DB.
type version struct {
	levels     [NumLevels]level
	tombstones []tombstone // ascending by sequence number
	ranges     *fragments  // the same, for lookups; nil when there are none
	hidden     []hiding    // what they may hide; normally empty
	generation uint64      // of the row cache, when the newest of the tables was flushed

	refs atomic.Int32
}

// hiding says that a table may hold records which a range tombstone hides.
type hiding struct {
	placed
	seq uint64 // of the tombstone
}

// findHidden fills hidden.
func (v *version) findHidden() {
	v.hidden = nil
	for _, t := range v.tombstones {
		for n := range v.levels {
			for _, f := range v.overlap(n, t.start, t.end) {
				if f.smallestSeq < t.seq && f.cleanSeq < t.seq && !bytes.Equal(f.smallest, t.end) {
					v.hidden = append(v.hidden, hiding{placed{n, f}, t.seq})
				}
			}
		}
	}
}

// overlap returns the tables of a level that may hold keys in [start, end].
func (v *version) overlap(n int, start, end []byte) []*fileMeta {
	if n > 0 {
		return v.levels[n].overlap(start, end)
	}
	var files []*fileMeta
	for _, f := range v.levels[0].files {
		if f.overlaps(start, end) {
			files = append(files, f)
		}
	}
	return files
}

func (v *version) all(visit func(level int, f *fileMeta)) {
	for n := range v.levels {
		for _, f := range v.levels[n].files {
			visit(n, f)
		}
	}
}

// check verifies the order within the levels.
func (v *version) check() error {
	for n := range v.levels {
		files := v.levels[n].files
		for i, f := range files {
			if bytes.Compare(f.smallest, f.largest) > 0 || f.smallestSeq > f.largestSeq {
				return fmt.Errorf("level %d: table %v has its bounds reversed", n, f)
			}
			if i == 0 {
				continue
			}
			p := files[i-1]
			switch {
			case n == 0 && p.smallestSeq <= f.largestSeq:
				return fmt.Errorf("level 0: tables %v and %v overlap in time", p, f)
			case n > 0 && bytes.Compare(p.largest, f.smallest) >= 0:
				return fmt.Errorf("level %d: tables %v and %v overlap", n, p, f)
			}
		}
	}
	return nil
}

// placed is a table and its level.
type placed struct {
	level int
	file  *fileMeta
}

// versionEdit is the difference between two versions, and what else the
// manifest remembers. Pointers that are nil leave the field as it is.
type versionEdit struct {
	nextFile   uint64  // 0: unchanged
	flushedSeq uint64  // 0: unchanged
	epochs     []Epoch // all up to flushedSeq; nil: unchanged
	log        uint64  // number of the log's directory; 0: unchanged
	added      []placed
	removed    []placed // file holds only num when decoded
	tombstones []tombstone
	dropped    []uint64         // sequence numbers of range tombstones
	counters   map[uint32]int64 // new totals at flushedSeq

	generation uint64 // of the row cache; 0: unchanged; not in the manifest
}

// apply returns the version after the edit.
func (v *version) apply(e *versionEdit) (*version, error) {
	next := &version{levels: v.levels, tombstones: v.tombstones, ranges: v.ranges, generation: max(v.generation, e.generation)}
	var touched [NumLevels]bool
	for _, p := range e.removed {
		touched[p.level] = true
	}
	for _, p := range e.added {
		touched[p.level] = true
	}
	for n := range next.levels {
		if !touched[n] {
			continue
		}
		files, err := editFiles(n, v.levels[n].files, e)
		if err != nil {
			return nil, err
		}
		next.levels[n] = newLevel(n, files)
	}
	if len(e.tombstones)+len(e.dropped) > 0 {
		next.editTombstones(e)
	}
	next.findHidden()
	return next, next.check()
}

func editFiles(n int, old []*fileMeta, e *versionEdit) ([]*fileMeta, error) {
	gone := make(map[uint64]bool)
	for _, p := range e.removed {
		if p.level == n {
			gone[p.file.num] = true
		}
	}
	files := make([]*fileMeta, 0, len(old)+len(e.added))
	for _, f := range old {
		if gone[f.num] {
			delete(gone, f.num)
		} else {
			files = append(files, f)
		}
	}
	for num := range gone {
		return nil, fmt.Errorf("table %06d is not in level %d", num, n)
	}
	for _, p := range e.added {
		if p.level == n {
			files = append(files, p.file)
		}
	}
	slices.SortFunc(files, func(a, b *fileMeta) int {
		if n == 0 {
			return compareUint(b.largestSeq, a.largestSeq)
		}
		return bytes.Compare(a.smallest, b.smallest)
	})
	return files, nil
}

func compareUint(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (v *version) editTombstones(e *versionEdit) {
	dropped := make(map[uint64]bool, len(e.dropped))
	for _, seq := range e.dropped {
		dropped[seq] = true
	}
	var list []tombstone
	for _, t := range v.tombstones {
		if !dropped[t.seq] {
			list = append(list, t)
		}
	}
	list = append(list, e.tombstones...)
	slices.SortFunc(list, func(a, b tombstone) int { return compareUint(a.seq, b.seq) })
	v.tombstones, v.ranges = list, fragment(list)
}

// deeperOverlap answers, for ascending keys, whether a table below a level may
// hold the key.
type deeperOverlap struct {
	runs  [][]*fileMeta // sorted runs
	loose []*fileMeta   // tables of level 0, in no order
}

func newDeeperOverlap(v *version, below int) *deeperOverlap {
	d := &deeperOverlap{}
	for n := below + 1; n < NumLevels; n++ {
		if files := v.levels[n].files; len(files) > 0 {
			d.runs = append(d.runs, files)
		}
	}
	return d
}

func (d *deeperOverlap) has(key []byte) bool {
	for i, run := range d.runs {
		for len(run) > 0 && bytes.Compare(run[0].largest, key) < 0 {
			run = run[1:]
		}
		d.runs[i] = run
		if len(run) > 0 && bytes.Compare(run[0].smallest, key) <= 0 {
			return true
		}
	}
	for _, f := range d.loose {
		if f.overlaps(key, key) {
			return true
		}
	}
	return false
}

// inside is the size of the tables that lie in [start, end).
func (v *version) inside(start, end []byte) (bytes_ int64) {
	v.all(func(_ int, f *fileMeta) {
		if bytes.Compare(f.smallest, start) >= 0 && bytes.Compare(f.largest, end) < 0 {
			bytes_ += f.size
		}
	})
	return bytes_
}
