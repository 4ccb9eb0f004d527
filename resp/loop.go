package resp

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gtinside/corecache/command"
)

// loop serves many clients with one goroutine, as long as nobody has to wait: it asks the kernel which
// sockets have something to read, reads, executes, and sends the replies. Compared with a goroutine for each
// client it saves a switch of goroutines and a futile read per request, and all clients that have written in one
// round share one write of the log.
//
// # Who holds a client
//
// A client is idle, or held by exactly one goroutine, which executes its requests:
//
//	the loop          while the client's turn lasts
//	an answerer       from then on, if its writes have to be synced
//	who commits       from then on, if other nodes have to have its writes: whoever learns that they have sends the replies
//	the loop's lane   from then on, while another node executes its commands
//	its own (redcon's) whenever something has to be waited for: a client that does not read its replies, the end of the
//	                  session, or a client whose units have been slow
//
// Events that come while a client is held are noted, and looked at when it is put down (client.rest).
//
// # Who is the loop
//
// Any goroutine may get stuck in the middle of a client: a command blocks (which it says before, see
// client.mayBlock) or takes long (which the watchdog notices). Then another goroutine becomes the loop, and
// the one that is stuck only finishes its client. turn decides who: it is even between clients and odd while
// one is being served, and only ever grows. Whoever moves it from an odd number to the next owns the loop.
type loop struct {
	server *Server
	poll   *poller
	lane   command.Lane // nil when no other node executes anything

	turn atomic.Uint64

	// Owned by whoever is the loop.
	ready []*client          // held by the loop
	next  int                // of ready: the next client to serve
	round int                // of ready: those behind come in the next round
	late  []*client          // have written: their replies wait for the commit; or are back from the lane
	away  []command.Upstream // of clients for the lane
	clock time.Duration

	// Of sockets that are not clients'. Owned likewise.
	watched map[int32]func(ended bool) // by tag
	tags    map[int]int32              // by descriptor
	tag     int32                      // the last one, negative
	events  []event                    // of these sockets

	seen  uint64 // turn, as the watchdog saw it last
	stuck int    // how often it has seen that turn again

	mu struct {
		sync.Mutex
		clients []*client // by descriptor
		tag     int32     // of the last client
	}
}

// A client whose units are slow, because they wait for the disk for example, is left to its own goroutine, so that it holds
// up nobody. One slow unit says little: the process may have been put aside just then.
const (
	slowUnit    = 200 * time.Microsecond // a unit that takes longer is slow,
	slowCommand = 50 * time.Microsecond  // if its commands do so on average
	slowCosts   = 4                      // a slow unit weighs as much as so many fast ones
	slowEnough  = 8                      // beyond this sum the client is slow
	slowMax     = 32
)

// event is one of a socket that is not a client's.
type event struct {
	tag    int32
	events uint32
}

// States of a client of a loop.
const (
	idle  = iota
	held  // somebody executes requests of the client
	again // held, and something has come meanwhile
)

// maxLoops is how many loops there are at most when nobody says how many: more gain little.
const maxLoops = 16

// openLoops makes n event loops, or as many as suit the machine if n is 0.
func (s *Server) openLoops(n int) error {
	if n == 0 {
		n = min(runtime.GOMAXPROCS(0), maxLoops)
	}
	for range n {
		p, err := newPoller()
		if err != nil {
			s.closeLoops()
			return fmt.Errorf("event loop: %w", err)
		}
		if p == nil {
			return nil
		}
		s.loops = append(s.loops, &loop{server: s, poll: p, watched: make(map[int32]func(bool)), tags: make(map[int]int32)})
	}
	return nil
}

func (s *Server) closeLoops() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		_ = l.poll.close() // nothing is watched any more
	}
	s.loops = nil
}

// nextLoop is the loop for another client, nil when there is none.
func (s *Server) nextLoop() *loop {
	if len(s.loops) == 0 {
		return nil
	}
	return s.loops[s.stats.accepted.Load()%int64(len(s.loops))]
}

// watch begins to tell the client's events.
func (l *loop) watch(c *client) error {
	l.mu.Lock()
	for c.fd >= len(l.mu.clients) {
		l.mu.clients = append(l.mu.clients, make([]*client, c.fd+16-len(l.mu.clients))...)
	}
	l.mu.tag = max(l.mu.tag+1, 1) // negative ones are not clients'
	c.tag = l.mu.tag
	l.mu.clients[c.fd] = c
	l.mu.Unlock()
	return l.poll.add(c.fd, c.tag)
}

