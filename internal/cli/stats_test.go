package cli

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

func TestCLICountsEventsByType(t *testing.T) {
	var asked string
	url := answers(t, func(r *http.Request) any {
		asked = r.URL.RequestURI()
		return api.EventStats{Summary: api.EventSummary{TotalEvents: 8, TimeRange: "6h"}, ByType: map[incident.EventType]api.TypeCounts{
			incident.PodRestart: {Count: 5, Percentage: 62.5, Active: 1, Duplicates: 3, Resolved: 2}, incident.OOMKill: {Count: 3, Percentage: 37.5},
		}}
	})
	_, out, _ := khook(t, "stats", "by-type", "-n", "shop", "--range", "6h", "--server", url)
	want := []string{"TYPE EVENTS SHARE FIRING DUPLICATES ENDED", "oom-kill 3 37.5% 0 0 0", "pod-restart 5 62.5% 1 3 2"}
	got := lines(out)
	for _, w := range want {
		if !strings.Contains(strings.Join(got, "\n"), w) {
			t.Errorf("no line %q in\n%s", w, out)
		}
	}
	if asked != "/api/v1/stats/events/by-type?namespace=shop&timeRange=6h" {
		t.Error(asked)
	}
}

func TestCLIDrawsTrends(t *testing.T) {
	start := time.Date(2026, 1, 15, 10, 0, 0, 0, time.Local)
	url := answers(t, func(*http.Request) any {
		return api.Trends{Keys: []string{"oom-kill"}, Buckets: []api.Bucket{
			{Start: start, Total: 24, Counts: map[string]int64{"oom-kill": 24}}, {Start: start.Add(time.Hour)}, {Start: start.Add(2 * time.Hour), Total: 6, Counts: map[string]int64{"oom-kill": 6}},
		}}
	})
	_, out, _ := khook(t, "stats", "trends", "--server", url)
	if diff := cmp.Diff([]string{
		"FROM, UTC EVENTS OOM-KILL", "2026-01-15 10:00:00 24 24 " + strings.Repeat("█", 24), "2026-01-15 11:00:00 0 0", "2026-01-15 12:00:00 6 6 " + strings.Repeat("█", 6),
	}, lines(out)); diff != "" {
		t.Error(diff)
	}
}

// TestCLISaysHowManyOutcomesAreKnown: not what share of the calls helped, while few are known.
func TestCLISaysHowManyOutcomesAreKnown(t *testing.T) {
	percent, rate := 75.0, 41.7
	for name, tc := range map[string]struct {
		outcomes api.HookOutcomes
		want     []string
	}{
		"few": {api.HookOutcomes{Recovered: 1, RecoveredDuringTask: 1, Open: 3, Effectiveness: &percent, BaseRate: &api.BaseRate{Failures: 6, Recovered: 4, Persisting: 1, Unknown: 1}},
			[]string{"No call made: 4 of 5 with a known outcome: too few to say, 1 unknown", "Recovered: 1 of 1 with a known outcome, 3 open", "When: 0 before the agent was called, 1 while it worked, 0 after it had ended"}},
		"many": {api.HookOutcomes{Recovered: 9, RecoveredBeforeCall: 2, RecoveredDuringTask: 3, RecoveredAfterTask: 4, Relapsed: 2, Persisting: 1, Unknown: 5, Effectiveness: &percent, BaseRate: &api.BaseRate{Failures: 12, Recovered: 5, Relapsed: 3, Persisting: 4, Rate: &rate}},
			[]string{"No call made: 5 of 12 with a known outcome (41.7%), 3 failed again within the window", "Recovered: 9 of 12 with a known outcome (75.0%), 2 failed again within the window, 5 unknown", "When: 2 before the agent was called, 3 while it worked, 4 after it had ended"}},
		"none": {api.HookOutcomes{}, []string{"Recovered: 0 of 0 with a known outcome"}},
	} {
		url := answers(t, func(*http.Request) any { return api.HookMetrics{Outcomes: tc.outcomes} })
		_, out, _ := khook(t, "stats", "hook", "shop/memory", "--server", url)
		got := lines(out)
		for _, w := range tc.want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: no line %q in\n%s", name, w, out)
			}
		}
	}
}

func TestCLISaysWhatCameOfACall(t *testing.T) {
	until := time.Date(2126, 1, 15, 10, 0, 0, 0, time.Local)
	for want, d := range map[string]api.Delivery{
		"Outcome: recovered while the agent worked":                                  {Outcome: delivery.OutcomeRecovered, RecoveredIn: delivery.DuringTask},
		"Outcome: recovered before the agent was called":                             {Outcome: delivery.OutcomeRecovered, RecoveredIn: delivery.BeforeCall},
		"Outcome: relapsed, it failed again 3m after it had recovered":               {Outcome: delivery.OutcomeRelapsed, RelapseSeconds: 180},
		"Outcome: persisting":                                                        {Outcome: delivery.OutcomePersisting},
		"Outcome: known after 2126-01-15 10:00:00 UTC":                               {VerifyUntil: until},
		"Outcome: not known, khook was down at the end of the window and long after": {VerifyUntil: until.AddDate(-110, 0, 0)},
	} {
		url := answers(t, func(*http.Request) any { return api.DeliveryDetail{Delivery: d} })
		if _, out, _ := khook(t, "deliveries", "show", anID, "--server", url); !slices.Contains(lines(out), want) {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
}
