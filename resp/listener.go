package resp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// listener is the guard that redcon accepts connections from. It refuses clients
// beyond maxclients and those that protected-mode keeps out before redcon sees them.
type listener struct {
	net.Listener
	server *Server
	tls    bool
}

// Texts of Redis for refused clients.
const (
	maxClientsText = "-ERR max number of clients reached\r\n"
	protectedText  = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set " +
		"for the default user. In this mode connections are only accepted from the loopback interface. If you want to " +
		"connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable " +
		"protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting " +
		"to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from " +
		"internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just " +
		"disable the protected mode by editing the Redis configuration file, and setting the protected mode option to " +
		"'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with " +
		"the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only " +
		"need to do one of the above things in order for the server to start accepting connections from the outside.\r\n"
)

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// Accept returns the next client that may be served. It returns an error only when the
// server stops, and then not before all connections have ended: redcon closes them all as
// soon as it sees one. Running out of descriptors is waited out here, redcon would spin.
func (l *listener) Accept() (net.Conn, error) {
	pause := time.Duration(0)
	for {
		nc, err := l.Listener.Accept()
		switch {
		case err == nil:
			pause = 0
			if c := l.server.admit(nc, l.tls); c != nil {
				return &guard{client: c}, nil
			}
			continue
		case errors.Is(err, net.ErrClosed), l.server.stopped():
			<-l.server.drained
			return nil, net.ErrClosed
		}
		pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
		l.server.log.limited("accept", func() { l.server.log.Warnf("Accepting client connection: %v", err) })
		select {
		case <-time.After(pause):
		case <-l.server.stop:
		}
	}
}

// admit makes a client of nc, or refuses it and returns nil.
func (s *Server) admit(nc net.Conn, useTLS bool) *client {
	set := s.settings.Load()
	refusal := ""
	switch {
	case s.stopped():
		nc.Close()
		return nil
	case !s.reserve(set.MaxClients):
		refusal = maxClientsText
		s.stats.rejected.Add(1)
	case set.ProtectedMode && !set.Password && !isLocal(nc.RemoteAddr()):
		s.count.Add(-1)
		refusal = protectedText
		s.stats.rejected.Add(1)
	}
	if refusal != "" {
		if !useTLS {
			nc.SetWriteDeadline(time.Now().Add(time.Millisecond)) // a new connection takes that much at once
			nc.Write([]byte(refusal))
		}
		nc.Close()
		return nil
	}
	return s.connect(nc, useTLS, set)
}

// reserve counts one more client unless there are as many as may be.
func (s *Server) reserve(limit int) bool {
	if s.count.Add(1) > int64(limit) {
		s.count.Add(-1)
		return false
	}
	return true
}

// connect makes a client of nc. It returns nil when that is impossible, or too late.
func (s *Server) connect(nc net.Conn, useTLS bool, set *Settings) *client {
	if tcp, ok := nc.(*net.TCPConn); ok {
		keepAlive(tcp, set.KeepAlive)
	}
	c, err := newClient(s, nc, useTLS)
	if err != nil {
		s.log.limited("connect", func() { s.log.Warnf("Closing a new connection: %v", err) })
		s.count.Add(-1)
		return nil
	}
	if !s.register(c) {
		c.to.close()
		s.count.Add(-1)
		return nil
	}
	s.stats.accepted.Add(1)
	return c
}

// register makes Shutdown wait for the client, unless it has begun: then there may be nobody left to serve another one.
func (s *Server) register(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.stopping {
		return false
	}
	s.mu.conns[c] = struct{}{}
	return true
}

// keepAlive probes a silent peer as Redis does: first after idle, then three times in the same time again.
func keepAlive(tcp *net.TCPConn, idle time.Duration) {
	if idle <= 0 {
		tcp.SetKeepAlive(false)
		return
	}
	tcp.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: idle, Interval: max(idle/3, time.Second), Count: 3,
	})
}

