package resp

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// limitedLog writes what clients can cause at most once per second and topic: a blocked log
// stalls everybody who writes to it.
type limitedLog struct {
	*logrus.Logger

	mu struct {
		sync.Mutex
		last map[string]time.Time
	}
}

func newLimitedLog(l *logrus.Logger) *limitedLog {
	if l == nil {
		l = logrus.StandardLogger()
	}
	log := &limitedLog{Logger: l}
	log.mu.last = make(map[string]time.Time)
	return log
}

// limited calls write unless it was called for the topic within the last second. Topics are
// constants.
func (l *limitedLog) limited(topic string, write func()) {
	now := time.Now()
	l.mu.Lock()
	recent := now.Sub(l.mu.last[topic]) < time.Second
	if !recent {
		l.mu.last[topic] = now
	}
	l.mu.Unlock()
	if !recent {
		write()
	}
}
