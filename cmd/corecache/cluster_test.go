package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gtinside/corecache/election"
	"github.com/gtinside/corecache/replication"
)

func TestDataOfANodeAreNotServedAlone(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Join(dir, "not there yet")} {
		if err := checkAlone(d); err != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
	for _, name := range []string{election.IdentityFile, replication.IdentityFile} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := checkAlone(dir); err == nil || !strings.Contains(err.Error(), "set zookeeper") {
			t.Errorf("with %s: %v", name, err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}