// isLocal reports whether a peer is on this machine.
func isLocal(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// Address is what to listen on.
type Address struct {
	Bind       []string // as the parameter bind: "-" in front: may be missing; "*": all of IPv4; "::*": all of IPv6
	Port       int      // 0 = none, -1 = any that is free
	PortLast   int      // when larger than Port: the first free port of Port..PortLast is taken
	TLSPort    int      // 0 = none, -1 = any that is free
	UnixSocket string   // "" = none
	UnixMode   os.FileMode
	Backlog    int // connections the kernel holds ready; 0 = as many as it allows
	Loops      int // event loops; 0 = as many as suit the machine, -1 = none: a goroutine reads from each client
}

// Listen binds all addresses. When one of them can not be bound, none is.
func (s *Server) Listen(a Address) error {
	if a.Loops >= 0 {
		if err := s.openLoops(a.Loops); err != nil {
			return err
		}
	}
	err := s.listenAll(a)
	if err != nil {
		s.closeListeners()
		s.closeLoops()
	}
	return err
}

func (s *Server) listenAll(a Address) error {
	if a.Port != 0 {
		if err := s.listenRange(a); err != nil {
			return err
		}
	}
	if a.TLSPort != 0 {
		s.tls = new(certificates)
		if err := s.tls.load(s.settings.Load().TLS); err != nil {
			return err
		}
		port, err := s.listenPort(a, a.TLSPort, true)
		if err != nil {
			return err
		}
		s.tlsPort = port
	}
	if a.UnixSocket != "" {
		return s.listenUnix(a)
	}
	return nil
}

// listenRange binds the first port of the range that is free on all addresses.
func (s *Server) listenRange(a Address) error {
	for port := a.Port; ; port++ {
		got, err := s.listenPort(a, port, false)
		if err == nil {
			s.port = got
			return nil
		}
		if port >= a.PortLast || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		s.closeListeners()
	}
}

// listenPort binds a port on all addresses and returns it.
func (s *Server) listenPort(a Address, port int, useTLS bool) (int, error) {
	port = max(port, 0)
	bound := 0
	for _, name := range a.Bind {
		network, host, optional := ParseBind(name)
		ln, err := net.Listen(network, net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			if optional && IsMissing(err) {
				continue
			}
			return 0, fmt.Errorf("could not listen on %s port %d: %w", name, port, err)
		}
		if port == 0 {
			port = ln.Addr().(*net.TCPAddr).Port
		}
		bound++
		s.addListener(ln, useTLS, a.Backlog)
	}
	if bound == 0 {
		return 0, fmt.Errorf("none of the addresses to bind exists: %s", strings.Join(a.Bind, " "))
	}
	return port, nil
}

// ParseBind takes one word of the parameter bind apart.
func ParseBind(name string) (network, host string, optional bool) {
	name, optional = strings.CutPrefix(name, "-")
	switch {
	case name == "*":
		return "tcp4", "0.0.0.0", optional
	case name == "::*":
		return "tcp6", "::", optional
	case strings.Contains(name, ":"):
		return "tcp6", name, optional
	}
	return "tcp4", name, optional
}

// IsMissing reports whether an address can not be bound because the machine does not have it.
func IsMissing(err error) bool {
	for _, e := range []syscall.Errno{syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EPROTONOSUPPORT, syscall.EPFNOSUPPORT} {
		if errors.Is(err, e) {
			return true
		}
	}
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// listenUnix binds the socket; one that an earlier process has left is replaced, one that somebody
// listens on is not.
func (s *Server) listenUnix(a Address) error {
	if info, err := os.Lstat(a.UnixSocket); err == nil && info.Mode()&os.ModeSocket != 0 {
		if other, err := net.DialTimeout("unix", a.UnixSocket, time.Second); err == nil {
			other.Close()
			return fmt.Errorf("unixsocket: %s: %w", a.UnixSocket, syscall.EADDRINUSE)
		}
		if err := os.Remove(a.UnixSocket); err != nil {
			return fmt.Errorf("unixsocket: %w", err)
		}
	}
	ln, err := net.Listen("unix", a.UnixSocket)
	if err != nil {
		return fmt.Errorf("unixsocket: %w", err)
	}
	s.addListener(ln, false, a.Backlog)
	if a.UnixMode != 0 {
		if err := os.Chmod(a.UnixSocket, a.UnixMode); err != nil {
			return fmt.Errorf("unixsocketperm: %w", err)
		}
	}
	return nil
}

func (s *Server) addListener(ln net.Listener, useTLS bool, backlog int) {
	setBacklog(ln, backlog)
	s.listeners = append(s.listeners, &listener{Listener: ln, server: s, tls: useTLS})
}

// setBacklog says how many connections the kernel may hold; the library asks for all it allows.
func setBacklog(ln net.Listener, backlog int) {
	sc, ok := ln.(syscall.Conn)
	if !ok || backlog <= 0 {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	// An error leaves the backlog as it is, which does no harm.
	_ = raw.Control(func(fd uintptr) { _ = syscall.Listen(int(fd), backlog) })
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		l.Close()
	}
	s.listeners = nil
}
