package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/config"
)

func TestLogFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	c := parse(t, "--logfile", name, "--loglevel", "warning")
	log := logrus.New()
	f, err := openLog(log, c)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hidden")
	log.Warn("first")
	if err := c.Set([]config.Pair{{Name: "loglevel", Value: "notice"}}); err != nil {
		t.Fatal(err)
	}
	log.Info("second")
	f.Close(log)
	f.Close(log)
	text, err := os.ReadFile(name)
	if err != nil || strings.Contains(string(text), "hidden") || !strings.Contains(string(text), "first") || !strings.Contains(string(text), "second") {
		t.Errorf("%v, log:\n%s", err, text)
	}
}

// blocked is a terminal that nobody reads.
type blocked struct{ release chan struct{} }

func (b blocked) Write(p []byte) (int, error) { <-b.release; return len(p), nil }
func (b blocked) Close() error                { return nil }

func TestBlockedLogBlocksNobody(t *testing.T) {
	log := logrus.New()
	f, err := openLog(log, parse(t, "--logfile", filepath.Join(t.TempDir(), "log")))
	if err != nil {
		t.Fatal(err)
	}
	out := blocked{make(chan struct{})}
	f.mu.Lock()
	file := f.mu.out
	f.mu.out = out
	f.mu.Unlock()
	for range 3 * logQueue {
		log.Info("line")
	}
	if n := f.dropped.Load(); n < logQueue {
		t.Errorf("%d dropped", n)
	}
	close(out.release)
	f.Close(log)
	if err := file.Close(); err != nil { // out took its place
		t.Error(err)
	}
}

func TestLogFileThatCanNotBeOpened(t *testing.T) {
	_, err := openLog(logrus.New(), parse(t, "--logfile", filepath.Join(t.TempDir(), "no", "such", "folder")))
	if err == nil || !strings.Contains(err.Error(), "logfile") {
		t.Errorf("err = %v", err)
	}
}
