package link

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestFrames(t *testing.T) {
	a, b := pair(t, options("a"), options("b"))
	if p := b.Peer(); p.Node != "a" || p.Purpose != "test" || p.Version != Version || a.Peer().Node != "b" {
		t.Fatalf("peers %+v, %+v", p, a.Peer())
	}
	sizes := []int{0, 1, 100, readSize - frameHeader, readSize, 1 << 20, 3}
	go func() {
		for i, n := range sizes {
			body := bytes.Repeat([]byte{byte(i)}, n)
			if err := a.Send(FirstType+byte(i), body[:n/2], body[n/2:]); err != nil {
				t.Error(err)
			}
		}
	}()
	for i, n := range sizes {
		typ, p, err := b.Receive()
		must(t, err)
		if typ != FirstType+byte(i) || !bytes.Equal(p, bytes.Repeat([]byte{byte(i)}, n)) {
			t.Fatalf("frame %d: type %d, %d bytes", i, typ, len(p))
		}
	}
	if err := a.Send(FirstType, make([]byte, 1<<20+1)); !errors.Is(err, ErrFrame) {
		t.Error(err)
	}
	if _, err := a.TrySend(3); !errors.Is(err, ErrFrame) {
		t.Error(err)
	}
	must(t, a.Close("enough"))
	_, _, err := b.Receive()
	if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "enough") {
		t.Error(err)
	}
	<-b.Done()
	if err := b.Send(FirstType); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := a.Send(FirstType); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestManySenders: each sender's frames arrive in order, whoever writes them.
