package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Kind says how the text of a parameter is read.
type Kind int

// The kinds of parameters.
const (
	Int     Kind = iota // decimal integer within Min..Max
	Bytes               // integer with an optional unit: k kb m mb g gb (k = 1000, kb = 1024, ...)
	Percent             // Bytes, or N% of maxmemory
	Octal               // file mode, three octal digits; 0 = leave to the umask
	Bool                // yes or no
	Enum                // one of Choices
	String              // any bytes, one word
	Path                // String; a relative one is shown as absolute
	List                // words, separated by blanks; Choices, when given, bound each of them
	Limits              // client-output-buffer-limit: class hard soft seconds, repeated
	Numbers             // List of numbers between Min and Max
)

// Param is one row of the table of parameters.
type Param struct {
	Name    string
	Alias   string // an older name that Redis also accepts
	Group   string // heading in the example file
	Kind    Kind
	Default string
	Min     int64 // Int, Bytes, Percent, Numbers
	Max     int64
	Choices []string
	Unit    string
	Live    bool // may be changed by CONFIG SET
	Fixed   bool // answered for tools; the value can not be changed at all
	Secret  bool // never written to the log
	Doc     string
}

// value is an immutable parsed value.
type value struct {
	text   string // canonical, as CONFIG GET shows it
	num    int64  // Int, Bytes, Octal, Bool, Enum (index); Percent: negative = percent
	words  []string
	limits [3]OutputLimit
}

// OutputLimit bounds the replies waiting for one class of clients.
type OutputLimit struct {
	Hard        int64 // bytes; reaching them closes the client at once; 0 = no limit
	Soft        int64 // bytes; exceeding them for SoftSeconds closes the client; 0 = no limit
	SoftSeconds int64
}

var limitClasses = [3]string{"normal", "slave", "pubsub"}

// parse reads the words of a directive. old is the value so far: directives that
// may be repeated add to it.
func (p *Param) parse(words []string, old *value) (*value, error) {
	switch p.Kind {
	case Limits:
		return parseLimits(words, old)
	case List:
		return p.parseList(words)
	case Numbers:
		return p.parseNumbers(words)
	}
	if len(words) != 1 {
		return nil, errors.New("wrong number of arguments")
	}
	return p.parseWord(words[0])
}

func (p *Param) parseWord(s string) (*value, error) {
	switch p.Kind {
	case Int:
		return p.parseInt(s)
	case Bytes:
		return p.parseBytes(s)
	case Percent:
		return p.parsePercent(s)
	case Octal:
		return parseOctal(s)
	case Bool:
		return parseBool(s)
	case Enum:
		return p.parseEnum(s)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return nil, errors.New("argument must not contain a zero byte")
	}
	return &value{text: s}, nil
}

func (p *Param) parseInt(s string) (*value, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return nil, errors.New("argument couldn't be parsed into an integer")
	}
	return p.number(n)
}

func (p *Param) number(n int64) (*value, error) {
	if n < p.Min || n > p.Max {
		return nil, fmt.Errorf("argument must be between %d and %d inclusive", p.Min, p.Max)
	}
	return &value{text: strconv.FormatInt(n, 10), num: n}, nil
}

func (p *Param) parseBytes(s string) (*value, error) {
	n, err := ParseBytes(s)
	if err != nil {
		return nil, err
	}
	return p.number(n)
}

func (p *Param) parsePercent(s string) (*value, error) {
	digits, ok := strings.CutSuffix(s, "%")
	if !ok {
		v, err := p.parseBytes(s)
		if err != nil && strings.HasPrefix(err.Error(), "argument must be a memory") {
			err = errors.New("argument must be a memory or percent value")
		}
		return v, err
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return nil, errors.New("argument must be a memory or percent value")
	}
	if n > 100 {
		return nil, errors.New("percentage argument must be less or equal to 100")
	}
	return &value{text: strconv.FormatUint(n, 10) + "%", num: -int64(n)}, nil
}

func parseOctal(s string) (*value, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return nil, errors.New("argument couldn't be parsed as an octal number")
	}
	if n > 0o777 {
		return nil, errors.New("argument must be between 0 and 777 inclusive")
	}
	return &value{text: strconv.FormatUint(n, 8), num: int64(n)}, nil
}

func parseBool(s string) (*value, error) {
	switch strings.ToLower(s) {
	case "yes":
		return &value{text: "yes", num: 1}, nil
	case "no":
		return &value{text: "no"}, nil
	}
	return nil, errors.New("argument must be 'yes' or 'no'")
}

