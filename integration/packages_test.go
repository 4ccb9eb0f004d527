package integration

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// record is one package of the Debian package index.
type record struct{ key, stanza string }

// packageIndex is what the machine knows of all Debian packages.
var packageIndex = sync.OnceValues(func() ([]record, error) {
	out, err := exec.Command("apt-cache", "dumpavail").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-cache dumpavail: %w (the test needs a Debian machine)", err)
	}
	var records []record
	seen := map[string]bool{}
	for stanza := range strings.SplitSeq(string(out), "\n\n") {
		stanza = strings.TrimLeft(stanza, "\n")
		name, ok := strings.CutPrefix(stanza, "Package: ")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, "\n")
		if key := "pkg:" + name; !seen[key] {
			seen[key] = true
			records = append(records, record{key, stanza})
		}
	}
	if len(records) < 1000 {
		return nil, fmt.Errorf("apt-cache dumpavail knows only %d packages; make setup (apt-get update) fills it", len(records))
	}
	return records, nil
})

func packages(t testing.TB) []record {
	t.Helper()
	records, err := packageIndex()
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// respSet appends SET key value as a client sends it.
func respSet(b *bytes.Buffer, key, value string) {
	fmt.Fprintf(b, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
}

// TestPackagesByRedisCLI loads the index with redis-cli --pipe.
func TestPackagesByRedisCLI(t *testing.T) {
	records := packages(t)
	s := startServer(t, "--maxmemory", "128mb")
	var stdin bytes.Buffer
	for _, r := range records {
		respSet(&stdin, r.key, r.stanza)
	}
	begin := time.Now()
	out := s.cli(stdin.String(), "--pipe")
	if want := fmt.Sprintf("errors: 0, replies: %d", len(records)); !strings.Contains(out, want) {
		t.Fatalf("redis-cli --pipe printed no %q:\n%s", want, out)
	}
	t.Logf("%d records, %d MiB in %v", len(records), stdin.Len()>>20, time.Since(begin))
	comparePackages(t, s, asModel(records))
	s.kill()
	s.start()
	comparePackages(t, s, asModel(records))
}

// asModel is the index as what must be in the server.
func asModel(records []record) model {
	m := make(model, len(records))
	for _, r := range records {
		m[r.key] = []string{r.stanza}
	}
	return m
}

// comparePackages compares everything in both directions: each key of the model has
// its value, and SCAN finds these keys and no other.
func comparePackages(t testing.TB, s *server, m model) {
	t.Helper()
	c := s.client()
	defer c.Close()
	exist := m.verify(t, c)
	if n, err := c.DBSize(ctx).Result(); err != nil || n != int64(exist) {
		t.Fatalf("DBSIZE = %d, %v; want %d", n, err, exist)
	}
	found := map[string]bool{}
	for it := c.Scan(ctx, 0, "pkg:*", 1000).Iterator(); ; {
		if !it.Next(ctx) {
			if err := it.Err(); err != nil {
				t.Fatal(err)
			}
			break
		}
		if state := m.states(it.Val()); state[0] == absent {
			t.Fatalf("SCAN found %s, which does not exist", it.Val())
		}
		found[it.Val()] = true
	}
	if len(found) != exist {
		t.Fatalf("SCAN found %d keys of %d", len(found), exist)
	}
}

// TestPackagesUnderKills loads the index by go-redis pipelines, updates and deletes
// part of it, and kills the server with -9 at random moments all the while.
func TestPackagesUnderKills(t *testing.T) {
	rnd := seeded(t)
	records := packages(t)
	s := startServer(t, "--maxmemory", "96mb", "--memtable-size", "4mb", "--target-file-size", "2mb", "--level-base-size", "8mb")
	loaders := newLoaders(records, rnd, 4)
	kills := 0
	for end := time.Now().Add(soak(t, 25*time.Second)); !done(loaders) || time.Now().Before(end); kills++ {
		if done(loaders) {
			change(loaders, kills)
		}
		loadAndKill(t, s, loaders, time.Duration(100+rnd.IntN(1500))*time.Millisecond)
	}
	all := model{}
	for _, l := range loaders {
		for k, v := range l.m {
			all[k] = v
		}
	}
	comparePackages(t, s, all)
	t.Logf("%d records, %d kills", len(records), kills)
}

// loader brings its share of the records into the server, in batches, and does a
// batch of unknown outcome again.
type loader struct {
	rnd  *rand.Rand
	m    model
	all  []record
	todo []record // stanza "" = delete
	err  error
}

func newLoaders(records []record, rnd *rand.Rand, n int) []*loader {
	loaders := make([]*loader, n)
	for i := range loaders {
		loaders[i] = &loader{rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0)), m: model{}}
	}
	for i, r := range records {
		l := loaders[i%n]
		l.all = append(l.all, r)
	}
	for _, l := range loaders {
		l.todo = slices.Clone(l.all)
	}
	return loaders
}

func done(loaders []*loader) bool {
	return !slices.ContainsFunc(loaders, func(l *loader) bool { return len(l.todo) > 0 })
}

// change gives each loader updates and deletes for a tenth of its records.
func change(loaders []*loader, round int) {
	for _, l := range loaders {
		for _, r := range l.all {
			switch l.rnd.IntN(20) {
			case 0:
				l.todo = append(l.todo, record{r.key, fmt.Sprintf("%s\nCoreCache-Round: %d", r.stanza, round)})
			case 1:
				l.todo = append(l.todo, record{key: r.key})
			}
		}
	}
}

// loadAndKill lets the loaders work for a while and kills the server.
func loadAndKill(t testing.TB, s *server, loaders []*loader, load time.Duration) {
	t.Helper()
	stop, cancel := context.WithTimeout(ctx, load)
	defer cancel()
	var group sync.WaitGroup
	for _, l := range loaders {
		group.Go(func() { l.run(stop, s) })
	}
	<-stop.Done()
	s.kill()
	group.Wait()
	s.start()
	c := s.client()
	defer c.Close()
	for i, l := range loaders {
		if l.err != nil {
			t.Fatalf("loader %d: %v", i, l.err)
		}
		l.m.verify(t, c)
	}
}

func (l *loader) run(stop context.Context, s *server) {
	c := s.client()
	defer c.Close()
	for stop.Err() == nil && len(l.todo) > 0 {
		part := l.todo[:min(len(l.todo), 1+l.rnd.IntN(200))]
		acked, err := l.batch(c, part).run(ctx)
		l.todo = l.todo[acked:]
		if err != nil {
			l.err = err
		}
		if err != nil || acked < len(part) {
			return
		}
	}
}

func (l *loader) batch(c *redis.Client, part []record) *batch {
	b := newBatch(l.m, c)
	for _, r := range part {
		if r.stanza == "" {
			b.del(r.key)
		} else {
			b.set(r.key, r.stanza)
		}
	}
	return b
}
