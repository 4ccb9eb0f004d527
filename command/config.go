package command

import (
	"strings"

	"github.com/gtinside/corecache/config"
)

func configGet(c *Call) {
	pairs := c.configPairs()
	c.Out.Map(len(pairs))
	for _, p := range pairs {
		c.Out.BulkString(p.Name)
		c.Out.BulkString(p.Value)
	}
}

// configPairs finds the parameters, each once. One asked for by its name rather than by
// a pattern is shown as the caller spelled it.
func (c *Call) configPairs() (out []config.Pair) {
	seen := make(map[string]bool)
	for _, pattern := range strs(c.Args[2:]) {
		for _, p := range c.Config.Get(pattern) {
			if seen[p.Name] {
				continue
			}
			seen[p.Name] = true
			if strings.EqualFold(p.Name, pattern) {
				p.Name = pattern
			}
			out = append(out, p)
		}
	}
	return out
}

func configSet(c *Call) {
	for i := 2; i+1 < len(c.Args); i += 2 {
		if c.Is(i, "requirepass") || c.Is(i, "masterauth") || c.Is(i, "tls-key-file-pass") {
			c.redact(i + 1)
		}
	}
	if len(c.Args)%2 != 0 {
		c.wrongArgs()
		return
	}
	pairs := make([]config.Pair, 0, len(c.Args)/2-1)
	for i := 2; i < len(c.Args); i += 2 {
		pairs = append(pairs, config.Pair{Name: string(c.Args[i]), Value: string(c.Args[i+1])})
	}
	if err := c.Config.Set(pairs); err != nil {
		c.Out.Error("ERR " + err.Error())
		return
	}
	c.Out.OK()
}

func configRewrite(c *Call) {
	if err := c.Config.Rewrite(); err != nil {
		text := err.Error()
		if err != config.ErrNoFile {
			c.Log.WithError(err).Warn("CONFIG REWRITE failed")
			text = "Rewriting config file: " + text
		}
		c.Out.Error("ERR " + text)
		return
	}
	c.Log.Info("CONFIG REWRITE executed with success.")
	c.Out.OK()
}

func configResetStat(c *Call) {
	c.resetStats()
	c.Config.ResetStat()
	c.Out.OK()
}

const configFlags = Admin | NoScript | Loading | Stale

var configCommand = Command{
	Name: "config", Arity: -2, Flags: nodeLocal, Group: "server", Since: "2.0.0", Complexity: "Depends on subcommand.",
	Summary: "A container for commands about the configuration.",
	Sub: []Command{
		{Name: "get", Arity: -3, Flags: configFlags, Handler: configGet,
			Since: "2.0.0", Complexity: "O(N) when N is the number of configuration parameters provided",
			Syntax: "parameter [parameter ...]", Summary: "Returns the values of parameters.",
			History: []string{"7.0.0: Takes several patterns."}},
		{Name: "set", Arity: -4, Flags: configFlags, Handler: configSet,
			Since: "2.0.0", Complexity: "O(N) when N is the number of configuration parameters provided",
			Syntax: "parameter value [parameter value ...]", Summary: "Changes parameters while the server runs.",
			History: []string{"7.0.0: Sets several parameters at once."},
			Tips:    []string{"request_policy:all_nodes", "response_policy:all_succeeded"}},
		{Name: "rewrite", Arity: 2, Flags: configFlags, Handler: configRewrite,
			Since: "2.8.0", Complexity: "O(1)", Summary: "Writes the parameters into the configuration file."},
		{Name: "resetstat", Arity: 2, Flags: configFlags, Handler: configResetStat,
			Since: "2.0.0", Complexity: "O(1)", Summary: "Resets the statistics."},
		{Name: "help", Arity: 2, Flags: Loading | Stale, Handler: helpOf(configHelp),
			Since: "5.0.0", Complexity: "O(1)", Summary: "Lists the subcommands."},
	},
}

var configHelp = []string{
	"GET <pattern>", "    Return parameters matching the glob-like <pattern> and their values.",
	"SET <directive> <value>", "    Set the configuration <directive> to <value>.",
	"RESETSTAT", "    Reset statistics reported by the INFO command.",
	"REWRITE", "    Rewrite the configuration file.",
}
