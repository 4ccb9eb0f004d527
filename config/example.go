package config

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strings"
)

var kindNames = map[Kind]string{
	Int: "number", Bytes: "bytes", Percent: "bytes or %", Octal: "octal", Bool: "yes or no", Enum: "word",
	String: "text", Path: "path", List: "words", Limits: "limits", Numbers: "numbers",
}

// WriteExample writes corecache.conf.example: every parameter that can be set, with its
// text, unit, range and default. All lines are comments, so the file changes nothing.
func WriteExample(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, exampleHead)
	group := ""
	for i := range params {
		p := &params[i]
		if p.Fixed {
			continue
		}
		if p.Group != group {
			group = p.Group
			fmt.Fprintf(b, "\n################ %s ################\n", group)
		}
		p.writeExample(b)
	}
	return b.Flush()
}

const exampleHead = `# corecache.conf: an example with every parameter, generated from the table in the package config.
#
#   corecache /path/to/corecache.conf [--name value ...]
#
# The syntax is that of redis.conf: a name and its value on one line; "..." and '...' hold blanks, "..." also
# \n \r \t \b \a \xHH; # begins a comment line; of two lines for one parameter the later one counts;
# 'include <file>' reads another file (a glob may name several; relative to the file with the line).
#
# Sizes: 1k = 1000, 1kb = 1024, 1m = 1000000, 1mb = 1048576, 1g = 1000000000, 1gb = 1073741824, in any case.
#
# "live": CONFIG SET changes it while the server runs. "at start": it counts when the server starts.
# The commented value is the default.
`

func (p *Param) writeExample(b *bufio.Writer) {
	fmt.Fprintln(b)
	for _, line := range wrap(p.Doc, 110) {
		fmt.Fprintln(b, "#", line)
	}
	fmt.Fprintf(b, "# (%s)\n", strings.Join(p.facts(), "; "))
	if p.Default == "" {
		fmt.Fprintf(b, "# %s \"\"\n", p.Name)
		return
	}
	fmt.Fprintf(b, "# %s %s\n", p.Name, p.Default)
}

// facts are unit, range or choices, and when a change counts.
func (p *Param) facts() []string {
	unit := p.Unit
	if unit == "" {
		unit = kindNames[p.Kind]
	}
	if p.Choices != nil {
		unit = strings.Join(p.Choices, " | ")
		if p.Unit != "" {
			unit += ", " + p.Unit
		}
	}
	facts := []string{unit}
	if p.Kind == Int || p.Kind == Bytes {
		facts = append(facts, p.showRange())
	}
	if p.Live {
		return append(facts, "live")
	}
	return append(facts, "at start")
}

func (p *Param) showRange() string {
	show := func(n int64) string {
		if p.Kind == Bytes {
			return FormatBytes(n)
		}
		return fmt.Sprint(n)
	}
	if p.Max == math.MaxInt64 {
		return "at least " + show(p.Min)
	}
	return show(p.Min) + " to " + show(p.Max)
}

// wrap cuts text into lines of at most width bytes, where its words allow.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
