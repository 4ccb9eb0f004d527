package command

import "strings"

// The argument trees of COMMAND DOCS are derived from the one-line syntax that the manual prints for
// a command:
//
//	sequence    = { item }
//	item        = word | TOKEN | "[" choice "]" | "<" choice ">" | "[" sequence "..." "]"
//	choice      = [ name ":" ] sequence { "|" sequence }
//
// A lower-case word is an argument, an upper-case one a token, which belongs to the
// argument behind it. Brackets are optional, angles group. A token in front of several
// arguments inside brackets belongs to all of them. "[x ...]" behind x says that x may
// be repeated. name gives a choice or a block another name than that of its first part.
// For example
//
//	key value [condition: NX | XX] [GET] [expiration: EX seconds | KEEPTTL]
//
// The type of an argument follows from its name (argumentKinds), or is written behind it:
// "increment:double".

// argument is a node of the tree.
type argument struct {
	name, kind, token              string
	keySpec                        int // index of the key specification, for kind "key"
	optional, multiple, multiToken bool
	args                           []argument
}

// arguments returns the argument tree of the command.
func (cmd *Command) arguments() []argument {
	args := parseSyntax(cmd.Syntax)
	next := 0
	numberKeys(args, &next, len(cmd.Keys)-1)
	return args
}

// numberKeys gives key arguments the indexes of their specifications, in order; the last
// one covers all that follow.
func numberKeys(args []argument, next *int, last int) {
	for i := range args {
		if args[i].kind == "key" {
			args[i].keySpec = max(min(*next, last), 0)
			*next++
		}
		numberKeys(args[i].args, next, last)
	}
}

func parseSyntax(syntax string) []argument {
	p := &syntaxParser{words: syntaxWords(syntax)}
	return p.sequence()
}

func syntaxWords(s string) []string {
	for _, mark := range []string{"[", "]", "<", ">", "|"} {
		s = strings.ReplaceAll(s, mark, " "+mark+" ")
	}
	return strings.Fields(s)
}

type syntaxParser struct{ words []string }

func (p *syntaxParser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0]
}

func (p *syntaxParser) next() string {
	w := p.peek()
	if w != "" {
		p.words = p.words[1:]
	}
	return w
}

// sequence reads items up to a closing mark, "|" or "...".
func (p *syntaxParser) sequence() (args []argument) {
	token := ""
	flush := func() {
		if token != "" {
			args = append(args, pureToken(token))
			token = ""
		}
	}
	take := func(a argument) {
		if token != "" && a.token == "" && !a.optional {
			a.token, token = token, ""
		}
		flush()
		args = append(args, a)
	}
	for {
		switch w := p.peek(); {
		case w == "" || w == "]" || w == ">" || w == "|" || w == "...":
			flush()
			return args
		case w == "[":
			p.next()
			inner, repeats := p.choice("]")
			if repeats {
				flush()
				args = repeat(args, inner)
				continue
			}
			inner.optional = true
			take(inner)
		case w == "<":
			p.next()
			inner, _ := p.choice(">")
			take(inner)
		case isToken(w):
			p.next()
			flush()
			token = w
		default:
			p.next()
			name, kind := argumentKind(w)
			take(argument{name: name, kind: kind})
		}
	}
}

// choice reads the inside of brackets. It is one argument: the only one, a block or a oneof.
func (p *syntaxParser) choice(end string) (a argument, repeats bool) {
	name := ""
	if w := p.peek(); strings.HasSuffix(w, ":") {
		name = strings.TrimSuffix(p.next(), ":")
	}
	var alternatives []argument
	for {
		alternatives = append(alternatives, block(p.sequence()))
		switch w := p.next(); w {
		case "|":
			continue
		case "...":
			repeats = true
			if p.next() != end {
				return a, repeats
			}
		}
		break
	}
	a = alternatives[0]
	if len(alternatives) > 1 {
		a = argument{name: joinTokens(alternatives), kind: "oneof", args: alternatives}
	}
	if name != "" {
		a.name = name
	}
	return a, repeats
}

// joinTokens is the name of a choice that is given none: its tokens, or its first part.
func joinTokens(alternatives []argument) string {
	var names []string
	for _, a := range alternatives {
		if a.kind != "pure-token" {
			return alternatives[0].name
		}
		names = append(names, a.name)
	}
	return strings.Join(names, "_")
}

// block makes one argument of a sequence.
func block(args []argument) argument {
	switch len(args) {
	case 0:
		return argument{kind: "string"}
	case 1:
		return args[0]
	}
	b := argument{name: args[0].name, kind: "block", args: args}
	if first := &args[0]; first.kind != "pure-token" && first.token != "" && !first.optional {
		b.name, b.token = strings.ToLower(first.token), first.token
		first.token = ""
	}
	return b
}

// repeat marks what stands before "[x ...]" as repeatable.
func repeat(args []argument, inner argument) []argument {
	n := 1
	if inner.kind == "block" {
		n = len(inner.args)
	}
	n = min(n, len(args))
	if n == 0 {
		return args
	}
	last := args[len(args)-n]
	if n > 1 {
		last = argument{name: "data", kind: "block", args: append([]argument(nil), args[len(args)-n:]...)}
	}
	last.multiple = true
	last.multiToken = inner.token != "" && inner.token == last.token
	return append(args[:len(args)-n:len(args)-n], last)
}

func pureToken(token string) argument {
	return argument{name: strings.ToLower(token), kind: "pure-token", token: token}
}

// isToken reports whether a word of a syntax is a literal word of the command.
func isToken(w string) bool {
	return strings.ToUpper(w) == w && strings.ContainsAny(w, "ABCDEFGHIJKLMNOPQRSTUVWXYZ*=~")
}

// argumentKinds are the types of arguments whose names do not stand for strings.
var argumentKinds = map[string]string{
	"key": "key", "source": "key", "destination": "key", "newkey": "key", "key1": "key", "key2": "key",
	"pattern": "pattern", "unix-time-seconds": "unix-time", "unix-time-milliseconds": "unix-time",
	"seconds": "integer", "milliseconds": "integer", "count": "integer", "cursor": "integer", "offset": "integer",
	"start": "integer", "end": "integer", "index": "integer", "index1": "integer", "index2": "integer", "db": "integer",
	"destination-db": "integer", "decrement": "integer", "increment": "integer", "protover": "integer", "client-id": "integer", "timeout": "integer",
	"numreplicas": "integer", "numlocal": "integer", "port": "integer", "slot": "integer", "min-match-len": "integer", "version": "integer",
}

// argumentKind splits "name:kind", or looks the kind up by the name.
func argumentKind(word string) (name, kind string) {
	if name, kind, ok := strings.Cut(word, ":"); ok && explicitKinds[kind] {
		return name, kind
	}
	if kind := argumentKinds[word]; kind != "" {
		return word, kind
	}
	return word, "string"
}

var explicitKinds = map[string]bool{"key": true, "string": true, "integer": true, "double": true, "pattern": true, "unix-time": true}
