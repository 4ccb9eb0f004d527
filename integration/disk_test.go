package integration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A disk is a small file system of its own, which fills up or fails when the test wants it to.
//
//	full      a tmpfs; a ballast takes all that is free
//	failing   ext4 on a loop device, whose image lies, with holes, in a tmpfs that is smaller than it. A ballast in the
//	          tmpfs, which ext4 knows nothing of, makes the device fail what it has never written before: as a disk does
//	          that has run out of spare sectors. Device-mapper could do that as well, but is missing in many kernels.
type disk struct {
	t       *testing.T
	dir     string // for the data
	under   string // the tmpfs
	ballast string // in the tmpfs
}

// newDisk is a disk that fills up.
func newDisk(t *testing.T, size string) *disk {
	t.Helper()
	d := mountTmpfs(t, size)
	d.dir = filepath.Join(d.under, "data")
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return d
}

// newFailingDisk is a disk that fails.
func newFailingDisk(t *testing.T, size string) *disk {
	t.Helper()
	d := mountTmpfs(t, size)
	image := filepath.Join(d.under, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 512<<20); err != nil {
		t.Fatal(err)
	}
	if err := command("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", "-J", "size=4", image); err != nil {
		t.Skipf("no failing disk: %v", err)
	}
	d.mount("-o", "loop", image)
	return d
}

// diskPrefix, the process id of the test and a number name a mount point, so that those which a crashed test has left are found.
const diskPrefix = "corecache-disk-"

func mountTmpfs(t *testing.T, size string) *disk {
	t.Helper()
	removeLeftDisks()
	d := &disk{t: t}
	d.mount("-t", "tmpfs", "-o", "size="+size, "tmpfs")
	d.under, d.ballast = d.dir, filepath.Join(d.dir, "ballast")
	return d
}

// mount mounts something at a new directory.
func (d *disk) mount(args ...string) {
	d.t.Helper()
	dir, err := os.MkdirTemp("", fmt.Sprint(diskPrefix, os.Getpid(), "-"))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { unmount(d.t, dir) })
	if err := command("mount", append(args, dir)...); err != nil {
		d.t.Skipf("no small disk without a mount, for which the test must be root: %v", err)
	}
	d.dir = dir
}

func unmount(t *testing.T, dir string) {
	if mounted(dir) {
		if err := command("umount", "-l", dir); err != nil {
			t.Error(err)
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
}

func mounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(table), " "+dir+" ")
}

var ourDisk = regexp.MustCompile(`^` + diskPrefix + `([0-9]+)-`)

// removeLeftDisks removes what tests have left that are not there any more. The last mounted lies on those before.
func removeLeftDisks() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), diskPrefix+"*"))
	for _, dir := range dirs {
		if m := ourDisk.FindStringSubmatch(filepath.Base(dir)); m != nil && !processRuns(m[1]) {
			_ = command("umount", "-l", dir) // it may not be mounted
			_ = os.Remove(dir)
		}
	}
}

// command runs a program, and has what it printed in the error.
func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// fill takes all that is free.
func (d *disk) fill() {
	d.t.Helper()
	f, err := os.Create(d.ballast)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	_, err = io.Copy(f, zeros{})
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatalf("filling the disk: %v", err)
	}
}

