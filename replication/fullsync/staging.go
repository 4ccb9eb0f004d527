package fullsync

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/engine/vfs"
)

const (
	currentName = "CURRENT" // of the engine: a directory without it is not a store
	partSuffix  = ".part"
)

// isPart tells whether a file of staging is not complete and verified.
func isPart(name string) bool { return strings.HasSuffix(name, partSuffix) }

// Install makes the store in dir, which must not be open, the one that Fetch has put into
// staging, and then removes staging. A crash leaves the old store or the new one.
func Install(fsys vfs.FS, dir, staging string) error {
	if err := engine.Install(fsys, dir, staging); err != nil {
		return fmt.Errorf("full sync: %w", err)
	}
	return Discard(fsys, staging)
}

// Discard removes a directory with the files and the one level of directories in it, if it is there.
// CURRENT goes first, durably, so that what is left of a store is none.
func Discard(fsys vfs.FS, dir string) error {
	if fsys == nil {
		fsys = vfs.OS
	}
	if err := removeCurrent(fsys, dir); err != nil {
		return err
	}
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := fsys.Stat(path)
		if err == nil && info.Dir {
			err = Discard(fsys, path)
		} else if err == nil {
			err = fsys.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return fsys.Remove(dir)
}

func removeCurrent(fsys vfs.FS, dir string) error {
	err := fsys.Remove(filepath.Join(dir, currentName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}
