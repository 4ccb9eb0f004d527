package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gtinside/corecache/bench/report"
	"github.com/gtinside/corecache/bench/server"
)

// duel runs every load on both servers in turn, round after round.
type duel struct {
	dir      string
	kinds    []server.Kind
	fsyncs   []string
	sizes    []int
	tests    []string
	pipes    []string
	keys     int
	requests int
	report   report.Servers
	saveAs   func() error
}

func compareServers(args []string) error {
	d, err := parseServers(args)
	if err != nil {
		return err
	}
	defer os.RemoveAll(d.dir)
	for _, fsync := range d.fsyncs {
		for _, size := range d.sizes {
			if err := d.run(fsync, size); err != nil {
				return err
			}
		}
	}
	fmt.Print("\n", d.report.Text())
	return nil
}

func parseServers(args []string) (*duel, error) {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	binary := flags.String("corecache", "", "server program; default: built from ../cmd/corecache")
	redis := flags.String("redis", "redis-server", "redis-server program")
	fsyncs := flags.String("fsync", "everysec,always", "comma-separated fsync policies")
	rewrites := flags.Bool("rewrite", true, "redis-server rewrites its append-only file when it has doubled (its default); without, the file only grows")
	sizes := flags.String("size", "64,1024", "comma-separated sizes of values")
	tests := flags.String("test", "set,get,incr,mset,mixed", "comma-separated tests")
	pipes := flags.String("pipeline", "1,16,128", "comma-separated depths of pipelines")
	keys := flags.Int("keys", 1_000_000, "range of random keys")
	requests := flags.Int("requests", 100_000, "requests at pipeline 1")
	rounds := flags.Int("rounds", 3, "rounds; the medians are reported")
	dir := flags.String("dir", filepath.Join(os.TempDir(), "corecache-bench"), "folder for data; removed afterwards")
	out := flags.String("out", "results", "folder for the results")
	name := flags.String("name", "server", "name of the results")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	d := &duel{
		dir: filepath.Join(*dir, fmt.Sprint(os.Getpid())), keys: *keys, requests: *requests,
		fsyncs: strings.Split(*fsyncs, ","), tests: strings.Split(*tests, ","), pipes: strings.Split(*pipes, ","),
		report: report.Servers{Environment: report.Here(), Rounds: *rounds, Rewrites: *rewrites},
	}
	d.saveAs = func() error { return report.Save(*out, *name, &d.report, d.report.Text()) }
	for s := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, err
		}
		d.sizes = append(d.sizes, n)
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, err
	}
	if *binary == "" {
		*binary = filepath.Join(d.dir, "corecache-server")
		if err := build(*binary); err != nil {
			return nil, err
		}
	}
	d.kinds = []server.Kind{server.CoreCache(*binary), server.Redis(*redis, *rewrites)}
	return d, nil
}

func build(binary string) error {
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/corecache")
	cmd.Dir = ".."
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build of the server (run this from the folder bench): %w", err)
	}
	return nil
}

// run starts both servers with the policy, fills them, and gives them the
// loads of one value size.
func (d *duel) run(fsync string, size int) (err error) {
	dir := filepath.Join(d.dir, fmt.Sprintf("%s-%d", fsync, size))
	var servers []*server.Process
	defer func() {
		for _, p := range servers {
			err = errors.Join(err, p.Stop())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	for _, k := range d.kinds {
		p, err := server.Start(k, dir, fsync)
		if err != nil {
			return err
		}
		servers = append(servers, p)
		if err := server.Fill(p, size, d.keys); err != nil {
			return err
		}
	}
	for round := range d.report.Rounds {
		if err := d.round(servers, round, fsync, size); err != nil {
			return err
		}
	}
	return d.saveAs()
}

func (d *duel) round(servers []*server.Process, round int, fsync string, size int) error {
	for i, l := range server.Loads(fsync, size, d.keys, d.requests) {
		if !slices.Contains(d.tests, l.Test) || !slices.Contains(d.pipes, strconv.Itoa(l.Pipeline)) {
			continue
		}
		for j := range servers {
			r, err := server.Run(servers[(i+j+round)%len(servers)], l, round)
			if err != nil {
				return err
			}
			d.report.Results = append(d.report.Results, r)
			fmt.Printf("%-28s %-10s round %d %10.0f/s  p99 %7.2f ms  cpu %6.2f us  mem %4d MiB\n",
				l.Name(), r.Server, round+1, r.PerSecond, r.P99Millis, r.CPUMicros, r.Memory>>20)
		}
	}
	return nil
}
