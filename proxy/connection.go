package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/reply"
)

// connection is one to the leader. It serves one session after the other, whichever has something to forward, and belongs to one
// as long as the leader has to remember something of it (WATCH). One goroutine at a time uses it.
type connection struct {
	net.Conn  // the socket, or TLS over it
	sock      *socket
	id, addr  string          // of the leader
	changed   <-chan struct{} // closed when somebody else may lead
	databases int             // of the leader
	client    string          // the leader's id of this connection, see CLIENT ID

	deadline time.Time // of reading
	used     time.Time // when it was given back
	input

	// What the leader knows of the session.
	sess     *command.Session
	name     string
	db       int
	proto    int
	watching bool // keys are watched

	busy bool // replies may be under way that nobody has read; also after something has gone wrong
}

// input is what has been read from the leader and not been taken yet: in[r:w].
type input struct {
	in   []byte
	r, w int
}

const inSize = 16 << 10

// Limits of a connection that nobody answers: the kernel ends it.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

const userTimeout = 10 * time.Second

// refusal is what the leader says when it does not take a connection.
type refusal string

func (r refusal) Error() string { return "the leader refuses the connection: " + string(r) }

// final reports whether trying again is useless.
func (r refusal) final() bool {
	return strings.HasPrefix(string(r), "WRONGPASS") || strings.HasPrefix(string(r), "DENIED")
}

// connect returns an idle connection to the leader or makes one. changed was got before the leader was asked for.
func (p *Proxy) connect(changed <-chan struct{}, gone <-chan struct{}) (*connection, error) {
	if c := p.take(); c != nil {
		return c, nil
	}
	if err := p.mayDial(gone); err != nil {
		return nil, err
	}
	defer func() { <-p.dials }()
	if c := p.take(); c != nil { // somebody was faster
		return c, nil
	}
	id, addr := p.o.Cluster.Leader()
	if addr == "" {
		return nil, errUnknown
	}
	c, err := p.dial(id, addr, changed)
	if err != nil {
		return nil, err
	}
	c.changed = changed
	p.open.Add(1)
	return c, nil
}

// mayDial waits, not longer than making a connection may take, until not too many are being made.
func (p *Proxy) mayDial(gone <-chan struct{}) error {
	select {
	case p.dials <- struct{}{}:
		return nil
	default:
	}
	t := time.NewTimer(p.o.Dial)
	defer t.Stop()
	select {
	case p.dials <- struct{}{}:
		return nil
	case <-t.C:
		return errCrowd
	case <-gone:
		return errGone
	case <-p.ctx.Done():
		return errClosed
	}
}

// dial connects to the leader, unless changed is closed meanwhile.
func (p *Proxy) dial(id, addr string, changed <-chan struct{}) (*connection, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.o.Dial)
	defer cancel()
	p.tasks.Go(func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	})
	nc, err := (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c, err := p.prepare(ctx, nc, id, addr)
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	if !stop() {
		return nil, errors.Join(context.Cause(ctx), c.Close())
	}
	return c, nil
}

// prepare makes a connection of a socket.
func (p *Proxy) prepare(ctx context.Context, nc net.Conn, id, addr string) (*connection, error) {
	sock, err := newSocket(nc)
	if err != nil {
		return nil, err
	}
	if err := setUserTimeout(sock.raw, userTimeout); err != nil {
		return nil, err
	}
	c := &connection{Conn: sock, sock: sock, id: id, addr: addr}
	if conf := p.o.TLS(); conf != nil {
		if conf.ServerName == "" && !conf.InsecureSkipVerify {
			conf = conf.Clone()
			conf.ServerName, _, _ = net.SplitHostPort(addr)
		}
		tc := tls.Client(sock, conf)
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c.Conn = tc
	}
	return c, c.introduce(p.o.Cluster.Self(), p.o.Secret())
}

