package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// Listener accepts links. It has a goroutine that accepts connections and, for a short time, one for
// each that is not authenticated yet; Close ends them.
type Listener struct {
	o       Options
	nl      net.Listener
	refused func(net.Addr, error)
	ready   chan *Conn
	life    context.Context
	end     context.CancelCauseFunc
	tasks   sync.WaitGroup
}

// NewListener takes over a listener. It calls refused, if that is not nil, for each connection that does not become a
// link; a stranger can cause as many calls as he likes.
func NewListener(nl net.Listener, o Options, refused func(from net.Addr, err error)) (*Listener, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if refused == nil {
		refused = func(net.Addr, error) {}
	}
	l := &Listener{o: o, nl: nl, refused: refused, ready: make(chan *Conn)}
	l.life, l.end = context.WithCancelCause(context.Background())
	l.tasks.Add(1)
	go l.run()
	return l, nil
}

// Addr is where it listens.
func (l *Listener) Addr() net.Addr { return l.nl.Addr() }

// Accept returns the next link; who it is and what for, Conn.Peer tells.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.life.Done():
		return nil, context.Cause(l.life)
	}
}

var errBusy = errors.New("too many connections in their handshake")

// acceptPause is how long a failing accept is left alone; it fails when there are no descriptors.
const acceptPause = 100 * time.Millisecond

func (l *Listener) run() {
	defer l.tasks.Done()
	slots := make(chan struct{}, l.o.MaxHandshakes)
	for {
		nc, err := l.nl.Accept()
		if err != nil {
			l.refused(l.nl.Addr(), err)
			select {
			case <-l.life.Done():
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
			l.tasks.Add(1)
			go l.shake(nc, slots)
		default:
			l.refused(nc.RemoteAddr(), errors.Join(errBusy, nc.Close()))
		}
	}
}

// shake authenticates a connection and hands it over.
func (l *Listener) shake(nc net.Conn, slots <-chan struct{}) {
	defer l.tasks.Done()
	defer func() { <-slots }()
	c, err := Accept(l.life, nc, l.o)
	if err != nil {
		l.refused(nc.RemoteAddr(), err)
		return
	}
	select {
	case l.ready <- c:
	case <-c.Done():
		_ = c.Close("")
	case <-l.life.Done():
		_ = c.Close("the node stops")
	}
}

// Close ends the listener, but not the links that Accept has returned.
func (l *Listener) Close() error {
	l.end(ErrClosed)
	err := l.nl.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	l.tasks.Wait()
	return err
}
