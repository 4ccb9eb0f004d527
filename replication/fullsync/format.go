package fullsync

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gtinside/corecache/replication/link"
)

// The payloads of frames, all numbers little endian. Hashes are XXH64. A file is named by its index in the offer.
//
//	want   8  term: the newest that the follower knows
//
//	offer  8  term of the leader
//	       8  position: the files hold everything up to this sequence number
//	       4  number of files
//
//	files  the next files of the offer; each:
//	       8  size
//	       1  length of the name, then the name
//
//	get    4  index
//	       8  bytes that are there already
//	       8  hash of these
//
//	data   4  index
//	       8  offset; of the first frame for a get: what the follower has, or 0 if that is not what the file begins with
//	          bytes
//
//	end    4  index
//	       8  size
//	       8  hash of the whole file
//
//	done   nothing: everything is there
const (
	frameWant = link.FirstType + iota
	frameOffer
	frameFiles
	frameGet
	frameData
	frameEnd
	frameDone
)

const (
	wantSize   = 8
	offerSize  = 20
	getSize    = 20
	endSize    = 20
	dataHeader = 12
	maxFiles   = 1 << 20
)

var (
	// ErrProtocol marks a frame that is malformed or does not belong where it is.
	ErrProtocol = errors.New("full sync: unexpected frame")
	// ErrTerm says that the other side knows a newer term, or has an older one.
	ErrTerm = errors.New("full sync: old term")
	// ErrDamaged says that a file did not arrive as it was sent. It is fetched again.
	ErrDamaged = errors.New("full sync: a file arrived damaged")
	// ErrBusy says that the leader serves as many followers as it may, or the same one already.
	ErrBusy = errors.New("full sync: the leader is busy")
	// ErrBudget says that catching up would need another full sync, because the log behind the checkpoint
	// has outgrown what pins may hold (engine.Live.LogPinBytes).
	ErrBudget = errors.New("full sync: the log behind the checkpoint has outgrown its budget")
	// ErrNoSpace says that less space is free on the disk than is needed, or than has to stay free.
	ErrNoSpace = errors.New("full sync: not enough space on the disk")
)

// file is one of a checkpoint.
type file struct {
	name string
	size int64
}

type offer struct {
	term, position uint64
	files          []file
}

func (o *offer) bytes() (n int64) {
	for _, f := range o.files {
		n += f.size
	}
	return n
}

func encodeOffer(o *offer) []byte {
	b := binary.LittleEndian.AppendUint64(nil, o.term)
	b = binary.LittleEndian.AppendUint64(b, o.position)
	return binary.LittleEndian.AppendUint32(b, uint32(len(o.files)))
}

// decodeOffer returns the offer without its files, and how many there are.
func decodeOffer(b []byte) (o offer, files int, err error) {
	if len(b) != offerSize {
		return o, 0, fmt.Errorf("%w: an offer of %d bytes", ErrProtocol, len(b))
	}
	o.term, o.position = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	files = int(binary.LittleEndian.Uint32(b[16:]))
	if files > maxFiles {
		return o, 0, fmt.Errorf("%w: an offer of %d files", ErrProtocol, files)
	}
	return o, files, nil
}

// appendFiles appends files to a payload of at most max bytes, and returns those that are left.
func appendFiles(dst []byte, files []file, max int) (b []byte, left []file) {
	for len(files) > 0 && len(dst)+9+len(files[0].name) <= max {
		f := files[0]
		dst = binary.LittleEndian.AppendUint64(dst, uint64(f.size))
		dst = append(append(dst, byte(len(f.name))), f.name...)
		files = files[1:]
	}
	return dst, files
}

func decodeFiles(b []byte) (files []file, err error) {
	for len(b) > 0 {
		if len(b) < 9 || len(b) < 9+int(b[8]) {
			return nil, fmt.Errorf("%w: a list of files is cut off", ErrProtocol)
		}
		f := file{name: string(b[9 : 9+b[8]]), size: int64(binary.LittleEndian.Uint64(b))}
		if !validName(f.name) || f.size < 0 {
			return nil, fmt.Errorf("%w: a file %q of %d bytes", ErrProtocol, f.name, f.size)
		}
		files = append(files, f)
		b = b[9+int(b[8]):]
	}
	return files, nil
}

// validName keeps a peer from naming a file outside of the directory, or one of ours in it.
func validName(name string) bool {
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return name != "" && name[0] != '.' && !isPart(name)
}

func encodeGet(index int, have int64, hash uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(index))
	b = binary.LittleEndian.AppendUint64(b, uint64(have))
	return binary.LittleEndian.AppendUint64(b, hash)
}

func decodeGet(b []byte, files []file) (index int, have int64, hash uint64, err error) {
	if len(b) != getSize {
		return 0, 0, 0, fmt.Errorf("%w: a get of %d bytes", ErrProtocol, len(b))
	}
	i, n := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint64(b[4:])
	if int64(i) >= int64(len(files)) || n > uint64(files[i].size) {
		return 0, 0, 0, fmt.Errorf("%w: a get of file %d of %d, after %d bytes", ErrProtocol, i, len(files), n)
	}
	return int(i), int64(n), binary.LittleEndian.Uint64(b[12:]), nil
}