// forget comes before the descriptor is closed and may belong to another client.
func (l *loop) forget(c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.fd < len(l.mu.clients) && l.mu.clients[c.fd] == c {
		l.mu.clients[c.fd] = nil
	}
}

// run is the loop, until the server stops or another goroutine takes over.
func (l *loop) run() {
	l.clock = time.Since(l.server.start) // the next client has no part in what its predecessor took
	for {
		for l.next < l.round {
			c := l.ready[l.next]
			l.ready[l.next] = nil
			l.next++
			if !l.serve(c) {
				return
			}
		}
		if len(l.away) > 0 {
			l.lane.Begin(l.away)
			clear(l.away)
			l.away = l.away[:0]
		}
		if len(l.late) > 0 && !l.answer() {
			return
		}
		l.ready = slices.Delete(l.ready, 0, l.round)
		if !l.gather() {
			return
		}
		l.next, l.round = 0, len(l.ready)
		l.clock = time.Since(l.server.start)
	}
}

// gather waits for events, unless there are clients to go on with. It reports false when the server stops.
func (l *loop) gather() bool {
	sleep := len(l.ready) == 0
	n, err := l.poll.wait(false)
	if n == 0 && err == nil && sleep {
		n, err = l.poll.wait(true)
	}
	if err != nil {
		l.server.log.limited("poll", func() { l.server.log.Errorf("Waiting for clients: %v", err) })
	}
	return l.tell(n)
}

// tell lets the clients, and the lane, know of n events.
func (l *loop) tell(n int) bool {
	if !l.tellClients(n) {
		return false
	}
	for _, e := range l.events {
		if tell := l.watched[e.tag]; tell != nil {
			tell(e.events&hasEnded != 0)
		}
	}
	l.events = l.events[:0]
	return true
}

func (l *loop) tellClients(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		fd, tag, events := l.poll.event(i)
		if fd == l.poll.waker {
			return false
		}
		if tag < 0 {
			l.events = append(l.events, event{tag, events})
		} else if c := l.mu.clients[fd]; c != nil && c.tag == tag {
			l.event(c, events)
		}
	}
	return true
}

func (l *loop) event(c *client, events uint32) {
	if events&hasEnded != 0 {
		c.hup.Store(true)
		c.gone = c.gone || events&hasGone != 0
		if c.gone && c.away.Load() != 0 {
			l.lose(c)
		}
		if c.watcher.active.Load() {
			c.Kill()
		}
	}
	if events&canWrite != 0 {
		c.sock.roomCame()
	}
	if events&canRead != 0 && c.notice() {
		l.ready = append(l.ready, c)
	}
}

// Watch implements command.Loop.
func (l *loop) Watch(fd int, event func(ended bool)) error {
	l.tag--
	if err := l.poll.add(fd, l.tag); err != nil {
		return err
	}
	l.watched[l.tag], l.tags[fd] = event, l.tag
	return nil
}

// Again implements command.Loop.
func (l *loop) Again(fd int) error { return l.poll.renew(fd, l.tags[fd]) }

// Forget implements command.Loop.
func (l *loop) Forget(fd int) {
	l.poll.remove(fd)
	delete(l.watched, l.tags[fd])
	delete(l.tags, fd)
}

// Resume implements command.Loop: the client's replies can be sent, or its own goroutine waits for them.
func (l *loop) Resume(sess *command.Session) {
	c := sess.Conn.(*client)
	c.away.Store(0)
	if l.server.commands.EndsAtOnce(sess) {
		l.late = append(l.late, c)
		return
	}
	c.own <- struct{}{}
}

// lose ends a client that is in the lane, and that no reply can reach any more.
func (l *loop) lose(c *client) {
	if l.lane.Leave(c.sess.Upstream()) {
		c.away.Store(0)
		c.over = true
		c.own <- struct{}{}
	}
}

// outcome says what is to be done with a client after its turn.
type outcome uint8

const (
	toRest    outcome = iota
	toServe           // there is more to read
	toAnswer          // its replies wait for the commit
	toForward         // the lane has to bring its replies
	toOwn             // its own goroutine has to go on
)

