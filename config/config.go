package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// Config holds a value for each parameter. It is safe for concurrent use.
type Config struct {
	file     string // absolute path of the configuration file; "" when there is none
	settings []*Setting
	byName   map[string]*Setting
	warnings []string

	mu struct {
		sync.Mutex // one CONFIG SET or CONFIG REWRITE at a time
		hooks      []hook
		resetStat  []func()
	}
}

// Setting is one parameter of one Config, to be kept by readers on hot paths.
type Setting struct {
	*Param
	config *Config
	v      atomic.Pointer[value]
}

// Default returns a Config in which every parameter has its default.
func Default() *Config {
	c := &Config{byName: make(map[string]*Setting, 2*len(params))}
	for i := range params {
		s := &Setting{Param: &params[i], config: c}
		v, err := s.parse(splitDefault(s.Param), nil)
		if err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", s.Name, err)) // a mistake in the table; a test visits every row
		}
		s.v.Store(v)
		c.settings = append(c.settings, s)
		c.byName[s.Name] = s
		if s.Alias != "" {
			c.byName[s.Alias] = s
		}
	}
	return c
}

func splitDefault(p *Param) []string {
	switch p.Kind {
	case List, Numbers, Limits:
		return strings.Fields(p.Default)
	}
	return []string{p.Default}
}

// File returns the absolute path of the configuration file, "" when there is none.
func (c *Config) File() string { return c.file }

// Warnings returns what the log should say about the configuration once it is open.
func (c *Config) Warnings() []string { return c.warnings }

// Setting returns the parameter called name (or its alias), in any case. It panics
// when there is none: names in the program are constants.
func (c *Config) Setting(name string) *Setting {
	s := c.find(name)
	if s == nil {
		panic("config: no parameter " + name)
	}
	return s
}

func (c *Config) find(name string) *Setting {
	if s := c.byName[name]; s != nil {
		return s
	}
	return c.byName[strings.ToLower(name)]
}

// Int returns a number, a size in bytes, a mode, or the index of an Enum's choice.
func (c *Config) Int(name string) int64 { return c.Setting(name).Int() }

// Bool returns whether a yes/no parameter is yes.
func (c *Config) Bool(name string) bool { return c.Setting(name).Bool() }

// String returns the text of any parameter, as CONFIG GET shows it.
func (c *Config) String(name string) string { return c.Setting(name).String() }

// List returns the words of a List or Numbers parameter; not to be modified.
func (c *Config) List(name string) []string { return c.Setting(name).List() }

// OutputLimit returns client-output-buffer-limit of a class: "normal", "replica" or "pubsub".
func (c *Config) OutputLimit(class string) OutputLimit {
	return c.Setting("client-output-buffer-limit").v.Load().limits[limitClass(class)]
}

// Int is Config.Int without the lookup. A Percent comes as bytes.
func (s *Setting) Int() int64 {
	n := s.v.Load().num
	if s.Kind == Percent && n < 0 {
		return s.config.Int("maxmemory") / 100 * -n
	}
	return n
}

// Bool is Config.Bool without the lookup.
func (s *Setting) Bool() bool { return s.v.Load().num != 0 }

// String is Config.String without the lookup.
func (s *Setting) String() string {
	text := s.v.Load().text
	if s.Kind == Path && text != "" {
		if abs, err := filepath.Abs(text); err == nil {
			return abs
		}
	}
	return text
}

// List is Config.List without the lookup.
func (s *Setting) List() []string { return s.v.Load().words }
