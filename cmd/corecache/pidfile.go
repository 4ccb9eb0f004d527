package main

import (
	"fmt"
	"os"
	"strconv"
)

// writePidfile leaves the process id in the file called name; "" = nowhere. The
// function returned removes it, unless another process has written its own id there meanwhile.
func writePidfile(name string) (remove func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	id := strconv.Itoa(os.Getpid()) + "\n"
	if err := os.WriteFile(name, []byte(id), 0o644); err != nil {
		return nil, fmt.Errorf("pidfile: %w", err)
	}
	return func() {
		if text, err := os.ReadFile(name); err == nil && string(text) == id {
			_ = os.Remove(name) // on the way out; a stale file does no harm
		}
	}, nil
}
