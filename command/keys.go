package command

import "strconv"

// KeyFlags say what a command does to the keys of a KeySpec, as in COMMAND INFO.
type KeyFlags uint16

// Exactly one of the first four, and any of the others.
const (
	KeyRO KeyFlags = 1 << iota
	KeyRW
	KeyOW
	KeyRM
	KeyAccess
	KeyUpdate
	KeyInsert
	KeyDelete
	KeyNotKey
	KeyIncomplete
	KeyVariable
)

var keyFlagNames = []string{
	"RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "not_key", "incomplete", "variable_flags",
}

func (f KeyFlags) names() (out []string) {
	for i, name := range keyFlagNames {
		if f&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// KeySpec tells where keys stand among the arguments.
// See https://redis.io/docs/latest/develop/reference/key-specs/
type KeySpec struct {
	Notes string
	Flags KeyFlags

	// Where the search begins: at argument Index, or behind the word Keyword,
	// which is looked for from argument From on (negative: backwards from the end).
	Index   int
	Keyword string
	From    int

	// Which arguments from there on are keys: with NumKeys the count stands at the beginning plus
	// NumIndex and the keys begin at the beginning plus First; else a range. Last is relative to the
	// beginning, or when negative to the end (-1 = the last argument). Limit > 1 takes only the first
	// 1/Limit of the arguments.
	NumKeys         bool
	NumIndex, First int
	Last            int
	Step            int
	Limit           int
}

// keys is the common case of one range: positions as in the columns first, last and step of
// COMMAND INFO.
func keys(first, last, step int, flags KeyFlags) []KeySpec {
	return []KeySpec{keyRange(first, last, step, flags)}
}

// keyAt is one key at a fixed position.
func keyAt(pos int, flags KeyFlags) KeySpec { return keyRange(pos, pos, 1, flags) }

func keyRange(first, last, step int, flags KeyFlags) KeySpec {
	if last >= 0 {
		last -= first
	}
	return KeySpec{Flags: flags, Index: first, Last: last, Step: step}
}

// keyNum is a list of keys behind their number, which stands at position pos.
func keyNum(pos int, flags KeyFlags) KeySpec {
	return KeySpec{Flags: flags, Index: pos, NumKeys: true, First: 1, Step: 1}
}

// KeyRef is a key among the arguments of a call.
type KeyRef struct {
	Arg   int
	Flags KeyFlags
}

// keyRefs finds the keys in a call; ok is false when the arguments do not make sense.
func (cmd *Command) keyRefs(args [][]byte) (refs []KeyRef, ok bool) {
	if cmd.GetKeys != nil {
		refs = cmd.GetKeys(args)
		return refs, len(refs) > 0
	}
	for i := range cmd.Keys {
		if cmd.Keys[i].Flags&KeyNotKey != 0 {
			continue
		}
		if refs, ok = cmd.Keys[i].appendRefs(refs, args); !ok {
			return nil, false
		}
	}
	return refs, len(refs) > 0
}

func (spec *KeySpec) appendRefs(refs []KeyRef, args [][]byte) ([]KeyRef, bool) {
	begin, ok := spec.begin(args)
	if !ok {
		return refs, true // an optional keyword which is not there
	}
	first, last, ok := spec.bounds(args, begin)
	if !ok || first >= len(args) || last >= len(args) || spec.Step < 1 {
		return nil, false
	}
	for i := first; i <= last; i += spec.Step {
		refs = append(refs, KeyRef{i, spec.Flags})
	}
	return refs, true
}

func (spec *KeySpec) begin(args [][]byte) (int, bool) {
	if spec.Keyword == "" {
		return spec.Index, true
	}
	i, step := spec.From, 1
	if i < 0 {
		i, step = len(args)+i, -1
	}
	for ; i > 0 && i < len(args)-1; i += step {
		if equalFold(args[i], spec.Keyword) {
			return i + 1, true
		}
	}
	return 0, false
}

func (spec *KeySpec) bounds(args [][]byte, begin int) (first, last int, ok bool) {
	if !spec.NumKeys {
		last = begin + spec.Last
		if spec.Last < 0 {
			last = len(args) + spec.Last
			if spec.Limit > 1 {
				last = begin + (len(args)-begin)/spec.Limit + spec.Last
			}
		}
		return begin, last, last >= begin
	}
	if begin+spec.NumIndex >= len(args) {
		return 0, 0, false
	}
	n, err := strconv.ParseInt(string(args[begin+spec.NumIndex]), 10, 32)
	first = begin + spec.First
	return first, first + (int(n)-1)*spec.Step, err == nil && n > 0
}

// setKeys is GetKeys of SET, which reads the key only when GET is given.
func setKeys(args [][]byte) []KeyRef {
	for _, a := range args[3:] {
		if equalFold(a, "get") {
			return []KeyRef{{1, KeyRW | KeyAccess | KeyUpdate}}
		}
	}
	return []KeyRef{{1, KeyOW | KeyUpdate}}
}

// legacyRange is the range of keys in the form of before Redis 7: first, last, step;
// zeros when there are no keys at fixed positions.
func (cmd *Command) legacyRange() (first, last, step int) {
	for i := range cmd.Keys {
		spec := &cmd.Keys[i]
		if spec.Keyword != "" || spec.NumKeys {
			continue
		}
		end := spec.Last
		if end >= 0 {
			end += spec.Index
		}
		switch {
		case first == 0:
			first, last, step = spec.Index, end, spec.Step
		case spec.Index == last+1 && end >= 0: // one after the other
			last, step = end, 1
		}
	}
	return first, last, step
}
