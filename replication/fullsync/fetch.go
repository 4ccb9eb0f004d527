package fullsync

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/replication/link"
)

// FetchOptions are the settings of Fetch.
type FetchOptions struct {
	FS vfs.FS // nil: vfs.OS
	// Staging is the directory that is filled; it must be on the file system of the data, as Install makes hard
	// links, and may not be used for anything else.
	Staging string
	// MinFree is how much of the disk must stay free, in bytes.
	MinFree int64
	// Progress, if set, is told how many bytes are there, of how many, from time to time.
	Progress func(have, total int64)
	// Patience is how long the leader may send nothing of its store, although its link is alive: its disk may hang (2 min).
	Patience time.Duration
}

const defaultPatience = 2 * time.Minute

// ErrSilent is why a Fetch ends whose Patience is over.
var ErrSilent = errors.New("the leader has sent nothing for too long")

// Fetch fills staging with the leader's store and returns the position up to which that has everything, and
// the leader's term. It closes the link. What is in staging already, and is what the leader has, is not sent
// again: after an error call it again, with a new link. After success everything is durable, for Install.
func Fetch(ctx context.Context, conn *link.Conn, term uint64, o FetchOptions) (position, leaderTerm uint64, err error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close("the follower stops") })
	defer stop()
	f := &fetch{o: o, conn: conn}
	o.Patience = cmp.Or(o.Patience, defaultPatience)
	f.patience = time.AfterFunc(o.Patience, func() {
		f.silent.Store(true)
		_ = conn.Close(ErrSilent.Error())
	})
	defer f.patience.Stop()
	f.o = o
	err = f.run(ctx, term)
	if err != nil && f.silent.Load() {
		err = ErrSilent
	}
	reason := ""
	if err != nil {
		reason = err.Error()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		err = fmt.Errorf("full sync: %w", err)
	}
	return f.offer.position, f.offer.term, errors.Join(err, conn.Close(reason))
}

type fetch struct {
	o     FetchOptions
	conn  *link.Conn
	offer offer
	have  int64
	total int64

	patience *time.Timer
	silent   atomic.Bool
}

// next is the next frame of the leader. Only the time in which it is waited for counts.
func (f *fetch) next() (typ byte, b []byte, err error) {
	f.patience.Reset(f.o.Patience)
	typ, b, err = f.conn.Receive()
	f.patience.Stop()
	return typ, b, err
}

func (f *fetch) run(ctx context.Context, term uint64) error {
	if err := f.o.FS.MkdirAll(f.o.Staging); err != nil {
		return err
	}
	if err := removeCurrent(f.o.FS, f.o.Staging); err != nil { // it would make a store of what is not complete
		return err
	}
	if err := f.receiveOffer(term); err != nil {
		return err
	}
	if err := f.prepare(); err != nil {
		return err
	}
	for i := range f.offer.files {
		if i == len(f.offer.files)-1 { // CURRENT: all others must be there before it
			if err := f.o.FS.SyncDir(f.o.Staging); err != nil {
				return err
			}
		}
		if err := f.file(ctx, i); err != nil {
			return err
		}
	}
	if err := f.o.FS.SyncDir(f.o.Staging); err != nil {
		return err
	}
	return f.conn.Send(frameDone)
}

func (f *fetch) receiveOffer(term uint64) error {
	if err := f.conn.Send(frameWant, binary.LittleEndian.AppendUint64(nil, term)); err != nil {
		return err
	}
	b, err := f.receive(frameOffer)
	if err != nil {
		return err
	}
	o, n, err := decodeOffer(b)
	if err != nil {
		return err
	}
	if o.term < term {
		return fmt.Errorf("%w: the leader's is %d, %d is known", ErrTerm, o.term, term)
	}
	for len(o.files) < n {
		if b, err = f.receive(frameFiles); err != nil {
			return err
		}
		files, err := decodeFiles(b)
		if err != nil {
			return err
		}
		if len(files) == 0 || len(o.files)+len(files) > n {
			return fmt.Errorf("%w: %d files more of %d", ErrProtocol, len(files), n)
		}
		o.files = append(o.files, files...)
	}
	if n == 0 || o.files[n-1].name != currentName {
		return fmt.Errorf("%w: the last of %d files is not %s", ErrProtocol, n, currentName)
	}
	f.offer, f.total = o, o.bytes()
	return nil
}

func (f *fetch) receive(want byte) ([]byte, error) {
	typ, b, err := f.next()
	if err == nil && typ != want {
		err = fmt.Errorf("%w: type %d instead of %d", ErrProtocol, typ, want)
	}
	return b, err
}

