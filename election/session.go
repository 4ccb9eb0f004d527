package election

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/sirupsen/logrus"
)

const (
	maxQueued   = 64      // requests that wait for their turn; callers beyond wait for a place, within their time
	maxPacket   = 4 << 20 // bytes that a server may send at once: many nodes, each of less than 1 KiB
	minPatience = time.Second
)

// session is the library's connection with what it lacks: requests that end in time and in order, a connection
// that is given up when nothing comes over it, and an end of everything.
//
// All requests are executed by one goroutine, one after the other. A caller whose time is over leaves, its request stays: so at
// most one request hangs, and what comes later is executed later. That is what makes the outcome of a write
// whose caller has left knowable (see Cluster.Read).
type session struct {
	timeout time.Duration
	several bool   // servers to go to when one hangs
	notify  func() // something has happened; must not block
	log     *logrus.Logger
	conn    *zk.Conn
	events  <-chan zk.Event // closed when the library's goroutines have ended
	dialer  *dialer
	cancel  context.CancelFunc // ends dialing
	jobs    chan *job
	closing chan struct{}
	worker  sync.WaitGroup

	dropped time.Time // when the worker has last given up a silent connection

	mu struct {
		sync.Mutex
		connected bool
		expired   bool
		since     time.Time
		server    string
		armed     map[string]bool // paths with a watch that has not fired
		changed   chan struct{}   // closed at the next change of connected
	}
}

// job is a request on its way.
type job struct {
	run   func(*zk.Conn)
	taken atomic.Bool // by the worker, or by a caller that has given up before
}

// connect starts the library, which connects in the background for as long as it takes.
func connect(o Options, notify func()) (*session, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{
		timeout: o.Timeout,
		several: len(o.Servers) > 1,
		notify:  notify,
		log:     o.Log,
		dialer:  &dialer{ctx: ctx, handshakeWait: max(o.Timeout/3, minHandshakeWait)},
		cancel:  cancel,
		jobs:    make(chan *job, maxQueued),
		closing: make(chan struct{}),
	}
	s.mu.since, s.mu.armed, s.mu.changed = time.Now(), map[string]bool{}, make(chan struct{})
	conn, events, err := zk.Connect(o.Servers, o.Timeout, zk.WithDialer(s.dialer.dial), zk.WithHostProvider(&hosts{}),
		zk.WithEventCallback(s.event), zk.WithLogger(libraryLog{o.Log}), zk.WithMaxBufferSize(maxPacket))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("election: %w", err)
	}
	s.conn, s.events = conn, events
	s.worker.Go(s.work)
	return s, nil
}

// libraryLog passes on what the library says. It says a lot, and calls everything an error.
type libraryLog struct{ log *logrus.Logger }

func (l libraryLog) Printf(format string, args ...any) {
	l.log.Debugf("ZooKeeper client: "+format, args...)
}

// event is called by the library's goroutines, for every event, also those that its channel would drop. It does not block.
func (s *session) event(ev zk.Event) {
	s.mu.Lock()
	switch {
	case ev.Type != zk.EventSession:
		delete(s.mu.armed, ev.Path)
	case ev.State == zk.StateHasSession:
		s.setConnectedLocked(true)
		s.mu.expired, s.mu.server = false, ev.Server
	case ev.State == zk.StateDisconnected:
		s.setConnectedLocked(false)
	case ev.State == zk.StateExpired:
		s.mu.expired = true
		clear(s.mu.armed)
	}
	s.mu.Unlock()
	s.notify()
}

func (s *session) setConnectedLocked(yes bool) {
	if s.mu.connected == yes {
		return
	}
	s.mu.connected, s.mu.since = yes, time.Now()
	close(s.mu.changed)
	s.mu.changed = make(chan struct{})
}

// connected also returns a channel that is closed when that changes.
func (s *session) connected() (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.connected, s.mu.changed
}

// id changes when the session has expired and the library has begun another one; 0 in between.
func (s *session) id() int64 { return s.conn.SessionID() }

func (s *session) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Link: Disconnected, Since: s.mu.since, Server: s.mu.server}
	switch {
	case s.mu.connected:
		st.Link = Connected
	case s.mu.expired || time.Since(s.mu.since) > s.timeout:
		st.Link = Expired
	}
	return st
}

