package replication

import (
	"slices"
	"testing"

	"github.com/gtinside/corecache/replication/protocol"
)

// TestUnequal: a leader says which nodes acknowledge at another level than it does.
func TestUnequal(t *testing.T) {
	c := newCluster(t, "a", "b")
	c.start("a")
	a := c.leader()
	c.start("b")
	c.inSync("a", "b")
	for _, x := range []struct {
		a, b bool
		want []string
	}{{false, true, []string{"b"}}, {true, true, nil}, {true, false, []string{"b"}}, {false, false, nil}} {
		for n, synced := range map[*testNode]bool{a: x.a, c.nodes["b"]: x.b} {
			if err := n.node.SetSettings(protocol.Settings{AckSynced: synced}); err != nil {
				t.Fatal(err)
			}
		}
		c.eventually("the leader says so", func() bool { return slices.Equal(a.node.Status().Unequal, x.want) })
	}
}
