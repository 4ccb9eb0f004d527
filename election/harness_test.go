package election

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/integration/zoo"
)

// Tests with ZooKeeper share one ensemble of three servers. Tests which stop servers run one after the other; the rest
// are parallel, which Go runs after them. Each test has a chroot of its own, and proxies of its own in
// front of the servers where it breaks connections.

var shared struct {
	sync.Once
	ensemble *zoo.Ensemble
	err      error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.ensemble != nil {
		if err := shared.ensemble.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// zooKeeper is the shared ensemble, started by the first test that needs it.
func zooKeeper(t *testing.T) *zoo.Ensemble {
	t.Helper()
	shared.Do(func() { shared.ensemble, shared.err = zoo.Start(3, zoo.Options{}) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.ensemble
}

const (
	testTimeout = 4 * time.Second  // session time-out of most tests, the longest that the ensemble gives
	patience    = 30 * time.Second // for what must happen, on a busy machine
	pollEvery   = 5 * time.Millisecond
)

// eventually polls a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// world is one chroot with the nodes of a test.
type world struct {
	t      *testing.T
	zk     *zoo.Ensemble
	chroot string
	raw    *zk.Conn // sees and changes everything, past the proxies
	log    *logrus.Logger
	logs   *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, zk: zooKeeper(t), chroot: "/" + strings.ReplaceAll(t.Name(), "/", "-"), logs: &syncBuffer{}}
	w.log = logrus.New()
	w.log.SetOutput(w.logs)
	w.log.SetLevel(logrus.DebugLevel)
	raw, _, err := zk.Connect(w.zk.Servers(), 4*time.Second, zk.WithLogger(libraryLog{w.log}))
	if err != nil {
		t.Fatal(err)
	}
	w.raw = raw
	t.Cleanup(func() {
		raw.Close()
		if t.Failed() {
			t.Logf("log:\n%s", w.logs)
		}
	})
	return w
}

// proxy stands in front of one server, until the end of the test.
func (w *world) proxy(s *zoo.Server) *zoo.Proxy {
	w.t.Helper()
	p, err := zoo.NewProxy(s.Addr())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = p.Close() })
	return p
}

// options of a node on a fresh directory.
func (w *world) options(id string, via ...*zoo.Proxy) Options {
	servers := w.zk.Servers()
	if len(via) > 0 {
		servers = nil
		for _, p := range via {
			servers = append(servers, p.Addr())
		}
	}
	return Options{
		Servers: servers, Chroot: w.chroot, Timeout: testTimeout, Dir: w.t.TempDir(), NodeID: id,
		Advertise: "127.0.0.1:6379", Peer: "127.0.0.1:7379", Version: "test", Log: w.log,
	}
}

func (w *world) open(o Options) *Cluster {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := Open(ctx, o)
	if err != nil {
		w.t.Fatalf("opening %s: %v", o.NodeID, err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// refused opens a node that must be refused, and proves that this has changed nothing, neither in ZooKeeper nor on disk.
func (w *world) refused(o Options, want error, text string) {
	w.t.Helper()
	tree, files := w.tree(), listFiles(w.t, o.Dir)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := Open(ctx, o)
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), text) {
		w.t.Errorf("refused with %v; want %v with %q", err, want, text)
	}
	if now := w.tree(); !slices.Equal(tree, now) {
		w.t.Errorf("ZooKeeper has changed:\n%s\nto\n%s", strings.Join(tree, "\n"), strings.Join(now, "\n"))
	}
	if now := listFiles(w.t, o.Dir); !slices.Equal(files, now) {
		w.t.Errorf("the directory has changed:\n%s\nto\n%s", files, now)
	}
}

// must repeats an operation on the raw connection while that reconnects.
func must[T any](w *world, what string, f func() (T, error)) T {
	w.t.Helper()
	var v T
	var err error
	eventually(w.t, what, func() bool {
		v, err = f()
		if err != nil && !errors.Is(err, zk.ErrConnectionClosed) && !errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrSessionExpired) {
			w.t.Fatalf("%s: %v", what, err)
		}
		return err == nil
	})
	return v
}

func (w *world) exists(path string) bool {
	w.t.Helper()
	return must(w, "a look at "+path, func() (bool, error) {
		if _, err := w.raw.Sync("/"); err != nil {
			return false, err
		}
		found, _, err := w.raw.Exists(path)
		return found, err
	})
}

func (w *world) create(path string, data []byte) {
	w.t.Helper()
	must(w, "creating "+path, func() (string, error) { return w.raw.Create(path, data, 0, zk.WorldACL(zk.PermAll)) })
}

func (w *world) get(path string) []byte {
	w.t.Helper()
	return must(w, "reading "+path, func() ([]byte, error) {
		if _, err := w.raw.Sync("/"); err != nil {
			return nil, err
		}
		data, _, err := w.raw.Get(path)
		return data, err
	})
}

// tree is all that is under the chroot: paths, contents and versions.
func (w *world) tree() (lines []string) {
	w.t.Helper()
	if !w.exists(w.chroot) {
		return nil
	}
	var walk func(path string) error
	walk = func(path string) error {
		data, stat, err := w.raw.Get(path)
		if errors.Is(err, zk.ErrNoAuth) {
			lines = append(lines, path+" (closed)")
			return nil
		}
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%s %d %x %s", path, stat.Version, stat.Czxid, data))
		children, _, err := w.raw.Children(path)
		slices.Sort(children)
		for _, c := range children {
			err = errors.Join(err, walk(path+"/"+c))
		}
		return err
	}
	must(w, "a walk", func() (struct{}, error) {
		lines = nil
		return struct{}{}, walk(w.chroot)
	})
	return lines
}

func listFiles(t *testing.T, dir string) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, e.Name()+" "+string(data))
	}
	return files
}

// read is Read with patience.
func read(t *testing.T, c *Cluster) (State, int32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, v, err := c.Read(ctx)
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	return s, v
}

// claimed is the state after a claim by c.
func claimed(c *Cluster, s State) State {
	next := s.Clone()
	next.Epoch++
	next.Leader, next.Incarnation = c.Self().ID, c.Self().Incarnation
	if _, ok := next.Member(next.Leader); !ok {
		next.ISR = append(next.ISR, Member{ID: next.Leader, Data: c.Identity().Data})
	}
	return next
}

// grown is a state with one more member.
func grown(s State, id string) State {
	next := s.Clone()
	next.ISR = append(next.ISR, Member{ID: id, Data: "d"})
	return next
}

func nodeIDs(v View) (ids []string) {
	for _, n := range v.Nodes {
		ids = append(ids, n.ID)
	}
	return ids
}

func isLinked(c *Cluster, l Link) func() bool { return func() bool { return c.Status().Link == l } }

func isRegistered(c *Cluster) func() bool { return func() bool { return c.Status().Registered } }

// isArmed tells whether a watch is waiting.
func (s *session) isArmed(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.armed[path]
}
