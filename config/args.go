package config

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// commandLine is what the arguments say, before any of it is looked up.
type commandLine struct {
	file    string
	stdin   bool
	flags   []directive
	help    bool
	version bool
}

type directive struct {
	name  string
	words []string
}

// parseArgs reads the arguments by Redis' rules: the file comes first, a flag takes all
// words up to the next flag (--bind 127.0.0.1 ::1), and '-' stands for stdin at either end.
func parseArgs(args []string) (*commandLine, error) {
	line := &commandLine{}
	if n := len(args); n > 0 && args[n-1] == "-" {
		line.stdin, args = true, args[:n-1]
	}
	if len(args) > 0 && args[0] == "-" {
		line.stdin, args = true, args[1:]
	} else if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		line.file, args = args[0], args[1:]
	}
	set := line.flagSet()
	if err := set.Parse(line.group(set, args)); err != nil {
		return nil, err
	}
	switch {
	case line.help:
		return nil, ErrHelp
	case line.version:
		return nil, ErrVersion
	case set.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument '%s'", set.Arg(0))
	}
	return line, nil
}

// group joins each flag and its words to one argument, as pflag wants it. Flags that
// do not exist are left for the parser to report, together with everything else.
func (line *commandLine) group(set *pflag.FlagSet, args []string) (grouped []string) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if !strings.HasPrefix(arg, "--") {
			grouped = append(grouped, arg)
			continue
		}
		d, rest := takeDirective(arg, args)
		args = rest
		f := set.Lookup(d.name)
		switch {
		case f == nil:
			line.flags = append(line.flags, d)
		case f.NoOptDefVal != "":
			grouped = append(grouped, arg)
		default:
			grouped = append(grouped, "--"+d.name+"="+quoteAll(d.words))
		}
	}
	return grouped
}

// takeDirective reads --name=word or --name, and the words that follow.
func takeDirective(arg string, args []string) (d directive, rest []string) {
	name, word, ok := strings.Cut(arg[2:], "=")
	d.name = strings.ToLower(name)
	if ok {
		d.words = append(d.words, word)
	}
	for len(args) > 0 && !strings.HasPrefix(args[0], "--") {
		d.words, args = append(d.words, args[0]), args[1:]
	}
	return d, args
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// lineFlag is a flag that becomes a configuration line.
type lineFlag struct {
	line  *commandLine
	param *Param
}

func (f lineFlag) Set(text string) error {
	words, err := Split(text)
	if err != nil {
		return err
	}
	f.line.flags = append(f.line.flags, directive{f.param.Name, words})
	return nil
}

func (f lineFlag) String() string { return f.param.Default }

func (f lineFlag) Type() string {
	if f.param.Unit != "" {
		return f.param.Unit
	}
	return kindNames[f.param.Kind]
}

func (line *commandLine) flagSet() *pflag.FlagSet {
	set := pflag.NewFlagSet("corecache", pflag.ContinueOnError)
	set.SortFlags = false
	set.SetOutput(io.Discard)
	set.BoolVarP(&line.help, "help", "h", false, "Show this help.")
	set.BoolVarP(&line.version, "version", "v", false, "Show the version.")
	set.Var(lineFlag{line, &includeParam}, "include", includeParam.Doc)
	for i := range params {
		p := &params[i]
		set.Var(lineFlag{line, p}, p.Name, strings.ReplaceAll(p.Doc, "`", "'"))
		if p.Fixed {
			_ = set.MarkHidden(p.Name) // fails only for a flag that does not exist
		}
		if p.Alias != "" {
			set.Var(lineFlag{line, p}, p.Alias, "")
			_ = set.MarkHidden(p.Alias)
		}
	}
	return set
}

var includeParam = Param{Name: "include", Kind: Path, Doc: "Another configuration file (a glob may name several), read in this place."}

// WriteUsage writes the text of --help.
func WriteUsage(w io.Writer) error {
	_, err1 := io.WriteString(w, `Usage:
  corecache [corecache.conf] [-] [--name value ...]   start a server; - reads configuration lines from stdin
  corecache check <dir>                               verify a data directory

Flags are lines of the configuration file; of two, the later one counts.

`)
	_, err2 := io.WriteString(w, (&commandLine{}).flagSet().FlagUsagesWrapped(100))
	return errors.Join(err1, err2)
}
