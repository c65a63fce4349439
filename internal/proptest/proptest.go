// Package proptest runs the costly properties and models of khook's tests: as many inputs as each wants, and a tenth of them where the race
// detector makes each ten times as slow. "make test" runs them both ways.
package proptest

import (
	"flag"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Full says whether tests draw all that they want.
func Full() bool { return !raced && !testing.Short() }

// Check is rapid.Check with n inputs, unless -rapid.checks says how many. The test must not run in parallel to others that use it: the flag
// is the process's.
func Check(t *testing.T, n int, property func(*rapid.T)) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if was := f.Value.String(); was == f.DefValue {
		if !Full() {
			n = max(n/10, 1)
		}
		if err := flag.Set(f.Name, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = flag.Set(f.Name, was) }()
	}
	rapid.Check(t, property)
}
