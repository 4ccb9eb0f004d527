package election

import (
	"errors"
	"testing"
)

func TestJudge(t *testing.T) {
	ours := Identity{Cluster: "c1", Node: "n1", Data: "d1", Incarnation: "i1"}
	fresh := Identity{Node: "n1", Data: "d9"}
	state := &State{Cluster: "c1", ISR: []Member{{ID: "n1", Data: "d1"}}}
	for name, c := range map[string]struct {
		found      content
		id         Identity
		chroot     string
		standalone bool
		want       error
	}{
		"nothing there":                  {content{}, fresh, "/x", false, nil},
		"nothing there, own data":        {content{}, fresh, "/x", true, nil},
		"an empty chroot":                {content{exists: true}, fresh, "/x", false, nil},
		"half made":                      {content{exists: true, children: []string{"nodes", "incarnations"}}, fresh, "/x", false, nil},
		"an empty root":                  {content{exists: true, children: []string{"zookeeper"}}, fresh, "", false, nil},
		"a root in use":                  {content{exists: true, children: []string{"zookeeper", "kafka"}}, fresh, "", false, ErrForeign},
		"zookeeper below the root":       {content{exists: true, children: []string{"zookeeper"}}, fresh, "/x", false, ErrForeign},
		"nothing there, a member's data": {content{}, ours, "/x", false, ErrWrongCluster},
		"a member comes back":            {content{exists: true, state: state}, ours, "/x", false, nil},
		"a new node":                     {content{exists: true, state: state}, fresh, "/x", false, nil},
		"a new node with data":           {content{exists: true, state: state}, fresh, "/x", true, ErrForeignData},
		"the founder with data":          {content{exists: true, state: state}, Identity{Node: "n1", Data: "d1"}, "/x", true, nil},
		"a member, the data is its own":  {content{exists: true, state: state}, ours, "/x", true, nil},
		"another cluster":                {content{exists: true, state: &State{Cluster: "c2"}}, ours, "/x", false, ErrWrongCluster},
		"a state beside something else":  {content{exists: true, state: state, children: []string{"state", "kafka"}}, ours, "", false, nil},
		"no state beside something else": {content{exists: true, children: []string{"nodes", "kafka"}}, fresh, "/x", false, ErrForeign},
	} {
		err := judge(c.found, c.id, Options{Dir: "d", Standalone: c.standalone}, newPaths(c.chroot))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
}

func TestMayReplace(t *testing.T) {
	c := &Cluster{self: Node{ID: "n1", Incarnation: "now"}}
	entry := func(incarnation string) Node { return Node{ID: "n1", Incarnation: incarnation} }
	if !c.mayReplace(entry("now")) || c.mayReplace(entry("before")) {
		t.Error("without a known earlier run")
	}
	c.earlier = "before"
	if !c.mayReplace(entry("now")) || !c.mayReplace(entry("before")) || c.mayReplace(entry("else")) {
		t.Error("with an earlier run")
	}
}
