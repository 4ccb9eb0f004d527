package election

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// DefaultTimeout is the session time-out when Options say nothing. ZooKeeper's own smallest is twice its tickTime
// (4 s as shipped) and it lifts what is below. No lease hangs on it: a leader is missed within the grace of
// replication. It bounds how long a dead node stays listed, and two thirds of it pass before a connection on
// which nothing arrives is given up. Shorter ones cost sessions whenever the ensemble elects or a disk is slow.
const DefaultTimeout = 6 * time.Second

const (
	minTimeout  = 500 * time.Millisecond
	maxTimeout  = 10 * time.Minute
	defaultPort = "2181"
)

// Options say who this node is and where its ZooKeeper is. All are fixed while a Cluster is open.
type Options struct {
	Servers []string      // host:port of each server; names are resolved anew for each connection
	Chroot  string        // path under which the cluster lives; "" = the root
	Auth    string        // user:password, sent in the clear; what this node creates is then closed to others; "" = open
	Timeout time.Duration // session time-out to ask for; 0 = DefaultTimeout
	Poll    time.Duration // between looks that do not trust the watches; 0 = half of Timeout

	// Dir is the data directory, which remembers node and cluster. The caller holds its lock (engine.Open has taken it).
	Dir string
	// NodeID names this node: 1 to 64 letters, digits, '.', '-' and '_'. "" = the name that Dir remembers, or a new one.
	NodeID string
	// Standalone says that Dir holds data written without a cluster. With it the node may found a cluster, not join one.
	Standalone bool

	Advertise string // host:port at which clients and other nodes' proxies reach this node
	Peer      string // host:port at which other nodes' replication reaches it
	Version   string // of the program, for others to see

	Log *logrus.Logger
	// Waiting, if set, is told about once a second while Open waits, and why. It must not block.
	Waiting func(reason error)
}

var (
	idPattern   = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9._:%-]{1,255}$`) // names, addresses, zones
)

// validID tells whether a text may name a node, a cluster, an incarnation or a copy of data: all
// of them stand in paths of ZooKeeper or in JSON, unquoted.
func validID(s string) bool { return idPattern.MatchString(s) }

// withDefaults checks everything and reports all problems at once.
func (o Options) withDefaults() (Options, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Poll == 0 {
		o.Poll = o.Timeout / 2
	}
	var problems []error
	problem := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Errorf("election: "+format, args...))
		}
	}
	problem(len(o.Servers) == 0, "no ZooKeeper server")
	for _, s := range o.Servers {
		problem(checkHostPort(s) != nil, "server %q: want host:port", s)
	}
	chroot, err := cleanChroot(o.Chroot)
	problem(err != nil, "%w", err)
	o.Chroot = chroot
	o.Version = strings.ToValidUTF8(o.Version, "?") // what is read back must be what was written
	err = checkAuth(o.Auth)
	problem(err != nil, "auth: %w", err)
	problem(o.Timeout < minTimeout || o.Timeout > maxTimeout, "session time-out %v: want %v to %v", o.Timeout, minTimeout, maxTimeout)
	problem(o.Poll < 0, "poll %v", o.Poll)
	problem(o.Dir == "", "no data directory")
	err = checkNodeID(o.NodeID)
	problem(err != nil, "node-id: %w", err)
	problem(checkHostPort(o.Advertise) != nil, "advertise %q: want host:port", o.Advertise)
	problem(checkHostPort(o.Peer) != nil, "peer address %q: want host:port", o.Peer)
	problem(o.Log == nil, "no log")
	return o, errors.Join(problems...)
}

// checkAuth does not repeat what it refuses: that is a password.
func checkAuth(s string) error {
	user, password, _ := strings.Cut(s, ":")
	if s != "" && (user == "" || password == "") {
		return errors.New("want user:password")
	}
	return nil
}

func checkNodeID(s string) error {
	if s != "" && !validID(s) {
		return fmt.Errorf("%q: want 1 to 64 letters, digits, '.', '-' and '_', the first not '.'", s)
	}
	return nil
}

// checkHostPort accepts what another machine can connect to.
func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("'%s' is not a port", port)
	}
	if !hostPattern.MatchString(host) {
		return fmt.Errorf("'%s' is not a host", host)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%s is no address to connect to", host)
	}
	return nil
}

// ParseConnect takes apart a connect string as all ZooKeeper clients write it: host[:port],host[:port]/chroot.
// A port that is not named is 2181. The chroot comes back without a slash at its end; "" is the root.
func ParseConnect(s string) (servers []string, chroot string, err error) {
	hosts, path, _ := strings.Cut(s, "/")
	if strings.Contains(s, "/") {
		if chroot, err = cleanChroot("/" + path); err != nil {
			return nil, "", err
		}
	}
	for h := range strings.SplitSeq(hosts, ",") {
		h = strings.TrimSpace(h)
		if _, _, err := net.SplitHostPort(h); err != nil {
			h = net.JoinHostPort(strings.Trim(h, "[]"), defaultPort)
		}
		if err := checkHostPort(h); err != nil {
			return nil, "", fmt.Errorf("'%s' is not a list of ZooKeeper servers such as zk1:2181,zk2:2181/corecache: %w", s, err)
		}
		servers = append(servers, h)
	}
	return servers, chroot, nil
}

// cleanChroot checks a path and takes the slash off its end.
func cleanChroot(path string) (string, error) {
	path = strings.TrimRight(path, "/")
	if path == "" {
		return "", nil
	}
	for i, part := range strings.Split(path, "/") {
		if i == 0 && part == "" {
			continue
		}
		if i == 0 || !validID(part) {
			return "", fmt.Errorf("'%s' is not a path of ZooKeeper such as /corecache", path)
		}
	}
	if path == "/zookeeper" || strings.HasPrefix(path, "/zookeeper/") {
		return "", errors.New("/zookeeper is ZooKeeper's own")
	}
	return path, nil
}

// Advertise returns the address under which a node makes itself known: the one that is set, or the only one at which it
// can be reached given the addresses it is bound to (as in bind; a leading '-' is ignored). When all of them are of
// this machine, so are all other nodes, and the first one serves. With a wildcard or several there is no telling.
func Advertise(set string, bind []string, port int) (string, error) {
	if set != "" {
		if err := checkHostPort(set); err != nil {
			return "", fmt.Errorf("advertise '%s': want host:port: %w", set, err)
		}
		return set, nil
	}
	var outside, inside []string
	for _, b := range bind {
		b = strings.TrimPrefix(b, "-")
		switch ip := net.ParseIP(b); {
		case b == "*" || b == "::*" || ip != nil && ip.IsUnspecified():
			return "", fmt.Errorf("bind %s does not say at which address others reach this node: set advertise to host:port", strings.Join(bind, " "))
		case b == "localhost" || ip != nil && ip.IsLoopback():
			inside = append(inside, b)
		default:
			outside = append(outside, b)
		}
	}
	all := slices.Concat(outside, inside)
	switch {
	case port <= 0:
		return "", errors.New("there is no port to advertise: set advertise to host:port")
	case len(outside) > 1 || len(all) == 0:
		return "", fmt.Errorf("bind '%s' does not say at which address others reach this node: set advertise to host:port", strings.Join(bind, " "))
	}
	return net.JoinHostPort(all[0], strconv.Itoa(port)), nil
}