func TestManySenders(t *testing.T) {
	o := options("a")
	o.Queue = 4 << 10
	a, b := pair(t, o, options("b"))
	const senders, each = 8, 2000
	var done sync.WaitGroup
	for s := range senders {
		done.Go(func() {
			var body [8]byte
			for i := range each {
				binary.LittleEndian.PutUint64(body[:], uint64(i))
				for ok := false; !ok; {
					var err error
					if ok = i%3 > 0; ok {
						err = a.Send(FirstType+byte(s), body[:])
					} else if ok, err = a.TrySend(FirstType+byte(s), body[:]); !ok {
						runtime.Gosched()
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	var next [senders]uint64
	for range senders * each {
		typ, p, err := b.Receive()
		must(t, err)
		if n := binary.LittleEndian.Uint64(p); n != next[typ-FirstType] {
			t.Fatalf("sender %d: %d instead of %d", typ-FirstType, n, next[typ-FirstType])
		}
		next[typ-FirstType]++
	}
	done.Wait()
}

func TestHandshakeRefusals(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(a, b *Options)
		want   error
		node   string
	}{
		{"secret", func(a, _ *Options) { a.Secret = "other" }, ErrSecret, ""},
		{"no secret there", func(_, b *Options) { b.Secret = "" }, ErrSecret, ""},
		{"no secret here", func(a, _ *Options) { a.Secret = "" }, ErrSecret, ""},
		{"cluster", func(a, _ *Options) { a.Cluster = "d" }, ErrCluster, ""},
		{"node", func(_, _ *Options) {}, ErrNode, "c"},
		{"itself", func(a, _ *Options) { a.Node = "b" }, ErrNode, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := options("a"), options("b")
			test.change(&a, &b)
			addr, result, _ := accept(t, b)
			_, err := Dial(t.Context(), "tcp", addr, test.node, "", a)
			if !errors.Is(err, test.want) {
				t.Errorf("dial: %v", err)
			}
			if err := <-result; !errors.Is(err, test.want) {
				t.Errorf("accept: %v", err)
			}
		})
	}
	o := options("a")
	o.Secret = ""
	p := options("b")
	p.Secret = ""
	pair(t, o, p)
	if _, err := Dial(t.Context(), "tcp", "127.0.0.1:1", "", "", Options{}); err == nil {
		t.Error("a node without a name")
	}
}

// TestVersions: a peer that speaks older and newer versions too is understood, others are told.
func TestVersions(t *testing.T) {
	if err := options("b").accepts(hello{low: 0, high: 9, cluster: "c", node: "a", secret: true}); err != nil {
		t.Error(err)
	}
	if err := options("b").accepts(hello{low: Version + 1, high: 9, cluster: "c", node: "a", secret: true}); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

// TestImpostor: who does not know the secret gets nothing by sending back what he hears, and is not
// shown a proof.
func TestImpostor(t *testing.T) {
	addr, result, _ := accept(t, options("b"))
	nc, err := net.Dial("tcp", addr)
	must(t, err)
	defer nc.Close()
	h := hello{low: Version, high: Version, secret: true, cluster: "c", node: "a"}
	_, err = nc.Write(h.encode())
	must(t, err)
	_, err = readMessage(nc, kindChallenge)
	must(t, err)
	_, err = nc.Write(message(kindProof, make([]byte, 32)))
	must(t, err)
	if _, err = readMessage(nc, kindWelcome); !errors.Is(err, ErrSecret) {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, ErrSecret) {
		t.Error(err)
	}

	// The other way round: a false node b answers with the dialer's own proof.
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer nl.Close()
	go func() {
		nc, err := nl.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = readMessage(nc, kindHello)
		_, _ = nc.Write(challenge{version: Version, secret: true, node: "b"}.encode())
		proof, _ := readMessage(nc, kindProof)
		_, _ = nc.Write(message(kindWelcome, proof[messageHeader:]))
		_, _ = io.Copy(io.Discard, nc)
	}()
	if _, err := Dial(t.Context(), "tcp", nl.Addr().String(), "b", "", options("a")); !errors.Is(err, ErrSecret) {
		t.Error(err)
	}
}

// TestCutAnywhere cuts the connection after each byte of the handshake and of a few frames: both sides
// end with an error, and no frame is made up.
func TestCutAnywhere(t *testing.T) {
	for cut := int64(1); ; cut++ {
		whole := cutAfter(t, cut)
		if whole {
			t.Logf("cut at each of %d bytes", cut)
			return
		}
		if cut > 2000 {
			t.Fatal("it never gets through")
		}
	}
}

// limited is a connection that breaks after so many bytes were written on it.
type limited struct {
	net.Conn
	left atomic.Int64
}

var errCut = errors.New("cut")

func (l *limited) Write(p []byte) (int, error) {
	left := l.left.Add(-int64(len(p)))
	if left >= 0 {
		return l.Conn.Write(p)
	}
	n, _ := l.Conn.Write(p[:max(0, left+int64(len(p)))])
	return n, errors.Join(errCut, l.Close())
}

func cutAfter(t *testing.T, cut int64) (whole bool) {
	addr, result, conns := accept(t, options("b"))
	nc, err := net.Dial("tcp", addr)
	must(t, err)
	l := &limited{Conn: nc}
	l.left.Store(cut)
	o := options("a").withDefaults()
	c, err := establish(t.Context(), l, o, dialerWords, func(nc net.Conn) (session, error) { return greet(nc, o, "b", "") })
	sent := 0
	for err == nil && sent < 3 {
		if err = c.Send(FirstType+byte(sent), bytes.Repeat([]byte{'x'}, sent*7)); err == nil {
			sent++
		}
	}
	if c != nil {
		_ = c.Close("")
	}
	if err != nil && !errors.Is(err, errCut) {
		t.Fatalf("cut after %d: %v", cut, err)
	}
	other := <-conns
	if e := <-result; e != nil {
		if other != nil || err == nil {
			t.Fatalf("cut after %d: %v", cut, e)
		}
		return false
	}
	defer other.Close("")
	got := 0
	for {
		typ, p, e := other.Receive()
		if e != nil {
			if got != sent {
				t.Fatalf("cut after %d: %d frames sent, %d arrived, %v", cut, sent, got, e)
			}
			return err == nil && l.left.Load() >= 0
		}
		if typ != FirstType+byte(got) || len(p) != got*7 {
			t.Fatalf("cut after %d: frame %d is %d, %q", cut, got, typ, p)
		}
		got++
	}
}

// TestDamagedStream flips each bit of a stream of frames: what was damaged is not taken for a frame.
func TestDamagedStream(t *testing.T) {
	s := session{id: [32]byte{1, 2, 3}}
	seal := newSealer(&s, dialerWords)
	var stream []byte
	want := []string{"one", "", "three"}
	for _, p := range want {
		stream = seal.appendFrame(stream, FirstType, []byte(p))
	}
	for bit := range len(stream) * 8 {
		damaged := bytes.Clone(stream)
		damaged[bit/8] ^= 1 << (bit % 8)
		d := decoder{r: bytes.NewReader(damaged), max: 100, seal: newSealer(&s, dialerWords)}
		for i := 0; ; i++ {
			_, p, err := d.next()
			if err == nil && i < len(want) && string(p) == want[i] {
				continue
			}
			if err == nil || err == io.EOF {
				t.Fatalf("bit %d: frame %d is %q, %v", bit, i, p, err)
			}
			break
		}
	}
	first := len(want[0]) + frameHeader
	for name, b := range map[string][]byte{
		"lost": stream[first:], "twice": append(bytes.Clone(stream[:first]), stream...)[:2*first],
	} {
		d := decoder{r: bytes.NewReader(b), max: 100, seal: newSealer(&s, dialerWords)}
		_, _, err := d.next()
		for err == nil {
			_, _, err = d.next()
		}
		if !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := decoder{r: bytes.NewReader(stream), max: 100, seal: newSealer(&s, acceptorWords)}
	if _, _, err := d.next(); !errors.Is(err, ErrFrame) {
		t.Errorf("the other direction's: %v", err)
	}
}

// TestSilence: a peer that says nothing, or takes nothing, ends the link in time; heartbeats keep it alive.
func TestSilence(t *testing.T) {
	a, b := options("a"), options("b")
	a.Heartbeat, a.ReadTimeout = 10*time.Millisecond, 10*time.Second
	b.Heartbeat, b.ReadTimeout = time.Hour, 10*time.Second
	dialed, accepted := pair(t, a, b)
	go func() { // b hears only heartbeats
		_, _, _ = accepted.Receive()
	}()
	eventually(t, "heartbeats", func() bool {
		dialed.mu.Lock()
		defer dialed.mu.Unlock()
		return dialed.mu.seal.frames > 3
	})
	if err := accepted.Err(); err != nil {
		t.Fatal(err)
	}
	a.ReadTimeout = 50 * time.Millisecond
	dialed, _ = pair(t, a, b) // b says nothing
	if _, _, err := dialed.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	a.WriteTimeout, a.ReadTimeout = 50*time.Millisecond, time.Minute
	dialed, _ = pair(t, a, b) // b takes nothing
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = dialed.Send(FirstType, make([]byte, 1<<20))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// TestQueueIsBounded: a peer that takes nothing makes TrySend say so, and Close does not hang.
func TestQueueIsBounded(t *testing.T) {
	o := options("a")
	o.Queue, o.CloseTimeout = 1<<20, 20*time.Millisecond
	a, _ := pair(t, o, options("b"))
	taken := 0
	for {
		ok, err := a.TrySend(FirstType, make([]byte, 64<<10))
		must(t, err)
		a.mu.Lock()
		stuck := a.mu.writing && len(a.mu.queue) >= a.o.Queue
		size := len(a.mu.queue)
		a.mu.Unlock()
		if size > o.Queue+64<<10+frameHeader {
			t.Fatalf("%d bytes wait", size)
		}
		if !ok && stuck {
			break
		}
		if ok {
			taken++
		} else {
			runtime.Gosched()
		}
	}
	if taken == 0 {
		t.Error("nothing was taken")
	}
	must(t, a.Close(""))
}

// TestHostileBytes sends rubbish, lengths that are lies, half messages and nothing at all to a listener.
func TestHostileBytes(t *testing.T) {
	o := options("b")
	o.HandshakeTimeout, o.MaxHandshakes = 100*time.Millisecond, 4
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	refused := make(chan error, 1000)
	l, err := NewListener(nl, o, func(_ net.Addr, err error) { refused <- err })
	must(t, err)
	h := hello{low: 1, high: 1, secret: true, cluster: "c", node: "a"}.encode()
	huge := bytes.Clone(h)
	huge[8], huge[9] = 0xff, 0xff
	for _, b := range [][]byte{nil, []byte("PING\r\n"), h[:20], huge, bytes.Repeat([]byte{0xff}, 1<<16), append(bytes.Clone(h), h...)} {
		nc, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		_, _ = nc.Write(b)
		if err := <-refused; err == nil {
			t.Error("accepted")
		}
		_ = nc.Close()
	}
	var idle []net.Conn
	for range 50 {
		nc, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		idle = append(idle, nc)
	}
	busy := 0
	for range idle {
		if errors.Is(<-refused, errBusy) {
			busy++
		}
	}
	for _, nc := range idle {
		_ = nc.Close()
	}
	if busy == 0 {
		t.Error("the number of strangers is not bounded")
	}
	c, err := Dial(t.Context(), "tcp", l.Addr().String(), "b", "x", options("a")) // and it still works
	must(t, err)
	s, err := l.Accept(t.Context())
	must(t, err)
	must(t, c.Close(""))
	must(t, s.Close(""))
	must(t, l.Close())
	if _, err := l.Accept(t.Context()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestDialEndsWithItsContext ends it before the connection is made, and within the handshake.
func TestDialEndsWithItsContext(t *testing.T) {
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer nl.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var peer sync.WaitGroup
	peer.Go(func() { // it never answers
		nc, err := nl.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		if _, err := nc.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		cancel()
		_, _ = io.Copy(io.Discard, nc)
	})
	if _, err := Dial(ctx, "tcp", nl.Addr().String(), "", "", options("a")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	peer.Wait()
	if _, err := Dial(ctx, "tcp", nl.Addr().String(), "", "", options("a")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// certificate makes one that is signed by an authority, which is itself if parent is nil.
func certificate(t *testing.T, parent *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: parent == nil, BasicConstraintsValid: true}
	signer, signKey := c, any(key)
	if parent != nil {
		signer, signKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, signer, &key.PublicKey, signKey)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestTLS(t *testing.T) {
	ca, other := certificate(t, nil), certificate(t, nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	a, b := options("a"), options("b")
	a.TLS, b.TLS = TLSConfig(certificate(t, &ca), pool), TLSConfig(certificate(t, &ca), pool)
	dialed, accepted := pair(t, a, b)
	must(t, dialed.Send(FirstType, []byte("hello")))
	_, p, err := accepted.Receive()
	if err != nil || string(p) != "hello" {
		t.Fatal(string(p), err)
	}
	for name, stranger := range map[string]*tls.Config{
		"authority": TLSConfig(certificate(t, &other), pool), "none": {InsecureSkipVerify: true}, "plain": nil,
	} {
		addr, result, _ := accept(t, b)
		s := options("a")
		s.TLS, s.HandshakeTimeout = stranger, 200*time.Millisecond
		if _, err := Dial(t.Context(), "tcp", addr, "", "", s); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := <-result; err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	a.TLS, b.TLS = TLSConfig(certificate(t, nil), nil), TLSConfig(certificate(t, nil), nil)
	pair(t, a, b)
}

// TestTLSBetween: somebody whose certificates would do passes the handshake on, and is found out, as the proofs
// are about two different TLS sessions.
func TestTLSBetween(t *testing.T) {
	a, b := options("a"), options("b")
	a.TLS, b.TLS = TLSConfig(certificate(t, nil), nil), TLSConfig(certificate(t, nil), nil)
	addr, result, _ := accept(t, b)
	nl, err := tls.Listen("tcp", "127.0.0.1:0", TLSConfig(certificate(t, nil), nil))
	must(t, err)
	defer nl.Close()
	go func() {
		in, err := nl.Accept()
		if err != nil {
			return
		}
		defer in.Close()
		out, err := tls.Dial("tcp", addr, TLSConfig(certificate(t, nil), nil))
		if err != nil {
			return
		}
		defer out.Close()
		go func() { _, _ = io.Copy(out, in) }()
		_, _ = io.Copy(in, out)
	}()
	if _, err := Dial(t.Context(), "tcp", nl.Addr().String(), "b", "", a); !errors.Is(err, ErrSecret) {
		t.Errorf("dial: %v", err)
	}
	if err := <-result; !errors.Is(err, ErrSecret) {
		t.Errorf("accept: %v", err)
	}
}

func TestSendAllocatesNothing(t *testing.T) {
	a, b := pair(t, options("a"), options("b"))
	go func() {
		for {
			if _, _, err := b.Receive(); err != nil {
				return
			}
		}
	}()
	body := make([]byte, 100)
	if n := testing.AllocsPerRun(2000, func() {
		if a.Send(FirstType, body, body) != nil {
			t.Error("not sent")
		}
	}); n >= 1 {
		t.Errorf("%v allocations per frame", n)
	}
}

func FuzzDecoder(f *testing.F) {
	s := session{}
	seal := newSealer(&s, dialerWords)
	stream := seal.appendFrame(nil, FirstType, []byte("hello"))
	f.Add(seal.appendFrame(stream, typeHeartbeat), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, step uint16) {
		d := decoder{r: &chunks{b, 1 + int(step)}, max: 1000, seal: newSealer(&s, dialerWords)}
		again := newSealer(&s, dialerWords)
		var out []byte
		for {
			typ, p, err := d.next()
			if err != nil {
				break
			}
			out = again.appendFrame(out, typ, p)
		}
		if !bytes.HasPrefix(b, out) || len(d.buf) > readSize {
			t.Fatalf("%d of %d bytes, a buffer of %d", len(out), len(b), len(d.buf))
		}
	})
}

// chunks gives a few bytes at a time.
type chunks struct {
	b []byte
	n int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.n)], c.b)
	c.b = c.b[n:]
	return n, nil
}

func FuzzHandshake(f *testing.F) {
	f.Add(hello{low: 1, high: 2, cluster: "c", node: "n"}.encode())
	f.Add(challenge{version: 1, secret: true, node: "n"}.encode())
	f.Add(message(kindRefusal, appendName([]byte{1}, "why")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, kind := range []byte{kindHello, kindChallenge, kindProof} {
			m, err := readMessage(bytes.NewReader(b), kind)
			if err != nil {
				continue
			}
			if len(m) > messageHeader+maxMessage {
				t.Fatal(len(m))
			}
			if h, err := decodeHello(m[messageHeader:]); err == nil && kind == kindHello && !bytes.Equal(h.encode(), m) {
				t.Fatalf("%+v", h)
			}
			if c, err := decodeChallenge(m[messageHeader:]); err == nil && kind == kindChallenge && !bytes.Equal(c.encode(), m) {
				t.Fatalf("%+v", c)
			}
		}
	})
}

func BenchmarkRoundTrip(b *testing.B) {
	x, y := pair(b, options("a"), options("b"))
	go func() {
		for {
			_, p, err := y.Receive()
			if err != nil || y.Send(FirstType, p) != nil {
				return
			}
		}
	}()
	body := make([]byte, 128)
	for b.Loop() {
		must(b, x.Send(FirstType, body))
		_, _, err := x.Receive()
		must(b, err)
	}
}

func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{128, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			x, y := pair(b, options("a"), options("b"))
			go func() {
				body := make([]byte, size)
				for x.Send(FirstType, body) == nil {
				}
			}()
			b.SetBytes(int64(size))
			for b.Loop() {
				_, _, err := y.Receive()
				must(b, err)
			}
		})
	}
}
