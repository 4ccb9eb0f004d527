package link

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrClosed is returned by a Conn or Listener after Close, here or on the other side.
	ErrClosed = errors.New("the link is closed")
	// ErrFrame marks bytes that are not a frame, not the next one, or damaged.
	ErrFrame = errors.New("bad frame")
	// ErrHandshake marks a peer that does not speak this protocol.
	ErrHandshake = errors.New("not a link")
	// ErrVersion: the two have no version of the protocol in common.
	ErrVersion = errors.New("no common version of the link protocol")
	// ErrSecret: the other side does not have the same secret, or only one has any.
	ErrSecret = errors.New("the secrets of the two nodes differ")
	// ErrCluster: the other side is of another cluster.
	ErrCluster = errors.New("a node of another cluster")
	// ErrNode: the other side is not the node that was wanted, or is this node itself.
	ErrNode = errors.New("another node than expected")
)

// Options are the settings of one node. Zero values mean the default, given in parentheses.
type Options struct {
	// Cluster and Node are who this node is, each of 1 to 255 bytes; they travel in the clear.
	Cluster, Node string
	// Secret is shared by all nodes; "" only if none has one.
	Secret string
	// TLS, if not nil, is used on both sides; see TLSConfig.
	TLS *tls.Config

	HandshakeTimeout time.Duration // for all of it, TLS included (5 s)
	Heartbeat        time.Duration // a frame is sent at least so often (1 s)
	ReadTimeout      time.Duration // silence ends the link (5 s)
	WriteTimeout     time.Duration // a peer that takes nothing for so long ends it too (10 s)
	CloseTimeout     time.Duration // for what is still to be sent at Close (1 s)

	// MaxFrame bounds the payload of one frame, in bytes (1 MiB); what is larger ends the link.
	MaxFrame int
	// Queue bounds what waits to be written, in bytes (4 MiB). There is one frame more, and
	// as much again may be on its way to the socket.
	Queue int
	// MaxHandshakes bounds the connections that a Listener has not authenticated yet (64);
	// further ones are closed.
	MaxHandshakes int
}

func (o Options) withDefaults() Options {
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, 5*time.Second)
	o.Heartbeat = cmp.Or(o.Heartbeat, time.Second)
	o.ReadTimeout = cmp.Or(o.ReadTimeout, 5*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 10*time.Second)
	o.CloseTimeout = cmp.Or(o.CloseTimeout, time.Second)
	o.MaxFrame = cmp.Or(o.MaxFrame, 1<<20)
	o.Queue = cmp.Or(o.Queue, 4<<20)
	o.MaxHandshakes = cmp.Or(o.MaxHandshakes, 64)
	return o
}

func (o Options) validate() error {
	for _, s := range []string{o.Cluster, o.Node} {
		if s == "" || len(s) > maxName {
			return fmt.Errorf("link: the names of cluster and node have 1 to %d bytes, not %d", maxName, len(s))
		}
	}
	return nil
}
