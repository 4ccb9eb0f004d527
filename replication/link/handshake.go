package link

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// The handshake. D dials, A accepts:
//
//	D  hello      who I am, whom I want, for what
//	A  challenge  who I am                            or refusal
//	D  proof      that I know the secret
//	A  welcome    proof that I know it too            or refusal
//
// A message, all numbers little endian:
//
//	offset  bytes
//	     0      6  "CCLink"
//	     6      1  kind: 1 hello, 2 challenge, 3 proof, 4 welcome, 5 refusal
//	     7      1  zero
//	     8      2  length n of what follows, at most 1152
//	    10      n
//
//	hello      2  lowest version that D speaks
//	           2  highest
//	           1  1 if D has a secret, else 0
//	          32  nonce
//	              cluster, node, wanted node ("": any), purpose: each 1 byte of length and the bytes
//	challenge  2  version, from here on
//	           1  1 if A has a secret, else 0
//	          32  nonce
//	              node
//	proof     32  HMAC-SHA256(secret, "dialer"   + session)
//	welcome   32  HMAC-SHA256(secret, "acceptor" + session)
//	refusal    1  code: 1 version, 2 secret, 3 cluster, 4 node
//	              text, with 1 byte of length
//
//	session = SHA256(binding + hello + challenge)    whole messages
//	binding = 32 bytes exported from the TLS session, or zeros without TLS
//
// A shows its proof only to a peer that has shown his, so a stranger gets nothing to
// try secrets on. The words in front keep a proof from being sent back as an answer.
const (
	magic = "CCLink"
	// Version is the newest version of the protocol, of all that goes over links. 2: acknowledgements of streams say what counts,
	// those of control links whether it is synced.
	Version    = 2
	minVersion = 2

	messageHeader  = 10
	maxName        = 255
	maxMessage     = 1152
	nonceSize      = 32
	exporterLabel  = "EXPORTER-CoreCache-Link"
	dialerWords    = "dialer"
	acceptorWords  = "acceptor"
	maxRefusalText = 200
)

const (
	kindHello = iota + 1
	kindChallenge
	kindProof
	kindWelcome
	kindRefusal
)

// refusals are the reasons that travel; the code is the index + 1.
var refusals = []error{ErrVersion, ErrSecret, ErrCluster, ErrNode}

// Peer is who is on the other side.
type Peer struct {
	Node    string
	Purpose string // as Dial was told
	Version uint16 // of the protocol, that both speak
	Addr    net.Addr
}

type hello struct {
	low, high                      uint16
	secret                         bool
	nonce                          [nonceSize]byte
	cluster, node, wanted, purpose string
}

type challenge struct {
	version uint16
	secret  bool
	nonce   [nonceSize]byte
	node    string
}

// session is what both sides know after the handshake.
type session struct {
	peer Peer
	id   [sha256.Size]byte
}

func (h hello) encode() []byte {
	b := binary.LittleEndian.AppendUint16(nil, h.low)
	b = binary.LittleEndian.AppendUint16(b, h.high)
	b = append(appendBool(b, h.secret), h.nonce[:]...)
	for _, s := range []string{h.cluster, h.node, h.wanted, h.purpose} {
		b = appendName(b, s)
	}
	return message(kindHello, b)
}

func (c challenge) encode() []byte {
	b := binary.LittleEndian.AppendUint16(nil, c.version)
	b = append(appendBool(b, c.secret), c.nonce[:]...)
	return message(kindChallenge, appendName(b, c.node))
}

