package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/keyspace"
)

// newDiskServer is newServer with the data in a directory.
func newDiskServer(t *testing.T) (s *Server, dir string) {
	t.Helper()
	s = newLoadingServer(t)
	dir = s.Config.String("dir")
	db, err := engine.Open(dir, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ks, err := keyspace.Open(db, keyspace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Attach(db, ks)
	t.Cleanup(func() {
		s.Close()
		if err := ks.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, dir
}

func TestSaveMakesCheckpoints(t *testing.T) {
	s, dir := newDiskServer(t)
	c := newClient(t, s)
	parent := filepath.Join(dir, "checkpoint")
	for _, name := range []string{"20200101-000000.000" + unfinishedSuffix, "20200101-000001.000", "not-ours"} {
		if err := os.MkdirAll(filepath.Join(parent, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		c.want("set key value", "+OK¦")
		c.want("save", "+OK¦")
		time.Sleep(2 * time.Millisecond) // names have milliseconds
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != checkpointsKept+1 || names[len(names)-1] != "not-ours" {
		t.Fatalf("%q", names)
	}
	info := c.do("info persistence")
	for _, want := range []string{"rdb_saves:4\r\n", "rdb_last_bgsave_status:ok\r\n", "rdb_changes_since_last_save:0\r\n", "rdb_bgsave_in_progress:0\r\n"} {
		if !strings.Contains(info, want) {
			t.Errorf("%q is missing", want)
		}
	}
	readCheckpoint(t, filepath.Join(parent, names[len(names)-2]))
}

// readCheckpoint opens a checkpoint as a data directory.
func readCheckpoint(t *testing.T, dir string) {
	t.Helper()
	db, err := engine.Open(dir, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ks, err := keyspace.Open(db, keyspace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ks.Close()
	s := newLoadingServer(t)
	s.Attach(db, ks)
	newClient(t, s).want("get key", "$5¦value¦")
}

func TestBackgroundSave(t *testing.T) {
	s, dir := newDiskServer(t)
	c := newClient(t, s)
	c.want("bgsave x", "-ERR syntax error¦")
	c.want("bgsave", "+Background saving started¦")
	s.saves.running.Wait()
	c.want("bgsave schedule", "+Background saving started¦")
	s.saves.running.Wait()
	s.saves.mu.Lock()
	s.saves.mu.save.running = true
	s.saves.mu.Unlock()
	c.want("bgsave", "-ERR Background save already in progress¦")
	c.want("save", "-ERR Background save already in progress¦")
	c.want("bgrewriteaof", "+Background append only file rewriting started¦")
	s.saves.running.Wait()
	if entries, err := os.ReadDir(filepath.Join(dir, "checkpoint")); err != nil || len(entries) == 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestFailedSave(t *testing.T) {
	s, dir := newDiskServer(t)
	c := newClient(t, s)
	if err := os.WriteFile(filepath.Join(dir, "checkpoint"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := c.do("save"); !strings.HasPrefix(got, "-ERR") {
		t.Errorf("%q", got)
	}
	if got := c.do("info persistence"); !strings.Contains(got, "rdb_last_bgsave_status:err\r\n") || !strings.Contains(got, "rdb_saves:0\r\n") {
		t.Errorf("%q", got)
	}
}

func TestShutdown(t *testing.T) {
	s, _ := newDiskServer(t)
	calls := 0
	s.hooks.Shutdown = func() { calls++ }
	c := newClient(t, s)
	c.want("shutdown abort", "-ERR No shutdown in progress.¦")
	c.want("shutdown foo", "-ERR syntax error¦")
	c.want("shutdown save nosave", "-ERR syntax error¦")
	if calls != 0 || c.sess.Closing() {
		t.Fatal("stopped")
	}
	c.want("shutdown nosave now", "")
	if calls != 1 || !c.sess.Closing() {
		t.Error("SHUTDOWN does not stop")
	}
	saved := newClient(t, s)
	saved.want("shutdown save", "")
	if s.saves.mu.save.done != 1 || calls != 2 {
		t.Error("SHUTDOWN SAVE does not save")
	}
	s.hooks.Shutdown = nil
	newClient(t, s).want("shutdown", "-ERR Errors trying to SHUTDOWN. Check logs.¦")
}
