package main

import (
	"strings"
	"testing"

	"github.com/gtinside/corecache/config"
)

func parse(t *testing.T, args ...string) *config.Config {
	t.Helper()
	c, err := config.Parse(args, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBudgetFits(t *testing.T) {
	for _, size := range []string{"64mb", "96mb", "256mb", "1gb", "16gb", "100gb"} {
		c := parse(t, "--maxmemory", size)
		b := newBudget(c)
		used := b.cache + b.memtable*c.Int("memtable-count") + c.Int("maxmemory-clients")
		if used > b.total || b.exceeded(c) {
			t.Errorf("maxmemory %s: %d of %d used", size, used, b.total)
		}
		if b.cache < b.total/10 {
			t.Errorf("maxmemory %s leaves %d for the cache", size, b.cache)
		}
	}
}

func TestBudgetAsConfigured(t *testing.T) {
	c := parse(t, "--maxmemory", "100mb", "--cache-size", "40mb", "--memtable-size", "8mb", "--memtable-count", "2")
	if b := newBudget(c); b.cache != 40*mib || b.memtable != 8*mib || b.exceeded(c) {
		t.Errorf("%+v", b)
	}
	c = parse(t, "--maxmemory", "64mb", "--memtable-size", "64mb")
	if b := newBudget(c); b.cache != leastCache || !b.exceeded(c) {
		t.Errorf("%+v", b)
	}
}