func message(kind byte, body []byte) []byte {
	b := append([]byte(magic), kind, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendName(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// fields decodes the body of a message; after the first error everything is zero.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if f.bad || len(f.b) < n {
		f.bad = true
		return make([]byte, n)
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) uint16() uint16 { return binary.LittleEndian.Uint16(f.take(2)) }

func (f *fields) bool() bool {
	b := f.take(1)[0]
	f.bad = f.bad || b > 1
	return b == 1
}

func (f *fields) name() string { return string(f.take(int(f.take(1)[0]))) }

func (f *fields) end() error {
	if f.bad || len(f.b) > 0 {
		return fmt.Errorf("%w: a message of the handshake is malformed", ErrHandshake)
	}
	return nil
}

func decodeHello(body []byte) (h hello, err error) {
	f := fields{b: body}
	h.low, h.high, h.secret = f.uint16(), f.uint16(), f.bool()
	copy(h.nonce[:], f.take(nonceSize))
	h.cluster, h.node, h.wanted, h.purpose = f.name(), f.name(), f.name(), f.name()
	return h, f.end()
}

func decodeChallenge(body []byte) (c challenge, err error) {
	f := fields{b: body}
	c.version, c.secret = f.uint16(), f.bool()
	copy(c.nonce[:], f.take(nonceSize))
	c.node = f.name()
	return c, f.end()
}

// readMessage reads one message of the kind, or the refusal that came instead. It returns the whole message.
func readMessage(r io.Reader, kind byte) ([]byte, error) {
	b := make([]byte, messageHeader, 256)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint16(b[8:]))
	if string(b[:len(magic)]) != magic || b[7] != 0 || n > maxMessage || b[6] != kind && b[6] != kindRefusal {
		return nil, fmt.Errorf("%w: the peer said %q", ErrHandshake, b)
	}
	b = append(b, make([]byte, n)...)
	if _, err := io.ReadFull(r, b[messageHeader:]); err != nil {
		return nil, err
	}
	if b[6] == kindRefusal {
		return nil, refusalError(b[messageHeader:])
	}
	return b, nil
}

func refusalError(body []byte) error {
	f := fields{b: body}
	code, text := int(f.take(1)[0]), f.name()
	if err := f.end(); err != nil {
		return err
	}
	reason := ErrHandshake
	if code >= 1 && code <= len(refusals) {
		reason = refusals[code-1]
	}
	return fmt.Errorf("%w: the peer refused the link: %q", reason, text)
}

// refuse tells the peer why, if the reason is one that he may know.
func refuse(w io.Writer, err error) error {
	for i, reason := range refusals {
		if errors.Is(err, reason) {
			text := err.Error()
			_, e := w.Write(message(kindRefusal, appendName([]byte{byte(i + 1)}, text[:min(len(text), maxRefusalText)])))
			return errors.Join(err, e)
		}
	}
	return err
}

// deadline bounds what is done with a connection until the result is called, by
// time and by ctx.
func deadline(ctx context.Context, nc net.Conn, d time.Duration) (done func() error, err error) {
	if err := nc.SetDeadline(time.Now().Add(d)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	return func() error {
		if !stop() {
			return context.Cause(ctx)
		}
		return nc.SetDeadline(time.Time{})
	}, nil
}

// greet is the handshake of the side that dials.
func greet(nc net.Conn, o Options, wanted, purpose string) (s session, err error) {
	h := hello{low: minVersion, high: Version, secret: o.Secret != "", cluster: o.Cluster, node: o.Node, wanted: wanted, purpose: purpose}
	_, _ = rand.Read(h.nonce[:]) // it never fails
	said := h.encode()
	if _, err := nc.Write(said); err != nil {
		return s, err
	}
	heard, err := readMessage(nc, kindChallenge)
	if err != nil {
		return s, err
	}
	c, err := decodeChallenge(heard[messageHeader:])
	if err != nil {
		return s, err
	}
	switch {
	case c.version < minVersion || c.version > Version:
		return s, fmt.Errorf("%w: %s chose %d", ErrVersion, nc.RemoteAddr(), c.version)
	case c.secret != h.secret:
		return s, fmt.Errorf("%w: only one of them has a secret", ErrSecret)
	case wanted != "" && c.node != wanted:
		return s, fmt.Errorf("%w: %s is node %q, not %q", ErrNode, nc.RemoteAddr(), c.node, wanted)
	}
	if s, err = newSession(nc, said, heard); err != nil {
		return s, err
	}
	s.peer = Peer{Node: c.node, Purpose: purpose, Version: c.version, Addr: nc.RemoteAddr()}
	if _, err := nc.Write(message(kindProof, s.proof(o.Secret, dialerWords))); err != nil {
		return s, err
	}
	answer, err := readMessage(nc, kindWelcome)
	if err == nil && !hmac.Equal(answer[messageHeader:], s.proof(o.Secret, acceptorWords)) {
		err = fmt.Errorf("%w: %s could not prove that it has it", ErrSecret, nc.RemoteAddr())
	}
	return s, err
}

// welcome is the handshake of the side that accepts.
func welcome(nc net.Conn, o Options) (s session, err error) {
	heard, err := readMessage(nc, kindHello)
	if err != nil {
		return s, err
	}
	h, err := decodeHello(heard[messageHeader:])
	if err != nil {
		return s, err
	}
	if err := o.accepts(h); err != nil {
		return s, refuse(nc, err)
	}
	c := challenge{version: min(h.high, Version), secret: o.Secret != "", node: o.Node}
	_, _ = rand.Read(c.nonce[:])
	said := c.encode()
	if _, err := nc.Write(said); err != nil {
		return s, err
	}
	if s, err = newSession(nc, heard, said); err != nil {
		return s, err
	}
	s.peer = Peer{Node: h.node, Purpose: h.purpose, Version: c.version, Addr: nc.RemoteAddr()}
	proof, err := readMessage(nc, kindProof)
	if err != nil {
		return s, err
	}
	if !hmac.Equal(proof[messageHeader:], s.proof(o.Secret, dialerWords)) {
		return s, refuse(nc, fmt.Errorf("%w: node %q could not prove that it has it", ErrSecret, h.node))
	}
	_, err = nc.Write(message(kindWelcome, s.proof(o.Secret, acceptorWords)))
	return s, err
}

// accepts tells why a peer is refused before he has proved anything.
func (o Options) accepts(h hello) error {
	switch {
	case h.high < minVersion || h.low > Version:
		return fmt.Errorf("%w: %d to %d here, %d to %d there", ErrVersion, minVersion, Version, h.low, h.high)
	case h.cluster != o.Cluster:
		return fmt.Errorf("%w: %q here, %q there", ErrCluster, o.Cluster, h.cluster)
	case h.wanted != "" && h.wanted != o.Node:
		return fmt.Errorf("%w: this is node %q, not %q", ErrNode, o.Node, h.wanted)
	case h.node == o.Node || h.node == "":
		return fmt.Errorf("%w: node %q here too", ErrNode, h.node)
	case h.secret != (o.Secret != ""):
		return fmt.Errorf("%w: only one of them has a secret", ErrSecret)
	}
	return nil
}

func newSession(nc net.Conn, hello, challenge []byte) (s session, err error) {
	binding := make([]byte, 32)
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		if binding, err = state.ExportKeyingMaterial(exporterLabel, nil, len(binding)); err != nil {
			return s, err
		}
	}
	sum := sha256.New()
	sum.Write(binding)
	sum.Write(hello)
	sum.Write(challenge)
	sum.Sum(s.id[:0])
	return s, nil
}

func (s *session) proof(secret, words string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(words))
	mac.Write(s.id[:])
	return mac.Sum(nil)
}
