package election

import (
	"errors"
	"fmt"
	"time"

	"github.com/gtinside/corecache/config"
)

// OptionsFrom reads the configuration; clustered is false when there is no zookeeper in it. The error joins all that is
// wrong with the parameters of the cluster. The port must be known by then, if port-range chooses it.
//
// Left to the caller are Peer, Version, Standalone, Log and Waiting.
func OptionsFrom(c *config.Config) (o Options, clustered bool, err error) {
	connect := c.String("zookeeper")
	if connect == "" {
		return Options{}, false, nil
	}
	var problems [4]error
	o = Options{
		Auth:    c.String("zookeeper-auth"),
		Timeout: time.Duration(c.Int("zookeeper-timeout")) * time.Millisecond,
		Dir:     c.String("dir"),
		NodeID:  c.String("node-id"),
	}
	o.Servers, o.Chroot, problems[0] = ParseConnect(connect)
	o.Advertise, problems[1] = Advertise(c.String("advertise"), c.List("bind"), int(c.Int("port")))
	problems[2], problems[3] = checkAuth(o.Auth), checkNodeID(o.NodeID)
	for i, name := range []string{"zookeeper", "advertise", "zookeeper-auth", "node-id"} {
		if problems[i] != nil {
			problems[i] = fmt.Errorf("%s: %w", name, problems[i])
		}
	}
	return o, true, errors.Join(problems[:]...)
}
