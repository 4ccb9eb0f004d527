package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gtinside/corecache/command"
)

// disposal is what becomes of a reply.
type disposal uint8

const (
	keep    disposal = iota // it goes to w, and from there to the client as it comes if it is long
	collect                 // it goes to w, unless it is longer than maxCollect
	discard
)

// maxCollect bounds a reply that has to be complete before the client gets any of it, in bytes. Those are of transactions with commands
// for this node among those for the leader.
const maxCollect = 64 << 20

// headSize is how much of a reply says whether the leader refuses.
const headSize = len(command.ErrNoLeaderExec) + 1

// read reads one reply, the beginning of which is head, and its first byte kind. Out-of-band messages in front of it go the same way.
func (x *exchange) read(how disposal) (kind byte, head []byte, err error) {
	ws, from := x.ws, x.from
	scan := &ws.scan
	scan.Reset()
	x.at, x.torn, x.long = len(x.w.Buf), false, false
	start, begun := x.at, false // of the reply itself, behind messages
	for {
		n, done, err := scan.Scan(from.in[from.r:from.w])
		if err != nil {
			return 0, nil, fmt.Errorf("%w: %w", errProtocol, err)
		}
		if n > 0 {
			piece := from.in[from.r : from.r+n]
			from.r += n
			if !begun {
				kind, begun = piece[0], true
				ws.head = ws.head[:0]
			}
			if room := headSize - len(ws.head); room > 0 {
				ws.head = append(ws.head, piece[:min(room, n)]...)
			}
			switch {
			case how == collect && len(x.w.Buf)-start > maxCollect:
				how, x.long = discard, true
				x.w.Truncate(start)
			case how != discard:
				x.w.Buf = append(x.w.Buf, piece...)
			}
		}
		switch {
		case done && !scan.Push():
			return kind, ws.head, nil
		case done:
			if how == collect { // it is not part of what is collected
				x.w.Truncate(start)
			}
			scan.Reset()
			start, begun = len(x.w.Buf), false
			continue
		case how == keep && len(x.w.Buf)-x.at >= holdBack || how == keep && x.torn && len(x.w.Buf) >= sendAt:
			x.torn, x.bulky = true, true
			x.refused.entry = -1 // so long is no refusal
			if err := x.send(); err != nil {
				return 0, nil, err
			}
			if start = x.at; x.gone {
				how = discard
			}
		}
		if err := x.fill(how == discard || !begun && x.at == len(x.w.Buf)); err != nil {
			return 0, nil, err
		}
		if !begun {
			start = len(x.w.Buf)
		}
	}
}

// fill reads more from the leader. whole says that there is no part of a reply in w.
func (x *exchange) fill(whole bool) error {
	if x.conn == nil { // all that a line has brought is taken
		return cmp.Or(x.arrival.err, io.ErrUnexpectedEOF)
	}
	c := x.conn
	c.r, c.w = 0, copy(c.in, c.in[c.r:c.w])
	if err := x.impatience(); err != nil {
		return err
	}
	for {
		n, err := c.Read(c.in[c.w:])
		c.w += n
		switch {
		case n > 0:
			return nil
		case err == nil:
			return io.ErrNoProgress
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		if err := x.slow(whole); err != nil {
			return err
		}
	}
}

// impatience sees to it that reading is interrupted when there is something to be done meanwhile: to begin to watch, or to
// pass on the replies to earlier requests.
func (x *exchange) impatience() error {
	switch {
	case x.guard == nil && x.conn.deadline.Sub(x.began) < x.proxy.o.Watch/2:
		return x.setDeadline(x.began.Add(x.proxy.o.Watch))
	case x.guard != nil && x.conn.deadline.IsZero() && len(x.w.Buf) > 0:
		return x.setDeadline(time.Now().Add(x.proxy.o.Watch))
	}
	return nil
}

// setDeadline is when reading is interrupted. To set it costs as much as to forward a command, so it is set anew only when it
// comes near.
func (x *exchange) setDeadline(t time.Time) error {
	x.conn.deadline = t
	return x.conn.SetReadDeadline(t)
}

// slow is called when a reply takes long: from now on somebody looks whether it is worth waiting for.
func (x *exchange) slow(whole bool) error {
	if x.guard == nil {
		x.guard = x.watch()
	}
	if !whole || x.refused.entry >= 0 {
		return x.setDeadline(time.Now().Add(x.proxy.o.Watch)) // what has come can not be passed on yet
	}
	x.flush()
	return x.setDeadline(time.Time{})
}
