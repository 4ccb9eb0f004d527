package integration

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadmeListsTheCommands holds the README to COMMAND LIST.
func TestReadmeListsTheCommands(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- commands:begin -->")
	section, _, _ := strings.Cut(rest, "<!-- commands:end -->")
	documented := regexp.MustCompile(`\b[A-Z]{2,}\b`).FindAllString(section, -1)
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
