package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/vfs"
)

// The manifest is the list of edits that lead from nothing to the present
// version. CURRENT names the manifest that counts:
//
//	CURRENT  = "MANIFEST-000007 1c2d3e4f\n"          name, CRC32C of the name in hex
//
//	manifest = magic:8 format:u32 { record }          integers little endian
//	record   = length:u32 payloadCRC:u32 headerCRC:u32 payload:length
//	payload  = { tag:uvarint field }
//	  1 next file       number:uvarint
//	  2 flushed         seq:uvarint                   all records <= seq are in tables
//	  3                                               not in use
//	  4 remove table    level:uvarint number:uvarint
//	  5 add table       level:uvarint number:uvarint size:uvarint smallest:bytes largest:bytes
//	                    smallestSeq:uvarint largestSeq:uvarint entries:uvarint tombstones:uvarint
//	                    expiring:uvarint cleanSeq:uvarint created:varint
//	                    n:uvarint n*deadline:varint
//	  6 add tombstone   seq:uvarint start:bytes end:bytes
//	  7 drop tombstone  seq:uvarint
//	  8 counter         id:uvarint total:varint       at the flushed position
//	  9 epochs          n:uvarint n*(number:uvarint first:uvarint)
//	                                                  all that begin at or before the flushed position,
//	                                                  ascending; replaces those before
//	 10 log             number:uvarint                the log is in log-<number>, not in log
//
// Both checksums are CRC32C. The header's covers the manifest's number and the
// record's offset too, so that neither misplaced bytes nor another manifest's
// are taken for a record. A record is synced before its edit counts. An
// incomplete last record is therefore an edit that never was; the state before it
// is complete, because the log and the old tables are only let go after the
// sync. A bad record with a good header after it is damage.
//
// A new manifest starts with one record that holds the whole version. It is
// written and synced before CURRENT is replaced by renaming.
const (
	manifestMagic = "CoreCMan"
	// manifestFormat 1: the format above.
	manifestFormat      = 1
	manifestHeader      = len(manifestMagic) + 4
	manifestRecord      = 12
	maxManifestRecord   = math.MaxUint32 // two bounds of a table can take 1 GiB
	manifestRewriteSize = 4 << 20        // grown by so much since its snapshot, it is written anew
)