func (p *Param) choice(s string) int {
	for i, c := range p.Choices {
		if strings.EqualFold(c, s) {
			return i
		}
	}
	return -1
}

func (p *Param) errChoice() error {
	return errors.New("argument(s) must be one of the following: " + strings.Join(p.Choices, ", "))
}

func (p *Param) parseEnum(s string) (*value, error) {
	i := p.choice(s)
	if i < 0 {
		return nil, p.errChoice()
	}
	return &value{text: p.Choices[i], num: int64(i)}, nil
}

// parseList takes the words as they are; a quoted list ("a b c") counts as its words.
func (p *Param) parseList(args []string) (*value, error) {
	words := strings.Fields(strings.Join(args, " "))
	if p.Max > 0 && int64(len(words)) > p.Max {
		return nil, fmt.Errorf("at most %d values are allowed", p.Max)
	}
	for i, w := range words {
		if p.Choices == nil {
			continue
		}
		j := p.choice(w)
		if j < 0 {
			return nil, p.errChoice()
		}
		words[i] = p.Choices[j]
	}
	return &value{text: strings.Join(words, " "), words: words}, nil
}

func (p *Param) parseNumbers(args []string) (*value, error) {
	v, err := p.parseList(args)
	if err != nil {
		return nil, err
	}
	for _, w := range v.words {
		f, err := strconv.ParseFloat(w, 64)
		if err != nil {
			return nil, redisError("Invalid " + p.Name + " parameters")
		}
		if math.IsNaN(f) || f < 0 || f > 100 {
			return nil, fmt.Errorf("%s parameters should sit between [0.0,100.0]", p.Name)
		}
	}
	return v, nil
}

// parseLimits merges groups of four words (class hard soft seconds) into old.
func parseLimits(args []string, old *value) (*value, error) {
	words := strings.Fields(strings.Join(args, " "))
	if len(words) == 0 || len(words)%4 != 0 {
		return nil, errLimitWords
	}
	v := &value{}
	if old != nil {
		v.limits = old.limits
	}
	for ; len(words) > 0; words = words[4:] {
		class := limitClass(words[0])
		if class < 0 {
			return nil, errLimitClass
		}
		l, err := parseLimit(words[1:4])
		if err != nil {
			return nil, err
		}
		v.limits[class] = l
	}
	v.text = formatLimits(v.limits)
	return v, nil
}

func limitClass(s string) int {
	switch strings.ToLower(s) {
	case "normal":
		return 0
	case "slave", "replica":
		return 1
	case "pubsub":
		return 2
	}
	return -1
}

func parseLimit(words []string) (OutputLimit, error) {
	hard, err1 := ParseBytes(words[0])
	soft, err2 := ParseBytes(words[1])
	secs, err3 := strconv.ParseInt(words[2], 10, 32)
	if err1 != nil || err2 != nil || err3 != nil || secs < 0 {
		return OutputLimit{}, errLimitNumber
	}
	return OutputLimit{Hard: hard, Soft: soft, SoftSeconds: secs}, nil
}

func formatLimits(limits [3]OutputLimit) string {
	parts := make([]string, len(limits))
	for i, l := range limits {
		parts[i] = fmt.Sprintf("%s %d %d %d", limitClasses[i], l.Hard, l.Soft, l.SoftSeconds)
	}
	return strings.Join(parts, " ")
}

var units = []struct {
	suffix string
	factor int64
}{
	{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30},
	{"k", 1000}, {"m", 1000 * 1000}, {"g", 1000 * 1000 * 1000}, {"b", 1},
}

// ParseBytes reads a memory size as redis.conf writes it: 100, 1k (1000), 1kb (1024),
// 5m, 5mb, 1g, 1gb, in any case.
func ParseBytes(s string) (int64, error) {
	errValue := errors.New("argument must be a memory value")
	digits, factor := strings.ToLower(s), int64(1)
	for _, u := range units {
		if d, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, factor = d, u.factor
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/factor {
		return 0, errValue
	}
	return int64(n) * factor, nil
}

// FormatBytes writes n with the largest unit that divides it.
func FormatBytes(n int64) string {
	for i := 2; i >= 0; i-- {
		if u := units[i]; n >= u.factor && n%u.factor == 0 {
			return strconv.FormatInt(n/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
