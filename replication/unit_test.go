package replication

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/gtinside/corecache/election"
	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/replication/protocol"
)

func TestMessage(t *testing.T) {
	m := protocol.Message{Kind: protocol.Answer, Full: true, Synced: true, Epoch: 1, Session: 2, At: -3, Seq: 4, Commit: 5,
		Last: protocol.Position{Epoch: 6, Seq: 7}, Point: protocol.Position{Epoch: 8, Seq: 9}, Log: protocol.LogID{Lineage: 10, Tears: 11}, Incarnation: "me"}
	b := appendMessage(nil, &m)
	got, err := decodeMessage(b)
	if err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range messageHeader {
		if _, err := decodeMessage(b[:n]); err == nil {
			t.Errorf("%d bytes are a message", n)
		}
	}
	m.Kind = protocol.Records
	if _, err := decodeMessage(appendMessage(nil, &m)); !errors.Is(err, errMessage) {
		t.Error("records come by a control link")
	}
	if kind, epoch, session := parsePurpose(streamPurpose(7, 8)); kind != purposeStream || epoch != 7 || session != 8 {
		t.Error(kind, epoch, session)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(appendMessage(nil, &protocol.Message{Kind: protocol.Beacon, Epoch: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMessage(b); err == nil {
			if again, err := decodeMessage(appendMessage(nil, &m)); err != nil || again != m {
				t.Errorf("%+v, %+v, %v", m, again, err)
			}
		}
	})
}

func TestState(t *testing.T) {
	founded := election.State{Cluster: "c", ISR: []election.Member{{ID: "n1", Data: "p7ha"}}}
	if got := coreState(founded); !reflect.DeepEqual(got, protocol.State{ISR: []protocol.Member{{Node: "n1"}}}) {
		t.Errorf("%+v", got)
	}
	want := protocol.State{Epoch: 3, Leader: "n1", Incarnation: "i", ISR: []protocol.Member{
		{Node: "n1", Log: protocol.LogID{Lineage: 1 << 63, Tears: 2}}, {Node: "n2", Log: protocol.LogID{Lineage: 5}}}}
	s := wantedState(founded, want)
	if got := coreState(s); !reflect.DeepEqual(got, want) || s.Cluster != "c" || s.ISR[0].Data != "9223372036854775808.2" {
		t.Errorf("%+v", s)
	}
	for err, r := range map[error]protocol.Result{
		nil: protocol.Applied, election.ErrConflict: protocol.Conflict, election.ErrUnavailable: protocol.Refused,
		election.ErrNotRegistered: protocol.Refused, fmt.Errorf("x: %w", election.ErrUnknown): protocol.Unknown,
	} {
		if result(err) != r {
			t.Errorf("%v is %v", err, result(err))
		}
	}
}

// TestIdentity goes through the ways in which a node starts.
func TestIdentity(t *testing.T) {
	o := Options{FS: vfs.NewMem(), Dir: "d"}
	if err := o.FS.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	start := func(last uint64, boot string) protocol.LogID {
		t.Helper()
		id, err := o.openIdentity(last, boot)
		if err != nil {
			t.Fatal(err)
		}
		return id.logID()
	}
	change := func(f func(*identity)) {
		t.Helper()
		id, err := o.loadIdentity()
		if err != nil {
			t.Fatal(err)
		}
		f(&id)
		if err := o.saveIdentity(id); err != nil {
			t.Fatal(err)
		}
	}
	a := start(0, "boot1")
	same := func(what string, got protocol.LogID, tears uint32) {
		t.Helper()
		if got.Lineage != a.Lineage || got.Tears != tears {
			t.Errorf("%s: %v after %v", what, got, a)
		}
	}
	same("killed", start(5, "boot1"), 0)
	same("lost power", start(5, "boot2"), 1)
	change(func(id *identity) { id.Closed = true })
	same("ended in order", start(5, "boot3"), 1)
	same("unknown boot", start(5, ""), 2)
	same("unknown boot again", start(5, ""), 3)
	o.Settings.AckSynced = true
	same("synced from now on", start(5, "boot4"), 4)
	same("was synced", start(5, "boot5"), 4)
	if b := start(0, "boot5"); b.Lineage == a.Lineage {
		t.Error("an empty log keeps its lineage")
	}
	b := start(9, "boot5")
	change(func(id *identity) { id.Syncing = true })
	if c := start(9, "boot5"); c.Lineage == b.Lineage {
		t.Error("a full sync that did not end leaves the lineage")
	}
	if err := vfs.WriteFile(o.FS, "d/LINEAGE", []byte("{}\ncrc32c 00000000\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := o.openIdentity(9, "boot5"); err == nil {
		t.Error("a damaged file is accepted")
	}
}
