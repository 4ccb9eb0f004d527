package command

import "testing"

// What others may wait for, and what not.
func TestQuickCommands(t *testing.T) {
	table := newTable(families(true))
	for name, want := range map[string]bool{
		"get": true, "set": true, "incr": true, "append": true, "setex": true, "getdel": true, "expire": true, "strlen": true, "setrange": true,
		"keys": false, "scan": false, "flushall": false, "wait": false, "copy": false, "mset": false, "lcs": false, "randomkey": false,
	} {
		if got := table.byName[name].quick; got != want {
			t.Errorf("%s: quick is %v", name, got)
		}
	}
}
