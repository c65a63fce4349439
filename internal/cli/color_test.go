package cli

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

var colorCodes = regexp.MustCompile("\x1b\\[[0-9]+m")

func TestCLIColorsStatesAndNothingElse(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	url := answers(t, func(r *http.Request) any {
		failed := api.Delivery{ID: anID, State: delivery.Failed, Outcome: delivery.OutcomePersisting, Group: "failed", Hook: api.Name{Namespace: "succeeded", Name: "recovered"}}
		if strings.HasSuffix(r.URL.Path, anID) {
			return api.DeliveryDetail{Delivery: failed}
		}
		return api.Page[api.Delivery]{Items: []api.Delivery{failed, {ID: anID, State: delivery.Working, StalledSince: watchedAt}, {ID: anID, State: "of-a-newer-khook"}}}
	})
	_, plain, _ := khook(t, "deliveries", "--server", url)
	_, colored, _ := khook(t, "deliveries", "--server", url, "--color", "always")
	if diff := cmp.Diff(plain, colorCodes.ReplaceAllString(colored, "")); diff != "" || strings.Contains(plain, "\x1b") {
		t.Errorf("more than the colors differs: %s", diff)
	}
	if diff := cmp.Diff([]string{"\x1b[31m", "\x1b[0m", "\x1b[31m", "\x1b[0m", "\x1b[33m", "\x1b[0m"}, colorCodes.FindAllString(colored, -1)); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{"\x1b[31mfailed\x1b[0m", "\x1b[31mpersisting\x1b[0m", "\x1b[33mworking\x1b[0m (stalled)"} {
		if !strings.Contains(colored, part) {
			t.Errorf("no %q in %q", part, colored)
		}
	}
	if _, one, _ := khook(t, "deliveries", anID, "--server", url, "--color", "always"); !strings.Contains(one, "\x1b[31mfailed\x1b[0m, attempt 0") {
		t.Errorf("%q", one)
	}
	if _, raw, _ := khook(t, "deliveries", "--server", url, "-o", "json", "--color", "always"); strings.Contains(raw, "\x1b") {
		t.Errorf("JSON with colors: %q", raw)
	}
}

func TestCLIColorsWhereThatIsWanted(t *testing.T) {
	for _, c := range []struct {
		flag, noColor, term string
		terminal, want      bool
	}{
		{"auto", "", "xterm", true, true},
		{"auto", "", "xterm", false, false},
		{"auto", "1", "xterm", true, false},
		{"auto", "", "dumb", true, false},
		{"always", "1", "dumb", false, true},
		{"never", "", "xterm", true, false},
	} {
		t.Setenv("NO_COLOR", c.noColor)
		t.Setenv("TERM", c.term)
		if got := wantsColor(c.flag, c.terminal); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
