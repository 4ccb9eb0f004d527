// Package glob matches byte strings against the glob-style patterns of Redis:
//
//   - matches any run of bytes, also none
//     ?       matches any one byte
//     [abc]   matches one byte of the set; [a-z] a range, [^a-z] its complement
//     \x      matches x itself, also inside a set
//
// An unclosed set reaches to the end of the pattern, and a range may be written
// backwards, as in Redis.
//
// The matcher backtracks to the last star only, which suffices because every other element
// matches exactly one byte. So the time is bounded by len(pattern) * len(s), where the
// textbook recursion takes exponential time for patterns such as a*a*a*a*b.
package glob

// Match reports whether the whole of s matches pattern.
//
// As in Redis, the empty string is matched by the patterns "" and "*" only.
func Match(pattern, s []byte) bool { return match(pattern, s, false) }

// MatchFold is Match without regard to the case of ASCII letters.
func MatchFold(pattern, s []byte) bool { return match(pattern, s, true) }

func match(pattern, s []byte, fold bool) bool {
	if len(s) == 0 {
		return len(pattern) == 0 || string(pattern) == "*"
	}
	star, resume := -1, 0 // where the last star stands, and where it stops matching if it has to match more
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			star, resume = p, i
			p++
			continue
		}
		if p < len(pattern) {
			if n, ok := matchByte(pattern[p:], s[i], fold); ok {
				p += n
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		resume++
		p, i = star+1, resume
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchByte matches ch against the element that pattern begins with, which is no star,
// and returns the length of the element.
func matchByte(pattern []byte, ch byte, fold bool) (n int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		return matchSet(pattern, ch, fold)
	case '\\':
		if len(pattern) >= 2 {
			return 2, same(pattern[1], ch, fold)
		}
	}
	return 1, same(pattern[0], ch, fold)
}

func matchSet(pattern []byte, ch byte, fold bool) (n int, ok bool) {
	i := 1
	not := i < len(pattern) && pattern[i] == '^'
	if not {
		i++
	}
	for i < len(pattern) && pattern[i] != ']' {
		switch rest := len(pattern) - i; {
		case pattern[i] == '\\' && rest >= 2:
			ok = ok || pattern[i+1] == ch
			i += 2
		case rest >= 3 && pattern[i+1] == '-':
			ok = ok || between(pattern[i], pattern[i+2], ch, fold)
			i += 3
		default:
			ok = ok || same(pattern[i], ch, fold)
			i++
		}
	}
	if i < len(pattern) {
		i++ // the closing bracket
	}
	return i, ok != not
}

func between(low, high, ch byte, fold bool) bool {
	if low > high {
		low, high = high, low
	}
	if fold {
		low, high, ch = lower(low), lower(high), lower(ch)
	}
	return low <= ch && ch <= high
}

func same(a, b byte, fold bool) bool { return a == b || fold && lower(a) == lower(b) }

func lower(ch byte) byte {
	if 'A' <= ch && ch <= 'Z' {
		ch += 'a' - 'A'
	}
	return ch
}
