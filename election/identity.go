package election

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"

	"github.com/gtinside/corecache/engine/vfs"
)

// Identity is what a data directory remembers: which copy of the data of which cluster it is. It is the file NODE, two lines:
//
//	{"cluster":"k3xq...","corecache":1,"data":"p7ha...","incarnation":"mz2a...","node":"n1","place":"6f1c...:2049:1311"}
//	crc32c 1c2d3e4f                                      CRC32C of the first line with its end, in hex
//
// To make a node of a directory forget its cluster, remove the file.
type Identity struct {
	Cluster     string // "" until the node has joined one
	Node        string // id of the node
	Data        string // names this copy of the data, made with the file
	Incarnation string // the newest run of the process that has registered
	Place       string // where the directory was at that time, see place; "" = not known

	extra fields // of a newer version
}

// IdentityFile is the file in the data directory of a node that says which node of which cluster it is.
const IdentityFile = "NODE"

const (
	identityTemp    = "NODE.tmp"
	maxIdentitySize = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newID makes up an id that nobody else has: 26 letters and digits, 130 random bits.
func newID() string { return strings.ToLower(rand.Text()) }

// newNodeID makes up a name for a node, short enough to be read out: 50 random bits. A second
// node of the same name would be refused.
func newNodeID() string { return "node-" + newID()[:10] }

func (id Identity) encode() []byte {
	f := maps.Clone(id.extra)
	if f == nil {
		f = fields{}
	}
	f.put(formatKey, format)
	f.put("cluster", id.Cluster)
	f.put("node", id.Node)
	f.put("data", id.Data)
	f.put("incarnation", id.Incarnation)
	f.put("place", id.Place)
	line := append(f.encode(), '\n')
	return fmt.Appendf(line, "crc32c %08x\n", crc32.Checksum(line, castagnoli))
}

func decodeIdentity(data []byte) (Identity, error) {
	end := bytes.IndexByte(data, '\n') + 1
	if sum := fmt.Sprintf("crc32c %08x\n", crc32.Checksum(data[:end], castagnoli)); string(data[end:]) != sum {
		return Identity{}, errors.New("wrong checksum")
	}
	f, err := parseFields(data[:end])
	if err != nil {
		return Identity{}, err
	}
	var id Identity
	err = errors.Join(f.take("cluster", &id.Cluster), f.take("node", &id.Node), f.take("data", &id.Data),
		f.take("incarnation", &id.Incarnation), f.take("place", &id.Place))
	for _, s := range []string{id.Node, id.Data, id.Incarnation} {
		if err == nil && !validID(s) {
			err = fmt.Errorf("id %q", s)
		}
	}
	if err == nil && id.Cluster != "" && !validID(id.Cluster) {
		err = fmt.Errorf("cluster id %q", id.Cluster)
	}
	id.extra = f.rest()
	return id, err
}

// loadIdentity returns an empty Identity when the directory remembers none.
func loadIdentity(files vfs.FS, dir string) (Identity, error) {
	name := filepath.Join(dir, IdentityFile)
	data, err := vfs.ReadFile(files, name, maxIdentitySize)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, nil
	}
	var id Identity
	if err == nil {
		id, err = decodeIdentity(data)
	}
	switch {
	case errors.Is(err, ErrFormat):
		return Identity{}, fmt.Errorf("%s: %w", name, err)
	case err != nil:
		return Identity{}, fmt.Errorf("%s: %w: %w", name, ErrIdentity, err)
	}
	return id, nil
}

// save writes the file so that after a crash the old one or the new one is there.
func (id Identity) save(files vfs.FS, dir string) error {
	temp := filepath.Join(dir, identityTemp)
	if err := vfs.WriteFile(files, temp, id.encode()); err != nil {
		return fmt.Errorf("remembering the node's identity: %w", err)
	}
	if err := files.Rename(temp, filepath.Join(dir, IdentityFile)); err != nil {
		return fmt.Errorf("remembering the node's identity: %w", err)
	}
	return files.SyncDir(dir)
}

// fill completes an identity for a node that is to be called nodeID ("" = whatever): what the directory does not
// remember is made up. Nothing is written.
func (id Identity) fill(nodeID string) (Identity, error) {
	if id.Node != "" && nodeID != "" && nodeID != id.Node {
		return id, fmt.Errorf("%w: it is the data of node %s, and node-id is %s", ErrForeignData, id.Node, nodeID)
	}
	if id.Node == "" {
		id.Node = nodeID
	}
	if id.Node == "" {
		id.Node = newNodeID()
	}
	if id.Data == "" {
		id.Data = newID()
	}
	return id, nil
}
