package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/config"
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

func TestProtectedModeAndNodesAreWarnedOf(t *testing.T) {
	for _, tc := range []struct {
		args string
		want bool
	}{
		{"--zookeeper z --masterauth a", true},
		{"--zookeeper z --masterauth a --requirepass p", false},
		{"--zookeeper z --masterauth a --protected-mode no", false},
		{"--zookeeper z", false},
		{"--masterauth a", false},
	} {
		c, err := config.Parse(append(strings.Fields(tc.args), "--dir", t.TempDir()), nil)
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		log := logrus.New()
		log.SetOutput(&said)
		prepare(c, log)
		got := strings.Contains(said.String(), "masterauth is set and requirepass is not: protected-mode")
		if got != tc.want {
			t.Errorf("%s: warned %v:\n%s", tc.args, got, said.String())
		}
	}
}