const (
	tagNextFile = iota + 1
	tagFlushed
	_
	tagRemove
	tagAdd
	tagTombstone
	tagDropTombstone
	tagCounter
	tagEpochs
	tagLog
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func tableName(num uint64) string    { return fmt.Sprintf("%06d.sst", num) }
func manifestName(num uint64) string { return fmt.Sprintf("MANIFEST-%06d", num) }

const (
	currentName = "CURRENT"
	lockName    = "LOCK"
	logName     = "log"
	tempSuffix  = ".tmp"
)

// logDirName is the directory of the log: log, or log-<number> once Install has replaced it.
func logDirName(num uint64) string {
	if num == 0 {
		return logName
	}
	return fmt.Sprintf("%s-%06d", logName, num)
}

// parseLogDir returns the number of a directory of a log other than the first.
func parseLogDir(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, logName+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

func isLogDir(name string) bool {
	_, numbered := parseLogDir(name)
	return numbered || name == logName
}

// parseTableName returns the number of a table's file name.
func parseTableName(name string) (uint64, bool) {
	s, ok := strings.CutSuffix(name, ".sst")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func parseManifestName(name string) (uint64, bool) {
	s, ok := strings.CutPrefix(name, "MANIFEST-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendUvarints(dst []byte, values ...uint64) []byte {
	for _, v := range values {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

func (e *versionEdit) encode() []byte {
	var b []byte
	field := func(tag, v uint64) {
		if v != 0 {
			b = appendUvarints(b, tag, v)
		}
	}
	field(tagNextFile, e.nextFile)
	field(tagFlushed, e.flushedSeq)
	field(tagLog, e.log)
	if len(e.epochs) > 0 {
		b = appendUvarints(b, tagEpochs, uint64(len(e.epochs)))
		for _, p := range e.epochs {
			b = appendUvarints(b, p.Number, p.First)
		}
	}
	for _, p := range e.removed {
		b = appendUvarints(b, tagRemove, uint64(p.level), p.file.num)
	}
	for _, p := range e.added {
		b = encodeTable(b, p)
	}
	for _, t := range e.tombstones {
		b = appendBytes(appendBytes(appendUvarints(b, tagTombstone, t.seq), t.start), t.end)
	}
	for _, seq := range e.dropped {
		b = appendUvarints(b, tagDropTombstone, seq)
	}
	for _, id := range slices.Sorted(maps.Keys(e.counters)) {
		b = binary.AppendVarint(appendUvarints(b, tagCounter, uint64(id)), e.counters[id])
	}
	return b
}

func encodeTable(b []byte, p placed) []byte {
	f := p.file
	b = appendUvarints(b, tagAdd, uint64(p.level), f.num, uint64(f.size))
	b = appendBytes(appendBytes(b, f.smallest), f.largest)
	b = appendUvarints(b, f.smallestSeq, f.largestSeq, f.entries, f.tombstones, f.expiring, f.cleanSeq)
	b = binary.AppendVarint(b, f.created)
	b = binary.AppendUvarint(b, uint64(len(f.deadlines)))
	for _, d := range f.deadlines {
		b = binary.AppendVarint(b, d)
	}
	return b
}

// fieldReader decodes; after the first error everything it returns is zero.
type fieldReader struct {
	data []byte
	bad  bool
}

func (r *fieldReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *fieldReader) varint() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *fieldReader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.data)) {
		r.bad, r.data = true, nil
		return nil
	}
	b := slices.Clone(r.data[:n])
	r.data = r.data[n:]
	return b
}

func (r *fieldReader) level() int {
	n := r.uvarint()
	if n >= NumLevels {
		r.bad = true
		return 0
	}
	return int(n)
}

func decodeEdit(data []byte) (*versionEdit, error) {
	e, r := &versionEdit{}, &fieldReader{data: data}
	for len(r.data) > 0 && !r.bad {
		switch tag := r.uvarint(); tag {
		case tagNextFile:
			e.nextFile = r.uvarint()
		case tagFlushed:
			e.flushedSeq = r.uvarint()
		case tagEpochs:
			e.epochs = r.epochs()
		case tagLog:
			e.log = r.uvarint()
		case tagRemove:
			e.removed = append(e.removed, placed{r.level(), &fileMeta{num: r.uvarint()}})
		case tagAdd:
			e.added = append(e.added, placed{r.level(), r.table()})
		case tagTombstone:
			e.tombstones = append(e.tombstones, tombstone{seq: r.uvarint(), start: r.bytes(), end: r.bytes()})
		case tagDropTombstone:
			e.dropped = append(e.dropped, r.uvarint())
		case tagCounter:
			if e.counters == nil {
				e.counters = map[uint32]int64{}
			}
			e.counters[uint32(r.uvarint())] = r.varint()
		default:
			return nil, fmt.Errorf("unknown field %d", tag)
		}
	}
	if r.bad {
		return nil, errors.New("a field is incomplete or out of range")
	}
	return e, nil
}

func (r *fieldReader) epochs() []Epoch {
	var list []Epoch
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		list = append(list, Epoch{r.uvarint(), r.uvarint()})
	}
	r.bad = r.bad || checkEpochs(list) != nil
	return list
}

func (r *fieldReader) table() *fileMeta {
	f := &fileMeta{num: r.uvarint(), size: int64(r.uvarint()), smallest: r.bytes(), largest: r.bytes()}
	f.smallestSeq, f.largestSeq = r.uvarint(), r.uvarint()
	f.entries, f.tombstones, f.expiring, f.cleanSeq = r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()
	f.created = r.varint()
	n := r.uvarint()
	if n > uint64(len(r.data)) {
		r.bad = true
		return f
	}
	for range n {
		f.deadlines = append(f.deadlines, r.varint())
	}
	return f
}

// manifestState is all that a manifest says.
type manifestState struct {
	version    *version
	nextFile   uint64
	flushedSeq uint64
	epochs     []Epoch // nil: none but the first
	log        uint64  // number of the log's directory
	counters   map[uint32]int64
}

func (s *manifestState) apply(e *versionEdit) error {
	v, err := s.version.apply(e)
	if err != nil {
		return err
	}
	s.version = v
	s.nextFile = max(s.nextFile, e.nextFile)
	s.flushedSeq = max(s.flushedSeq, e.flushedSeq)
	s.log = max(s.log, e.log)
	if len(e.epochs) > 0 {
		s.epochs = e.epochs
	}
	if len(e.counters) > 0 {
		s.counters = maps.Clone(s.counters)
		if s.counters == nil {
			s.counters = map[uint32]int64{}
		}
		maps.Copy(s.counters, e.counters)
	}
	return nil
}

// edit returns the edit that leads from nothing to s.
func (s *manifestState) edit() *versionEdit {
	e := &versionEdit{
		nextFile: s.nextFile, flushedSeq: s.flushedSeq, epochs: s.epochs, log: s.log,
		tombstones: s.version.tombstones, counters: s.counters,
	}
	s.version.all(func(n int, f *fileMeta) { e.added = append(e.added, placed{n, f}) })
	return e
}

// manifest is the open manifest file.
type manifest struct {
	fs     vfs.FS
	dir    string
	num    uint64
	file   vfs.File
	offset int64
	base   int64 // offset after the first record
}

func recordHeader(dst []byte, num uint64, offset int64, payload []byte) []byte {
	var h [manifestRecord]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(h[4:], crc32.Checksum(payload, castagnoli))
	binary.LittleEndian.PutUint32(h[8:], recordHeaderCRC(num, offset, h[:8]))
	return append(dst, h[:]...)
}

func recordHeaderCRC(num uint64, offset int64, fields []byte) uint32 {
	var b [24]byte
	binary.LittleEndian.PutUint64(b[0:], num)
	binary.LittleEndian.PutUint64(b[8:], uint64(offset))
	copy(b[16:], fields[:8])
	return crc32.Checksum(b[:], castagnoli)
}

// errNoEdit marks the error of an edit that is certainly not in the manifest
// that counts, nor will be after a crash.
var errNoEdit = errors.New("the manifest is as it was")

func noEdit(err error) error {
	if errors.Is(err, errNoEdit) {
		return err
	}
	return fmt.Errorf("%w: %w", errNoEdit, err)
}

// createManifest writes a new manifest that starts with s, and makes CURRENT
// name it. With errNoEdit CURRENT has not moved and the new file is gone.
func createManifest(fs vfs.FS, dir string, num uint64, s *manifestState) (*manifest, error) {
	path := filepath.Join(dir, manifestName(num))
	file, err := fs.Create(path)
	if err != nil {
		return nil, noEdit(err)
	}
	m := &manifest{fs: fs, dir: dir, num: num, file: file}
	if err := m.begin(s); err != nil {
		return nil, noEdit(errors.Join(err, file.Close(), fs.Remove(path)))
	}
	if err := moveCurrent(fs, dir); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return m, nil
}

// begin writes all but the move of CURRENT.
func (m *manifest) begin(s *manifestState) error {
	header := binary.LittleEndian.AppendUint32([]byte(manifestMagic), manifestFormat)
	if _, err := m.file.WriteAt(header, 0); err != nil {
		return err
	}
	m.offset = int64(len(header))
	if err := m.append(s.edit()); err != nil {
		return err
	}
	m.base = m.offset
	if err := m.fs.SyncDir(m.dir); err != nil {
		return err
	}
	name := manifestName(m.num)
	text := fmt.Sprintf("%s %08x\n", name, crc32.Checksum([]byte(name), castagnoli))
	return vfs.WriteFile(m.fs, filepath.Join(m.dir, currentName+tempSuffix), []byte(text))
}

func moveCurrent(fs vfs.FS, dir string) error {
	current := filepath.Join(dir, currentName)
	if err := fs.Rename(current+tempSuffix, current); err != nil {
		return err
	}
	return fs.SyncDir(dir)
}

// readCurrent returns the number of the manifest that counts.
func readCurrent(fs vfs.FS, dir string) (uint64, error) {
	path := filepath.Join(dir, currentName)
	text, err := vfs.ReadFile(fs, path, 4096)
	if err != nil {
		return 0, err
	}
	name, _, _ := strings.Cut(string(text), " ")
	num, ok := parseManifestName(name)
	if !ok || string(text) != fmt.Sprintf("%s %08x\n", name, crc32.Checksum([]byte(name), castagnoli)) {
		return 0, base.Corrupt(path, 0, "it does not name a manifest")
	}
	return num, nil
}

// append writes and syncs an edit. After an error that is not errNoEdit nobody
// knows whether the edit will be there when the manifest is read.
func (m *manifest) append(e *versionEdit) error {
	payload := e.encode()
	if int64(len(payload)) > maxManifestRecord {
		return noEdit(fmt.Errorf("manifest record of %d bytes", len(payload)))
	}
	buf := append(recordHeader(nil, m.num, m.offset, payload), payload...)
	if _, err := m.file.WriteAt(buf, m.offset); err != nil {
		return m.takeBack(err)
	}
	m.offset += int64(len(buf))
	return m.file.Sync()
}

// takeBack cuts off, durably, what a failed write has left.
func (m *manifest) takeBack(err error) error {
	if e := m.file.Truncate(m.offset); e != nil {
		return errors.Join(err, e)
	}
	if e := m.file.Sync(); e != nil {
		return errors.Join(err, e)
	}
	return noEdit(err)
}

// large reports whether it is time for a new manifest.
func (m *manifest) large() bool { return m.offset-m.base > max(manifestRewriteSize, m.base) }

// readManifest returns the state after all complete records. torn is the
// offset of an incomplete last record, or -1.
func readManifest(fs vfs.FS, dir string, num uint64) (s *manifestState, torn int64, err error) {
	path := filepath.Join(dir, manifestName(num))
	data, err := vfs.ReadFile(fs, path, 0)
	if err != nil {
		return nil, -1, err
	}
	if len(data) < manifestHeader || string(data[:len(manifestMagic)]) != manifestMagic {
		return nil, -1, base.Corrupt(path, 0, "not a manifest")
	}
	if f := binary.LittleEndian.Uint32(data[len(manifestMagic):]); f != manifestFormat {
		return nil, -1, fmt.Errorf("%s has format %d; this version reads format %d", path, f, manifestFormat)
	}
	s = &manifestState{version: &version{}}
	off := int64(manifestHeader)
	for off < int64(len(data)) {
		payload, ok := recordAt(data, num, off)
		if !ok {
			break
		}
		if err := s.decode(payload); err != nil {
			return nil, -1, base.Corrupt(path, off, "%v", err)
		}
		off += manifestRecord + int64(len(payload))
	}
	switch {
	case off == int64(len(data)):
		return s, -1, nil
	case off == int64(manifestHeader):
		return nil, off, base.Corrupt(path, off, "the first record is damaged")
	case recordAfter(data, num, off):
		return nil, off, base.Corrupt(path, off, "a record in the middle is damaged")
	}
	return s, off, nil
}

func (s *manifestState) decode(payload []byte) error {
	e, err := decodeEdit(payload)
	if err != nil {
		return err
	}
	return s.apply(e)
}

// headerAt returns the length and checksum of the payload at off, if there is a header.
func headerAt(data []byte, num uint64, off int64) (length int64, crc uint32, ok bool) {
	if off+manifestRecord > int64(len(data)) {
		return 0, 0, false
	}
	h := data[off : off+manifestRecord]
	ok = recordHeaderCRC(num, off, h) == binary.LittleEndian.Uint32(h[8:])
	return int64(binary.LittleEndian.Uint32(h)), binary.LittleEndian.Uint32(h[4:]), ok
}

func recordAt(data []byte, num uint64, off int64) ([]byte, bool) {
	length, crc, ok := headerAt(data, num, off)
	if !ok || off+manifestRecord+length > int64(len(data)) {
		return nil, false
	}
	payload := data[off+manifestRecord:][:length]
	return payload, crc32.Checksum(payload, castagnoli) == crc
}

// recordAfter reports whether a record's header stands anywhere behind off.
func recordAfter(data []byte, num uint64, off int64) bool {
	for off++; off+manifestRecord <= int64(len(data)); off++ {
		if _, _, ok := headerAt(data, num, off); ok {
			return true
		}
	}
	return false
}
