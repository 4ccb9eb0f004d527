package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// A terminal that nobody reads does not keep the process from ending.
func TestBlockedLogDelaysTheEndBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := logrus.New()
		out := blocked{make(chan struct{})}
		defer close(out.release)
		f := &logFile{lines: make(chan []byte, logQueue), done: make(chan struct{})}
		f.mu.out = out
		go f.run()
		log.SetOutput(f)
		log.Info("line")
		begin := time.Now()
		f.Close(log)
		lastWords(out, []byte("line"))
		if d := time.Since(begin); d != 2*logLast {
			t.Errorf("it took %v", d)
		}
	})
}

func TestLogFileThatCanNotBeOpened(t *testing.T) {
	_, err := openLog(logrus.New(), parse(t, "--logfile", filepath.Join(t.TempDir(), "no", "such", "folder")))
	if err == nil || !strings.Contains(err.Error(), "logfile") {
		t.Errorf("err = %v", err)
	}
}
