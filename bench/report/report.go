// Package report keeps the results of the comparisons, works out medians and
// ratios, and prints them.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Environment is where a comparison ran.
type Environment struct {
	Time   time.Time
	CPU    string
	CPUs   int
	Memory string
	Go     string
	Kernel string
}

// Here describes this machine.
func Here() Environment {
	return Environment{
		Time:   time.Now().UTC().Truncate(time.Second),
		CPU:    field("/proc/cpuinfo", "model name"),
		CPUs:   runtime.NumCPU(),
		Memory: field("/proc/meminfo", "MemTotal"),
		Go:     runtime.Version(),
		Kernel: firstLine("/proc/sys/kernel/osrelease"),
	}
}

func (e Environment) String() string {
	return fmt.Sprintf("%s, %d x %s, %s, kernel %s, %s", e.Time.Format(time.DateTime), e.CPUs, e.CPU, e.Memory, e.Kernel, e.Go)
}

func field(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range bytes.Lines(b) {
		if k, v, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(k)) == name {
			return string(bytes.TrimSpace(v))
		}
	}
	return "unknown"
}

func firstLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	return string(bytes.TrimSpace(b))
}

// Median of xs; NaN-free input; 0 for none.
func Median(xs []float64) float64 {
	if len(xs) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(xs))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Spread is (largest - smallest) / median.
func Spread(xs []float64) float64 {
	if len(xs) < 2 {
		return 0
	}
	return (slices.Max(xs) - slices.Min(xs)) / Median(xs)
}

// Save writes v as <dir>/<name>.json and text as <dir>/<name>.md.
func Save(dir, name string, v any, text string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	base := filepath.Join(dir, name)
	if err := os.WriteFile(base+".json", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(base+".md", []byte(text), 0o644)
}

// table collects rows of a Markdown table with aligned columns.
type table struct {
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(b *strings.Builder) {
	widths := map[int]int{}
	for _, r := range t.rows {
		for i, c := range r {
			widths[i] = max(widths[i], len(c))
		}
	}
	for n, r := range t.rows {
		for i, c := range r {
			if i == 0 {
				fmt.Fprintf(b, "| %-*s |", widths[i], c)
			} else {
				fmt.Fprintf(b, " %*s |", widths[i], c)
			}
		}
		b.WriteByte('\n')
		if n == 0 {
			rule(b, widths)
		}
	}
	b.WriteByte('\n')
}

func rule(b *strings.Builder, widths map[int]int) {
	for _, i := range slices.Sorted(maps.Keys(widths)) {
		if i == 0 {
			fmt.Fprintf(b, "|:%s-|", strings.Repeat("-", widths[i]))
		} else {
			fmt.Fprintf(b, "-%s:|", strings.Repeat("-", widths[i]))
		}
	}
	b.WriteByte('\n')
}

// number prints x with three significant digits or as a grouped integer.
func number(x float64) string {
	switch {
	case x == 0:
		return "-"
	case x < 0:
		return "-" + number(-x)
	case x >= 1000:
		return group(int64(x + 0.5))
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func group(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// ratio prints how many times better ours is; "-" where either is missing.
func ratio(ours, theirs float64, lowerIsBetter bool) string {
	if ours == 0 || theirs == 0 {
		return "-"
	}
	if lowerIsBetter {
		ours, theirs = theirs, ours
	}
	return fmt.Sprintf("%.2f", ours/theirs)
}
