package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Pair is a parameter and its value.
type Pair struct{ Name, Value string }

// hook is called after one of names has changed.
type hook struct {
	names []string
	run   func(old map[string]string) error
}

// Get returns the parameters whose name or alias matches one of the patterns
// (globs, in any case), in the order of the table, each once per matching name.
func (c *Config) Get(patterns ...string) []Pair {
	var pairs []Pair
	for _, s := range c.settings {
		for _, name := range []string{s.Name, s.Alias} {
			if name != "" && matches(patterns, name) {
				pairs = append(pairs, Pair{name, s.String()})
			}
		}
	}
	return pairs
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(strings.ToLower(p), name)
		return ok && err == nil
	})
}

// OnSet calls fn in CONFIG SET after the parameter called name has changed. When fn
// fails, the whole CONFIG SET is undone and reports the error; hooks that have run
// already are then called again with the values the other way around.
func (c *Config) OnSet(name string, fn func(old, new string) error) {
	s := c.Setting(name)
	c.OnSetAny([]string{name}, func(old map[string]string) error {
		return fn(old[s.Name], s.String())
	})
}

// OnSetAny calls fn once per CONFIG SET that has changed at least one of names, after
// all values are stored; for settings that only make sense together (certificate and
// key). old has the former values of what changed. Errors are treated as by OnSet.
func (c *Config) OnSetAny(names []string, fn func(old map[string]string) error) {
	canonical := make([]string, len(names))
	for i, n := range names {
		canonical[i] = c.Setting(n).Name
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.hooks = append(c.mu.hooks, hook{canonical, fn})
}

// Hold runs fn while no CONFIG SET is under way: what it reads is what hooks that were added before will have seen last. It must not add hooks.
func (c *Config) Hold(fn func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fn()
}

// OnResetStat adds a function that CONFIG RESETSTAT calls.
func (c *Config) OnResetStat(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.resetStat = append(c.mu.resetStat, fn)
}

// ResetStat is CONFIG RESETSTAT.
func (c *Config) ResetStat() {
	c.mu.Lock()
	fns := slices.Clone(c.mu.resetStat)
	c.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
}

type change struct {
	setting  *Setting
	old, new *value
}

// Set is CONFIG SET: all of the pairs take effect, or none and an error. Its text is
// that of Redis 7 without the prefix "ERR ".
func (c *Config) Set(pairs []Pair) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	changes, err := c.parsePairs(pairs)
	if err != nil {
		return err
	}
	for _, ch := range changes {
		ch.setting.v.Store(ch.new)
	}
	if ran, name, err := c.runHooksLocked(changes); err != nil {
		c.undoLocked(changes, ran)
		return errSet(name, err)
	}
	return nil
}

func errSet(name string, err error) error {
	return fmt.Errorf("CONFIG SET failed (possibly related to argument '%s') - %w", name, err)
}

func (c *Config) parsePairs(pairs []Pair) ([]change, error) {
	for _, p := range pairs {
		if c.find(p.Name) == nil {
			return nil, redisError("Unknown option or number of arguments for CONFIG SET - '" + p.Name + "'")
		}
	}
	seen := make(map[*Setting]bool, len(pairs))
	changes := make([]change, 0, len(pairs))
	for _, p := range pairs {
		s := c.find(p.Name)
		if seen[s] {
			return nil, errSet(p.Name, errDuplicate)
		}
		seen[s] = true
		old := s.v.Load()
		v, err := s.parse([]string{p.Value}, old)
		switch {
		case !s.Live && (err != nil || v.text != old.text):
			return nil, errSet(p.Name, errImmutable)
		case err != nil:
			return nil, errSet(p.Name, err)
		case v.text != old.text:
			changes = append(changes, change{s, old, v})
		}
	}
	return changes, nil
}

// runHooksLocked calls the hooks of what changed. It returns those that have run, the
// one that failed included, and the name to blame.
func (c *Config) runHooksLocked(changes []change) (ran []hook, name string, err error) {
	old := make(map[string]string, len(changes))
	for _, ch := range changes {
		old[ch.setting.Name] = ch.old.text
	}
	for _, h := range c.mu.hooks {
		name := changedOf(h.names, old)
		if name == "" {
			continue
		}
		ran = append(ran, h)
		if err := h.run(old); err != nil {
			return ran, name, err
		}
	}
	return ran, "", nil
}

func changedOf(names []string, old map[string]string) string {
	for _, n := range names {
		if _, ok := old[n]; ok {
			return n
		}
	}
	return ""
}

// undoLocked stores the old values again and tells the hooks that have run. They
// accepted these values before; an error now leaves nothing better to do.
func (c *Config) undoLocked(changes []change, ran []hook) {
	back := make(map[string]string, len(changes))
	for _, ch := range changes {
		back[ch.setting.Name] = ch.new.text
		ch.setting.v.Store(ch.old)
	}
	for _, h := range ran {
		_ = h.run(back)
	}
}
