package election

import (
	"encoding/json"
	"errors"
	"fmt"
)

// format is the version of all that this package writes. Fields may be added without a new version, since readers
// keep what they do not know; a change of meaning needs one, and makes older nodes refuse.
//
//	1  the first
const format = 1

// formatKey marks a JSON object as CoreCache's and holds its version.
const formatKey = "corecache"

var errNotOurs = errors.New("not an object of CoreCache")

// fields is a JSON object from which the known fields are taken; what is left belongs to a newer
// version, and is written back as it was.
type fields map[string]json.RawMessage

// parseFields reads an object that carries the format.
func parseFields(data []byte) (fields, error) {
	var f fields
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	version := 0
	if err := f.take(formatKey, &version); err != nil || version < 1 {
		return nil, errNotOurs
	}
	if version > format {
		return nil, fmt.Errorf("%w: format %d, known is %d", ErrFormat, version, format)
	}
	return f, nil
}

// take reads a field, if it is there, and removes it.
func (f fields) take(key string, into any) error {
	raw, ok := f[key]
	if !ok {
		return nil
	}
	delete(f, key)
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("field %q: %w", key, err)
	}
	return nil
}

// rest is what nobody took; nil when that is nothing.
func (f fields) rest() fields {
	if len(f) == 0 {
		return nil
	}
	return f
}

// put sets a field. Values are strings, numbers and what is made of them, which always have an encoding.
func (f fields) put(key string, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("election: field %s: %v", key, err)) // the types that are put here can be encoded
	}
	f[key] = raw
}

// encode writes the fields in the order of their names.
func (f fields) encode() []byte {
	data, err := json.Marshal(f)
	if err != nil {
		panic(fmt.Sprintf("election: %v", err)) // raw messages are valid: they were parsed or encoded here
	}
	return data
}
