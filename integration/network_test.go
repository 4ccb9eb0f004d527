package integration

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gtinside/corecache/integration/zoo"
)

// A network is what the processes of a cluster reach each other by, and can be cut between any two of them. The clients
// of the test reach every node, whatever is cut.
//
// Where the test may make network namespaces (Linux, root, iproute2), each node lives in one of its own, and a router between them
// drops packets: nobody is told anything, as when a cable is pulled. Elsewhere, and with CORECACHE_NETWORK=forward, forwarders in
// this process stand between the nodes and hold what may not pass (forward_test.go).
type network interface {
	// host is the address of this machine at which ZooKeeper has to listen, "" = any.
	host() string
	// zookeeper returns the addresses at which nodes reach a ZooKeeper that listens at host.
	zookeeper(*zoo.Ensemble) []string
	// place gives a server, from its next start on, a place in the network, and returns parameters that it needs there.
	// Peer is the port for other nodes.
	place(s *server, peer int) []string
	// cut stops what flows from one to another, until heal is called. They are ids of nodes, or zookeeperID.
	cut(from, to string) (heal func())
}

const zookeeperID = "zookeeper"

func newNetwork(t *testing.T) network {
	t.Helper()
	if os.Getenv("CORECACHE_NETWORK") != "forward" {
		n, err := newNamespaces(t)
		if err == nil {
			return n
		}
		t.Logf("no network namespaces (%s): forwarders stand between the nodes", err)
	}
	return newForwarders(t)
}

// namespaces is a network of network namespaces: one for each node, and one for the router, which has a link to each node and to the
// namespace of the test.
//
//	test, ZooKeeper            router                  node
//	.1 .2 <name> ───── host   .254   n1 ───── eth0 .11
//
// Its names have the process id of the test in them, so that several tests may run at once and what a crashed one has left can be removed.
// The addresses are of 198.18.0.0/15, which is set aside for tests of networks.
type namespaces struct {
	t      *testing.T
	name   string
	subnet string            // 198.18.x.
	addrs  map[string]string // by id
	made   []string          // namespaces
}

var networksMade atomic.Int64

func newNamespaces(t *testing.T) (*namespaces, error) {
	removeLeftNamespaces()
	n := &namespaces{
		t: t, name: "cc" + itoa(os.Getpid()) + "-" + itoa(int(networksMade.Add(1))), subnet: freeSubnet(), addrs: map[string]string{},
	}
	t.Cleanup(n.remove)
	router, err := n.namespace("router")
	if err != nil {
		return nil, err
	}
	n.addrs[zookeeperID] = n.subnet + "2"
	for _, args := range [][]string{
		// Packets pass whatever way the answer would take: a cut has one direction.
		{"netns", "exec", router, "sh", "-c", "cd /proc/sys/net/ipv4; echo 1 >ip_forward; echo 0 >conf/all/rp_filter; echo 0 >conf/default/rp_filter"},
		{"-n", router, "address", "add", n.subnet + "254/32", "dev", "lo"},
		{"-n", router, "link", "set", "lo", "up"},
		{"link", "add", n.name, "type", "veth", "peer", "name", "host", "netns", router},
		{"address", "add", n.subnet + "1/32", "dev", n.name},
		{"address", "add", n.subnet + "2/32", "dev", n.name},
		{"link", "set", n.name, "up"},
		{"-n", router, "link", "set", "host", "up"},
		{"-n", router, "route", "add", n.subnet + "0/30", "dev", "host"},
		{"route", "add", n.subnet + "0/24", "via", n.subnet + "254", "dev", n.name, "onlink", "src", n.subnet + "1"},
	} {
		if err := ip(args...); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// ip runs iproute2's program.
func ip(args ...string) error { return command("ip", args...) }

func (n *namespaces) namespace(what string) (name string, err error) {
	name = n.name + "-" + what
	if err := ip("netns", "add", name); err != nil {
		return "", err
	}
	n.made = append(n.made, name)
	return name, nil
}

// remove takes all links with it.
func (n *namespaces) remove() {
	for _, name := range n.made {
		if err := ip("netns", "delete", name); err != nil {
			n.t.Error(err)
		}
	}
}

var ourNamespace = regexp.MustCompile(`^cc([0-9]+)-[0-9]+-`)

// removeLeftNamespaces removes what tests have left that are not there any more.
func removeLeftNamespaces() {
	files, _ := filepath.Glob("/run/netns/cc*")
	for _, file := range files {
		name := filepath.Base(file)
		if m := ourNamespace.FindStringSubmatch(name); m != nil && !processRuns(m[1]) {
			_ = ip("netns", "delete", name) // another test may do so at this moment
		}
	}
}

func processRuns(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}

// freeSubnet finds one that this machine has no address of.
func freeSubnet() string {
	addrs, _ := net.InterfaceAddrs()
	for k := os.Getpid(); ; k++ {
		subnet := "198.18." + itoa(k%256) + "."
		used := false
		for _, a := range addrs {
			used = used || strings.HasPrefix(a.String(), subnet)
		}
		if !used {
			return subnet
		}
	}
}

func (n *namespaces) host() string { return n.addrs[zookeeperID] }

func (n *namespaces) zookeeper(zk *zoo.Ensemble) []string { return zk.Servers() }

func (n *namespaces) place(s *server, _ int) []string {
	n.t.Helper()
	name, err := n.namespace(s.id)
	if err != nil {
		n.t.Fatal(err)
	}
	router, addr := n.name+"-router", n.subnet+strconv.Itoa(10+len(n.made))
	for _, args := range [][]string{
		{"-n", router, "link", "add", s.id, "type", "veth", "peer", "name", "eth0", "netns", name},
		{"-n", router, "link", "set", s.id, "up"},
		{"-n", router, "route", "add", addr + "/32", "dev", s.id},
		{"-n", name, "link", "set", "lo", "up"},
		{"-n", name, "address", "add", addr + "/32", "dev", "eth0"},
		{"-n", name, "link", "set", "eth0", "up"},
		{"-n", name, "route", "add", "default", "via", n.subnet + "254", "dev", "eth0", "onlink"},
	} {
		if err := ip(args...); err != nil {
			n.t.Fatal(err)
		}
	}
	s.host, s.in = addr, []string{"ip", "netns", "exec", name}
	n.addrs[s.id] = addr
	return []string{"--protected-mode", "no"} // clients are on another machine, so to say
}

func (n *namespaces) cut(from, to string) (heal func()) {
	n.t.Helper()
	rule := func(what string) {
		n.t.Helper()
		if err := ip("-n", n.name+"-router", "rule", what, "from", n.addrs[from], "to", n.addrs[to], "blackhole"); err != nil {
			n.t.Fatal(err)
		}
	}
	rule("add")
	return func() { rule("delete") }
}
