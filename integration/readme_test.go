package integration

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readmeSection returns what stands in the README between two marks.
func readmeSection(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begins := strings.Cut(string(text), "<!-- "+name+":begin -->")
	section, _, ends := strings.Cut(rest, "<!-- "+name+":end -->")
	if !begins || !ends {
		t.Fatalf("the README has no section %s", name)
	}
	return section
}

// TestReadmeListsTheDifferences: what the comparison accepts, users are told.
func TestReadmeListsTheDifferences(t *testing.T) {
	section := readmeSection(t, "differences")
	for _, d := range differences {
		if !regexp.MustCompile(`(?m)^\| (\w[\w -]*, )*` + d.command + `[ ,]`).MatchString(section) {
			t.Errorf("%s is accepted to differ and not in the README", d.command)
		}
	}
}

// TestReadmeListsTheCommands holds the README to COMMAND LIST.
func TestReadmeListsTheCommands(t *testing.T) {
	documented := regexp.MustCompile(`\b[A-Z]{2,}\b`).FindAllString(readmeSection(t, "commands"), -1)
	s := startServer(t)
	c := s.client()
	defer c.Close()
	served, err := c.CommandList(ctx, nil).Result()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range served {
		served[i] = strings.ToUpper(name)
	}
	for _, name := range served {
		if !slices.Contains(documented, name) && !strings.Contains(name, "|") {
			t.Errorf("%s is served and not in the README", name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(served, name) {
			t.Errorf("%s is in the README and not served", name)
		}
	}
}
