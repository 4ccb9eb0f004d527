package wal

import "github.com/gtinside/corecache/engine/vfs"

// Report is what Check found in a log without damage.
type Report struct {
	Segments    int
	Records     uint64
	Bytes       int64  // of the payloads
	First, Last uint64 // sequence numbers; Last = First-1 if there are no records
	// Torn names the file and the offset behind the last record if something follows there
	// that a crash left and Open will cut; else it is empty. TornOffset is meaningless then.
	Torn       string
	TornOffset int64
}

// Check reads all records of the log in a directory, without changing
// anything. It returns the damage that Open and readers would find, as an error that wraps
// base.ErrCorrupt. The log must not be open. After is as in Open.
func Check(fs vfs.FS, dir string, after uint64) (Report, error) {
	all, err := findSegments(fs, dir)
	if err != nil {
		return Report{}, err
	}
	var used []found
	for _, f := range all {
		if f.segment != nil {
			used = append(used, f)
		}
	}
	r := Report{Segments: len(used), First: after + 1, Last: after}
	if len(used) == 0 {
		return r, nil
	}
	start := findStart(used, after)
	if start >= 0 {
		if start, err = findFirst(fs, used, start); err != nil {
			return r, err
		}
		r.First = used[start].first
	}
	end, err := scanFrom(fs, used, start, after, func(rec Record) error {
		r.Records++
		r.Bytes += int64(len(rec.Payload))
		return nil
	})
	r.Last = end.next - 1
	if err == nil && end.index+1 < len(used) {
		r.Torn, r.TornOffset = used[max(end.index, 0)].path, end.off
	}
	return r, err
}
