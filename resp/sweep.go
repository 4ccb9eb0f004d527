package resp

import (
	"cmp"
	"slices"
	"time"
)

// sweepEvery is how often all connections are looked at.
const sweepEvery = time.Second

// runSweeper moves the clock on, enforces what is measured in seconds, and keeps the memory budget.
func (s *Server) runSweeper() {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	var favourite *client
	for {
		select {
		case <-s.quit:
			return
		case <-s.pressure:
		case <-t.C:
			s.sweep(time.Since(s.start))
		}
		favourite = s.evict(favourite)
	}
}

// sweep closes idle clients and those that exceed a soft limit for too long. now is the time since
// the server was made.
func (s *Server) sweep(now time.Duration) {
	s.clock.Store(int64(now))
	set := s.settings.Load()
	for _, c := range s.connections() {
		switch {
		case set.Timeout > 0 && c.idle(now) > set.Timeout:
			s.log.limited("idle", func() { s.log.Debugf("Closing idle client: %s", c.remote) })
			c.Kill()
		case c.deserted(now):
			c.Kill()
		case c.overSoftLimit(now, set):
			s.stats.outputClosed.Add(1)
			s.log.limited("soft", func() { s.log.Warnf("Closing client over the soft limit of its output: %s", c.remote) })
			c.Kill()
		}
	}
	s.refreshCertificates()
}

func (s *Server) refreshCertificates() {
	if s.tls == nil {
		return
	}
	if err := s.tls.refresh(); err != nil {
		s.log.limited("certificates", func() { s.log.Warnf("TLS files have changed and can not be used: %v", err) })
	}
}

// idle is how long the client has neither sent nor taken anything; 0 for clients that wait for the server.
func (c *client) idle(now time.Duration) time.Duration {
	if c.inUnit.Load() || c.watcher.active.Load() || c.ready.Load() && c.sess.Streaming() {
		return 0
	}
	return now - time.Duration(c.progress.Load())
}

// deserted reports whether the client has closed its end and has been waiting for long, for another node. One that closes its end behind its
// last request and gets the replies soon is none of those.
func (c *client) deserted(now time.Duration) bool {
	since := time.Duration(c.away.Load())
	return since != 0 && c.hup.Load() && now-since > sweepEvery
}

func (c *client) overSoftLimit(now time.Duration, set *Settings) bool {
	since := time.Duration(c.softSince.Load())
	if since == 0 {
		return false
	}
	limit := set.Normal
	if limit.Soft == 0 {
		limit = set.PubSub // only pushed messages have got a limit
	}
	return limit.Soft > 0 && c.out.pending.Load() > limit.Soft && now-since >= limit.SoftFor
}

// outputRoom is how many bytes may wait for one client before it is not read from.
func (s *Server) outputRoom() int64 {
	limit := s.settings.Load().MaxMemory
	switch {
	case limit == 0:
		return roomNoLimit
	case s.held.Load() <= limit/2:
		return max(limit/2, roomAlways)
	}
	return roomAlways
}

// holder is a client and what it held when it was looked at.
type holder struct {
	*client
	bytes int64
}

// evict closes the clients that hold most when all together exceed maxmemory-clients, and some more,
// so that there is not one to be found for every few bytes that come. One client, the favourite, is
// left out of the account, so that a single large value gets through; it stays the favourite as
// long as it holds much and makes progress. It is returned for the next time.
func (s *Server) evict(favourite *client) *client {
	limit := s.settings.Load().MaxMemory
	if limit == 0 || s.held.Load() <= limit {
		return nil
	}
	all := s.holders()
	favourite = s.chooseFavourite(all, favourite, limit)
	total := int64(0)
	for _, h := range all {
		if h.client != favourite {
			total += h.bytes
		}
	}
	if total <= limit {
		return favourite
	}
	for _, h := range all {
		if total <= limit-limit/8 {
			break
		}
		if h.client == favourite || h.ready.Load() && h.sess.NoEvict() {
			continue
		}
		total -= h.bytes
		s.stats.evicted.Add(1)
		s.log.limited("evict", func() {
			s.log.Warnf("Evicting client %s and others: the buffers of all clients exceed maxmemory-clients", h.remote)
		})
		h.Kill()
	}
	return favourite
}

// holders returns the open connections which hold something, largest first.
func (s *Server) holders() []holder {
	var all []holder
	for _, c := range s.connections() {
		if n := c.held.Load(); n > 0 && !c.isKilled() {
			all = append(all, holder{c, n})
		}
	}
	slices.SortFunc(all, func(a, b holder) int { return cmp.Compare(b.bytes, a.bytes) })
	return all
}

// chooseFavourite keeps the favourite or else takes the largest client that makes progress.
func (s *Server) chooseFavourite(largestFirst []holder, favourite *client, limit int64) *client {
	for _, h := range largestFirst {
		if h.client == favourite && h.bytes >= limit/8 && !s.stalled(h.client) {
			return favourite
		}
	}
	for _, h := range largestFirst {
		if !s.stalled(h.client) {
			return h.client
		}
	}
	return nil
}

func (s *Server) stalled(c *client) bool {
	return s.clock.Load()-c.progress.Load() > int64(s.stall+sweepEvery)
}
