package main

import (
	"fmt"
	"net"
	"os"

	"github.com/gtinside/corecache/config"
)

// notifier tells systemd how the service is (sd_notify(3)); the zero value tells nobody.
type notifier struct{ socket string }

func newNotifier(c *config.Config) (notifier, error) {
	socket := os.Getenv("NOTIFY_SOCKET")
	switch mode := c.String("supervised"); {
	case mode == "systemd" && socket == "":
		return notifier{}, fmt.Errorf("supervised systemd: NOTIFY_SOCKET is not set; the unit needs Type=notify")
	case mode == "systemd", mode == "auto":
		return notifier{socket}, nil
	}
	return notifier{}, nil
}

// tell sends a state such as READY=1.
func (n notifier) tell(state string) error {
	if n.socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("systemd: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("systemd: %w", err)
	}
	return nil
}
