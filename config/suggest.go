package config

import (
	"fmt"
	"strings"
)

// suggestion names the parameter that name is most likely a slip of, as a clause for
// an error message; "" when nothing is near.
func suggestion(name string) string {
	name = strings.ToLower(name)
	best, least := "", max(2, len(name)/3)+1
	for i := range params {
		if d := distance(name, params[i].Name); d < least {
			best, least = params[i].Name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean '%s'?)", best)
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, above, row[j])
			}
			diagonal, row[j+1] = above, cost
		}
	}
	return row[len(b)]
}
