package election

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"
)

// A node has two ephemeral entries, made and removed in one transaction: nodes/<id>, which nobody else can make while it is there,
// and incarnations/<incarnation>, whose existence a claim checks. The first alone would not do for that: another process
// with the same id could have made it again meanwhile, and ZooKeeper's transactions check versions, not contents.

// entries is who is registered at the moment.
type entries struct {
	session  int64 // of the asker
	node     *Node // under this node's id; nil = nobody
	owner    int64 // session that made it
	otherRun bool  // node's incarnation, another one, has its entry too
	thisRun  bool  // this incarnation has its entry
}

// register makes the entries of this node in the current session, replacing what an earlier session or run of it has
// left. It does nothing when they are there.
func (c *Cluster) register(ctx context.Context) error {
	const attempts = 5 // something else must have changed the entries each time
	for range attempts {
		e, err := c.entries(ctx)
		if err != nil {
			return err
		}
		if e.node != nil && e.node.Incarnation == c.self.Incarnation && e.owner == e.session && e.thisRun {
			c.setRegistered(e.session)
			return nil
		}
		c.setRegistered(0)
		if e.node != nil && !c.mayReplace(*e.node) {
			return c.inUse(*e.node)
		}
		err = c.replace(ctx, e)
		if err != nil && !errors.Is(err, zk.ErrNodeExists) && !errors.Is(err, zk.ErrNoNode) {
			return err
		}
	}
	return fmt.Errorf("registering: %w", errAgain)
}

// mayReplace tells whether an entry was left by a process that is known to have no use for it: this one, in a session that
// has expired, or an earlier run on the same directory, whose lock this process now holds.
func (c *Cluster) mayReplace(n Node) bool {
	return n.Incarnation == c.self.Incarnation || c.earlier != "" && n.Incarnation == c.earlier
}

func (c *Cluster) inUse(n Node) error {
	return fmt.Errorf("%w: %s is registered by another process, at %s (incarnation %s)", ErrNodeInUse, n.ID, n.Advertise, n.Incarnation)
}

func (c *Cluster) setRegistered(session int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.registered = session
}

func (c *Cluster) entries(ctx context.Context) (entries, error) {
	return do(ctx, c.session, func(conn *zk.Conn) (entries, error) {
		e := entries{session: conn.SessionID()}
		data, stat, err := conn.Get(c.paths.node(c.self.ID))
		switch {
		case err == nil:
			n, err := decodeNode(data)
			if err != nil {
				return e, foreign(c.paths.node(c.self.ID), err)
			}
			e.node, e.owner = &n, stat.EphemeralOwner
			if n.Incarnation != c.self.Incarnation {
				if e.otherRun, _, err = conn.Exists(c.paths.incarnation(n.Incarnation)); err != nil {
					return e, err
				}
			}
		case !errors.Is(err, zk.ErrNoNode):
			return e, err
		}
		e.thisRun, _, err = conn.Exists(c.paths.incarnation(c.self.Incarnation))
		return e, err
	})
}

// replace removes what is there and makes both entries anew, all or nothing.
func (c *Cluster) replace(ctx context.Context, e entries) error {
	node, run := c.paths.node(c.self.ID), c.paths.incarnation(c.self.Incarnation)
	var ops []any
	if e.otherRun {
		ops = append(ops, &zk.DeleteRequest{Path: c.paths.incarnation(e.node.Incarnation), Version: -1})
	}
	if e.node != nil {
		ops = append(ops, &zk.DeleteRequest{Path: node, Version: -1})
	}
	if e.thisRun {
		ops = append(ops, &zk.DeleteRequest{Path: run, Version: -1})
	}
	for path, data := range map[string][]byte{node: c.self.encode(), run: nil} {
		ops = append(ops, &zk.CreateRequest{Path: path, Data: data, Acl: acl(c.opts.Auth), Flags: zk.FlagEphemeral})
	}
	return multi(ctx, c.session, ops)
}

// unregister removes the entries, if this process has any.
func (c *Cluster) unregister(ctx context.Context) error {
	c.mu.Lock()
	registered := c.mu.registered
	c.mu.registered = 0
	c.mu.Unlock()
	if registered == 0 || registered != c.session.id() {
		return nil
	}
	err := multi(ctx, c.session, []any{
		&zk.DeleteRequest{Path: c.paths.node(c.self.ID), Version: -1},
		&zk.DeleteRequest{Path: c.paths.incarnation(c.self.Incarnation), Version: -1},
	})
	if errors.Is(err, zk.ErrNoNode) {
		return nil
	}
	return err
}

func multi(ctx context.Context, s *session, ops []any) error {
	_, err := do(ctx, s, func(conn *zk.Conn) (struct{}, error) {
		_, err := conn.Multi(ops...)
		return struct{}{}, err
	})
	return err
}
