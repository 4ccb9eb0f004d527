package fullsync

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/time/rate"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/engine/wal"
	"github.com/gtinside/corecache/replication/link"
)

// SourceOptions are the settings of a Source. Zero values mean the default, given in parentheses.
type SourceOptions struct {
	FS vfs.FS // (vfs.OS)
	// Dir holds the checkpoints; it must be on the file system of the data, as they are hard links, and
	// may not be used for anything else.
	Dir string
	// Rate bounds what is sent to all followers together, in bytes per second (0: no bound).
	Rate int64
	// Linger is how long a checkpoint is held for a follower whose link broke (5 min).
	Linger time.Duration
	// MaxSyncs bounds the followers that are served or have a checkpoint held for them (2).
	MaxSyncs int
	// MinFree is how much of the disk must stay free, in bytes; with less, no checkpoint is made and those
	// there are given up (0).
	MinFree int64
}

// Source is the leader's side: it makes, holds, serves and removes checkpoints of one store.
type Source struct {
	o     SourceOptions
	db    *engine.DB
	limit *rate.Limiter

	mu struct {
		sync.Mutex
		closed bool
		made   int
		held   map[string]*held // by node
	}
}

// held is a checkpoint that is there for one follower.
type held struct {
	dir   string
	offer offer
	pin   *wal.Pin    // of the log behind it
	busy  bool        // somebody serves it
	timer *time.Timer // otherwise: gives it up
}

// Result is what a follower has got: everything up to Position. Pin keeps the log behind that until the follower has its stream;
// it is the caller's to Close. It is nil if the follower has not got everything.
type Result struct {
	Position uint64
	Pin      *wal.Pin
}

// chunk is how much is read, and let through by the rate, at once.
const chunk = 128 << 10

// NewSource removes checkpoints that a crash left in o.Dir.
func NewSource(db *engine.DB, o SourceOptions) (*Source, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	o.Linger, o.MaxSyncs = cmp.Or(o.Linger, 5*time.Minute), cmp.Or(o.MaxSyncs, 2)
	s := &Source{o: o, db: db, limit: rate.NewLimiter(rate.Inf, chunk)}
	s.SetRate(o.Rate)
	s.mu.held = map[string]*held{}
	if err := Discard(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("full sync: %w", err)
	}
	return s, nil
}

// SetRate changes SourceOptions.Rate.
func (s *Source) SetRate(bytesPerSecond int64) {
	if bytesPerSecond <= 0 {
		s.limit.SetLimit(rate.Inf)
		return
	}
	s.limit.SetLimit(rate.Limit(bytesPerSecond))
}

// Serve gives one follower a checkpoint, as the leader of a term, and returns when he has it; an error together with a
// result says that the checkpoint could not be removed. It closes the link. When it fails, the checkpoint is held for SourceOptions.Linger, so that the same node can go on with it, unless the reason is
// ErrBudget or ErrNoSpace.
func (s *Source) Serve(ctx context.Context, conn *link.Conn, term uint64) (Result, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close("the leader stops") })
	defer stop()
	r, err := s.serve(ctx, conn, term)
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	return r, errors.Join(err, conn.Close(reason))
}

func (s *Source) serve(ctx context.Context, conn *link.Conn, term uint64) (Result, error) {
	typ, b, err := conn.Receive()
	switch {
	case err != nil:
		return Result{}, err
	case typ != frameWant || len(b) != wantSize:
		return Result{}, fmt.Errorf("%w: type %d, %d bytes", ErrProtocol, typ, len(b))
	case binary.LittleEndian.Uint64(b) > term:
		return Result{}, fmt.Errorf("%w: %d, node %q knows %d", ErrTerm, term, conn.Peer().Node, binary.LittleEndian.Uint64(b))
	}
	node := conn.Peer().Node
	h, err := s.take(node)
	if err != nil {
		return Result{}, err
	}
	if err = s.send(ctx, conn, h, term); err != nil {
		return Result{}, errors.Join(err, s.giveBack(node, h, err))
	}
	return Result{Position: h.offer.position, Pin: h.pin}, s.drop(node, h)
}

