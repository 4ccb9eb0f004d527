package election

import (
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"
)

// What CompareAndSet, Claim and Read end with.
var (
	// ErrConflict: the state has another version. Nothing was changed.
	ErrConflict = errors.New("the cluster's state was changed by somebody else")
	// ErrUnknown: the connection broke or the time was over after the request had been sent. It
	// was executed, or will be, or never will be; Read settles which.
	ErrUnknown = errors.New("the outcome of the request to ZooKeeper is unknown")
	// ErrUnavailable: there is no connection to ZooKeeper. Nothing was sent.
	ErrUnavailable = errors.New("ZooKeeper is not reachable")
	// ErrNotRegistered: the node of this incarnation is not in ZooKeeper (its session has expired), so it
	// may not claim. Nothing was changed; the registration is being renewed.
	ErrNotRegistered = errors.New("this node is not registered in ZooKeeper")
	// ErrClosed: the Cluster was closed.
	ErrClosed = errors.New("closed")
)

// Why Open refuses. Nothing has been changed then, neither in ZooKeeper nor on disk. While a Cluster is open, Status
// reports the same errors when somebody has replaced what is in ZooKeeper.
var (
	ErrNodeInUse    = errors.New("the node-id is in use")
	ErrWrongCluster = errors.New("the data directory belongs to another cluster")
	ErrForeignData  = errors.New("the data directory holds data that is not of this cluster")
	ErrForeign      = errors.New("what is in ZooKeeper is not a CoreCache cluster")
	ErrGone         = errors.New("the state of the cluster has vanished from ZooKeeper")
	ErrAuth         = errors.New("ZooKeeper denies access")
	ErrFormat       = errors.New("written by a newer version of CoreCache")
	ErrIdentity     = errors.New("the file with the node's identity is damaged")
)

var (
	errNotConnected = errors.New("no connection")
	errMoved        = errors.New("the session expired meanwhile")
	errAgain        = errors.New("changed by somebody else meanwhile")
)

// outcome translates an error of the library. Those that say what happened stay as they are (ErrBadVersion, ErrNoNode,
// ErrNodeExists, and what is wrong with something that was read); all that leave it open become ErrUnknown.
func outcome(err error) error {
	switch {
	case err == nil, errors.Is(err, zk.ErrBadVersion), errors.Is(err, zk.ErrNoNode), errors.Is(err, zk.ErrNodeExists),
		errors.Is(err, ErrForeign), errors.Is(err, ErrFormat):
		return err
	case errors.Is(err, zk.ErrNoAuth), errors.Is(err, zk.ErrAuthFailed), errors.Is(err, zk.ErrInvalidACL):
		return fmt.Errorf("%w: %w", ErrAuth, err)
	case errors.Is(err, errNotConnected), errors.Is(err, zk.ErrNoServer), errors.Is(err, errMoved):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// temporary tells whether the same may well succeed later without anybody's help.
func temporary(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknown) || errors.Is(err, errAgain)
}
