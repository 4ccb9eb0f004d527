package command

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"unicode"

	"github.com/gtinside/corecache/keyspace"
)

// A node that does not lead opens connections to the leader, and says first who it is:
//
//	PROXY HELLO <version> <from> <to>        from, to: ids of the two nodes; version of all this: "1"
//	  -> bulk string: the leader's nonce, 32 hexadecimal digits
//	PROXY AUTH <mac> <nonce>
//	  -> array: bulk string: the leader's mac; bulk string: the number of databases
//
// The macs prove that both know the secret of the cluster: HMAC-SHA256, in hexadecimal digits, over
//
//	"corecache proxy" NUL version NUL role NUL from NUL to NUL leader's nonce NUL nonce
//
// with the role "proxy" or "leader". The leader proves it second, so that it tells nothing that helps to guess the secret to
// somebody who does not know it. Without a secret the key is empty and the macs prove nothing.
//
// The other node then asks for CLIENT ID, so that it can pass CLIENT UNBLOCK on.
//
// From then on the connection is authenticated, and serves one client after the other; in front of the commands of each it says for whom
// they are, as often as that changes:
//
//	PROXY FOR <addr> <laddr> <db> <resp> <name>      addr, laddr: the two ends of the client's own connection
//	  -> OK

// ProxyVersion is the version of the handshake.
const ProxyVersion = "1"

// ProxyMAC is the mac of a side of the handshake: role is "proxy" or "leader".
func ProxyMAC(secret, role, from, to, leaderNonce, nonce string) string {
	h := hmac.New(sha256.New, []byte(secret))
	for _, s := range []string{"corecache proxy", ProxyVersion, role, from, to, leaderNonce} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	h.Write([]byte(nonce))
	return hex.EncodeToString(h.Sum(nil))
}

// ProxyNonce returns a new nonce.
func ProxyNonce() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// ClusterSecret is what nodes prove to each other to know: masterauth, or else requirepass.
func (s *Server) ClusterSecret() string {
	if secret := s.set.masterAuth.String(); secret != "" {
		return secret
	}
	return s.set.requirePass.String()
}

// origin says who the client of a proxied session is, at the node which it is connected to.
type origin struct {
	node        string
	addr, laddr string
}

// proxyOffer is a handshake that has begun.
type proxyOffer struct{ from, nonce string }

// RemoteAddr is the address of the client, also when it comes by way of another node.
func (sess *Session) RemoteAddr() string {
	if o := sess.origin.Load(); o != nil {
		return o.addr
	}
	return sess.Conn.RemoteAddr()
}

// LocalAddr is the address which the client is connected to: that of another node, if it comes by way of that.
func (sess *Session) LocalAddr() string {
	if o := sess.origin.Load(); o != nil {
		return o.laddr
	}
	return sess.Conn.LocalAddr()
}

func proxyHello(c *Call) {
	if version := string(c.Args[2]); version != ProxyVersion {
		c.Out.Error("ERR this node speaks version " + ProxyVersion + " of PROXY")
		return
	}
	if to := string(c.Args[4]); to != c.cluster.Self() {
		c.Out.Error("ERR this node is " + c.cluster.Self() + ", not " + clip(to, maxProxyText))
		return
	}
	if len(c.Args[3]) > maxProxyText {
		c.Out.Error("ERR a node's id is not so long")
		return
	}
	c.Session.offer = &proxyOffer{from: string(c.Args[3]), nonce: ProxyNonce()}
	c.Out.BulkString(c.Session.offer.nonce)
}

func proxyAuth(c *Call) {
	sess, offer := c.Session, c.Session.offer
	c.redact(2)
	sess.offer = nil
	if offer == nil {
		c.Out.Error("ERR PROXY AUTH without PROXY HELLO")
		return
	}
	secret, nonce, self := c.ClusterSecret(), string(c.Args[3]), c.cluster.Self()
	want := ProxyMAC(secret, "proxy", offer.from, self, offer.nonce, nonce)
	if !hmac.Equal([]byte(want), c.Args[2]) {
		c.stats.denied.Add(1)
		if c.logged.allow(c.nanos()) {
			c.Log.WithField("addr", sess.Conn.RemoteAddr()).Warnf("node %q does not know the secret of the cluster (masterauth or requirepass)", offer.from)
		}
		c.Out.Error("WRONGPASS the nodes have different secrets (masterauth or requirepass)")
		return
	}
	if c.cluster.Leads() == 0 {
		c.Out.Error(ErrNoLeader)
		return
	}
	sess.authenticated.Store(true)
	sess.origin.Store(&origin{offer.from, sess.Conn.RemoteAddr(), sess.Conn.LocalAddr()})
	c.Out.Array(2)
	c.Out.BulkString(ProxyMAC(secret, "leader", offer.from, self, offer.nonce, nonce))
	c.Out.BulkString(strconv.FormatInt(c.set.databases.Int(), 10))
}

func proxyFor(c *Call) {
	sess := c.Session
	old := sess.origin.Load()
	db, ok := keyspace.ParseInt(c.Args[4])
	proto, protoOK := keyspace.ParseInt(c.Args[5])
	switch {
	case old == nil:
		c.Out.Error("ERR PROXY FOR without PROXY AUTH")
		return
	case !ok || !protoOK || proto != 2 && proto != 3 || db < 0 || db >= c.set.databases.Int(),
		!validAddr(c.Args[2]) || !validAddr(c.Args[3]) || !validName(c.Args[6]):
		c.Out.Error("ERR PROXY FOR with an address, database, version of RESP or name that can not be")
		return
	}
	addrs := string(c.Args[2]) + string(c.Args[3])
	n := len(c.Args[2])
	sess.origin.Store(&origin{old.node, addrs[:n], addrs[n:]})
	sess.SetDB(int(db))
	sess.setProto(int(proto))
	c.Out.Proto = int(proto)
	if !sess.named(c.Args[6]) {
		sess.setName(string(c.Args[6]))
	}
	c.Out.OK()
}

// maxProxyText bounds node ids and addresses, in bytes: the path of a unix socket is shorter.
const maxProxyText = 256

// validAddr: an address must not look like several lines in CLIENT LIST.
func validAddr(addr []byte) bool {
	return len(addr) <= maxProxyText && bytes.IndexFunc(addr, unicode.IsControl) < 0
}

// named reports whether name is the session's name.
func (sess *Session) named(name []byte) bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.mu.name == string(name)
}

const proxyFlags = Admin | NoScript | Loading | Stale | NoAuth | NoMulti | SkipSlowlog | SkipMonitor | nodeLocal

// proxyCommand is no command for clients, and not shown to them.
var proxyCommand = Command{
	Name: "proxy", Arity: -2, Group: "cluster", Since: "7.2.0",
	Sub: []Command{
		{Name: "hello", Arity: 5, Flags: proxyFlags, Handler: proxyHello},
		{Name: "auth", Arity: 4, Flags: proxyFlags, Handler: proxyAuth},
		{Name: "for", Arity: 7, Flags: proxyFlags, Handler: proxyFor},
	},
}
