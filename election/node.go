package election

import (
	"errors"
	"fmt"
)

// Node is a running member of the cluster, as it has registered itself: the content of the ephemeral znode nodes/<id>.
//
//	{"advertise":"10.0.0.1:6379","corecache":1,"id":"n1","incarnation":"mz2a...","peer":"10.0.0.1:7379","version":"0.1.0"}
type Node struct {
	ID          string
	Advertise   string // host:port for clients and proxies
	Peer        string // host:port for replication
	Version     string // of the program
	Incarnation string // made up by each run of the process
}

func (n Node) encode() []byte {
	f := fields{}
	f.put(formatKey, format)
	f.put("id", n.ID)
	f.put("advertise", n.Advertise)
	f.put("peer", n.Peer)
	f.put("version", n.Version)
	f.put("incarnation", n.Incarnation)
	return f.encode()
}

// decodeNode reads what encode has written. What a newer version adds is of no use to this one: a node writes only its own entry.
func decodeNode(data []byte) (Node, error) {
	f, err := parseFields(data)
	if err != nil {
		return Node{}, err
	}
	var n Node
	err = errors.Join(f.take("id", &n.ID), f.take("advertise", &n.Advertise), f.take("peer", &n.Peer),
		f.take("version", &n.Version), f.take("incarnation", &n.Incarnation))
	if err == nil && (!validID(n.ID) || !validID(n.Incarnation)) {
		err = fmt.Errorf("id %q, incarnation %q", n.ID, n.Incarnation)
	}
	if err != nil {
		return Node{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	return n, nil
}