// unavailable is ErrUnavailable with what is known of the reason.
func (s *session) unavailable() error {
	if err := s.dialer.problem(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: no server answers", ErrUnavailable)
}

// arm notes that a watch is about to be set; it returns false when one is waiting already. It is called before the request, since
// the watch may fire before the caller has seen the answer.
func (s *session) arm(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.armed[path] {
		return false
	}
	s.mu.armed[path] = true
	return true
}

func (s *session) disarm(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.armed, path)
}

// work executes the requests in order, until close.
func (s *session) work() {
	for {
		select {
		case <-s.closing:
			return
		case j := <-s.jobs:
			if j.taken.CompareAndSwap(false, true) {
				s.execute(j)
			}
		}
	}
}

// execute gives up the connection when it has been silent for a quarter of the session time-out after a request. The
// library notices after two thirds, in which a follower could have claimed through another server. It is done
// once per time-out at most, since an ensemble that is merely slow gets no faster by it.
func (s *session) execute(j *job) {
	begin := time.Now()
	if s.several && begin.Sub(s.dropped) > s.timeout {
		patience := max(s.timeout/4, minPatience)
		impatient := time.AfterFunc(patience, func() {
			if s.dialer.drop(begin) {
				s.log.Infof("ZooKeeper: %s has said nothing for %v, trying another server", s.status().Server, patience)
			}
		})
		defer func() {
			if !impatient.Stop() {
				s.dropped = time.Now()
			}
		}()
	}
	j.run(s.conn)
}

// do executes one request, or several that belong together, within the session time-out and the time of ctx. f runs on another goroutine,
// maybe after do has returned; what it returns is dropped then. Errors: as outcome makes them.
func do[T any](ctx context.Context, s *session, f func(*zk.Conn) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var none T
	answered := make(chan answer, 1)
	j := &job{run: func(conn *zk.Conn) {
		if yes, _ := s.connected(); !yes {
			// The library would keep the request, and send it at some later time.
			answered <- answer{none, errNotConnected}
			return
		}
		v, err := f(conn)
		answered <- answer{v, err}
	}}
	select {
	case s.jobs <- j:
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case <-s.closing:
		return none, ErrClosed
	}
	var over error
	select {
	case a := <-answered:
		return a.value, s.explain(outcome(a.err))
	case <-ctx.Done():
		over = ctx.Err()
	case <-s.closing:
		over = ErrClosed
	}
	if j.taken.CompareAndSwap(false, true) {
		return none, fmt.Errorf("%w: %w", ErrUnavailable, over) // it was never begun
	}
	return none, fmt.Errorf("%w: %w", ErrUnknown, over)
}

// explain adds why there is no connection.
func (s *session) explain(err error) error {
	if errors.Is(err, errNotConnected) {
		return s.unavailable()
	}
	return err
}

// authenticate makes the library send the credentials, now and after each reconnection.
func (s *session) authenticate(ctx context.Context, auth string) error {
	_, err := do(ctx, s, func(conn *zk.Conn) (struct{}, error) {
		return struct{}{}, conn.AddAuth("digest", []byte(auth))
	})
	return err
}

// close ends the session, which removes its ephemeral nodes at once if a server can be reached, and returns when all goroutines
// have ended: after a second or two at most.
func (s *session) close() {
	close(s.closing)
	if yes, _ := s.connected(); yes {
		s.conn.Close() // waits for the answer, up to a second
	}
	s.cancel()
	s.dialer.drop(time.Time{})
	s.conn.Close()
	for range s.events {
		s.dialer.drop(time.Time{}) // one more event: it may have connected again
	}
	s.worker.Wait()
}

// acl says who may use what is created: who has the same credentials, or everybody.
func acl(auth string) []zk.ACL {
	if auth == "" {
		return zk.WorldACL(zk.PermAll)
	}
	return zk.AuthACL(zk.PermAll)
}

// paths are where things are in ZooKeeper.
type paths struct{ chroot, state, nodes, incarnations string }

func newPaths(chroot string) paths {
	return paths{chroot, chroot + "/state", chroot + "/nodes", chroot + "/incarnations"}
}

func (p paths) root() string {
	if p.chroot == "" {
		return "/"
	}
	return p.chroot
}

// parents are the paths above the chroot, from the top.
func (p paths) parents() (all []string) {
	for i := 1; i < len(p.chroot); i++ {
		if p.chroot[i] == '/' {
			all = append(all, p.chroot[:i])
		}
	}
	return all
}

func (p paths) node(id string) string                 { return p.nodes + "/" + id }
func (p paths) incarnation(incarnation string) string { return p.incarnations + "/" + incarnation }

// base is the last part of a path.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
