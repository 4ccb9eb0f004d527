package election

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-zookeeper/zk"
)

// content is what there is under the chroot. Looking changes nothing.
type content struct {
	exists   bool
	children []string
	state    *State // nil when there is none
	node     *Node  // the entry under this node's id; nil when there is none

	unprotected bool // anybody may change the state
}

// inspect reads what is under the chroot.
func (c *Cluster) inspect(ctx context.Context) (content, error) {
	return do(ctx, c.session, func(conn *zk.Conn) (content, error) {
		var found content
		// A server may lag behind; what is refused must not be refused for what was true a second ago.
		if _, err := conn.Sync("/"); err != nil {
			return found, err
		}
		children, _, err := conn.Children(c.paths.root())
		if errors.Is(err, zk.ErrNoNode) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		found.exists, found.children = true, children
		if found.state, err = getState(conn, c.paths.state); err != nil {
			return found, err
		}
		if found.state != nil {
			acl, _, err := conn.GetACL(c.paths.state)
			if err != nil {
				return found, err
			}
			found.unprotected = slices.ContainsFunc(acl, func(a zk.ACL) bool { return a.Scheme == "world" && a.Perms&zk.PermWrite != 0 })
		}
		found.node, err = getNode(conn, c.paths.node(c.self.ID))
		return found, err
	})
}

// getState returns nil when there is none.
func getState(conn *zk.Conn, path string) (*State, error) {
	data, _, err := conn.Get(path)
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := decodeState(data)
	if err != nil {
		return nil, foreign(path, err)
	}
	return &s, nil
}

// getNode returns nil when there is none.
func getNode(conn *zk.Conn, path string) (*Node, error) {
	data, _, err := conn.Get(path)
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := decodeNode(data)
	if err != nil {
		return nil, foreign(path, err)
	}
	return &n, nil
}

func foreign(path string, err error) error {
	if errors.Is(err, ErrFormat) {
		return fmt.Errorf("ZooKeeper's %s: %w", path, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrForeign, path, err)
}

// judge decides whether this node may join, or found, the cluster. It has no effects.
func judge(found content, id Identity, o Options, p paths) error {
	if found.state == nil {
		return judgeEmpty(found, id, p)
	}
	s := found.state
	if id.Cluster != "" && id.Cluster != s.Cluster {
		return fmt.Errorf("%w: %s is of cluster %s, and ZooKeeper's %s is of cluster %s", ErrWrongCluster, o.Dir, id.Cluster, p.root(), s.Cluster)
	}
	// A founder that crashed before it could write down the cluster finds its own copy in the state.
	m, _ := s.Member(id.Node)
	founded := m.Data != "" && m.Data == id.Data
	if id.Cluster == "" && o.Standalone && !founded {
		return fmt.Errorf("%w: %s was written without a cluster, and ZooKeeper's %s has one already; start with an empty directory, or use another chroot to found a cluster from this data",
			ErrForeignData, o.Dir, p.root())
	}
	return nil
}

// judgeEmpty is for a chroot without a state.
func judgeEmpty(found content, id Identity, p paths) error {
	if id.Cluster != "" {
		return fmt.Errorf("%w: cluster %s, and ZooKeeper has none at %s; is it the right chroot?", ErrWrongCluster, id.Cluster, p.root())
	}
	var strangers []string
	for _, child := range found.children {
		own := child == base(p.nodes) || child == base(p.incarnations) || child == "zookeeper" && p.chroot == ""
		if !own {
			strangers = append(strangers, child)
		}
	}
	if len(strangers) > 0 {
		slices.Sort(strangers)
		return fmt.Errorf("%w: %s holds %s; choose another chroot", ErrForeign, p.root(), strings.Join(strangers[:min(3, len(strangers))], ", "))
	}
	return nil
}

// found makes a new cluster: the chroot and all below it in one transaction, so that of several nodes that start at once one founds it and the
// others see it whole. Paths above the chroot are open to all, since other clusters may live there.
func (c *Cluster) found(ctx context.Context, f content) error {
	state := State{Cluster: newID(), ISR: []Member{{ID: c.identity.Node, Data: c.identity.Data}}}
	_, err := do(ctx, c.session, func(conn *zk.Conn) (struct{}, error) {
		for _, path := range c.paths.parents() {
			if _, err := conn.Create(path, nil, 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
				return struct{}{}, err
			}
		}
		var ops []any
		create := func(path string, data []byte) {
			ops = append(ops, &zk.CreateRequest{Path: path, Data: data, Acl: acl(c.opts.Auth)})
		}
		if !f.exists {
			create(c.paths.chroot, nil)
		}
		for _, path := range []string{c.paths.nodes, c.paths.incarnations} {
			if !slices.Contains(f.children, base(path)) {
				create(path, nil)
			}
		}
		create(c.paths.state, state.encode())
		_, err := conn.Multi(ops...)
		return struct{}{}, err
	})
	if errors.Is(err, zk.ErrNodeExists) || errors.Is(err, zk.ErrNoNode) {
		return fmt.Errorf("founding the cluster: %w: %w", errAgain, err)
	}
	if err == nil {
		c.opts.Log.WithField("cluster", state.Cluster).Infof("founded a cluster at ZooKeeper's %s", c.paths.root())
	}
	return err
}
