package main

import (
	"fmt"
	"os"
	"strconv"
)

// writePidfile leaves the process id in the file called name; "" = nowhere. The
// function returned removes it.
func writePidfile(name string) (remove func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	if err := os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("pidfile: %w", err)
	}
	return func() { _ = os.Remove(name) }, nil // on the way out; a stale file does no harm
}