// take returns the checkpoint that is held for a node, or a new one.
func (s *Source) take(node string) (*held, error) {
	if err := errors.Join(s.o.FS.MkdirAll(s.o.Dir), s.space()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	old := s.mu.held[node]
	switch {
	case s.mu.closed:
		s.mu.Unlock()
		return nil, engine.ErrClosed
	case old != nil && old.busy, old == nil && len(s.mu.held) >= s.o.MaxSyncs:
		s.mu.Unlock()
		return nil, ErrBusy
	case old != nil && !old.pin.Lost():
		old.busy = true
		old.timer.Stop()
		s.mu.Unlock()
		return old, nil
	}
	s.mu.made++
	h := &held{dir: filepath.Join(s.o.Dir, strconv.Itoa(s.mu.made)), busy: true}
	s.mu.held[node] = h
	s.mu.Unlock()
	var err error
	if old != nil {
		old.timer.Stop()
		err = s.remove(old)
	}
	if err == nil {
		err = s.make(h)
	}
	if err != nil {
		return nil, errors.Join(err, s.giveUp(node, h))
	}
	return h, nil
}

// make makes the checkpoint.
func (s *Source) make(h *held) (err error) {
	if h.offer.position, h.pin, err = s.db.CheckpointTables(h.dir); err != nil {
		return err
	}
	names, err := s.o.FS.List(h.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := s.o.FS.Stat(filepath.Join(h.dir, name))
		if err != nil {
			return err
		}
		if !info.Dir {
			h.offer.files = append(h.offer.files, file{name, info.Size})
		}
	}
	slices.SortStableFunc(h.offer.files, func(a, b file) int { return isCurrent(a.name) - isCurrent(b.name) })
	return nil
}

// isCurrent is 1 for the file without which a directory is not a store; it goes last.
func isCurrent(name string) int {
	if name == currentName {
		return 1
	}
	return 0
}

// space tells whether enough of the disk is free.
func (s *Source) space() error {
	_, free, err := s.o.FS.DiskUsage(s.o.Dir)
	if err == nil && free < uint64(s.o.MinFree) {
		err = fmt.Errorf("%w: %d bytes are free, %d must stay free", ErrNoSpace, free, s.o.MinFree)
	}
	return err
}

// giveBack lets a checkpoint wait for its follower, unless it has become useless or costs too much.
func (s *Source) giveBack(node string, h *held, why error) error {
	s.mu.Lock()
	if s.mu.closed || errors.Is(why, ErrBudget) || errors.Is(why, ErrNoSpace) {
		s.mu.Unlock()
		return s.giveUp(node, h)
	}
	h.busy = false
	h.timer = time.AfterFunc(s.o.Linger, func() { s.expire(node, h) })
	s.mu.Unlock()
	return nil
}

// expire gives up a checkpoint that nobody came back for.
func (s *Source) expire(node string, h *held) {
	s.mu.Lock()
	mine := s.mu.held[node] == h && !h.busy
	if mine {
		h.busy = true
	}
	s.mu.Unlock()
	if mine {
		_ = s.giveUp(node, h) // what could not be removed is removed by the next NewSource
	}
}

// giveUp removes a checkpoint that this goroutine has taken, and lets its log go.
func (s *Source) giveUp(node string, h *held) error {
	err := s.drop(node, h)
	if h.pin != nil {
		h.pin.Close()
	}
	return err
}

// drop removes a checkpoint and leaves its pin.
func (s *Source) drop(node string, h *held) error {
	s.mu.Lock()
	if s.mu.held[node] == h {
		delete(s.mu.held, node)
	}
	s.mu.Unlock()
	return Discard(s.o.FS, h.dir)
}

// remove removes a checkpoint that is not in the map any more.
func (s *Source) remove(h *held) error {
	h.pin.Close()
	return Discard(s.o.FS, h.dir)
}

// Close gives up the checkpoints that wait for their followers. Calls of Serve must have been ended by their contexts.
func (s *Source) Close() error {
	s.mu.Lock()
	s.mu.closed = true
	var err error
	for node, h := range s.mu.held {
		if !h.busy {
			h.timer.Stop()
			h.busy = true
			delete(s.mu.held, node)
			err = errors.Join(err, s.remove(h))
		}
	}
	s.mu.Unlock()
	return err
}

// send makes the offer and answers until the follower has everything.
func (s *Source) send(ctx context.Context, conn *link.Conn, h *held, term uint64) error {
	h.offer.term = term
	if err := conn.Send(frameOffer, encodeOffer(&h.offer)); err != nil {
		return err
	}
	for left := h.offer.files; len(left) > 0; {
		var b []byte
		b, left = appendFiles(nil, left, conn.MaxFrame())
		if err := conn.Send(frameFiles, b); err != nil {
			return err
		}
	}
	for {
		typ, b, err := conn.Receive()
		switch {
		case err != nil:
			return err
		case typ == frameDone:
			return nil
		case typ != frameGet:
			return fmt.Errorf("%w: type %d", ErrProtocol, typ)
		}
		index, have, hash, err := decodeGet(b, h.offer.files)
		if err != nil {
			return err
		}
		if err := s.sendFile(ctx, conn, h, index, have, hash); err != nil {
			return err
		}
	}
}

// sendFile sends what the follower does not have of a file.
func (s *Source) sendFile(ctx context.Context, conn *link.Conn, h *held, index int, have int64, hash uint64) (err error) {
	f := h.offer.files[index]
	in, err := s.o.FS.Open(filepath.Join(h.dir, f.name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	sum := xxhash.New()
	off, err := hashPrefix(ctx, in, sum, have)
	if err != nil {
		return err
	}
	if sum.Sum64() != hash {
		sum.Reset()
		off = 0
	}
	header := binary.LittleEndian.AppendUint32(nil, uint32(index))
	b := make([]byte, min(chunk, conn.MaxFrame()-dataHeader))
	for off < f.size {
		if err := s.mayGoOn(ctx, h, len(b)); err != nil {
			return err
		}
		n := min(int64(len(b)), f.size-off)
		if _, err := in.ReadAt(b[:n], off); err != nil && err != io.EOF {
			return err
		}
		if err := conn.Send(frameData, binary.LittleEndian.AppendUint64(header[:4], uint64(off)), b[:n]); err != nil {
			return err
		}
		_, _ = sum.Write(b[:n]) // it never fails
		off += n
	}
	end := binary.LittleEndian.AppendUint64(header[:4], uint64(f.size))
	return conn.Send(frameEnd, binary.LittleEndian.AppendUint64(end, sum.Sum64()))
}

// mayGoOn waits as the rate demands, and tells whether the sync still makes sense.
func (s *Source) mayGoOn(ctx context.Context, h *held, n int) error {
	if h.pin.Lost() {
		return ErrBudget
	}
	if err := s.space(); err != nil {
		return err
	}
	return s.limit.WaitN(ctx, n)
}

// hashPrefix adds the first n bytes of a file to a hash.
func hashPrefix(ctx context.Context, f vfs.File, sum *xxhash.Digest, n int64) (int64, error) {
	if n == 0 {
		return 0, nil
	}
	b := make([]byte, min(n, chunk))
	for off := int64(0); off < n; {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		want := min(int64(len(b)), n-off)
		got, err := f.ReadAt(b[:want], off)
		if int64(got) < want {
			return 0, err
		}
		_, _ = sum.Write(b[:got])
		off += int64(got)
	}
	return n, nil
}
