package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"
)

// Read returns the state and its version as of now: no change that was complete when Read began is missing. It waits for the
// connection as long as ctx allows; its error is then ErrUnavailable or ErrUnknown.
//
// After ErrUnknown from CompareAndSet or Claim it settles the outcome. If the version is still the one that was given
// to them, the change was not made and never will be. If it is another, compare the state with the one that was
// wanted, or look at epoch and incarnation. This holds because the requests of a Cluster reach ZooKeeper in order: the library keeps
// at most one that hangs, Read is queued behind it, and ZooKeeper executes no request of an older connection or
// session after one of a newer.
//
// ZooKeeper's own sync is not enough for it: a deposed ZooKeeper leader that has not noticed yet answers it alone. So
// Read is a (small) write, which needs a majority, and not for every second.
func (c *Cluster) Read(ctx context.Context) (State, int32, error) {
	for {
		s, err := do(ctx, c.session, c.readThrough)
		if err == nil {
			state, err := c.publishStored(s)
			return state, s.stat.Version, err
		}
		if !temporary(err) || ctx.Err() != nil {
			return State{}, 0, c.stateError(err)
		}
		if err := c.awaitConnection(ctx); err != nil {
			return State{}, 0, err
		}
	}
}

// readThrough is a transaction that changes nothing, and the read behind it: on the same session, so that no server answers which has not seen the
// transaction.
func (c *Cluster) readThrough(conn *zk.Conn) (stored, error) {
	session := conn.SessionID()
	if _, err := conn.Multi(&zk.CheckVersionRequest{Path: c.paths.state, Version: -1}); err != nil {
		return stored{}, err
	}
	data, stat, err := conn.Get(c.paths.state)
	if err == nil && conn.SessionID() != session {
		err = errMoved
	}
	return stored{data, stat}, err
}

// awaitConnection returns when there is a connection, after a moment if there has been one all the time.
func (c *Cluster) awaitConnection(ctx context.Context) error {
	yes, changed := c.session.connected()
	var moment <-chan time.Time
	if yes {
		moment = time.After(retryEvery)
	}
	select {
	case <-moment:
	case <-changed:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", c.session.unavailable(), ctx.Err())
	case <-c.session.closing:
		return ErrClosed
	}
	return nil
}

// CompareAndSet makes next the state if its version is still the given one, and returns the new version. Errors:
// ErrConflict and ErrUnavailable (nothing was changed), ErrUnknown (see Read), or that of a next which no state may be.
// It never waits longer than the session time-out.
func (c *Cluster) CompareAndSet(ctx context.Context, version int32, next State) (int32, error) {
	if err := c.checkNext(version, next); err != nil {
		return 0, err
	}
	return c.write(ctx, next, func(conn *zk.Conn) (*zk.Stat, error) {
		return conn.Set(c.paths.state, next.encode(), version)
	})
}

// Claim is CompareAndSet for becoming the leader: the same transaction checks that the entry of this incarnation is still
// in ZooKeeper. Errors are those of CompareAndSet, and ErrNotRegistered (nothing was changed).
func (c *Cluster) Claim(ctx context.Context, version int32, next State) (int32, error) {
	if err := c.checkNext(version, next); err != nil {
		return 0, err
	}
	if next.Leader != c.self.ID || next.Incarnation != c.self.Incarnation {
		return 0, fmt.Errorf("election: a claim for %s (incarnation %s) by %s (%s)", next.Leader, next.Incarnation, c.self.ID, c.self.Incarnation)
	}
	return c.write(ctx, next, func(conn *zk.Conn) (*zk.Stat, error) {
		results, err := conn.Multi(
			&zk.CheckVersionRequest{Path: c.paths.incarnation(c.self.Incarnation), Version: -1},
			&zk.SetDataRequest{Path: c.paths.state, Data: next.encode(), Version: version},
		)
		switch {
		case err != nil && len(results) > 0 && errors.Is(results[0].Error, zk.ErrNoNode):
			return nil, fmt.Errorf("%w: %w", ErrNotRegistered, err)
		case err != nil:
			return nil, err
		case len(results) != 2 || results[1].Stat == nil:
			return nil, fmt.Errorf("an answer of %d parts", len(results))
		}
		return results[1].Stat, nil
	})
}

// checkNext finds what must never be written.
func (c *Cluster) checkNext(version int32, next State) error {
	c.mu.Lock()
	problem := c.mu.problem
	c.mu.Unlock()
	if errors.Is(problem, ErrGone) || errors.Is(problem, ErrWrongCluster) || errors.Is(problem, ErrForeign) {
		return problem // versions begin anew there, and could be equal by accident
	}
	err := next.check()
	switch {
	case err != nil:
	case version < 0: // to ZooKeeper that means any
		err = fmt.Errorf("version %d", version)
	case next.Cluster != c.identity.Cluster:
		err = fmt.Errorf("cluster %s instead of %s", next.Cluster, c.identity.Cluster)
	case len(next.encode()) > maxStateSize:
		err = errors.New("too large")
	}
	if err != nil {
		return fmt.Errorf("election: not a state to write: %w", err)
	}
	return nil
}

func (c *Cluster) write(ctx context.Context, next State, f func(*zk.Conn) (*zk.Stat, error)) (int32, error) {
	stat, err := do(ctx, c.session, f)
	if err == nil {
		c.publishState(next.Clone(), stat)
		return stat.Version, nil
	}
	signal(c.wake) // whoever has changed the state, or lost the registration, it is time to look
	switch {
	case errors.Is(err, zk.ErrBadVersion):
		return 0, ErrConflict
	case errors.Is(err, ErrNotRegistered):
		return 0, err
	}
	return 0, c.stateError(err)
}
