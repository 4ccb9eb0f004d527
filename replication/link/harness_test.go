package link

import (
	"context"
	"net"
	"testing"
	"time"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func options(node string) Options {
	return Options{Cluster: "c", Node: node, Secret: "s3cret"}
}

// accept lets a listener on loopback take one connection.
func accept(t testing.TB, o Options) (addr string, result chan error, conns chan *Conn) {
	t.Helper()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = nl.Close() })
	result, conns = make(chan error, 1), make(chan *Conn, 1)
	go func() {
		nc, err := nl.Accept()
		if err != nil {
			result <- err
			return
		}
		c, err := Accept(context.Background(), nc, o)
		conns <- c
		result <- err
	}()
	return nl.Addr().String(), result, conns
}

// pair returns both ends of a link.
func pair(t testing.TB, a, b Options) (dialed, accepted *Conn) {
	t.Helper()
	addr, result, conns := accept(t, b)
	dialed, err := Dial(t.Context(), "tcp", addr, b.Node, "test", a)
	must(t, err)
	accepted = <-conns
	must(t, <-result)
	t.Cleanup(func() {
		_ = dialed.Close("")
		_ = accepted.Close("")
	})
	return dialed, accepted
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after 30 s", what)
		}
	}
}
