package resp

import "sync"

const (
	chunkSize = 16 << 10 // read at a time
	smallRest = 4 << 10  // an unfinished command up to here is kept apart while its client is silent
	bigBuffer = 1 << 20  // from here on a buffer grows faster than twofold
)

// workspace is the memory that running a unit takes. It belongs to a connection only
// while there is something to do: a silent client costs none.
type workspace struct {
	in     []byte // chunkSize
	out    []byte // replies
	args   [][]byte
	inline []byte
}

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

const (
	firstOut = 4 << 10   // what a reply buffer begins with
	keepOut  = 256 << 10 // larger reply buffers are not kept
	keepArgs = 4 << 10   // the same, in arguments
)

// borrow takes a workspace from the pool.
func borrow() *workspace {
	ws := workspaces.Get().(*workspace)
	if ws.in == nil {
		ws.in = make([]byte, chunkSize)
	}
	if cap(ws.out) == 0 {
		ws.out = make([]byte, 0, firstOut)
	}
	return ws
}

// size is the memory of the workspace in bytes.
func (ws *workspace) size() int64 {
	return int64(cap(ws.in) + cap(ws.out) + cap(ws.args)*argumentMemory + cap(ws.inline))
}

// recycle gives a workspace back.
func (ws *workspace) recycle() {
	if cap(ws.out) > keepOut {
		ws.out = nil
	}
	if cap(ws.args) > keepArgs {
		ws.args = nil
	}
	if cap(ws.inline) > keepOut {
		ws.inline = nil
	}
	clear(ws.args[:cap(ws.args)]) // they alias buffers that may be large
	workspaces.Put(ws)
}

// input is what a connection has read and not executed. It lives in the workspace's
// chunk, in a small copy while the client is silent, or, when a command is longer than
// a chunk, in a buffer of its own which grows as bytes arrive, never as they are announced.
type input struct {
	buf        []byte // the chunk, the small copy, or own memory
	start, end int    // buf[start:end] is not executed yet
	own        bool   // buf is own memory
	parked     bool   // buf is the small copy
	small      []byte // memory of the small copy
}

func (in *input) bytes() []byte { return in.buf[in.start:in.end] }

func (in *input) len() int { return in.end - in.start }

// take removes the n bytes at the front, which stay valid until the next space or park.
func (in *input) take(n int) []byte {
	b := in.buf[in.start : in.start+n : in.start+n]
	in.start += n
	return b
}

// space returns memory to read into, never none. need is the length of the command at
// the front, as far as it is known.
func (in *input) space(ws *workspace, need int) []byte {
	switch {
	case in.len() == 0:
		in.buf, in.start, in.end, in.own, in.parked = ws.in, 0, 0, false, false
	case in.parked, in.own && in.start > 0 && in.len() < len(ws.in):
		in.end = copy(ws.in, in.bytes())
		in.buf, in.start, in.own, in.parked = ws.in, 0, false, false
	case in.start > 0 && in.start+need > len(in.buf):
		in.end = copy(in.buf, in.bytes())
		in.start = 0
	}
	if in.end == len(in.buf) {
		in.grow(need)
	}
	if in.own && in.end-in.start < need {
		// Nothing behind the command, so that the buffer can go with it.
		return in.buf[in.end:min(in.start+need, len(in.buf))]
	}
	return in.buf[in.end:]
}

// grow moves the input to a larger buffer of its own: at most fourfold, and no more than
// the command needs as far as that is known. So all copying together is in proportion to the command.
func (in *input) grow(need int) {
	size := 2 * len(in.buf)
	if size > bigBuffer {
		size *= 2
	}
	if need > in.len() {
		size = min(size, need)
	}
	buf := make([]byte, max(size, in.len()+smallRest))
	in.end = copy(buf, in.bytes())
	in.buf, in.start, in.own = buf, 0, true
}

// park prepares for a silence, during which the workspace is given back: a short
// rest is copied out of it, with a long one the chunk goes away.
func (in *input) park(ws *workspace) {
	switch {
	case in.len() == 0:
		*in = input{}
	case in.parked:
	case in.len() <= smallRest:
		in.small = append(in.small[:0], in.bytes()...)
		in.buf, in.start, in.end, in.own, in.parked = in.small, 0, len(in.small), false, true
	case !in.own:
		in.own, ws.in = true, nil
	case cap(in.buf) > 4*in.len()+smallRest:
		// Grown for a command that has been executed.
		in.buf = append(make([]byte, 0, 2*in.len()), in.bytes()...)
		in.start, in.end, in.buf = 0, len(in.buf), in.buf[:cap(in.buf)]
	}
}

// held is the memory that the input keeps besides a workspace.
func (in *input) held() int {
	if in.own {
		return cap(in.buf)
	}
	return cap(in.small)
}
