package election

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/gtinside/corecache/engine/vfs"
)

var sample = State{Cluster: "c1", Epoch: 7, Leader: "n1", Incarnation: "i1", ISR: []Member{{ID: "n1", Data: "d1"}, {ID: "n2"}}}

func TestStateEncoding(t *testing.T) {
	const want = `{"cluster":"c1","corecache":1,"epoch":7,"incarnation":"i1","isr":[{"data":"d1","id":"n1"},{"id":"n2"}],"leader":"n1"}`
	if got := string(sample.encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s, err := decodeState([]byte(want))
	if err != nil || !s.Equal(sample) {
		t.Errorf("%+v, %v", s, err)
	}
	first := State{Cluster: "c1", ISR: []Member{{ID: "n1"}}}
	if got := string(first.encode()); got != `{"cluster":"c1","corecache":1,"epoch":0,"isr":[{"id":"n1"}]}` {
		t.Errorf("without a leader: %s", got)
	}
	if _, ok := s.Member("n3"); ok {
		t.Error("n3 is a member")
	}
}

func TestCloneSharesNothing(t *testing.T) {
	s, err := decodeState([]byte(`{"cluster":"c","corecache":1,"isr":[{"id":"n1"}],"new":true}`))
	if err != nil {
		t.Fatal(err)
	}
	before := string(s.encode())
	c := s.Clone()
	c.ISR[0].ID = "x"
	c.extra["new"] = []byte("false")
	c.ISR = append(c.ISR, Member{ID: "y"})
	if now := string(s.encode()); now != before {
		t.Errorf("from %s to %s", before, now)
	}
	if s.Equal(c) {
		t.Error("they are equal")
	}
}

func TestWhatIsNoState(t *testing.T) {
	for _, bad := range []string{
		``, `null`, `[]`, `{}`, `hello`, `{"corecache":0}`, `{"corecache":"1"}`, `{"corecache":1}`,
		`{"corecache":1,"cluster":"c","isr":[]}`,
		`{"corecache":1,"cluster":"","isr":[{"id":"n"}]}`,
		`{"corecache":1,"cluster":"c","isr":[{"id":"n"},{"id":"n"}]}`,
		`{"corecache":1,"cluster":"c","isr":[{"id":""}]}`,
		`{"corecache":1,"cluster":"c","isr":[{"id":"a/b"}]}`,
		`{"corecache":1,"cluster":"c","isr":[null]}`,
		`{"corecache":1,"cluster":"c","epoch":-1,"isr":[{"id":"n"}]}`,
		`{"corecache":1,"cluster":"c","epoch":1,"isr":[{"id":"n"}]}`,
		`{"corecache":1,"cluster":"c","epoch":1,"leader":"n","isr":[{"id":"n"}]}`,
		`{"corecache":1,"cluster":"c","epoch":1,"leader":"m","incarnation":"i","isr":[{"id":"n"}]}`,
		`{"corecache":1,"cluster":"c","epoch":0,"leader":"n","incarnation":"i","isr":[{"id":"n"}]}`,
		string(sample.encode()) + "x", strings.Repeat(" ", maxStateSize+1),
	} {
		if s, err := decodeState([]byte(bad)); !errors.Is(err, errNotOurs) {
			t.Errorf("%.100q: %+v, %v", bad, s, err)
		}
	}
	if _, err := decodeState([]byte(`{"corecache":2,"cluster":{}}`)); !errors.Is(err, ErrFormat) {
		t.Errorf("a newer format: %v", err)
	}
}

func TestNodeEncoding(t *testing.T) {
	n := Node{ID: "n1", Advertise: "10.0.0.1:6379", Peer: "[::1]:7379", Version: `0.1 "x" <&>`, Incarnation: "i1"}
	got, err := decodeNode(n.encode())
	if err != nil || got != n {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := decodeNode([]byte(`{"corecache":1,"id":"n1"}`)); !errors.Is(err, errNotOurs) {
		t.Errorf("without an incarnation: %v", err)
	}
}

var sampleIdentity = Identity{Cluster: "c1", Node: "n1", Data: "d1", Incarnation: "i1", Place: "b:1:2"}

func TestIdentityEncoding(t *testing.T) {
	want := `{"cluster":"c1","corecache":1,"data":"d1","incarnation":"i1","node":"n1","place":"b:1:2"}` + "\ncrc32c 977c44a7\n"
	if got := string(sampleIdentity.encode()); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	data := sampleIdentity.encode()
	for i := range data {
		for _, flip := range []byte{1, 0x20, 0x80} {
			damaged := append([]byte(nil), data...)
			damaged[i] ^= flip
			if id, err := decodeIdentity(damaged); err == nil {
				t.Fatalf("byte %d ^ %#x is read as %+v", i, flip, id)
			}
		}
	}
	for n := range data {
		if _, err := decodeIdentity(data[:n]); err == nil {
			t.Fatalf("the first %d bytes are taken", n)
		}
	}
	newer := Identity{Node: "n", Data: "d", Incarnation: "i", extra: fields{"colour": []byte(`"red"`)}}
	id, err := decodeIdentity(newer.encode())
	if id.Node = "m"; err != nil || !strings.Contains(string(id.encode()), `"colour":"red"`) {
		t.Errorf("a newer version's field is lost: %s, %v", id.encode(), err)
	}
}

// TestIdentityOutlivesCrashes saves one identity over the other and lets the power fail before each operation: the old one or the
// new one is there.
func TestIdentityOutlivesCrashes(t *testing.T) {
	older, newer := sampleIdentity, sampleIdentity
	newer.Incarnation = "i2"
	sawOld, sawNew := false, false
	for seed := range uint64(200) {
		for stop, done := int64(1), false; !done; stop++ {
			files := vfs.NewCrash(seed)
			if err := errors.Join(files.MkdirAll("/d"), older.save(files, "/d")); err != nil {
				t.Fatal(err)
			}
			err := newer.save(vfs.NewFault(files, vfs.FailFrom(stop, vfs.ErrInjected)), "/d")
			done = err == nil
			id, loadErr := loadIdentity(files.Crash(), "/d")
			if loadErr != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, stop, loadErr)
			}
			isNew, isOld := id.Incarnation == "i2", id.Incarnation == "i1"
			if !isNew && !isOld || done && !isNew {
				t.Fatalf("seed %d, operation %d: %+v, save: %v", seed, stop, id, err)
			}
			sawOld, sawNew = sawOld || isOld, sawNew || isNew
		}
	}
	if !sawOld || !sawNew {
		t.Errorf("old seen: %v, new seen: %v", sawOld, sawNew)
	}
}

