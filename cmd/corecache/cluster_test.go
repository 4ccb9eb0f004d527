package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"
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

// An address with - in front may be missing on the machine; any other reason why it can not be bound is an error.
func TestListensWhereItIsTold(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for bind, want := range map[string]string{"127.0.0.1": "in use", "-127.0.0.1": "in use", "-192.0.2.1": "no address", "-192.0.2.1 -127.0.0.1": "in use"} {
		c, err := config.Parse([]string{"--bind", bind, "--replication-port", strconv.Itoa(port), "--dir", t.TempDir()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		cl := &cluster{c: c}
		if _, err := cl.listen(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bind %s: %v, want %s", bind, err, want)
		}
		for _, nl := range cl.peers {
			_ = nl.Close()
		}
	}
}
