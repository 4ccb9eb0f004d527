package election

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-zookeeper/zk"
)

// Watches say when to look, never what is there. They may get lost: the library only logs when it can not set them again after a
// reconnection. So refresh also runs at regular times and after each reconnection, and sets a watch anew when it finds
// a change of which the watch has said nothing.

// refresh looks at everything, renews the registration if it has to, and publishes what it sees. Its error is the problem that
// Status shows.
func (c *Cluster) refresh(ctx context.Context) error {
	err := c.look(ctx)
	if ctx.Err() != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.problem = err
	return err
}

func (c *Cluster) look(ctx context.Context) error {
	if _, err := do(ctx, c.session, func(conn *zk.Conn) (string, error) { return conn.Sync(c.paths.root()) }); err != nil {
		return err
	}
	// The state comes first: nothing is written where another cluster may be by now.
	if err := c.lookAtState(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	registered := c.mu.registered
	c.mu.Unlock()
	if registered == 0 || registered != c.session.id() {
		if err := c.register(ctx); err != nil {
			return err
		}
	}
	nodes, err := c.lookAtNodes(ctx)
	if err != nil {
		return err
	}
	if self, ok := (View{Nodes: nodes}).Node(c.self.ID); !ok || self != c.self {
		c.setRegistered(0)
		return fmt.Errorf("the entry of this node has vanished: %w", errAgain)
	}
	return nil
}

// content of the state's znode with its numbers.
type stored struct {
	data []byte
	stat *zk.Stat
}

func (c *Cluster) lookAtState(ctx context.Context) error {
	read := func(watch bool) (stored, error) {
		return do(ctx, c.session, func(conn *zk.Conn) (s stored, err error) {
			if watch {
				s.data, s.stat, _, err = conn.GetW(c.paths.state)
			} else {
				s.data, s.stat, err = conn.Get(c.paths.state)
			}
			return s, err
		})
	}
	c.mu.Lock()
	known := c.mu.order
	c.mu.Unlock()
	s, err := watched(c.session, c.paths.state, read, func(s stored) bool { return s.stat.Mzxid != known })
	if err != nil {
		return c.stateError(err)
	}
	_, err = c.publishStored(s)
	return err
}

// watched reads with a watch unless one is waiting already. If it is, and there is news all the same, it has been lost, or will
// fire in a moment, and is set once more. (Setting it each time would make the library keep a channel for each.)
func watched[T any](s *session, path string, read func(watch bool) (T, error), news func(T) bool) (T, error) {
	if !s.arm(path) {
		v, err := read(false)
		if err != nil || !news(v) {
			return v, err
		}
		s.arm(path) // unless it has just fired
	}
	v, err := read(true)
	if err != nil {
		s.disarm(path)
	}
	return v, err
}

func (c *Cluster) stateError(err error) error {
	if errors.Is(err, zk.ErrNoNode) {
		return fmt.Errorf("%w: there is no %s", ErrGone, c.paths.state)
	}
	return err
}

// publishStored decodes what was read and makes it the view, if it is of this cluster.
func (c *Cluster) publishStored(s stored) (State, error) {
	state, err := decodeState(s.data)
	if err != nil {
		return State{}, foreign(c.paths.state, err)
	}
	if state.Cluster != c.identity.Cluster {
		return State{}, fmt.Errorf("%w: ZooKeeper's %s has become one of cluster %s, this node's is %s", ErrWrongCluster, c.paths.state, state.Cluster, c.identity.Cluster)
	}
	c.publishState(state, s.stat)
	return state, nil
}

// publishState makes a state the view unless a newer one is known.
func (c *Cluster) publishState(s State, stat *zk.Stat) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stat.Mzxid <= c.mu.order {
		return
	}
	c.mu.view.State, c.mu.view.Version, c.mu.order = s, stat.Version, stat.Mzxid
	signal(c.changed)
}

func (c *Cluster) lookAtNodes(ctx context.Context) ([]Node, error) {
	read := func(watch bool) ([]Node, error) {
		return do(ctx, c.session, func(conn *zk.Conn) ([]Node, error) { return c.readNodes(conn, watch) })
	}
	known := c.View().Nodes
	nodes, err := watched(c.session, c.paths.nodes, read, func(n []Node) bool { return !slices.Equal(n, known) })
	if err != nil {
		return nil, err
	}
	if !slices.Equal(nodes, known) {
		c.mu.Lock()
		c.mu.view.Nodes = nodes
		c.mu.Unlock()
		signal(c.changed)
	}
	return nodes, nil
}

// readNodes leaves out what is not, or not yet, an entry that this version can read.
func (c *Cluster) readNodes(conn *zk.Conn, watch bool) (nodes []Node, err error) {
	var names []string
	if watch {
		names, _, _, err = conn.ChildrenW(c.paths.nodes)
	} else {
		names, _, err = conn.Children(c.paths.nodes)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		data, _, err := conn.Get(c.paths.node(name))
		if errors.Is(err, zk.ErrNoNode) {
			continue // it has just left
		}
		if err != nil {
			return nil, err
		}
		n, err := decodeNode(data)
		if err != nil || n.ID != name {
			c.opts.Log.Debugf("ZooKeeper: the entry %s is left out: %v (%q)", name, err, bytes.TrimSpace(data[:min(len(data), 100)]))
			continue
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes, nil
}
