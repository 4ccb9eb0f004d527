package integration

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// TestClusterTLS: with tls-replication nobody between two nodes can read what a client of one says to the other.
func TestClusterTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	certFile, keyFile := ca.issue(t, dir, "node")
	c := newCluster(t, "--tls-replication", "yes", "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", ca.file(t, dir))
	taps := map[*server]*tap{}
	for range 2 {
		port := freePort(t)
		between := newTap(t, net.JoinHostPort("127.0.0.1", itoa(port))) // before the node, so that it ends after that
		s := c.add()
		s.args = append(s.args, "--tls-port", itoa(port), "--advertise", between.ln.Addr().String())
		s.launch()
		taps[s] = between
	}
	c.waitInSync(2)
	leader := c.leader()
	cl := c.others(leader)[0].client()
	defer cl.Close()
	const secret = "what nobody else is to know"
	if err := cl.Set(ctx, "k", secret, 0).Err(); err != nil {
		t.Error(err)
	}
	if v, err := cl.Get(ctx, "k").Result(); v != secret || err != nil {
		t.Errorf("GET gives %q, %v", v, err)
	}
	heard := taps[leader].all()
	if len(heard) == 0 || bytes.Contains(heard, []byte(secret)) || bytes.Contains(heard, []byte("PROXY")) {
		t.Errorf("between the nodes: %d bytes, %.200q", len(heard), heard)
	}
	alone := c.add()
	alone.launch()
	if code := alone.wait(); code == 0 || !strings.Contains(alone.log.String(), "tls-replication") {
		t.Errorf("without tls-port: code %d", code)
	}
}

// tap passes connections on and keeps what goes through them.
type tap struct {
	ln net.Listener
	mu sync.Mutex
	b  []byte
}

func newTap(t *testing.T, to string) *tap {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tp := &tap{ln: ln}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			served.Go(func() { tp.pass(nc, to) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		served.Wait()
	})
	return tp
}

func (tp *tap) pass(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close()
		_, _ = io.Copy(io.MultiWriter(client, tp), server)
	})
	_, _ = io.Copy(io.MultiWriter(server, tp), client)
	server.Close()
	back.Wait()
}

// Write implements io.Writer.
func (tp *tap) Write(b []byte) (int, error) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.b = append(tp.b, b...)
	return len(b), nil
}

func (tp *tap) all() []byte {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return bytes.Clone(tp.b)
}