func TestNoIdentityYet(t *testing.T) {
	files := vfs.NewMem()
	if err := files.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	id, err := loadIdentity(files, "/d")
	if err != nil || id.Node != "" {
		t.Errorf("%+v, %v", id, err)
	}
	a, err1 := id.fill("")
	b, err2 := id.fill("")
	if err1 != nil || err2 != nil || !validID(a.Node) || !validID(a.Data) || a.Node == b.Node || a.Data == b.Data {
		t.Errorf("%+v, %+v", a, b)
	}
	if names, err := files.List("/d"); err != nil || len(names) > 0 {
		t.Errorf("looking has written %v, %v", names, err)
	}
	if _, err := files.Stat("/d/" + IdentityFile); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzState(f *testing.F) {
	f.Add(sample.encode())
	f.Add([]byte(`{"corecache":1,"cluster":"c","epoch":0,"isr":[{"id":"n","x":[1,{"y":null}]}],"z":"\u2028"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeState(data)
		if err != nil {
			return
		}
		again, err := decodeState(s.encode())
		if err != nil || !again.Equal(s) || again.Epoch != s.Epoch || len(again.ISR) != len(s.ISR) {
			t.Errorf("%+v became %+v, %v", s, again, err)
		}
	})
}

func FuzzNode(f *testing.F) {
	f.Add(Node{ID: "n1", Advertise: "h:1", Peer: "h:2", Version: "v", Incarnation: "i"}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := decodeNode(data)
		if err != nil {
			return
		}
		if again, err := decodeNode(n.encode()); err != nil || again != n {
			t.Errorf("%+v became %+v, %v", n, again, err)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add(sampleIdentity.encode())
	f.Add([]byte("{}\ncrc32c 00000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := decodeIdentity(data)
		if err != nil {
			return
		}
		if again, err := decodeIdentity(id.encode()); err != nil || fmt.Sprint(again) != fmt.Sprint(id) {
			t.Errorf("%+v became %+v, %v", id, again, err)
		}
	})
}
