package election

import (
	"slices"
	"strings"
	"testing"
)

func TestParseConnect(t *testing.T) {
	for text, want := range map[string]struct {
		servers []string
		chroot  string
	}{
		"zk1":                                  {[]string{"zk1:2181"}, ""},
		"zk1:2182/corecache":                   {[]string{"zk1:2182"}, "/corecache"},
		"zk1:1,zk2,10.0.0.3:3/a/b-c/":          {[]string{"zk1:1", "zk2:2181", "10.0.0.3:3"}, "/a/b-c"},
		" zk1 , zk2:5/":                        {[]string{"zk1:2181", "zk2:5"}, ""},
		"[::1]:2182,[fe80::1%eth0],::1/x":      {[]string{"[::1]:2182", "[fe80::1%eth0]:2181", "[::1]:2181"}, "/x"},
		"zk-0.zk.prod.svc.cluster.local:2181/": {[]string{"zk-0.zk.prod.svc.cluster.local:2181"}, ""},
	} {
		servers, chroot, err := ParseConnect(text)
		if err != nil || !slices.Equal(servers, want.servers) || chroot != want.chroot {
			t.Errorf("%q: %q %q %v", text, servers, chroot, err)
		}
	}
	for _, bad := range []string{"", ",", "zk1,,zk2", "/corecache", "zk1:x", "zk1:0", "zk1:70000", "zk1/a//b", "zk1/..", "zk1/a b", "zk1/zookeeper", "zk1/zookeeper/x", "a b", "0.0.0.0:2181", "http://zk1"} {
		if servers, chroot, err := ParseConnect(bad); err == nil {
			t.Errorf("%q is taken as %q %q", bad, servers, chroot)
		}
	}
}

func FuzzParseConnect(f *testing.F) {
	f.Add("zk1:2181,[::1]:2182/a/b")
	f.Fuzz(func(t *testing.T, text string) {
		servers, chroot, err := ParseConnect(text)
		if err != nil {
			return
		}
		again, path, err := ParseConnect(strings.Join(servers, ",") + chroot)
		if err != nil || !slices.Equal(again, servers) || path != chroot {
			t.Errorf("%q: %q %q, then %q %q %v", text, servers, chroot, again, path, err)
		}
	})
}

func TestAdvertise(t *testing.T) {
	for _, c := range []struct {
		set, bind string
		port      int
		want      string // "" = refused
	}{
		{"", "127.0.0.1 -::1", 6379, "127.0.0.1:6379"}, // every node is on this machine, too
		{"", "10.0.0.5", 6379, "10.0.0.5:6379"},
		{"", "10.0.0.5 127.0.0.1 -::1", 7000, "10.0.0.5:7000"},
		{"", "fd00::5", 7000, "[fd00::5]:7000"},
		{"", "node5.example", 7000, "node5.example:7000"},
		{"", "10.0.0.5 192.168.0.5", 6379, ""},
		{"", "*", 6379, ""},
		{"", "* -::*", 6379, ""},
		{"", "0.0.0.0", 6379, ""},
		{"", "::", 6379, ""},
		{"", "10.0.0.5", 0, ""},
		{"", "", 6379, ""},
		{"redis.example:6380", "*", 6379, "redis.example:6380"},
		{"redis.example", "127.0.0.1", 6379, ""},
		{"0.0.0.0:6379", "127.0.0.1", 6379, ""},
		{":6379", "127.0.0.1", 6379, ""},
	} {
		got, err := Advertise(c.set, strings.Fields(c.bind), c.port)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), "advertise") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}