// relieve gives it back.
func (d *disk) relieve() {
	d.t.Helper()
	if err := os.Remove(d.ballast); err != nil {
		d.t.Fatal(err)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// lead starts three nodes, of which the first, with its data on the disk, leads.
func (d *disk) lead(args ...string) (c *nodes, first *server) {
	d.t.Helper()
	c = newCluster(d.t, args...)
	first = c.add()
	first.dir, first.mayEnd = d.dir, true
	first.start()
	c.waitInSync(1)
	return c.start(2), first
}

// follow starts three nodes, of which the last has its data on the disk.
func (d *disk) follow(args ...string) (c *nodes, last *server) {
	d.t.Helper()
	c = startCluster(d.t, 2, args...)
	last = c.add()
	last.dir, last.mayEnd = d.dir, true
	last.launch()
	c.waitInSync(3)
	return c, last
}

// TestClusterDiskFull fills the disk of the leader up under load: it refuses writes or hands over, serves reads, and does not lie. When
// there is room again all goes on.
func TestClusterDiskFull(t *testing.T) {
	d := newDisk(t, "128m")
	c, first := d.lead(smallTree...)
	l := c.load(3)
	l.flows(500)
	d.fill()
	c.waitFor("writes to be refused, or another leader", func() bool { return l.refused("MISCONF") || first.ended() || !first.leads() })
	t.Logf("with a full disk: %s is %s, ended: %v%s", first.id, first.info("cluster_role"), first.ended(), l.errors())
	for _, s := range c.others(first) {
		cl := s.client()
		if err := cl.Get(ctx, "w0:0").Err(); err != nil {
			t.Errorf("a read through %s, while the disk of %s is full: %v", s.id, first.id, err)
		}
		_ = cl.Close()
	}
	d.relieve()
	d.recover(c, first, l)
}

// TestClusterDiskFullFollower fills the disk of a follower up: the others go on without it.
func TestClusterDiskFullFollower(t *testing.T) {
	d := newDisk(t, "128m")
	c, last := d.follow(smallTree...)
	l := c.load(3)
	l.flows(500)
	l.pause.Store(0)
	d.fill()
	c.waitInSync(2)
	l.flows(500)
	t.Logf("with a full disk: %s ended: %v; the longest pause was %v%s", last.id, last.ended(), time.Duration(l.pause.Load()).Round(time.Millisecond), l.errors())
	d.relieve()
	d.recover(c, last, l)
}

// recover demands that all goes on with the node, which has a disk again.
func (d *disk) recover(c *nodes, s *server, l *clusterLoad) {
	d.t.Helper()
	if s.ended() {
		s.launch()
	}
	began := time.Now()
	c.waitInSync(3)
	d.t.Logf("in sync again after %v", time.Since(began).Round(time.Millisecond))
	l.flows(200)
	l.end()
	c.same()
	l.check()
}

// TestClusterDiskFails has the disk of the leader fail under load: another node leads, and nothing is lost. Then the node gets
// a new disk.
func TestClusterDiskFails(t *testing.T) {
	for _, policy := range []string{"everysec", "always"} {
		t.Run(policy, func(t *testing.T) {
			d := newFailingDisk(t, "128m")
			c, first := d.lead(append([]string{"--appendfsync", policy}, smallTree...)...)
			l := c.load(3)
			l.flows(500)
			d.fill()
			c.waitFor("another leader", func() bool { return first.ended() || !first.leads() })
			l.flows(200)
			t.Logf("with a failing disk: %s is %s, ended: %v%s", first.id, first.info("cluster_role"), first.ended(), l.errors())
			if code := first.wait(); code != 1 { // a supervisor is to start it anew
				t.Errorf("exit code %d", code)
			}
			first.dir = t.TempDir()
			d.recover(c, first, l)
		})
	}
}

// TestClusterDiskHangs has the disk of the leader answer nothing for a while. Writes may wait for it, and nothing is lost.
func TestClusterDiskHangs(t *testing.T) {
	d := newFailingDisk(t, "128m")
	c, first := d.lead(smallTree...)
	l := c.load(3)
	l.flows(500)
	thaw := d.freeze()
	began := time.Now()
	c.waitFor("three seconds, or another leader", func() bool { return time.Since(began) > 3*time.Second || first.ended() || !first.leads() })
	t.Logf("after %v with a disk that hangs: %s is %s; the longest pause was %v%s", time.Since(began).Round(time.Millisecond), first.id, first.info("cluster_role"),
		max(time.Duration(l.pause.Load()), time.Since(time.Unix(0, l.last.Load()))).Round(time.Millisecond), l.errors())
	thaw()
	d.recover(c, first, l)
}

// freeze stops all writing to a failing disk, until thaw is called.
func (d *disk) freeze() (thaw func()) {
	d.t.Helper()
	if err := command("fsfreeze", "--freeze", d.dir); err != nil {
		d.t.Skipf("no disk that hangs: %v", err)
	}
	thaw = sync.OnceFunc(func() {
		if err := command("fsfreeze", "--unfreeze", d.dir); err != nil {
			d.t.Error(err)
		}
	})
	d.t.Cleanup(thaw) // a process that waits for it can not even be killed
	return thaw
}

// refused reports whether an error with a prefix was seen.
func (l *clusterLoad) refused(prefix string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for text := range l.said {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}
