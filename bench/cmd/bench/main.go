// Bench compares CoreCache with its peers and saves what came out.
//
//	bench                      both comparisons below
//	bench engines [flags]      CoreCache's engine, Pebble, Badger and goleveldb
//	bench server [flags]       the server and redis-server
//	bench compare A.json B.json    two saved comparisons of engines
//	bench merge NAME A.json ...    one comparison of engines that was run in pieces
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
	case "merge":
		return mergeSaved(args[1:])
	case childCommand:
		return child(os.Stdin, os.Stdout)
	}
	return fmt.Errorf("unknown command %q: want engines, server, compare or merge", args[0])
}

// mergeSaved joins pieces of a comparison that have other rows, at the same scale, with as many rounds.
func mergeSaved(args []string) error {
	flags := flag.NewFlagSet("merge", flag.ContinueOnError)
	out := flags.String("out", "results", "folder for the results")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() < 2 {
		return errors.New("merge needs a name and saved comparisons (.json)")
	}
	all, err := report.LoadEngines(flags.Arg(1))
	for _, name := range flags.Args()[2:] {
		piece, perr := report.LoadEngines(name)
		if err = errors.Join(err, perr); err != nil {
			break
		}
		if piece.Scale != all.Scale || piece.Rounds != all.Rounds {
			return fmt.Errorf("%s has another scale or other rounds than %s", name, flags.Arg(1))
		}
		all.Results = append(all.Results, piece.Results...)
	}
	if err != nil {
		return err
	}
	return report.Save(*out, flags.Arg(0), all, all.Text())
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
