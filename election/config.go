package election

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
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
	o.Advertise, problems[1] = advertised(c)
	problems[2], problems[3] = checkAuth(o.Auth), checkNodeID(o.NodeID)
	for i, name := range []string{"zookeeper", "advertise", "zookeeper-auth", "node-id"} {
		if problems[i] != nil {
			problems[i] = fmt.Errorf("%s: %w", name, problems[i])
		}
	}
	return o, true, errors.Join(problems[:]...)
}

// advertised is where other nodes forward commands to.
func advertised(c *config.Config) (string, error) {
	set, plain := c.String("advertise"), int(c.Int("port"))
	if !c.Bool("tls-replication") {
		return Advertise(set, c.List("bind"), plain)
	}
	port := int(c.Int("tls-port"))
	addr, err := Advertise(set, c.List("bind"), port)
	if err == nil && plain != port && strings.HasSuffix(addr, ":"+strconv.Itoa(plain)) {
		return "", fmt.Errorf("'%s': the port is one without TLS; tls-replication wants that of TLS (tls-port, %d)", addr, port)
	}
	return addr, err
}