// introduce is the handshake drawn in command/proxied.go.
func (c *connection) introduce(self, secret string) error {
	answer, err := c.ask("PROXY", "HELLO", command.ProxyVersion, self, c.id)
	if err != nil {
		return err
	}
	theirs, ok := bulk(answer)
	if !ok {
		return errHandshake
	}
	mine := command.ProxyNonce()
	answer, err = c.ask("PROXY", "AUTH", command.ProxyMAC(secret, "proxy", self, c.id, theirs, mine), mine)
	if err != nil {
		return err
	}
	n, at := reply.Elements(answer)
	if n != 2 {
		return errHandshake
	}
	mac, rest, _ := reply.First(answer[at:])
	text, ok := bulk(mac)
	if !ok || !equal(text, command.ProxyMAC(secret, "leader", self, c.id, theirs, mine)) {
		return fmt.Errorf("%s does not know the secret of the cluster (masterauth or requirepass)", c.addr)
	}
	text, _ = bulk(rest)
	if c.databases, err = strconv.Atoi(text); err != nil {
		return errHandshake
	}
	answer, err = c.ask("CLIENT", "ID")
	if err != nil {
		return err
	}
	c.client = strings.Trim(string(answer), ":\r\n")
	return nil
}

var errHandshake = errors.New("proxy: not the answer of a leader")

// maxAnswer bounds the replies of the handshake.
const maxAnswer = 4 << 10

// ask sends a command of the handshake and reads its reply.
func (c *connection) ask(args ...string) ([]byte, error) {
	if _, err := c.Write(appendCommand(nil, args...)); err != nil {
		return nil, err
	}
	buf := make([]byte, maxAnswer)
	for n := 0; n < len(buf); {
		more, err := c.Read(buf[n:])
		n += more
		if first, rest, ok := reply.First(buf[:n]); ok {
			if len(rest) > 0 {
				return nil, errHandshake
			}
			if first[0] == '-' {
				return nil, refusal(strings.TrimRight(string(first[1:]), "\r\n"))
			}
			return first, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errHandshake
}

// bulk returns the text of a bulk string.
func bulk(encoded []byte) (string, bool) {
	head, text, ok := strings.Cut(string(encoded), "\r\n")
	if !ok || !strings.HasPrefix(head, "$") || !strings.HasSuffix(text, "\r\n") {
		return "", false
	}
	return text[:len(text)-2], true
}

// appendCommand appends an encoded request.
func appendCommand[T string | []byte](b []byte, args ...T) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(args)), 10)
	b = append(b, '\r', '\n')
	for _, a := range args {
		b = appendArg(b, a)
	}
	return b
}

func appendArg[T string | []byte](b []byte, arg T) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(arg)), 10)
	b = append(b, '\r', '\n')
	b = append(b, arg...)
	return append(b, '\r', '\n')
}

// serves reports whether the leader knows that the connection speaks for sess, with the state that it is to have.
func (c *connection) serves(sess *command.Session, name string, db, proto int) bool {
	return c.sess == sess && c.db == db && c.proto == proto && c.name == name
}

// serve appends the command that makes it so.
func (c *connection) serve(b []byte, sess *command.Session, name string, db, proto int) []byte {
	c.sess, c.name, c.db, c.proto = sess, name, db, proto
	var digits [20]byte
	b = append(b, "*7\r\n$5\r\nPROXY\r\n$3\r\nFOR\r\n"...)
	b = appendArg(b, sess.RemoteAddr())
	b = appendArg(b, sess.LocalAddr())
	b = appendArg(b, strconv.AppendInt(digits[:0], int64(db), 10))
	b = appendArg(b, strconv.AppendInt(digits[:0], int64(proto), 10))
	return appendArg(b, name)
}

// usable reports whether commands may be sent: the leader is still the same, and has neither closed the connection nor
// sent something that nobody has asked for. With TLS nothing else comes either: tickets come before the first reply.
func (c *connection) usable(cluster command.Cluster) bool {
	return !c.busy && c.current(cluster) && c.sock.quiet()
}

// current reports whether the connection leads to the leader, or nobody knows better.
func (c *connection) current(cluster command.Cluster) bool {
	select {
	case <-c.changed:
	default:
		return true
	}
	c.changed = cluster.Changed()
	id, addr := cluster.Leader()
	return addr == "" || id == c.id && addr == c.addr
}
