package vfs

import (
	"fmt"
	"io/fs"
	"os"
)

// FileTooLargeError is returned by ReadFile.
type FileTooLargeError struct {
	Name      string
	Size, Max int64
}

func (e *FileTooLargeError) Error() string {
	return fmt.Sprintf("%s has %d bytes, at most %d were expected", e.Name, e.Size, e.Max)
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func linkError(op, oldName, newName string, err error) error {
	return &os.LinkError{Op: op, Old: oldName, New: newName, Err: err}
}
