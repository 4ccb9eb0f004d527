package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/gtinside/corecache/"

// allowed says which packages of this module each package may import: the direction
// of imports. A package that is not named here must be added.
var allowed = map[string][]string{
	"config":                    {},
	"glob":                      {},
	"reply":                     {},
	"engine/base":               {},
	"engine/vfs":                {},
	"engine/cache":              {"engine/base"},
	"engine/memtable":           {"engine/base"},
	"engine/wal":                {"engine/base", "engine/vfs"},
	"engine/sstable":            {"engine/base", "engine/vfs", "engine/cache"},
	"engine/rowcache":           {"engine/base"},
	"engine":                    {"engine/base", "engine/vfs", "engine/cache", "engine/rowcache", "engine/memtable", "engine/wal", "engine/sstable"},
	"replication/stream":        {"engine", "engine/wal", "replication/link"},
	"replication/link":          {},
	"replication/link/linktest": {"replication/link"},
	"replication/fullsync":      {"engine", "engine/vfs", "engine/wal", "replication/link"},
	"keyspace":                  {"engine", "engine/base", "glob"},
	"command":                   {"keyspace", "engine", "config", "reply", "glob"},
	"proxy":                     {"command", "reply"},
	"resp":                      {"command", "config", "reply"},
	"replication":               {"election", "engine", "engine/vfs", "engine/wal", "replication/protocol", "replication/link", "replication/stream", "replication/fullsync"},
	"cmd/corecache":             {"resp", "command", "keyspace", "engine", "engine/sstable", "engine/vfs", "engine/wal", "config", "election", "proxy", "replication", "replication/link", "replication/protocol"},
	"integration":               {},
	"election":                  {"config", "engine/vfs"},
	"integration/zoo":           {},
	"replication/protocol":      {},
}

// TestImports holds every package of the module to the direction of imports.
func TestImports(t *testing.T) {
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (rel == "bench" || rel == "data" || strings.HasPrefix(d.Name(), ".") && rel != "."):
			return filepath.SkipDir // bench is a module of its own
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			checkImports(t, filepath.ToSlash(filepath.Dir(rel)), path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImports(t *testing.T, pkg, path string) {
	t.Helper()
	may, known := allowed[pkg]
	if !known {
		t.Errorf("%s: package %s is not in the table of this test", path, pkg)
		return
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, i := range file.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		own, ok := strings.CutPrefix(name, module)
		if err == nil && ok && !slices.Contains(may, own) {
			t.Errorf("%s: %s must not import %s", path, pkg, own)
		}
	}
}