func (f *fetch) path(name string) string { return filepath.Join(f.o.Staging, name) }

// prepare removes from staging what is not in the offer, and sees whether the rest will fit. Files that are complete
// become parts again until they are verified.
func (f *fetch) prepare() error {
	offered := map[string]bool{}
	for _, o := range f.offer.files {
		if offered[o.name] {
			return fmt.Errorf("%w: %s is offered twice", ErrProtocol, o.name)
		}
		offered[o.name] = true
	}
	names, err := f.o.FS.List(f.o.Staging)
	if err != nil {
		return err
	}
	there := int64(0)
	for _, name := range names {
		path, final := f.path(name), name
		if isPart(name) {
			final = name[:len(name)-len(partSuffix)]
		}
		if !offered[final] {
			if err := f.o.FS.Remove(path); err != nil {
				return err
			}
			continue
		}
		info, err := f.o.FS.Stat(path)
		if err != nil {
			return err
		}
		there += info.Size
		if !isPart(name) {
			if err := f.o.FS.Rename(path, path+partSuffix); err != nil {
				return err
			}
		}
	}
	_, free, err := f.o.FS.DiskUsage(f.o.Staging)
	if need := f.total - there + f.o.MinFree; err == nil && need > 0 && free < uint64(need) {
		err = fmt.Errorf("%w: %d bytes are to come and %d must stay free, %d are free", ErrNoSpace, f.total-there, f.o.MinFree, free)
	}
	return err
}

// file fetches what is missing of a file, verifies all of it, and gives it its name.
func (f *fetch) file(ctx context.Context, index int) error {
	path := f.path(f.offer.files[index].name)
	part, err := f.o.FS.OpenReadWrite(path + partSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		part, err = f.o.FS.Create(path + partSuffix)
	}
	if err != nil {
		return err
	}
	err = f.fill(ctx, index, part)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err != nil {
		if errors.Is(err, ErrDamaged) {
			err = errors.Join(err, f.o.FS.Remove(path+partSuffix))
		}
		return err
	}
	return f.o.FS.Rename(path+partSuffix, path)
}

// fill gets what is missing and verifies.
func (f *fetch) fill(ctx context.Context, index int, part vfs.File) error {
	want := f.offer.files[index]
	sum := xxhash.New()
	off, err := f.present(ctx, part, want.size, sum)
	if err != nil {
		return err
	}
	if err := f.conn.Send(frameGet, encodeGet(index, off, sum.Sum64())); err != nil {
		return err
	}
	f.have += off
	for first := true; ; first = false {
		typ, b, err := f.next()
		if err != nil {
			return err
		}
		if len(b) < dataHeader || int(binary.LittleEndian.Uint32(b)) != index {
			return fmt.Errorf("%w: type %d, %d bytes for %s", ErrProtocol, typ, len(b), want.name)
		}
		at := int64(binary.LittleEndian.Uint64(b[4:]))
		switch {
		case typ == frameEnd && len(b) == endSize:
			hash := binary.LittleEndian.Uint64(b[12:])
			if at != want.size || off != at || hash != sum.Sum64() {
				return fmt.Errorf("%w: %s has %d bytes of %d", ErrDamaged, want.name, off, want.size)
			}
			f.o.Progress(f.have, f.total)
			return nil
		case typ != frameData:
			return fmt.Errorf("%w: type %d for %s", ErrProtocol, typ, want.name)
		case first && at == 0 && off > 0: // what is here is something else
			if err := part.Truncate(0); err != nil {
				return err
			}
			sum.Reset()
			f.have -= off
			off = 0
		}
		data := b[dataHeader:]
		if at != off || len(data) == 0 || off+int64(len(data)) > want.size {
			return fmt.Errorf("%w: %d bytes at %d of %s, %d of %d are there", ErrProtocol, len(data), at, want.name, off, want.size)
		}
		if _, err := part.WriteAt(data, off); err != nil {
			return err
		}
		_, _ = sum.Write(data) // it never fails
		off += int64(len(data))
		f.have += int64(len(data))
		f.o.Progress(f.have, f.total)
	}
}

// present adds to the hash what is there of a file, and returns how much that is. A file that is too long is cut.
func (f *fetch) present(ctx context.Context, part vfs.File, size int64, sum *xxhash.Digest) (int64, error) {
	n, err := part.Size()
	if err == nil && n > size {
		n = size
		err = part.Truncate(size)
	}
	if err != nil {
		return 0, err
	}
	return hashPrefix(ctx, part, sum, n)
}