// begin starts a turn, which somebody has to watch: a watchdog that has just gone to sleep sees the turn, or is seen here.
func (l *loop) begin() (turn uint64) {
	turn = l.turn.Add(1)
	l.server.watchdog.rouse()
	return turn
}

// serve lets a client have its turn. It reports false when another goroutine has become the loop.
func (l *loop) serve(c *client) bool {
	if c.slow > slowEnough {
		c.own <- struct{}{}
		return true
	}
	start := l.clock
	turn := l.begin()
	c.turn = turn
	next := c.step()
	kept := c.turn == turn && l.turn.CompareAndSwap(turn, turn+1)
	c.turn = 0
	now := time.Since(l.server.start)
	c.pace(now - start)
	if !kept {
		c.own <- struct{}{}
		return false
	}
	l.clock = now
	l.put(c, next)
	return true
}

// put goes on with a client whose turn is over.
func (l *loop) put(c *client, next outcome) {
	switch next {
	case toRest:
		if c.rest() {
			l.ready = append(l.ready, c)
		}
	case toServe:
		l.ready = append(l.ready, c)
	case toAnswer:
		l.late = append(l.late, c)
	case toForward:
		if c.gone { // the lane would not be told again
			c.own <- struct{}{}
			return
		}
		c.away.Store(max(l.server.clock.Load(), 1))
		l.away = append(l.away, c.sess.Quick())
	case toOwn:
		c.own <- struct{}{}
	}
}

// answer sends the replies of all clients that have written in this round. It reports false when another
// goroutine has become the loop.
func (l *loop) answer() bool {
	late := l.late
	l.late = nil
	if !l.answersAtOnce(late) {
		return l.answerLater(late)
	}
	turn := l.begin()
	for _, c := range late {
		c.next = c.reply()
	}
	kept := l.turn.CompareAndSwap(turn, turn+1)
	for _, c := range late {
		if kept {
			l.put(c, c.next)
		} else {
			c.put(c.next)
		}
	}
	if kept {
		clear(late)
		l.late = late[:0]
	}
	return kept
}

// answerLater has the replies sent by whoever learns of the commit; or by a goroutine that waits, if there is
// more to wait for.
func (l *loop) answerLater(late []*client) (kept bool) {
	reply := func() {
		for _, c := range late {
			c.put(c.reply())
		}
	}
	sessions := make([]*command.Session, len(late))
	for i, c := range late {
		sessions[i] = c.sess
	}
	turn := l.begin()
	awaited := l.server.commands.Await(sessions, reply)
	kept = l.turn.CompareAndSwap(turn, turn+1)
	if !awaited {
		l.server.tasks.Go(reply)
	}
	return kept
}

func (l *loop) answersAtOnce(late []*client) bool {
	for _, c := range late {
		if !l.server.commands.EndsAtOnce(c.sess) {
			return false
		}
	}
	return true
}

// step reads and executes once, as the loop.
func (c *client) step() (next outcome) {
	defer c.contain(&next)
	n, ok := c.fill()
	switch {
	case !ok, n > 0 && !c.run():
		c.over = true
		return toOwn
	case n == 0:
		return toRest
	case c.sess.Dirty():
		return toAnswer
	case c.sess.Quick() != nil:
		return toForward
	case !c.server.commands.EndsAtOnce(c.sess):
		return toOwn // each waits for another node on its own
	}
	return c.reply()
}

// reply ends a unit after which the session goes on.
func (c *client) reply() (next outcome) {
	defer c.contain(&next)
	switch {
	case !c.flushUnit():
		c.over = true
		return toOwn
	case c.out.pending.Load() > roomAlways:
		return toOwn
	case c.filled || c.hup.Load():
		return toServe
	}
	return toRest
}

// contain ends the client alone when something panics that serves others too.
func (c *client) contain(next *outcome) {
	if r := recover(); r != nil {
		c.logPanic(r)
		c.Kill()
		*next = toOwn
	}
}

// put is loop.put on another goroutine.
func (c *client) put(next outcome) {
	if next != toRest || c.rest() {
		c.own <- struct{}{}
	}
}

