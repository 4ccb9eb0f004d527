package command

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// saves is the state of SAVE, BGSAVE and BGREWRITEAOF. A save is a checkpoint: a folder of
// hard links which is a data directory of its own.
type saves struct {
	running sync.WaitGroup

	mu struct {
		sync.Mutex
		closed  bool
		save    activity  // SAVE and BGSAVE
		rewrite activity  // BGREWRITEAOF
		last    time.Time // of the last successful save; at first the start of the server
		written uint64    // the engine's last sequence number at the last save
	}
}

// activity is what runs once at a time, and how it went before.
type activity struct {
	running  bool
	begun    time.Time // the last one
	took     time.Duration
	err      error
	done     int64 // that succeeded
	failures int64 // since one succeeded
}

// ended notes the end of the activity.
func (a *activity) ended(err error) {
	a.running, a.took, a.err = false, time.Since(a.begun), err
	if err != nil {
		a.failures++
		return
	}
	a.done, a.failures = a.done+1, 0
}

// seconds is how long the last one took, in whole seconds, -1 when there was none.
func (a *activity) seconds() int64 { return secondsOr(a.done+a.failures > 0, a.took) }

// current is for how long one is running, in whole seconds, -1 when none is.
func (a *activity) current() int64 { return secondsOr(a.running, time.Since(a.begun)) }

// checkpointsKept is the number of checkpoints kept: the newest, and the one before for whoever
// is copying it.
const checkpointsKept = 2

func (v *saves) init(now time.Time) { v.mu.last = now }

// begin claims one of the two activities; false when it is under way or the server closes.
func (v *saves) begin(a *activity) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if a.running || v.mu.closed {
		return false
	}
	a.running, a.begun = true, time.Now()
	v.running.Add(1)
	return true
}

// wait refuses new saves and waits for the running ones.
func (v *saves) wait() {
	v.mu.Lock()
	v.mu.closed = true
	v.mu.Unlock()
	v.running.Wait()
}

// runSave makes the checkpoint after begin(&save).
func (s *Server) runSave() error {
	defer s.saves.running.Done()
	seq := s.DB.Committed()
	start := time.Now()
	dir, err := s.checkpoint(start)
	s.saves.mu.Lock()
	defer s.saves.mu.Unlock()
	s.saves.mu.save.ended(err)
	if err != nil {
		s.Log.WithError(err).Error("saving a checkpoint failed")
		return err
	}
	s.saves.mu.last, s.saves.mu.written = time.Now(), seq
	s.Log.WithField("dir", dir).Info("checkpoint saved")
	return nil
}

// checkpointDir is the folder which holds the checkpoints.
func (s *Server) checkpointDir() string {
	if dir := s.Config.String("checkpoint-dir"); dir != "" {
		return dir
	}
	return filepath.Join(s.Config.String("dir"), "checkpoint")
}

// checkpoint saves the data as it is now into a folder named by the time, under a name of
// its own until it is complete, and removes all but the newest checkpoints.
func (s *Server) checkpoint(now time.Time) (string, error) {
	parent := s.checkpointDir()
	dir := filepath.Join(parent, now.UTC().Format("20060102-150405.000"))
	unfinished := dir + unfinishedSuffix
	if err := s.DB.Checkpoint(unfinished); err != nil { // it makes the folders above, durably
		return "", fmt.Errorf("%w%s", err, alsoFailed(os.RemoveAll(unfinished)))
	}
	if err := os.Rename(unfinished, dir); err != nil {
		return "", err
	}
	if err := syncDir(parent); err != nil {
		return "", err
	}
	return dir, removeOldCheckpoints(parent)
}

const unfinishedSuffix = ".unfinished"

func alsoFailed(err error) string {
	if err == nil {
		return ""
	}
	return "; also: " + err.Error()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

// removeOldCheckpoints removes all checkpoints but the newest, and unfinished ones.
func removeOldCheckpoints(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	var done []string
	for _, e := range entries {
		name, unfinished := strings.CutSuffix(e.Name(), unfinishedSuffix)
		if _, err := time.Parse("20060102-150405.000", name); err != nil {
			continue // not ours
		}
		if unfinished {
			err = os.RemoveAll(filepath.Join(parent, e.Name()))
		} else {
			done = append(done, e.Name())
		}
		if err != nil {
			return err
		}
	}
	slices.Sort(done)
	for _, name := range done[:max(0, len(done)-checkpointsKept)] {
		if err := os.RemoveAll(filepath.Join(parent, name)); err != nil {
			return err
		}
	}
	return nil
}

func save(c *Call) {
	if !c.saves.begin(&c.saves.mu.save) {
		c.Out.Error("ERR Background save already in progress")
		return
	}
	if c.runSave() != nil {
		c.Out.Error("ERR")
		return
	}
	c.Out.OK()
}

func bgsave(c *Call) {
	if len(c.Args) > 2 || len(c.Args) == 2 && !c.Is(1, "schedule") {
		c.Out.Error(errSyntax)
		return
	}
	if !c.saves.begin(&c.saves.mu.save) {
		c.Out.Error("ERR Background save already in progress")
		return
	}
	go c.Server.runSave() // ends with the checkpoint; Close waits for it
	c.Out.Simple("Background saving started")
}

func lastSave(c *Call) {
	c.saves.mu.Lock()
	defer c.saves.mu.Unlock()
	c.Out.Int(c.saves.mu.last.Unix())
}

// bgRewriteAOF shortens what a restart has to replay: it flushes the memtables, which is what
// a rewrite of the append-only file is for in Redis.
func bgRewriteAOF(c *Call) {
	if !c.saves.begin(&c.saves.mu.rewrite) {
		c.Out.Error("ERR Background append only file rewriting already in progress")
		return
	}
	go c.Server.runRewrite()
	c.Out.Simple("Background append only file rewriting started")
}

func (s *Server) runRewrite() {
	defer s.saves.running.Done()
	err := s.DB.Flush()
	if err != nil {
		s.Log.WithError(err).Error("BGREWRITEAOF: flushing failed")
	}
	s.saves.mu.Lock()
	defer s.saves.mu.Unlock()
	s.saves.mu.rewrite.ended(err)
}
