package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
)

var errDamage = errors.New("there is damage")

// check is corecache check <dir>: it verifies a data directory that no server has open,
// and prints what it found.
func check(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: corecache check <dir>")
	}
	if _, err := os.Stat(args[0]); err != nil {
		return err
	}
	report, err := engine.Check(vfs.OS, args[0])
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d tables with %d records in %d bytes; %d records in the log\n",
		args[0], report.Tables, report.Records, report.Bytes, report.LogRecords)
	for _, p := range report.Problems {
		fmt.Println("damage:", p)
	}
	if len(report.Problems) > 0 {
		return fmt.Errorf("%w: %d problems", errDamage, len(report.Problems))
	}
	fmt.Println("no damage")
	return nil
}