// rest puts the client down. It reports true when something has come meanwhile: then the caller holds it still.
func (c *client) rest() bool {
	if c.ws != nil {
		c.park()
	}
	if c.state.CompareAndSwap(held, idle) {
		return false
	}
	c.state.Store(held)
	return true
}

// notice is called when something has come. It reports true when that makes the caller the holder.
func (c *client) notice() bool {
	for {
		switch c.state.Load() {
		case idle:
			if c.state.CompareAndSwap(idle, held) {
				return true
			}
		case held:
			if c.state.CompareAndSwap(held, again) {
				return false
			}
		default:
			return false
		}
	}
}

// summon makes the client's own goroutine look at it.
func (c *client) summon() {
	if c.notice() {
		c.own <- struct{}{}
	}
}

// mayBlock comes before the holder waits for something: when that is the loop, another goroutine goes
// on with the other clients.
func (c *client) mayBlock() {
	turn := c.turn
	if turn == 0 {
		return
	}
	c.turn = 0
	if c.loop.turn.CompareAndSwap(turn, turn+1) {
		c.server.tasks.Go(c.loop.run)
	}
}

// pace takes down how long the execution of a unit took. One that only prepares what another node executes is never slow.
func (c *client) pace(d time.Duration) {
	switch {
	case d > slowUnit && d > slowCommand*time.Duration(c.executed) && c.sess.Quick() == nil:
		c.slow = min(c.slow+slowCosts, slowMax)
	case c.slow > 0:
		c.slow--
	}
}

// attend is what the client's own goroutine does: it waits until it is made the holder.
func (c *client) attend() {
	if err := c.loop.watch(c); err != nil {
		c.server.log.limited("poll", func() { c.server.log.Errorf("Waiting for a client: %v", err) })
		return
	}
	for {
		if !c.rest() {
			<-c.own
		}
		if !c.catchUp() {
			return
		}
	}
}

// catchUp does what the client was left to its own goroutine for, and executes whatever has come. It reports false when
// the session is over.
func (c *client) catchUp() bool {
	if !c.endUnit(!c.over) {
		return false
	}
	for {
		n, ok := c.fill()
		if !ok || n == 0 {
			return ok
		}
		start := time.Now()
		goOn := c.run()
		c.pace(time.Since(start))
		if !c.endUnit(goOn) {
			return false
		}
		if !c.filled && !c.hup.Load() {
			return true
		}
	}
}

// watchdog looks whether a loop is stuck. It sleeps while nothing happens.
type watchdog struct {
	dozing atomic.Bool
	wake   chan struct{}
}

const (
	watchEvery = 2 * time.Millisecond
	watchTicks = 2  // a loop that has been with one client for so many ticks is stuck; the process may just have been put aside
	watchQuiet = 50 // without any turn for so many ticks the watchdog goes to sleep
)

// rouse wakes the watchdog if it sleeps.
func (w *watchdog) rouse() {
	if w.dozing.Load() && w.dozing.Swap(false) {
		w.wake <- struct{}{}
	}
}

func (s *Server) runWatchdog() {
	t := time.NewTicker(s.watching)
	defer t.Stop()
	for quiet := 0; ; quiet++ {
		if quiet >= watchQuiet {
			t.Stop()
			if !s.doze() {
				return
			}
			t.Reset(s.watching)
			quiet = 0
		}
		select {
		case <-s.quit:
			return
		case <-t.C:
		}
		for _, l := range s.loops {
			if l.look() {
				quiet = 0
			}
		}
	}
}

// doze waits until a loop has something to do. It reports false when the server stops.
func (s *Server) doze() bool {
	s.watchdog.dozing.Store(true)
	for _, l := range s.loops {
		if l.turn.Load() != l.seen {
			s.watchdog.rouse() // it began before it could know that nobody watches
		}
	}
	select {
	case <-s.quit:
		return false
	case <-s.watchdog.wake:
		return true
	}
}

// look replaces the loop if it has been busy with the same client for long. It reports whether there has been
// anything to do since the last time.
func (l *loop) look() (busy bool) {
	turn := l.turn.Load()
	if turn != l.seen {
		l.seen, l.stuck = turn, 0
		return true
	}
	if turn%2 == 0 {
		return false
	}
	if l.stuck++; l.stuck >= watchTicks && l.turn.CompareAndSwap(turn, turn+1) {
		l.server.tasks.Go(l.run)
	}
	return true
}
