package config

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// UPDATE_EXAMPLE=1 (make example) writes the file instead of comparing it.
func TestExampleFileIsInStep(t *testing.T) {
	const file = "../corecache.conf.example"
	var b bytes.Buffer
	if err := WriteExample(&b); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE_EXAMPLE") != "" {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is not what the table of parameters says (%v); run: make example", file, err)
	}
}

func TestExampleFileReadsBack(t *testing.T) {
	var b bytes.Buffer
	if err := WriteExample(&b); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "# "), " ")
		if p := Default().find(name); p != nil && strings.HasPrefix(line, "# "+p.Name+" ") && p.Name != "port" {
			lines = append(lines, line[2:])
		}
	}
	c, err := ParseText("example", strings.Join(lines, ""), "")
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range c.Get("*") {
		if want := Default().Get("*")[i]; p != want {
			t.Errorf("%v; want %v", p, want)
		}
	}
}

func TestUsage(t *testing.T) {
	var b bytes.Buffer
	if err := WriteUsage(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--port number", "--appendfsync", "corecache check <dir>"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "--maxmemory-policy") {
		t.Error("a parameter that can not be set is shown")
	}
}
