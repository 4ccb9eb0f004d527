package election

import (
	"fmt"
	"time"
)

// Link is how a node stands with ZooKeeper.
type Link int

// The values of Link.
const (
	Disconnected Link = iota // there is no connection; the session may still live
	Connected
	Expired // ZooKeeper said so, or there has been no connection for longer than a session lasts
)

func (l Link) String() string {
	switch l {
	case Connected:
		return "connected"
	case Expired:
		return "expired"
	}
	return "disconnected"
}

// Status is for INFO and the log. Nothing that matters for safety may be concluded from it: it is what this process knows, and
// a process that was paused knows old things.
type Status struct {
	Link       Link
	Since      time.Time // of being connected, or of having no connection
	Server     string    // host:port that the node is, or was, connected to
	Registered bool      // the node's entry is in ZooKeeper, as far as is known
	Problem    error     // why something does not work that should; nil when all is well
}

// Status returns the state of the connection and of the registration.
func (c *Cluster) Status() Status {
	s := c.session.status()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Registered = s.Link == Connected && c.mu.registered != 0 && c.mu.registered == c.session.id()
	s.Problem = c.mu.problem
	if s.Link != Connected {
		s.Problem = c.session.unavailable()
	}
	return s
}

const (
	sayAfter = time.Second      // a loss of the connection is worth a line in the log when it lasts so long
	sayEvery = 30 * time.Second // and another one as long as it goes on
)

// report tells the owner what has changed, and logs it, that no more often than somebody would want to read.
func (c *Cluster) report(now time.Time) {
	s, r := c.Status(), &c.reported
	if text := fmt.Sprint(s.Link, s.Registered, s.Problem != nil); text != r.text {
		r.text = text
		signal(c.changed)
	}
	if s.Problem == nil {
		if r.first || r.problem {
			c.opts.Log.WithField("server", s.Server).Info("ZooKeeper: connected")
		}
		r.first, r.problem = false, false
		return
	}
	if s.Link != Connected && now.Sub(s.Since) < sayAfter || now.Sub(r.at) < sayEvery {
		return
	}
	r.problem, r.at = true, now
	c.opts.Log.WithField("since", s.Since.Format(time.RFC3339)).Warnf("ZooKeeper: %s: %v", s.Link, s.Problem)
}

// reported is what report remembers.
type reported struct {
	text    string // of the status
	first   bool   // nothing was said yet
	problem bool   // the last word was of a problem
	at      time.Time
}
