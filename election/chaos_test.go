package election

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/gtinside/corecache/integration/zoo"
)

// TestChaos lets three nodes change the state at the same time while their connections break, stall and move between servers, and their
// sessions expire. Each write carries a mark of its own. What a node believes of its writes must stay true: a write that was made, or
// that Read found, is there until that node's next one; a write that Read did not find never appears.
//
// CORECACHE_SOAK=10m makes it as long.
func TestChaos(t *testing.T) {
	t.Parallel()
	long := 4 * time.Second
	if soak := os.Getenv("CORECACHE_SOAK"); soak != "" {
		var err error
		if long, err = time.ParseDuration(soak); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	book := &marks{dead: map[string]bool{}}
	var running sync.WaitGroup
	for i := range 3 {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		var via []*zoo.Proxy
		for s := range w.zk.Len() {
			via = append(via, w.proxy(w.zk.Server(s)))
		}
		o := w.options(fmt.Sprintf("n%d", i), via...)
		o.Timeout, o.Poll = time.Second, 200*time.Millisecond
		c := w.open(o)
		running.Go(func() { breakThings(ctx, rnd, via) })
		running.Go(func() { writeMarks(t, ctx, c, book, rand.New(rand.NewPCG(seed, uint64(10+i)))) })
	}
	running.Wait()
	t.Logf("%d writes made, %d settled as made, %d as not made, %d conflicts, %d refused", book.made, book.found, len(book.dead), book.conflicts, book.refused)
	if book.made == 0 {
		t.Error("nothing was written")
	}
}

// marks is what all nodes together know of their writes.
type marks struct {
	mu   sync.Mutex
	dead map[string]bool // settled as not made

	made, found, conflicts, refused int
}

// check fails when a write shows up that was settled as not made.
func (b *marks) check(t *testing.T, s State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range s.ISR {
		if b.dead[m.Data] {
			t.Errorf("the write %s of %s was settled as not made, and is there", m.Data, m.ID)
		}
	}
}

func (b *marks) count(n *int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*n++
}

// marked is the state with this mark for a node.
func marked(s State, id, mark string) State {
	next := s.Clone()
	for i := range next.ISR {
		if next.ISR[i].ID == id {
			next.ISR[i].Data = mark
			return next
		}
	}
	next.ISR = append(next.ISR, Member{ID: id, Data: mark})
	return next
}

func writeMarks(t *testing.T, ctx context.Context, c *Cluster, book *marks, rnd *rand.Rand) {
	mine, known := "", false // the mark that must be in the state, once known
	for ctx.Err() == nil && !t.Failed() {
		s, v, err := c.Read(ctx)
		if err != nil {
			continue // the time is over, or it has no connection
		}
		book.check(t, s)
		if m, _ := s.Member(c.self.ID); known && m.Data != mine {
			t.Errorf("%s wrote %s, and the state has %s", c.self.ID, mine, m.Data)
		}
		mark := newID()
		write := c.CompareAndSet
		next := marked(s, c.self.ID, mark)
		if rnd.IntN(2) == 0 {
			write, next = c.Claim, claimed(c, next)
		}
		short, cancel := context.WithTimeout(ctx, time.Duration(1+rnd.IntN(300))*time.Millisecond) // mostly enough
		_, err = write(short, v, next)
		cancel()
		switch {
		case err == nil:
			mine, known = mark, true
			book.count(&book.made)
		case errors.Is(err, ErrUnknown):
			if mine, known = settle(ctx, c, v, mine, mark, book, known); !known {
				return // the test is over
			}
		case errors.Is(err, ErrConflict):
			book.count(&book.conflicts)
		case errors.Is(err, ErrUnavailable), errors.Is(err, ErrNotRegistered):
			book.count(&book.refused)
		default:
			t.Errorf("%s: %v", c.self.ID, err)
		}
	}
}

// settle finds out by Read whether a write was made, and returns which mark is the node's now.
func settle(ctx context.Context, c *Cluster, v int32, mine, mark string, book *marks, known bool) (string, bool) {
	s, version, err := c.Read(ctx)
	if err != nil {
		return "", false
	}
	m, _ := s.Member(c.self.ID)
	if m.Data == mark {
		book.count(&book.found)
		return mark, true
	}
	book.mu.Lock()
	book.dead[mark] = true
	book.mu.Unlock()
	if !known || version == v { // nothing of this node's was there before, or nothing has changed
		return m.Data, true
	}
	return mine, true
}

// breakThings plays with the connections of one node, most of the time.
func breakThings(ctx context.Context, rnd *rand.Rand, via []*zoo.Proxy) {
	faults := []zoo.Fault{{}, {}, {HoldReplies: true}, {HoldRequests: true}, zoo.Stall, {Refuse: true}, {DropEvents: true}}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			for _, p := range via {
				p.Set(zoo.Fault{})
			}
			return
		case <-pause.C:
		}
		p := via[rnd.IntN(len(via))]
		p.Set(faults[rnd.IntN(len(faults))])
		if rnd.IntN(2) == 0 {
			p.Break()
		}
		pause.Reset(time.Duration(rnd.Int64N(int64(100 * time.Millisecond))))
	}
}
