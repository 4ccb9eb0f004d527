package resp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// authority is a certificate authority for one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	next int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool(), next: 1}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der := a.sign(template, template, &a.key.PublicKey)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert = cert
	a.pool.AddCert(cert)
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, pub *ecdsa.PublicKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func (a *authority) write(name, kind string, der []byte) {
	err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	if err != nil {
		a.t.Fatal(err)
	}
}

// issue writes a new certificate for name and its key, and returns them.
func (a *authority) issue(name string) tls.Certificate {
	a.next++
	key := newKey(a.t)
	der := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey)
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "EC PRIVATE KEY", private)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) settings(clients tls.ClientAuthType) TLSSettings {
	return TLSSettings{
		CertFile: filepath.Join(a.dir, "server.pem"), KeyFile: filepath.Join(a.dir, "server.key"),
		CAFile: filepath.Join(a.dir, "ca.pem"), Clients: clients,
	}
}

func startTLS(t *testing.T, a *authority, clients tls.ClientAuthType) *testServer {
	return startServer(t, func(set *Settings, addr *Address) {
		addr.TLSPort = -1
		set.TLS = a.settings(clients)
	})
}

func (s *testServer) dialTLS(a *authority, certs ...tls.Certificate) (*testClient, error) {
	nc, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.TLSPort())), &tls.Config{RootCAs: a.pool, Certificates: certs})
	if err != nil {
		return nil, err
	}
	return wrapClient(s.t, nc), nil
}

// pingTLS reports whether a client with these certificates is served.
func (s *testServer) pingTLS(a *authority, certs ...tls.Certificate) bool {
	c, err := s.dialTLS(a, certs...)
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := c.r.ReadString('\n')
	return err == nil && line == "+PONG\r\n"
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	a.issue("server")
	s := startTLS(t, a, tls.NoClientCert)
	c, err := s.dialTLS(a)
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("x", 3<<20)
	for range 3 {
		c.send(array("WORDS", value, "b") + array("PING"))
		c.expect(string(append(appendHeader([]byte("*2\r\n"), '$', len(value)), value...)) + "\r\n$1\r\nb\r\n+PONG\r\n")
	}
	c.send(array("WATCH-ME"))
	conn := (<-s.fake.running).Conn
	c.expect("+OK\r\n")
	if err := conn.Push([]byte("+pushed\r\n")); err != nil {
		t.Fatal(err)
	}
	c.expect("+pushed\r\n")
	c.send(array("BLOCK"))
	<-s.fake.running
	s.fake.release <- struct{}{}
	c.expect("+AWAKE\r\n")
	c.send("PING\r\nQUIT\r\n")
	c.expect("+PONG\r\n+OK\r\n")
	c.expectEnd()
}

func TestTLSReadAfterWriting(t *testing.T) {
	a := newAuthority(t)
	a.issue("server")
	s := startTLS(t, a, tls.NoClientCert)
	c, err := s.dialTLS(a)
	if err != nil {
		t.Fatal(err)
	}
	c.send(strings.Repeat(array("BIG", "9000"), 1000))
	c.expect(strings.Repeat("$9000\r\n"+strings.Repeat("x", 9000)+"\r\n", 1000))
}

func TestTLSClientCertificates(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	a.issue("server")
	mine, other := a.issue("client"), stranger.issue("client")
	for mode, want := range map[tls.ClientAuthType][3]bool{ // none, mine, other
		tls.NoClientCert:               {true, true, true},
		tls.VerifyClientCertIfGiven:    {true, true, false},
		tls.RequireAndVerifyClientCert: {false, true, false},
	} {
		s := startTLS(t, a, mode)
		got := [3]bool{s.pingTLS(a), s.pingTLS(a, mine), s.pingTLS(a, other)}
		if got != want {
			t.Errorf("%v: %v, want %v", mode, got, want)
		}
	}
}

func TestTLSSlowHandshake(t *testing.T) {
	a := newAuthority(t)
	a.issue("server")
	s := startTLS(t, a, tls.NoClientCert)
	silent := dialTest(t, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.TLSPort())))
	if !s.pingTLS(a) {
		t.Error("not served beside a silent client")
	}
	plain := dialTest(t, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.TLSPort())))
	plain.send("PING\r\nPING\r\n")
	if _, err := plain.r.ReadString('P'); err == nil {
		t.Error("plain text was answered")
	}
	silent.Close()
	eventually(t, "no client left", func() bool { return s.count.Load() == 0 })
}

func TestTLSHandshakeTimeout(t *testing.T) {
	a := newAuthority(t)
	a.issue("server")
	s := startImpatient(t, 20*time.Millisecond, func(set *Settings, addr *Address) {
		addr.TLSPort = -1
		set.TLS = a.settings(tls.NoClientCert)
	})
	silent := dialTest(t, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.TLSPort())))
	silent.expectEnd()
}

func TestTLSReload(t *testing.T) {
	a := newAuthority(t)
	a.issue("server")
	s := startTLS(t, a, tls.NoClientCert)
	serial := func() int64 {
		c, err := s.dialTLS(a)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	old, err := s.dialTLS(a)
	if err != nil {
		t.Fatal(err)
	}
	first := serial()
	a.issue("server")
	eventually(t, "the new certificate", func() bool { return serial() == first+1 })
	if err := os.WriteFile(filepath.Join(a.dir, "server.key"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.tls.refresh(); err == nil {
		t.Error("a damaged key was taken")
	}
	if serial() != first+1 {
		t.Error("the former certificate is not in use any more")
	}
	if err := s.Configure(*s.settings.Load()); err == nil {
		t.Error("CONFIG SET of a damaged key succeeded")
	}
	old.send("PING\r\n")
	old.expect("+PONG\r\n")
}
