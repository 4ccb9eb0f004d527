package proxy

import "time"

// guard is a goroutine that closes the connection when there is no use in waiting for the leader.
type guard struct{ stop, stopped chan struct{} }

// watch starts a guard.
func (x *exchange) watch() *guard {
	g := &guard{make(chan struct{}), make(chan struct{})}
	c, done, p := x.conn, x.sess.Conn.Done(), x.proxy
	if x.turn.batch != nil {
		done = nil // others wait for this connection, too
	}
	p.tasks.Go(func() {
		defer close(g.stopped)
		tick := time.NewTicker(p.o.Watch)
		defer tick.Stop()
		for {
			changed := p.o.Cluster.Changed()
			if p.deposed(c) || !p.o.Hears() {
				break
			}
			select {
			case <-changed:
				continue
			case <-tick.C:
				continue
			case <-g.stop:
				return
			case <-done:
			case <-p.ctx.Done():
			}
			break
		}
		_ = c.Close() // whoever reads is told
	})
	return g
}

// deposed reports whether another node is known to lead than the one that a connection leads to.
func (p *Proxy) deposed(c *connection) bool {
	id, addr := p.o.Cluster.Leader()
	return addr != "" && (id != c.id || addr != c.addr)
}

// unguard ends the guard, if there is one.
func (x *exchange) unguard() {
	if x.guard != nil {
		close(x.guard.stop)
		<-x.guard.stopped
		x.guard = nil
	}
}

// guard adds a line to those that guardLines looks after, or takes it out.
func (p *Proxy) guard(ln *line, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.mu.lines[ln] = struct{}{}
	} else {
		delete(p.mu.lines, ln)
	}
}

// guardLines does for the lines of all lanes what a guard does for one exchange. Their loops then tell those who wait. A leader that hands over
// gets the time for its last words.
func (p *Proxy) guardLines() {
	tick := time.NewTicker(p.o.Watch)
	defer tick.Stop()
	for {
		changed := p.o.Cluster.Changed()
		for _, ln := range p.guarded() {
			if ln.overdue() && (p.deposed(ln.connection) || !p.o.Hears()) {
				ln.sock.hangUp()
			}
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-p.ctx.Done():
			return
		}
	}
}

// guarded returns the lines.
func (p *Proxy) guarded() (all []*line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ln := range p.mu.lines {
		all = append(all, ln)
	}
	return all
}

// overdue reports whether the replies to a batch take long.
func (ln *line) overdue() bool {
	since := time.Duration(ln.since.Load())
	return since != 0 && time.Since(ln.lane.proxy.start)-since > ln.lane.proxy.o.Watch
}
