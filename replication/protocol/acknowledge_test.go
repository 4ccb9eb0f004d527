package protocol

import "testing"

// committedBy returns the commit position after an acknowledgement.
func committedBy(n *Node, from string, m Message) uint64 {
	m.Kind = Ack
	n.Received(2.1e9, from, m)
	return n.Status(2.1e9).Committed
}

// TestAcknowledgements come on two ways, which do not know of each other: in any order, late, again, and from streams that are
// over. Only the greatest of the present session counts.
func TestAcknowledgements(t *testing.T) {
	n, _, sessions := hotCore(t)
	n.Appended(2.1e9, 50)
	committedBy(n, "c", Message{Epoch: 1, Session: sessions[1], Seq: 50, At: NoBeacon})
	want := func(what string, m Message, committed uint64) {
		t.Helper()
		if got := committedBy(n, "b", m); got != committed {
			t.Errorf("%s: committed is %d instead of %d", what, got, committed)
		}
	}
	b := sessions[0]
	want("on the stream", Message{Epoch: 1, Session: b, Seq: 10, At: NoBeacon}, 10)
	want("a beacon's, overtaken", Message{Epoch: 1, Session: b, Seq: 7, At: 2.05e9}, 10)
	want("a beacon's, ahead", Message{Epoch: 1, Session: b, Seq: 20, At: 2.06e9}, 20)
	want("on the stream, overtaken", Message{Epoch: 1, Session: b, Seq: 15, At: NoBeacon}, 20)
	want("again", Message{Epoch: 1, Session: b, Seq: 20, At: NoBeacon}, 20)
	want("of an earlier epoch", Message{Epoch: 0, Session: b, Seq: 50, At: NoBeacon}, 20)

	// The follower comes back with a log that has lost something: what it has acknowledged of the other one is void.
	log := LogID{Lineage: 2, Tears: 1}
	var now uint64
	for _, a := range n.Received(2.1e9, "b", Message{Kind: Join, Epoch: 1, Log: log, Last: Position{1, 5}}) {
		if a.Do == Stream {
			now = a.Session
		}
	}
	if now == 0 || now == b {
		t.Fatalf("session %d after %d", now, b)
	}
	want("of the stream before", Message{Epoch: 1, Session: b, Seq: 50, At: NoBeacon}, 20)
	if p := n.peer("b"); p.follow.acked != 0 {
		t.Errorf("%d is taken for acknowledged with another log", p.follow.acked)
	}
	n.Disconnected(2.1e9, "b")
	want("of a stream that has ended", Message{Epoch: 1, Session: now, Seq: 50, At: NoBeacon}, 20)
	if s := n.Status(2.1e9); s.Role != Leader {
		t.Errorf("%+v", s)
	}
}

// TestStreamRenewsNoLease: only the reply to a beacon says that its sender waits for the grace before it claims.
func TestStreamRenewsNoLease(t *testing.T) {
	n, seq, sessions := hotCore(t)
	for i, f := range []string{"b", "c"} {
		for _, a := range n.Received(2.9e9, f, Message{Kind: Ack, Epoch: 1, Session: sessions[i], Seq: seq, At: NoBeacon}) {
			if a.Do == Lease {
				t.Errorf("%s: the lease lasts until %d", f, a.Until)
			}
		}
	}
}
