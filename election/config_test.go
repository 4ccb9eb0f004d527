package election

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gtinside/corecache/config"
)

func TestOptionsFrom(t *testing.T) {
	parse := func(text string) *config.Config {
		t.Helper()
		c, err := config.ParseText("test.conf", text, "")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if _, clustered, err := OptionsFrom(config.Default()); clustered || err != nil {
		t.Errorf("by default: %v, %v", clustered, err)
	}
	o, clustered, err := OptionsFrom(parse("zookeeper zk1,zk2:2182/cc\nzookeeper-timeout 8000\nzookeeper-auth u:p:q\nnode-id n-1\nport 7000\ndir /d\n"))
	if err != nil || !clustered || !slices.Equal(o.Servers, []string{"zk1:2181", "zk2:2182"}) || o.Chroot != "/cc" ||
		o.Timeout != 8*time.Second || o.Auth != "u:p:q" || o.NodeID != "n-1" || o.Advertise != "127.0.0.1:7000" || o.Dir != "/d" {
		t.Errorf("%+v, %v, %v", o, clustered, err)
	}
	if o, _, err := OptionsFrom(parse("zookeeper zk1\n")); err != nil || o.Timeout != DefaultTimeout {
		t.Errorf("the two defaults of the time-out differ: %v, %v", o.Timeout, err)
	}
	_, _, err = OptionsFrom(parse("zookeeper zk1:x\nzookeeper-auth s3cret\nnode-id a/b\nbind *\n"))
	for _, want := range []string{"zookeeper: 'zk1:x'", "zookeeper-auth: want user:password", `node-id: "a/b"`, "advertise: bind *"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	overTLS := "zookeeper zk1\ntls-replication yes\ntls-port 7001\ntls-cert-file c\ntls-key-file k\ntls-auth-clients no\nport 7000\n"
	if o, _, err := OptionsFrom(parse(overTLS)); err != nil || o.Advertise != "127.0.0.1:7001" {
		t.Errorf("with tls-replication: %+v, %v", o, err)
	}
	if _, _, err := OptionsFrom(parse(overTLS + "advertise h:7000\n")); err == nil || !strings.Contains(err.Error(), "advertise: 'h:7000'") {
		t.Errorf("a port without TLS: %v", err)
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the password is said: %v", err)
	}
}
