package integration

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gtinside/corecache/integration/zoo"
)

// forwarders is a network for those who may not make namespaces. A node listens at 127.0.0.1 and tells the others 127.0.0.2, where a
// forwarder takes their connections. Whose they are it learns from the kernel.
type forwarders struct {
	t     *testing.T
	over  chan struct{} // closed when the test is
	tasks sync.WaitGroup

	mu struct {
		sync.Mutex
		nodes   []*server
		listen  []net.Listener
		cut     map[[2]string]int // how often: from, to
		changed chan struct{}     // closed when cut changes
	}
}

const forwarded = "127.0.0.2"

func newForwarders(t *testing.T) *forwarders {
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		t.Skipf("networks can not be cut here: there are no network namespaces, and forwarders need %v", err)
	}
	f := &forwarders{t: t, over: make(chan struct{})}
	f.mu.cut, f.mu.changed = map[[2]string]int{}, make(chan struct{})
	t.Cleanup(f.close)
	return f
}

// close comes after the end of all processes.
func (f *forwarders) close() {
	close(f.over)
	f.mu.Lock()
	for _, l := range f.mu.listen {
		_ = l.Close() // ends its loop
	}
	f.mu.Unlock()
	f.tasks.Wait()
}

func (f *forwarders) host() string { return "" }

func (f *forwarders) zookeeper(zk *zoo.Ensemble) (addrs []string) {
	for _, addr := range zk.Servers() {
		_, port, _ := net.SplitHostPort(addr)
		f.forward(zookeeperID, port)
		addrs = append(addrs, net.JoinHostPort(forwarded, port))
	}
	return addrs
}

func (f *forwarders) place(s *server, peer int) []string {
	f.forward(s.id, itoa(s.port))
	f.forward(s.id, itoa(peer))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.nodes = append(f.mu.nodes, s)
	return []string{"--advertise", net.JoinHostPort(forwarded, itoa(s.port))}
}

func (f *forwarders) cut(from, to string) (heal func()) {
	change := func(n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.mu.cut[[2]string{from, to}] += n
		close(f.mu.changed)
		f.mu.changed = make(chan struct{})
	}
	change(1)
	return func() { change(-1) }
}

// pass waits until nothing is cut from one to another; false: the test is over.
func (f *forwarders) pass(from, to string) bool {
	for {
		f.mu.Lock()
		cut, changed := f.mu.cut[[2]string{from, to}] > 0, f.mu.changed
		f.mu.Unlock()
		if !cut {
			return true
		}
		select {
		case <-changed:
		case <-f.over:
			return false
		}
	}
}

// forward takes connections for a port of a node, or of ZooKeeper.
func (f *forwarders) forward(to, port string) {
	f.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(forwarded, port))
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.mu.listen = append(f.mu.listen, l)
	f.mu.Unlock()
	f.tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.tasks.Go(func() { f.serve(c, to, net.JoinHostPort("127.0.0.1", port)) })
		}
	})
}

func (f *forwarders) serve(in net.Conn, to, target string) {
	defer in.Close()
	from, err := f.owner(in)
	if err != nil || !f.pass(from, to) || !f.pass(to, from) {
		return // a process that has ended meanwhile
	}
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer out.Close()
	var both sync.WaitGroup
	both.Go(func() { f.pump(out, in, from, to) })
	f.pump(in, out, to, from)
	both.Wait()
}

// pump passes on what comes, and its end.
func (f *forwarders) pump(dst, src net.Conn, from, to string) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if !f.pass(from, to) {
			break
		}
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = dst.Close() // both, so that the other direction ends, too
	_ = src.Close()
}

// owner finds the node at the other end of a connection: the kernel's table names the inode of that socket, and one of the
// processes has it among its files.
func (f *forwarders) owner(c net.Conn) (id string, err error) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	ends := func(local, remote net.Addr) [2]string {
		port := func(a net.Addr) string { return fmt.Sprintf(":%04X", a.(*net.TCPAddr).Port) }
		return [2]string{port(local), port(remote)}
	}(c.RemoteAddr(), c.LocalAddr())
	for line := range bytes.Lines(table) {
		col := strings.Fields(string(line)) // sl, local, remote, state, queues, timer, retransmits, uid, timeout, inode
		if len(col) > 9 && strings.HasSuffix(col[1], ends[0]) && strings.HasSuffix(col[2], ends[1]) {
			return f.holder("socket:[" + col[9] + "]")
		}
	}
	return "", fmt.Errorf("%v is not in the kernel's table", c.RemoteAddr())
}

func (f *forwarders) holder(file string) (id string, err error) {
	f.mu.Lock()
	nodes := f.mu.nodes
	f.mu.Unlock()
	for _, s := range nodes {
		dir := "/proc/" + strconv.FormatInt(s.pid.Load(), 10) + "/fd/"
		entries, _ := os.ReadDir(dir) // a process that has ended has none
		for _, e := range entries {
			if name, _ := os.Readlink(dir + e.Name()); name == file {
				return s.id, nil
			}
		}
	}
	return "", fmt.Errorf("no node has %s", file)
}
