// Bench compares CoreCache with its peers and saves what came out.
//
//	bench                      both comparisons below
//	bench engines [flags]      CoreCache's engine, Pebble, Badger and goleveldb
//	bench server [flags]       the server and redis-server
//	bench compare A.json B.json    two saved comparisons of engines
//
// Each command explains its flags with -h.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/gtinside/corecache/bench/report"
	"github.com/gtinside/corecache/bench/store"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.Join(compareEngines(nil), compareServers(nil))
	}
	switch args[0] {
	case "engines":
		return compareEngines(args[1:])
	case "server":
		return compareServers(args[1:])
	case "compare":
		return compareSaved(args[1:])
	case childCommand:
		return child(os.Stdin, os.Stdout)
	}
	return fmt.Errorf("unknown command %q: want engines, server or compare", args[0])
}

func compareSaved(args []string) error {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	engine := flags.String("engine", store.Engines()[0].Name, "engine to look at")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errors.New("compare needs two saved comparisons (.json)")
	}
	a, err := report.LoadEngines(flags.Arg(0))
	if err != nil {
		return err
	}
	b, err := report.LoadEngines(flags.Arg(1))
	if err != nil {
		return err
	}
	fmt.Print(report.Compare(a, b, *engine))
	return nil
}
