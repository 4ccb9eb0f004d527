package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gtinside/corecache/bench/report"
	"github.com/gtinside/corecache/bench/store"
	"github.com/gtinside/corecache/bench/workload"
)

// comparison runs every workload on every engine, engine after engine within
// each workload and the whole once per round, so that a slow minute of the
// machine hits all of them.
type comparison struct {
	dir      string
	profiles string
	engines  []string
	rows     []string
	stall    time.Duration
	report   report.Engines
	saveAs   func() error
}

func compareEngines(args []string) error {
	c, err := parseEngines(args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(c.dir)
	if err := c.runAll(); err != nil {
		return err
	}
	fmt.Print("\n", c.report.Text())
	return nil
}

func parseEngines(args []string) (*comparison, error) {
	flags := flag.NewFlagSet("engines", flag.ContinueOnError)
	scale := flags.String("scale", "medium", "small, medium or full")
	rounds := flags.Int("rounds", 3, "rounds; the medians are reported")
	engines := flags.String("engine", "", "comma-separated engines; default all")
	rows := flags.String("workload", "", "comma-separated workloads, or prefixes ending in *; default all")
	stall := flags.Duration("stall", 0, "run only the long overwrite, this long on each engine")
	dir := flags.String("dir", filepath.Join(os.TempDir(), "corecache-bench"), "folder for data; removed afterwards")
	out := flags.String("out", "results", "folder for the results")
	name := flags.String("name", "", "name of the results; default engines-<scale>")
	profiles := flags.String("profile", "", "folder for CPU profiles of every run")
	keys := flags.Int("keys", 0, "records, instead of those of the scale (the cache stays a sixth of them)")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	c := &comparison{dir: filepath.Join(*dir, fmt.Sprint(os.Getpid())), profiles: *profiles, stall: *stall}
	c.report = report.Engines{Environment: report.Here(), Rounds: *rounds}
	if *stall > 0 {
		c.report.Rounds = 1
	}
	if *name == "" {
		*name = "engines-" + *scale
		if *stall > 0 {
			*name += "-stall"
		}
	}
	c.saveAs = func() error { return report.Save(*out, *name, &c.report, c.report.Text()) }
	var err error
	c.engines, err = pick(*engines, names(store.Engines(), func(e store.Engine) string { return e.Name }))
	if err == nil {
		c.rows, err = pick(*rows, names(workload.Rows(), func(w workload.Workload) string { return w.Name }))
	}
	if err == nil {
		c.report.Scale, err = findScale(*scale)
	}
	if *keys > 0 {
		c.report.Scale.Cache = c.report.Scale.Cache / int64(c.report.Scale.Keys) * int64(*keys)
		c.report.Scale.Keys = *keys
	}
	return c, err
}

func names[T any](all []T, name func(T) string) []string {
	var out []string
	for _, x := range all {
		out = append(out, name(x))
	}
	return out
}

// pick returns the entries of all that the comma-separated patterns name.
func pick(patterns string, all []string) ([]string, error) {
	if patterns == "" {
		return all, nil
	}
	var out []string
	for p := range strings.SplitSeq(patterns, ",") {
		prefix, wild := strings.CutSuffix(p, "*")
		n := len(out)
		for _, name := range all {
			if name == p || wild && strings.HasPrefix(name, prefix) {
				out = append(out, name)
			}
		}
		if len(out) == n {
			return nil, fmt.Errorf("no %q among %s", p, strings.Join(all, ", "))
		}
	}
	return out, nil
}

func findScale(name string) (workload.Scale, error) {
	for _, s := range workload.Scales() {
		if s.Name == name {
			return s, nil
		}
	}
	return workload.Scale{}, fmt.Errorf("no scale %q", name)
}

func (c *comparison) runAll() error {
	if c.stall > 0 {
		c.rows = []string{workload.Stall}
	}
	for _, e := range c.engines {
		if err := c.prepare(e); err != nil {
			return err
		}
	}
	for round := range c.report.Rounds {
		for i, row := range c.rows {
			for j := range c.engines {
				e := c.engines[(i+j+round)%len(c.engines)]
				if err := c.measure(round, row, e); err != nil {
					return err
				}
			}
		}
		if err := c.saveAs(); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) prepare(engine string) error {
	if !slices.ContainsFunc(c.rows, needsData) {
		return nil
	}
	start := time.Now()
	spec := c.spec(0, workload.Prepare, engine)
	spec.Dir = c.prepared(engine)
	if err := os.MkdirAll(spec.Dir, 0o755); err != nil {
		return err
	}
	_, err := runChild(spec)
	fmt.Printf("%-20s %-10s %.1f s\n", "prepared", engine, time.Since(start).Seconds())
	return err
}

func needsData(row string) bool {
	w, err := workload.Find(row)
	return err == nil && w.Prepared
}

func (c *comparison) prepared(engine string) string { return filepath.Join(c.dir, engine) }

func (c *comparison) spec(round int, row, engine string) workload.Spec {
	spec := workload.Spec{
		Engine: engine, Workload: row, Round: round, Scale: c.report.Scale, Duration: c.stall,
		Dir:      filepath.Join(c.dir, "run"),
		Versions: c.prepared(engine) + ".versions",
	}
	if c.profiles != "" && row != workload.Prepare {
		spec.Profile = filepath.Join(c.profiles, fmt.Sprintf("%s-%s.pprof", engine, row))
	}
	return spec
}

func (c *comparison) measure(round int, row, engine string) error {
	spec := c.spec(round, row, engine)
	defer os.RemoveAll(spec.Dir)
	if err := c.lay(spec); err != nil {
		return err
	}
	if row == workload.Reopen {
		var err error
		if spec, err = c.killed(spec); err != nil {
			return err
		}
	}
	result, err := runChild(spec)
	if err != nil {
		return err
	}
	c.report.Results = append(c.report.Results, result)
	fmt.Printf("%-20s %-10s round %d  %s\n", row, engine, round+1, brief(result))
	return nil
}

// lay puts the prepared data, or nothing, where the run will open it.
func (c *comparison) lay(spec workload.Spec) error {
	if err := os.RemoveAll(spec.Dir); err != nil {
		return err
	}
	if !needsData(spec.Workload) {
		return os.MkdirAll(spec.Dir, 0o755)
	}
	return exec.Command("cp", "-a", "--sparse=always", c.prepared(spec.Engine), spec.Dir).Run()
}

// killed overwrites records in a process which it then kills.
func (c *comparison) killed(spec workload.Spec) (workload.Spec, error) {
	versions := spec.Dir + ".versions"
	if err := exec.Command("cp", spec.Versions, versions).Run(); err != nil {
		return spec, err
	}
	spec.Versions = versions
	load := spec
	load.Workload, load.Profile = workload.KillLoad, ""
	return spec, killAtReady(load)
}

func killAtReady(spec workload.Spec) error {
	cmd, stdin, err := childProcess()
	if err != nil {
		return err
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := send(stdin, spec); err != nil {
		return err
	}
	ready := false
	for lines := bufio.NewScanner(stdout); !ready && lines.Scan(); {
		ready = lines.Text() == workload.KillReady
	}
	kill := cmd.Process.Kill()
	wait := cmd.Wait()
	if !ready {
		return fmt.Errorf("%s on %s ended early: %w", spec.Workload, spec.Engine, errors.Join(kill, wait))
	}
	return kill
}

func brief(r workload.Result) string {
	if r.OpenMillis > 0 {
		return fmt.Sprintf("%10.1f ms, %d lost", r.OpenMillis, r.Lost)
	}
	s := fmt.Sprintf("%11.0f ops/s  cpu %7.2f us/op  p99.9 %9.1f us  max %9.0f us  mem %+5d MiB",
		r.OpsPerSec, r.CPUMicros, r.Micros.P999, r.Micros.Max, (r.PeakMemory-r.Budget)>>20)
	if r.WriteAmp > 0 {
		s += fmt.Sprintf("  write amp %5.2f  space amp %4.2f  settled after %.1f s", r.WriteAmp, r.SpaceAmp, r.SettleSeconds)
	}
	if r.MedianSecond > 0 {
		s += fmt.Sprintf("  slowest second %d, median %d", r.SlowestSecond, r.MedianSecond)
	}
	return s
}

const childCommand = "child"

// runChild runs the spec in a process of its own.
func runChild(spec workload.Spec) (workload.Result, error) {
	var result workload.Result
	cmd, stdin, err := childProcess()
	if err != nil {
		return result, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return result, err
	}
	if err := cmd.Start(); err != nil {
		return result, err
	}
	err = errors.Join(send(stdin, spec), stdin.Close())
	err = errors.Join(err, json.NewDecoder(stdout).Decode(&result))
	if werr := cmd.Wait(); werr != nil {
		return result, fmt.Errorf("%s on %s: %w", spec.Workload, spec.Engine, werr)
	}
	return result, err
}

func childProcess() (*exec.Cmd, io.WriteCloser, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(self, childCommand)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	return cmd, stdin, err
}

func send(w io.Writer, spec workload.Spec) error { return json.NewEncoder(w).Encode(spec) }

func child(in io.Reader, out io.Writer) error {
	var spec workload.Spec
	line, err := bufio.NewReader(in).ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &spec); err != nil {
		return err
	}
	result, err := workload.Run(spec)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}
