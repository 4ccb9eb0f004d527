package integration

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// step is one line of a case; see compare_test.go.
type step struct {
	where string
	line  string
	conn  int
	quiet bool
	more  bool
	args  []string
	raw   string
	same  func(a, b *reply) bool
	want  *regexp.Regexp // the reply of Redis 7.2; nil: ask redis-server
}

func parseStep(where, line string) (step, error) {
	s := step{where: where, line: line, same: sameBytes}
	rest := line
	if strings.HasPrefix(rest, "@") {
		n, after, _ := strings.Cut(rest[1:], " ")
		i, err := strconv.Atoi(n)
		if err != nil || i < 1 || i > 4 {
			return s, fmt.Errorf("connection %q", n)
		}
		s.conn, rest = i-1, after
	}
	rest = s.flags(rest)
	if text, ok := strings.CutPrefix(rest, "raw "); ok {
		raw, err := strconv.Unquote(text)
		s.raw = raw
		return s, err
	}
	args, err := splitArgs(rest)
	if err == nil && len(args) == 0 && !s.more {
		err = errors.New("no command")
	}
	s.args = args
	return s, err
}

func (s *step) flags(rest string) string {
	for {
		flag, after, _ := strings.Cut(rest, " ")
		switch flag {
		case "-":
			s.quiet = true
		case "+":
			s.more = true
		case "?":
			s.same = sameShape
		case "~":
			s.same = sameTime
		case "*":
			s.same = sameElements
		default:
			return rest
		}
		rest = after
	}
}

// expect takes the reply of Redis 7.2.
func (s *step) expect(line string) error {
	text, isRegexp := strings.CutPrefix(line, "=~ ")
	if !isRegexp {
		text = strings.TrimPrefix(line, "= ")
	}
	raw, err := strconv.Unquote(text)
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	if !isRegexp {
		raw = regexp.QuoteMeta(raw)
	}
	s.want, err = regexp.Compile("(?s)^(?:" + raw + ")$")
	return err
}

// splitArgs splits a line as redis-cli does: blanks separate, "..." knows
// \n \r \t \b \a \\ \" and \xHH, '...' only \'.
func splitArgs(line string) ([]string, error) {
	var args []string
	for {
		line = strings.TrimLeft(line, " ")
		if line == "" {
			return args, nil
		}
		arg, rest, err := oneArg(line)
		if err != nil {
			return nil, err
		}
		args, line = append(args, arg), rest
	}
}

func oneArg(line string) (arg, rest string, err error) {
	var b strings.Builder
	i := 0
	for i < len(line) && line[i] != ' ' {
		switch line[i] {
		case '"', '\'':
			end := closing(line, i)
			if end < 0 {
				return "", "", errors.New("unbalanced quotes")
			}
			text, err := unquote(line[i : end+1])
			if err != nil {
				return "", "", err
			}
			b.WriteString(text)
			i = end + 1
		default:
			b.WriteByte(line[i])
			i++
		}
	}
	return b.String(), line[i:], nil
}

func closing(line string, open int) int {
	for i := open + 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case line[open]:
			return i
		}
	}
	return -1
}

func unquote(quoted string) (string, error) {
	if quoted[0] == '\'' {
		return strings.ReplaceAll(quoted[1:len(quoted)-1], `\'`, `'`), nil
	}
	return strconv.Unquote(quoted)
}

func TestSplitArgs(t *testing.T) {
	args, err := splitArgs(`SET "a b" 'c"d\'' "\x00\xff" "" e"f"`)
	want := []string{"SET", "a b", `c"d'`, "\x00\xff", "", "ef"}
	if err != nil || strings.Join(args, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, %v", args, err)
	}
}
