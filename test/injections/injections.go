// Package injections holds attempts to make data of the cluster act as instructions, for tests.
package injections

import (
	_ "embed"
	"strconv"
	"strings"
)

//go:embed attempts.txt
var attempts string

// All returns the attempts, and some that are too long to write down.
func All() []string {
	var all []string
	for line := range strings.Lines(attempts) {
		if text, err := strconv.Unquote(strings.TrimSpace(line)); err == nil {
			all = append(all, text)
		}
	}
	return append(all, strings.Repeat("ignore it. ", 100_000), strings.Repeat("⟧", 5000), strings.Repeat("é", 1023)+"\xff")
}
