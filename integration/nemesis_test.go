package integration

import (
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gtinside/corecache/integration/zoo"
)

// A nemesis breaks a cluster in every way it knows, one or two at a time, and demands after each that the cluster recovers.
type nemesis struct {
	c    *nodes
	rnd  *rand.Rand
	deck []fault // what comes before anything comes again
}

// fault is one way to break a cluster.
type fault struct {
	kind  string // of two at a time, each is of another kind
	name  string
	begin func(*victims) (end func())
}

// victims are who leads and who follows when a fault begins.
type victims struct {
	*nemesis
	leader    *server
	followers []*server // in random order
}

var faults = []fault{
	{"process", "kill the leader", func(v *victims) func() { return v.kill(v.leader) }},
	{"process", "kill a follower", func(v *victims) func() { return v.kill(v.followers[0]) }},
	{"process", "kill both followers", func(v *victims) func() { return v.kill(v.followers...) }},
	{"process", "kill the leader and a follower", func(v *victims) func() { return v.kill(v.leader, v.followers[0]) }},
	{"process", "kill all nodes", func(v *victims) func() { return v.kill(v.c.procs...) }},
	{"process", "pause the leader", func(v *victims) func() { return v.pause(v.leader) }},
	{"process", "pause a follower", func(v *victims) func() { return v.pause(v.followers[0]) }},
	{"process", "pause both followers", func(v *victims) func() { return v.pause(v.followers...) }},
	{"process", "restart the leader", func(v *victims) func() { return v.restart(v.leader) }},
	{"process", "restart a follower", func(v *victims) func() { return v.restart(v.followers[0]) }},

	{"network", "leader | zookeeper", func(v *victims) func() { return v.part(v.leader.id, zookeeperID) }},
	{"network", "leader | followers", func(v *victims) func() { return v.part(v.leader.id, v.ids()...) }},
	{"network", "leader | a follower", func(v *victims) func() { return v.part(v.leader.id, v.followers[0].id) }},
	{"network", "leader | all", func(v *victims) func() { return v.part(v.leader.id, append(v.ids(), zookeeperID)...) }},
	{"network", "a follower | all", func(v *victims) func() {
		return v.part(v.followers[0].id, v.followers[1].id, v.leader.id, zookeeperID)
	}},
	{"network", "leader -> followers", func(v *victims) func() { return v.from(v.leader.id, v.ids()...) }},
	{"network", "followers -> leader", func(v *victims) func() { return v.to(v.leader.id, v.ids()...) }},
	{"network", "leader -> a follower", func(v *victims) func() { return v.from(v.leader.id, v.followers[0].id) }},
	{"network", "a follower -> leader", func(v *victims) func() { return v.to(v.leader.id, v.followers[0].id) }},
	{"network", "follower | follower", func(v *victims) func() { return v.part(v.followers[0].id, v.followers[1].id) }},
	{"network", "leader -> zookeeper", func(v *victims) func() { return v.from(v.leader.id, zookeeperID) }},
	{"network", "zookeeper -> leader", func(v *victims) func() { return v.to(v.leader.id, zookeeperID) }},
	{"network", "leader | followers, flapping", func(v *victims) func() { return v.flap(v.ids()...) }},
	{"network", "leader | all, flapping", func(v *victims) func() { return v.flap(append(v.ids(), zookeeperID)...) }},

	{"zookeeper", "kill a server of ZooKeeper", func(v *victims) func() { return v.killZooKeeper(v.c.zk.Follower()) }},
	{"zookeeper", "kill the leader of ZooKeeper", func(v *victims) func() { return v.killZooKeeper(v.c.zk.Leader()) }},
	{"zookeeper", "pause the leader of ZooKeeper", func(v *victims) func() { return v.pauseZooKeeper(v.c.zk.Leader()) }},
	{"zookeeper", "kill ZooKeeper", func(v *victims) func() {
		v.c.zk.Kill()
		return v.restartZooKeeper
	}},
}

// round begins one fault, or two, ends them after a while, and waits until all nodes are in sync again.
func (n *nemesis) round() {
	n.c.t.Helper()
	v := &victims{nemesis: n, leader: n.c.leader()}
	v.followers = n.c.others(v.leader)
	n.rnd.Shuffle(len(v.followers), func(i, j int) { v.followers[i], v.followers[j] = v.followers[j], v.followers[i] })
	chosen := n.draw()
	var ends []func()
	var names []string
	for _, f := range chosen {
		names = append(names, f.name)
		ends = append(ends, f.begin(v))
		n.rest(0, 300*time.Millisecond)
	}
	n.rest(200*time.Millisecond, 3*time.Second)
	for _, end := range ends {
		end()
	}
	ended := time.Now()
	n.c.waitInSync(len(n.c.procs))
	n.c.t.Logf("%s (%s led): in sync again after %v", strings.Join(names, " + "), v.leader.id, time.Since(ended).Round(time.Millisecond))
}

