package store

import (
	"strings"
	"testing"
)

// TestDecidingGoesPastWhatWasSkipped: any number of deliveries that called nobody costs a decision nothing, since the indexes of
// what is asked about groups, configurations, Hooks and workloads do not have them.
func TestDecidingGoesPastWhatWasSkipped(t *testing.T) {
	st := openStore(t, newPath(t))
	everything(t, st)
	asked := 0
	for _, query := range statements(st) {
		if !strings.Contains(query, " FROM deliveries ") || !strings.Contains(query, "skipped = ''") || !strings.Contains(query, "hook_ns = ?") {
			continue
		}
		asked++
		for _, step := range planOf(t, st, query) {
			if strings.HasPrefix(step, "SEARCH deliveries") && strings.Contains(step, "INDEX deliveries_hook ") {
				t.Errorf("%s\n  %s", query, step)
			}
		}
	}
	if asked < 4 {
		t.Errorf("only %d such statements were found", asked)
	}
}
