package system

import (
	"encoding/json"
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

// FR3: Provide aggregated event statistics and metrics via API.
func TestFR3EventStatisticsAndAggregation(t *testing.T) {
	s := serve(t)
	t.Run("GET /api/v1/stats/events/summary", func(t *testing.T) {
		sum := read[api.EventStats](s.caller, "/stats/events/summary"+queryOf("namespace", s.shop)).Summary
		if sum.TotalEvents != 5 || sum.ActiveEvents != 2 || sum.DuplicateEvents != 2 || sum.ResolvedEvents != 1 || sum.TimeRange != "24h" || sum.Namespace != s.shop {
			t.Errorf("%+v", sum)
		}
		if d := sum.EndTime.Sub(sum.StartTime); d < 24*time.Hour || d > 25*time.Hour {
			t.Errorf("the range is %s", d)
		}
		all := read[api.EventStats](s.caller, "/stats/events/summary?timeRange=1h").Summary
		if all.TotalEvents < 6 || all.TimeRange != "1h" {
			t.Errorf("of all namespaces: %+v", all)
		}
		s.get("/stats/events/summary?timeRange=8d").problem(t, http.StatusBadRequest, "timeRange", "from 1m to 1w")
		s.get("/stats/events/summary?timeRange=day").problem(t, http.StatusBadRequest, "timeRange", "24h")
	})
	t.Run("GET /api/v1/stats/events/by-type", func(t *testing.T) {
		got := read[api.EventStats](s.caller, "/stats/events/by-type"+queryOf("namespace", s.shop)).ByType
		want := map[incident.EventType]api.TypeCounts{
			incident.PodRestart:  {Count: 3, Percentage: 60, Active: 1, Duplicates: 1, Resolved: 1},
			incident.OOMKill:     {Count: 2, Percentage: 40, Active: 1, Duplicates: 1},
			incident.PodPending:  {},
			incident.ProbeFailed: {},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("Response Format", func(t *testing.T) {
		var shape map[string]map[string]json.RawMessage
		if err := json.Unmarshal([]byte(s.get("/stats/events/summary").body), &shape); err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"totalEvents", "activeEvents", "duplicateEvents", "timeRange"} {
			if shape["summary"][field] == nil {
				t.Errorf("summary has no %s", field)
			}
		}
		for _, et := range incident.EventTypes() {
			if text := string(shape["byType"][string(et)]); !strings.Contains(text, `"count":`) || !strings.Contains(text, `"percentage":`) {
				t.Errorf("byType of %s: %s", et, text)
			}
		}
	})
	t.Run("GET /api/v1/stats/hooks/{namespace}/{name}/metrics", func(t *testing.T) {
		m := read[api.HookMetrics](s.caller, "/stats/hooks/"+s.shop+"/memory/metrics")
		if m.Events.Total != 5 || m.Events.ByDisposition[delivery.Delivered] != 2 || m.Events.ByDisposition[delivery.Duplicate] != 1 || m.Events.ByDisposition[delivery.Explained] != 2 {
			t.Errorf("events %+v", m.Events)
		}
		if m.Deliveries.Created != 2 || m.Deliveries.Ended != 2 || m.Deliveries.ByState[delivery.Succeeded] != 2 || m.Deliveries.SuccessRate == nil || *m.Deliveries.SuccessRate != 100 {
			t.Errorf("deliveries %+v", m.Deliveries)
		}
		if m.Calls.Samples != 2 || m.Calls.P50 == nil || *m.Calls.P50 > *m.Calls.P95 || m.LastFired.Before(s.began.Truncate(time.Second)) || m.ActiveIncidents != 2 {
			t.Errorf("%+v", m)
		}
		none := read[api.HookMetrics](s.caller, "/stats/hooks/"+s.shop+"/never-was/metrics")
		if none.Events.Total != 0 || none.Deliveries.SuccessRate != nil || none.Calls.P50 != nil {
			t.Errorf("%+v", none)
		}
	})
	t.Run("GET /api/v1/stats/trends", func(t *testing.T) {
		trends := read[api.Trends](s.caller, "/stats/trends"+queryOf("namespace", s.shop, "timeRange", "2h", "interval", "10m"))
		if n := len(trends.Buckets); n < 12 || n > 14 || trends.Interval != "10m" {
			t.Fatalf("%d buckets of %s", n, trends.Interval)
		}
		var total, ooms int64
		for i, b := range trends.Buckets {
			total, ooms = total+b.Total, ooms+b.Counts["oom-kill"]
			if len(b.Counts) != 4 || i > 0 && b.Start.Sub(trends.Buckets[i-1].Start) != 10*time.Minute || b.Start.Minute()%10 != 0 {
				t.Errorf("bucket %d: %+v", i, b)
			}
		}
		if total != 5 || ooms != 2 || trends.Buckets[0].Total != 0 {
			t.Errorf("%d events, %d OOM kills, %d in the first bucket", total, ooms, trends.Buckets[0].Total)
		}
		for _, interval := range []string{"1m", "1h", "7h", "1d"} { // minutes or hours of the counters, and buckets that do not divide a day
			byNamespace := read[api.Trends](s.caller, "/stats/trends?by=namespace&timeRange=12h&interval="+interval)
			sum := map[string]int64{}
			for _, b := range byNamespace.Buckets {
				for ns, n := range b.Counts {
					sum[ns] += n
				}
			}
			if sum[s.shop] != 5 || sum[s.pay] != 1 || !slices.Contains(byNamespace.Keys, s.shop) {
				t.Errorf("interval %s: %v", interval, sum)
			}
		}
		s.get("/stats/trends?interval=90s").problem(t, http.StatusBadRequest, "interval", "whole minutes")
		s.get("/stats/trends?timeRange=24h&interval=1m").problem(t, http.StatusBadRequest, "interval", "1000 buckets")
		s.get("/stats/trends?timeRange=7d&interval=90m").problem(t, http.StatusBadRequest, "interval", "whole hours")
		s.get("/stats/trends"+queryOf("by", "namespace", "namespace", s.shop)).problem(t, http.StatusBadRequest, "namespace")
	})
}