// chosenFaults are all, or those whose names match CORECACHE_FAULTS, which helps to look into one that fails.
func chosenFaults(t *testing.T) []fault {
	t.Helper()
	wanted, err := regexp.Compile(os.Getenv("CORECACHE_FAULTS"))
	if err != nil {
		t.Fatalf("CORECACHE_FAULTS: %v", err)
	}
	chosen := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !wanted.MatchString(f.name) })
	if len(chosen) == 0 {
		t.Fatal("CORECACHE_FAULTS names no fault")
	}
	return chosen
}

// draw takes the next fault, and once in three times another one of a different kind.
func (n *nemesis) draw() []fault {
	if len(n.deck) == 0 {
		n.deck = chosenFaults(n.c.t)
		n.rnd.Shuffle(len(n.deck), func(i, j int) { n.deck[i], n.deck[j] = n.deck[j], n.deck[i] })
	}
	chosen := n.deck[:1:1]
	n.deck = n.deck[1:]
	if n.rnd.IntN(3) == 0 {
		if i := slices.IndexFunc(n.deck, func(f fault) bool { return f.kind != chosen[0].kind }); i >= 0 {
			chosen = append(chosen, n.deck[i])
			n.deck = slices.Delete(n.deck, i, i+1)
		}
	}
	return chosen
}

// rest is how long something stays as it is.
func (n *nemesis) rest(least, most time.Duration) {
	<-time.After(least + time.Duration(n.rnd.Int64N(int64(most-least))))
}

func (v *victims) ids() (ids []string) {
	for _, s := range v.followers {
		ids = append(ids, s.id)
	}
	return ids
}

func (v *victims) kill(all ...*server) (end func()) {
	for _, s := range all {
		_ = s.cmd.Process.Kill() // all at once, before the first is waited for
	}
	for _, s := range all {
		s.kill()
	}
	return func() {
		for _, s := range all {
			s.launch()
		}
	}
}

func (v *victims) pause(all ...*server) (end func()) {
	for _, s := range all {
		s.signal(syscall.SIGSTOP)
	}
	return func() {
		for _, s := range all {
			s.signal(syscall.SIGCONT)
		}
	}
}

func (v *victims) restart(s *server) (end func()) {
	s.signal(syscall.SIGTERM)
	return func() {
		if code := s.wait(); code != 0 {
			v.c.t.Errorf("%s ended with code %d after SIGTERM", s.id, code)
		}
		s.launch()
	}
}

// part cuts one off from others, in both directions.
func (v *victims) part(one string, others ...string) (end func()) {
	from, to := v.from(one, others...), v.to(one, others...)
	return func() {
		from()
		to()
	}
}

func (v *victims) from(one string, others ...string) (end func()) {
	var heals []func()
	for _, o := range others {
		heals = append(heals, v.c.net.cut(one, o))
	}
	return func() {
		for _, heal := range heals {
			heal()
		}
	}
}

func (v *victims) to(one string, others ...string) (end func()) {
	var heals []func()
	for _, o := range others {
		heals = append(heals, v.from(o, one))
	}
	return func() {
		for _, heal := range heals {
			heal()
		}
	}
}

// flap cuts the leader off again and again, for moments that are shorter and longer than its lease.
func (v *victims) flap(others ...string) (end func()) {
	for range 6 {
		heal := v.part(v.leader.id, others...)
		v.rest(50*time.Millisecond, 900*time.Millisecond)
		heal()
		v.rest(20*time.Millisecond, 300*time.Millisecond)
	}
	return func() {}
}

func (v *victims) restartZooKeeper() {
	if err := v.c.zk.Restart(); err != nil {
		v.c.t.Fatal(err)
	}
}

// killZooKeeper kills one server; while there is none of the wanted kind, another one.
func (v *victims) killZooKeeper(s *zoo.Server) (end func()) {
	if s == nil {
		s = v.c.zk.Server(0)
	}
	s.Kill()
	return v.restartZooKeeper
}

func (v *victims) pauseZooKeeper(s *zoo.Server) (end func()) {
	if s == nil {
		s = v.c.zk.Server(0)
	}
	if err := s.Pause(); err != nil {
		v.c.t.Fatal(err)
	}
	return func() {
		if err := s.Resume(); err != nil {
			v.c.t.Fatal(err)
		}
		v.restartZooKeeper() // it waits until all serve
	}
}
