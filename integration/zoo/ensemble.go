package zoo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Options say how the servers of an Ensemble behave. The zero value is right for most tests.
type Options struct {
	Tick time.Duration // ZooKeeper's tickTime; sessions time out after 2 to 20 of it; 0 = 200ms
	Dir  string        // parent of the temporary directory; "" = the system's
	Host string        // address of this machine that the servers listen at; "" = 127.0.0.1
}

const (
	startTimeout = 60 * time.Second // until a server serves, on a busy machine
	pollEvery    = 10 * time.Millisecond
)

// Ensemble is a set of servers that form one ZooKeeper. Its methods are for one goroutine at a time.
type Ensemble struct {
	dir     string
	servers []*Server
}

// Start runs n servers, 1 or 3, and returns when they serve. Close ends them.
func Start(n int, o Options) (*Ensemble, error) {
	if n != 1 && n != 3 {
		return nil, fmt.Errorf("zoo: %d servers: 1 or 3 are possible", n)
	}
	classpath, err := Find()
	if err != nil {
		return nil, err
	}
	if o.Tick == 0 {
		o.Tick = 200 * time.Millisecond
	}
	o.Host = cmp.Or(o.Host, "127.0.0.1")
	dir, err := os.MkdirTemp(o.Dir, "zoo-")
	if err != nil {
		return nil, err
	}
	e := &Ensemble{dir: dir}
	if err := e.build(n, classpath, o); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Ensemble) build(n int, classpath string, o Options) error {
	ports, err := freePorts(o.Host, 3*n)
	if err != nil {
		return err
	}
	for i := range n {
		e.servers = append(e.servers, &Server{
			id: i + 1, dir: filepath.Join(e.dir, fmt.Sprint(i+1)), classpath: classpath, host: o.Host,
			client: ports[3*i], quorum: ports[3*i+1], election: ports[3*i+2],
		})
	}
	for _, s := range e.servers {
		if err := s.configure(e.servers, o.Tick); err != nil {
			return err
		}
	}
	return e.Restart()
}

// Servers are the addresses of all servers, host:port.
func (e *Ensemble) Servers() (addrs []string) {
	for _, s := range e.servers {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// Len is the number of servers.
func (e *Ensemble) Len() int { return len(e.servers) }

// Server is the i-th server, from 0.
func (e *Ensemble) Server(i int) *Server { return e.servers[i] }

// Leader is the server that leads the ensemble, or stands alone; nil when none says so.
func (e *Ensemble) Leader() *Server {
	for _, s := range e.servers {
		if mode := s.Mode(); mode == "leader" || mode == "standalone" {
			return s
		}
	}
	return nil
}

// Follower is a server that does not lead; nil when there is none.
func (e *Ensemble) Follower() *Server {
	for _, s := range e.servers {
		if s.Mode() == "follower" {
			return s
		}
	}
	return nil
}

// Kill ends all servers at once, as kill -9 does.
func (e *Ensemble) Kill() {
	for _, s := range e.servers {
		s.signalKill()
	}
	for _, s := range e.servers {
		s.Kill()
	}
}

// Restart starts the servers that do not run and waits until all serve.
func (e *Ensemble) Restart() error {
	for _, s := range e.servers {
		if err := s.Launch(); err != nil {
			return err
		}
	}
	for _, s := range e.servers {
		if err := s.WaitServing(); err != nil {
			return err
		}
	}
	return nil
}

// Log is what all servers have printed, for a test that failed.
func (e *Ensemble) Log() string {
	var b strings.Builder
	for _, s := range e.servers {
		fmt.Fprintf(&b, "---- ZooKeeper server %d\n%s", s.id, s.Log())
	}
	return b.String()
}

// Close ends the servers and removes their data.
func (e *Ensemble) Close() error {
	e.Kill()
	return os.RemoveAll(e.dir)
}

// freePorts returns ports of an address that nobody has at the moment.
func freePorts(host string, n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, err
		}
		defer l.Close() // all are held until all are known, so that none comes twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// poll waits until ok says yes.
func poll(what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("zoo: gave up waiting for %s after %v", what, startTimeout)
		}
	}
	return nil
}
