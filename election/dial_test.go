package election

import (
	"net"
	"slices"
	"testing"
	"time"
)

// TestHostsAreTakenInTurn: after a connection was lost all servers are tried at once, and only then is there a pause.
func TestHostsAreTakenInTurn(t *testing.T) {
	h := &hosts{}
	if err := h.Init([]string{"a", "b", "c"}); err != nil || h.Len() != 3 {
		t.Fatal(err)
	}
	take := func(n int) (names []string) {
		for range n {
			name, pause := h.Next()
			if pause {
				name = "pause " + name
			}
			names = append(names, name)
		}
		return names
	}
	if got := take(5); !slices.Equal(got, []string{"a", "b", "c", "pause a", "b"}) {
		t.Errorf("%q", got)
	}
	h.Connected() // to b
	if got := take(7); !slices.Equal(got, []string{"c", "a", "b", "pause c", "a", "b", "pause c"}) {
		t.Errorf("after a connection: %q", got)
	}
}

// deadlines records what is set on a connection.
type deadlines struct {
	net.Conn
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestHandshakeHasADeadline(t *testing.T) {
	d := &deadlines{}
	s := &socket{Conn: d, handshakeWait: time.Second}
	now := time.Now()
	for _, deadline := range []time.Time{now.Add(time.Hour), {}, now.Add(time.Minute), {}} { // as the library sets them
		if err := s.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.set) != 2 || d.set[0].After(time.Now().Add(time.Second)) || !d.set[1].Equal(now.Add(time.Minute)) {
		t.Errorf("set %v, now is %v", d.set, now)
	}
}
