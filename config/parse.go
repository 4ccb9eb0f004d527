package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	maxIncludeDepth = 16
	maxFileSize     = 16 << 20 // a configuration file beyond this is some other file
)

// Parse reads the command line (without the program's name): [file] [--name value ...].
// '-' in place of the file, or at the end, reads configuration lines from stdin. The
// error joins everything that is wrong. ErrHelp and ErrVersion ask for just that.
func Parse(args []string, stdin io.Reader) (*Config, error) {
	line, err := parseArgs(args)
	if err != nil {
		return nil, err
	}
	p := &parser{config: Default()}
	if line.file != "" {
		p.mainFile(line.file)
	}
	if line.stdin {
		p.reader("stdin", stdin, "", 0)
	}
	for _, f := range line.flags {
		p.directive("--"+f.name, f.name, f.words, "", 0)
	}
	p.check()
	if err := errors.Join(p.problems...); err != nil {
		return nil, err
	}
	return p.config, nil
}

// ParseText reads the text of one configuration file, for tests and tools. name
// stands in front of the problems; included files are found from dir.
func ParseText(name, text, dir string) (*Config, error) {
	p := &parser{config: Default()}
	p.text(name, text, dir, 0)
	p.check()
	if err := errors.Join(p.problems...); err != nil {
		return nil, err
	}
	return p.config, nil
}

type parser struct {
	config   *Config
	problems []error
}

func (p *parser) problem(where, format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...)))
}

func (p *parser) mainFile(name string) {
	abs, err := filepath.Abs(name)
	if err != nil {
		p.problem(name, "%w", err)
		return
	}
	p.config.file = abs
	p.file(name, 0)
}

func (p *parser) file(name string, depth int) {
	f, err := os.Open(name)
	if err != nil {
		p.problems = append(p.problems, fmt.Errorf("configuration file: %w", err))
		return
	}
	defer f.Close()
	p.reader(name, f, filepath.Dir(name), depth)
}

func (p *parser) reader(name string, r io.Reader, dir string, depth int) {
	text, err := io.ReadAll(io.LimitReader(r, maxFileSize+1))
	switch {
	case err != nil:
		p.problem(name, "%w", err)
	case len(text) > maxFileSize:
		p.problem(name, "larger than %s: not a configuration file", FormatBytes(maxFileSize))
	default:
		p.text(name, string(text), dir, depth)
	}
}

func (p *parser) text(name, text, dir string, depth int) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		where := name + ":" + strconv.Itoa(number)
		words, err := lineWords(line)
		switch {
		case err != nil:
			p.problem(where, "%w", err)
		case len(words) > 0:
			p.directive(where, words[0], words[1:], dir, depth)
		}
	}
}

// lineWords returns nothing for a blank line or a comment.
func lineWords(line string) ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return nil, nil
	}
	return Split(line)
}

// directive takes one line: a parameter and its value, or an include relative to dir.
func (p *parser) directive(where, name string, words []string, dir string, depth int) {
	if strings.EqualFold(name, "include") {
		p.include(where, words, dir, depth)
		return
	}
	s := p.config.find(name)
	if s == nil {
		p.problem(where, "unknown parameter '%s'%s", name, suggestion(name))
		return
	}
	v, err := s.parse(words, s.v.Load())
	switch {
	case s.Fixed:
		p.fixed(where, s, words)
	case err != nil:
		p.problem(where, "%s: %w", s.Name, err)
	default:
		s.v.Store(v)
	}
}

// fixed warns about a parameter of Redis that has no effect here.
func (p *parser) fixed(where string, s *Setting, words []string) {
	if given := strings.Join(words, " "); given != s.String() {
		p.config.warnings = append(p.config.warnings,
			fmt.Sprintf("%s: '%s %s' has no effect: CoreCache always has '%s'", where, s.Name, given, s.String()))
	}
}

func (p *parser) include(where string, words []string, dir string, depth int) {
	if len(words) != 1 {
		p.problem(where, "include: wrong number of arguments")
		return
	}
	if depth == maxIncludeDepth {
		p.problem(where, "include: more than %d files deep; does a file include itself?", maxIncludeDepth)
		return
	}
	name := words[0]
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	names := []string{name}
	if strings.ContainsAny(name, "*?[") {
		found, err := filepath.Glob(name)
		if err != nil {
			p.problem(where, "include: %w", err)
		}
		names = found
	}
	for _, n := range names {
		p.file(n, depth+1)
	}
}

// check finds what is wrong with parameters that are right one by one.
func (p *parser) check() {
	c := p.config
	if c.Bool("daemonize") {
		p.problem("daemonize", "'yes' is not supported: the server stays in the foreground; let systemd, runit or a container put it into the background")
	}
	if _, _, err := c.PortRange(); err != nil {
		p.problem("port-range", "%w", err)
	}
	if c.Int("tls-port") != 0 && (c.String("tls-cert-file") == "" || c.String("tls-key-file") == "") {
		p.problem("tls-port", "needs tls-cert-file and tls-key-file")
	}
	if c.Int("tls-port") != 0 && c.String("tls-auth-clients") != "no" && c.String("tls-ca-cert-file") == "" {
		p.problem("tls-auth-clients", "'%s' needs tls-ca-cert-file (or set tls-auth-clients no)", c.String("tls-auth-clients"))
	}
	if c.Bool("tls-replication") && c.String("zookeeper") != "" && c.Int("tls-port") == 0 {
		p.problem("tls-replication", "needs tls-port: that is where other nodes forward their clients' commands to")
	}
}

// PortRange returns the ports of port-range; 0, 0 when it is not set.
func (c *Config) PortRange() (first, last int, err error) {
	text := c.String("port-range")
	if text == "" {
		return 0, 0, nil
	}
	a, b, ok := strings.Cut(text, "-")
	first, err1 := strconv.Atoi(strings.TrimSpace(a))
	last, err2 := strconv.Atoi(strings.TrimSpace(b))
	if !ok || err1 != nil || err2 != nil || first < 1 || last < first || last > 65535 {
		return 0, 0, fmt.Errorf("'%s' is not a range of ports such as 7000-7010", text)
	}
	return first, last, nil
}

// SetPort makes CONFIG GET port show the port that was taken from port-range.
func (c *Config) SetPort(port int) {
	c.Setting("port").v.Store(&value{text: strconv.Itoa(port), num: int64(port)})
}
