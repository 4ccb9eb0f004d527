// Package linktest makes links over loopback that can be cut, for tests.
package linktest

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gtinside/corecache/replication/link"
)

// Network has a node "leader", which accepts links, and others that dial it through a proxy.
type Network struct {
	// Options of both sides; Node is set by Connect.
	Options link.Options
	// Direct leaves the proxy out.
	Direct bool

	t        testing.TB
	listener *link.Listener
	proxy    string
	left     atomic.Int64 // bytes that still pass; negative: all
	passed   atomic.Int64
	dials    int
}

// New starts a network that ends with the test.
func New(t testing.TB, o link.Options) *Network {
	t.Helper()
	o.Cluster, o.Node, o.Secret = "c", "leader", "s"
	n := &Network{t: t, Options: o}
	n.CutAfter(-1)
	var err error
	if n.listener, err = link.NewListener(listen(t), o, nil); err != nil {
		t.Fatal(err)
	}
	proxy := listen(t)
	n.proxy = proxy.Addr().String()
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			in, err := proxy.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() { n.pass(in) })
		}
	})
	t.Cleanup(func() {
		_ = n.listener.Close()
		_ = proxy.Close()
		n.CutAfter(0)
		tasks.Wait()
	})
	return n
}

func listen(t testing.TB) net.Listener {
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return nl
}

// CutAfter breaks all connections once so many bytes more have passed, in both directions together; a
// negative number ends that.
func (n *Network) CutAfter(bytes int64) { n.left.Store(bytes) }

// Passed is how many bytes have passed the proxy, ever.
func (n *Network) Passed() int64 { return n.passed.Load() }

// pass copies both ways until the connection is cut.
func (n *Network) pass(in net.Conn) {
	out, err := net.Dial("tcp", n.listener.Addr().String())
	if err != nil {
		_ = in.Close()
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			defer in.Close()
			defer out.Close()
			n.copy(way[1], way[0])
		})
	}
	both.Wait()
}

func (n *Network) copy(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		got, err := from.Read(b)
		if n.left.Load() >= 0 {
			if left := n.left.Add(-int64(got)); left < 0 {
				got = max(0, got+int(left))
				n.left.Store(0)
				err = io.EOF
			}
		}
		n.passed.Add(int64(got))
		if _, e := to.Write(b[:got]); e != nil || err != nil {
			return
		}
	}
}

// Connect dials the leader as a node and returns both ends.
func (n *Network) Connect(node string) (leader, dialed *link.Conn, err error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), 30*time.Second)
	defer cancel()
	n.dials++
	purpose := fmt.Sprint("test ", n.dials)
	o := n.Options
	o.Cluster, o.Node, o.Secret = "c", node, "s"
	addr := n.proxy
	if n.Direct {
		addr = n.listener.Addr().String()
	}
	dialed, err = link.Dial(ctx, "tcp", addr, "leader", purpose, o)
	if err != nil {
		return nil, nil, err
	}
	for {
		leader, err = n.listener.Accept(ctx)
		if err != nil || leader.Peer().Purpose == purpose {
			return leader, dialed, err
		}
		_ = leader.Close("") // its other end was cut off before it knew
	}
}
