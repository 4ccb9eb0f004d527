package integration

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestGoRedis(t *testing.T) {
	s := startServer(t)
	for _, proto := range []int{2, 3} {
		c := redis.NewClient(&redis.Options{Addr: s.addr(), Protocol: proto, DB: 1, ClientName: "smoke"})
		defer c.Close()
		binary := "\x00\r\n\xff"
		if err := c.Set(ctx, "k", binary, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Get(ctx, "k").Result(); err != nil || v != binary {
			t.Errorf("GET = %q, %v", v, err)
		}
		if ttl := c.TTL(ctx, "k").Val(); ttl < 59*time.Minute || ttl > time.Hour {
			t.Errorf("TTL = %v", ttl)
		}
		if err := c.Get(ctx, "nothing").Err(); err != redis.Nil {
			t.Errorf("GET of nothing: %v", err)
		}
		if n := c.Incr(ctx, "n").Val(); n != int64(proto-1) {
			t.Errorf("INCR = %d", n)
		}
		if name := c.ClientGetName(ctx).Val(); name != "smoke" {
			t.Errorf("CLIENT GETNAME = %q", name)
		}
		watchOnce(t, c)
		if info := c.Info(ctx).Val(); !strings.Contains(info, "redis_version:7.") || !strings.Contains(info, "role:master") {
			t.Errorf("INFO:\n%s", info)
		}
	}
}

// watchOnce runs an optimistic transaction.
func watchOnce(t *testing.T, c *redis.Client) {
	t.Helper()
	err := c.Watch(ctx, func(tx *redis.Tx) error {
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, "a", 1, 0)
			p.IncrBy(ctx, "a", 41)
			return nil
		})
		return err
	}, "a")
	if v := c.Get(ctx, "a").Val(); err != nil || v != "42" {
		t.Errorf("transaction: a = %q, %v", v, err)
	}
}

func TestRedisCLI(t *testing.T) {
	s := startServer(t)
	for _, c := range []struct{ stdin, want string }{
		{"SET greeting \"hello world\"\nGET greeting\n", "OK\n\"hello world\"\n"},
		{"INCRBY n 5\nTYPE n\nTTL n\n", "(integer) 5\nstring\n(integer) -1\n"},
		{"MULTI\nSET a 1\nINCR a\nEXEC\n", "OK\nQUEUED\nQUEUED\n1) OK\n2) (integer) 2\n"},
		{"NOSUCH x\n", "(error) ERR unknown command 'NOSUCH', with args beginning with: 'x' \n"},
		{"CONFIG GET appendonly\n", "1) \"appendonly\"\n2) \"yes\"\n"},
	} {
		if got := s.cli(c.stdin, "--no-raw"); strings.TrimSpace(got) != strings.TrimSpace(c.want) {
			t.Errorf("%q:\n%s\nwant:\n%s", c.stdin, got, c.want)
		}
	}
	if got := s.cli("", "-3", "HELLO"); !strings.Contains(got, "proto") {
		t.Errorf("HELLO in RESP3:\n%s", got)
	}
	if got := s.cli("", "--scan", "--pattern", "gre*"); got != "greeting\n" {
		t.Errorf("--scan printed %q", got)
	}
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	s := startServer(t, "--unixsocket", socket, "--unixsocketperm", "700")
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer c.Close()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.kill() // leaves the socket's file behind, which must not stop the next start
	s.start()
	if v := c.Get(ctx, "k").Val(); v != "v" {
		t.Errorf("GET = %q", v)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	certFile, keyFile := ca.issue(t, dir, "server")
	clientCert, clientKey := ca.issue(t, dir, "client")
	tlsPort := freePort(t)
	s := startServer(t, "--tls-port", itoa(tlsPort), "--tls-cert-file", certFile, "--tls-key-file", keyFile,
		"--tls-ca-cert-file", ca.file(t, dir))
	pair, err := tls.LoadX509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(certs ...tls.Certificate) *redis.Client {
		return redis.NewClient(&redis.Options{
			Addr: net.JoinHostPort("127.0.0.1", itoa(tlsPort)), MaxRetries: -1,
			TLSConfig: &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", Certificates: certs},
		})
	}
	with, without := dial(pair), dial()
	defer with.Close()
	defer without.Close()
	if err := with.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if err := without.Ping(ctx).Err(); err == nil {
		t.Error("a client without a certificate was served")
	}
	if err := s.client().ConfigSet(ctx, "tls-auth-clients", "no").Err(); err != nil {
		t.Fatal(err)
	}
	if err := without.Ping(ctx).Err(); err != nil {
		t.Errorf("after tls-auth-clients no: %v", err)
	}
	testReload(t, s, ca, dir, tlsPort)
}

// testReload replaces the certificate in its file; SIGHUP makes new connections see it.
func testReload(t *testing.T, s *server, ca *authority, dir string, port int) {
	t.Helper()
	before := ca.serial
	ca.issue(t, dir, "server")
	s.signalHangup()
	s.waitFor("the new certificate", startTimeout, func() bool {
		conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", itoa(port)), &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64() > before
	})
}
