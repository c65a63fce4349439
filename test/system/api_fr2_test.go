package system

import (
	"fmt"
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

// FR2: Provide REST endpoints for querying collected events with filtering capabilities.
func TestFR2EventQueryEndpoints(t *testing.T) {
	s := serve(t)
	page := func(t *testing.T, path string) api.Page[api.Event] {
		t.Helper()
		c := s.caller
		c.t = t
		return read[api.Page[api.Event]](c, path)
	}
	says := func(t *testing.T, path string, want ...string) {
		t.Helper()
		got := summaries(page(t, path))
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("GET %s (-want +got)\n%s", path, diff)
		}
	}
	const (
		oom, oomAgain         = "oom-kill cart-abc-1 firing", "oom-kill cart-abc-1 duplicate"
		restart, restartAgain = "pod-restart cart-abc-1 firing", "pod-restart cart-abc-1 duplicate"
		crash, till           = "pod-restart web-abc-1 resolved", "pod-restart till-abc-1 firing"
	)
	t.Run("GET /api/v1/events", func(t *testing.T) {
		says(t, "/events"+queryOf("startTime", s.began.Format(time.RFC3339)), oom, oomAgain, restart, restartAgain, crash, till)
	})
	t.Run("GET /api/v1/events/{namespace}", func(t *testing.T) {
		says(t, "/events/"+s.pay, till)
		says(t, "/events/"+s.shop, oom, oomAgain, restart, restartAgain, crash)
		says(t, "/events/nowhere")
	})
	t.Run("GET /api/v1/hooks/{namespace}/{name}/events", func(t *testing.T) {
		says(t, "/hooks/"+s.pay+"/till/events", till)
		for _, e := range page(t, "/hooks/"+s.shop+"/memory/events").Items {
			why := map[string]delivery.Disposition{oom: delivery.Delivered, oomAgain: delivery.Duplicate, restart: delivery.Explained, restartAgain: delivery.Explained, crash: delivery.Delivered}
			line := fmt.Sprintf("%s %s %s", e.EventType, e.ResourceName, e.Status)
			if len(e.Dispositions) != 1 || e.Dispositions[0].Disposition != why[line] {
				t.Errorf("%s: %+v, want %s", line, e.Dispositions, why[line])
			}
		}
		says(t, "/hooks/"+s.shop+"/never-was/events")
	})
	t.Run("GET /api/v1/events/types/{eventType}", func(t *testing.T) {
		says(t, "/events/types/oom-kill"+queryOf("namespace", s.shop), oom, oomAgain)
		s.get("/events/types/oom").problem(t, http.StatusBadRequest, "eventType", "oom-kill")
	})
	t.Run("startTime & endTime: Time-based filtering (RFC3339 format)", func(t *testing.T) {
		says(t, "/events/"+s.shop+queryOf("startTime", time.Now().Add(time.Hour).Format(time.RFC3339)))
		says(t, "/events/"+s.pay+queryOf("startTime", s.began.Add(-time.Hour).Format(time.RFC3339), "endTime", time.Now().Add(time.Hour).Format(time.RFC3339)), till)
		says(t, "/events/"+s.pay+queryOf("endTime", s.began.Add(-time.Hour).Format(time.RFC3339)))
		s.get("/events"+queryOf("startTime", "yesterday")).problem(t, http.StatusBadRequest, "startTime", "RFC 3339")
		s.get("/events"+queryOf("startTime", "2026-01-02T00:00:00Z", "endTime", "2026-01-01T00:00:00Z")).problem(t, http.StatusBadRequest, "endTime", "after startTime")
	})
	t.Run("eventType: Filter by event type (pod-restart, oom-kill, etc.)", func(t *testing.T) {
		says(t, "/events/"+s.shop+queryOf("eventType", "pod-restart"), restart, restartAgain, crash)
		says(t, "/events/"+s.shop+queryOf("eventType", "probe-failed"))
		s.get("/events"+queryOf("eventType", "crash")).problem(t, http.StatusBadRequest, "eventType", "pod-restart, pod-pending, oom-kill, probe-failed")
	})
	t.Run("resourceName: Filter by Kubernetes resource name", func(t *testing.T) {
		says(t, "/events/"+s.shop+queryOf("resourceName", "web-abc-1"), crash)
		says(t, "/events/"+s.shop+queryOf("resourceName", "web"))
	})
	t.Run("status: Filter by event status (firing, resolved, duplicate)", func(t *testing.T) {
		says(t, "/events/"+s.shop+queryOf("status", "firing"), oom, restart)
		says(t, "/events/"+s.shop+queryOf("status", "resolved"), crash)
		says(t, "/events/"+s.shop+queryOf("status", "duplicate"), oomAgain, restartAgain)
		s.get("/events"+queryOf("status", "open")).problem(t, http.StatusBadRequest, "status", "firing, duplicate, resolved")
	})
	t.Run("workload and namespace filter too, and all filters combine", func(t *testing.T) {
		says(t, "/events"+queryOf("namespace", s.shop, "workload", "cart", "eventType", "oom-kill", "status", "duplicate", "startTime", s.began.Add(-time.Hour).Format(time.RFC3339)), oomAgain)
	})
	t.Run("limit & offset: Pagination support", func(t *testing.T) {
		first, second := page(t, "/events/"+s.shop+"?limit=3"), page(t, "/events/"+s.shop+"?limit=3&offset=3")
		if first.Total != 5 || len(first.Items) != 3 || len(second.Items) != 2 || first.Limit != 3 || second.Offset != 3 || first.TotalIsLowerBound {
			t.Errorf("%+v\n%+v", first, second)
		}
		byCursor := page(t, "/events/"+s.shop+queryOf("limit", "3", "cursor", first.Next))
		if diff := cmp.Diff(second.Items, byCursor.Items); diff != "" || byCursor.Next != "" {
			t.Errorf("by offset and by cursor, next %q\n%s", byCursor.Next, diff)
		}
		s.get("/events?limit=1001").problem(t, http.StatusBadRequest, "limit", "1000")
		s.get("/events?offset=-1").problem(t, http.StatusBadRequest, "offset", "0")
		s.get("/events"+queryOf("cursor", first.Next, "namespace", s.pay)).problem(t, http.StatusBadRequest, "cursor", "other filters")
		s.get("/events/"+s.shop+queryOf("cursor", "x"+first.Next)).problem(t, http.StatusBadRequest, "cursor")
	})
	t.Run("sort: Sort by timestamp, eventType, resourceName", func(t *testing.T) {
		for sort, key := range map[string]func(api.Event) string{
			"timestamp":    func(e api.Event) string { return e.Timestamp.Format("2006-01-02T15:04:05.000000000Z07:00") },
			"eventType":    func(e api.Event) string { return string(e.EventType) },
			"resourceName": func(e api.Event) string { return e.ResourceName },
		} {
			for _, direction := range []string{"", "-"} {
				var keys []string
				for _, e := range page(t, "/events/"+s.shop+queryOf("sort", direction+sort)).Items {
					keys = append(keys, key(e))
				}
				if direction == "-" {
					slices.Reverse(keys)
				}
				if !slices.IsSorted(keys) || len(keys) != 5 {
					t.Errorf("sort=%s%s: %v", direction, sort, keys)
				}
			}
		}
		s.get("/events?sort=name").problem(t, http.StatusBadRequest, "sort", "resourceName")
	})
	t.Run("an unknown parameter is an error that lists the known ones", func(t *testing.T) {
		s.get("/events?evenType=oom-kill").problem(t, http.StatusBadRequest, "evenType", "eventType")
	})
}

func TestIncidentsAndDeliveriesTellTheStoryBehindTheEvents(t *testing.T) {
	s := serve(t)
	incidents := read[api.Page[api.Incident]](s.caller, "/incidents"+queryOf("namespace", s.shop, "eventType", "oom-kill"))
	if len(incidents.Items) != 1 || incidents.Items[0].Events != 2 || incidents.Items[0].Status != "firing" {
		t.Fatalf("incidents %+v", incidents.Items)
	}
	story := read[api.IncidentDetail](s.caller, "/incidents/"+incidents.Items[0].ID)
	if len(story.Effects) != 1 || story.Effects[0].EventType != api.EventType(incident.PodRestart) {
		t.Errorf("effects %+v", story.Effects)
	}
	if len(story.Deliveries) != 1 || story.Deliveries[0].Answer != "raise the memory limit" || !strings.HasPrefix(story.Deliveries[0].Prompt, "oom-kill cart-abc-1") {
		t.Fatalf("deliveries %+v", story.Deliveries)
	}
	tells(t, story.Timeline, "OOMKilled: Container app was OOM-killed", "Hook "+s.shop+"/memory (oom-kill-b1f4b8c4): delivered", "agent kagent/medic was called (attempt 1)",
		"agent kagent/medic finished its task", "again: OOMKilled", "duplicate, its agent was called for this incident")

	dl := read[api.DeliveryDetail](s.caller, "/deliveries/"+story.Deliveries[0].ID)
	if dl.State != delivery.Succeeded || dl.Answer == "" || dl.Data == nil || len(dl.Incidents) == 0 {
		t.Errorf("delivery %+v", dl)
	}
	tells(t, dl.Timeline, "was first seen", "makes a call to agent kagent/medic due, about Deployment/cart", "was called", "finished its task")

	list := read[api.Page[api.Delivery]](s.caller, "/deliveries"+queryOf("namespace", s.shop, "hook", "memory", "agent", "kagent/medic", "eventType", "oom-kill"))
	if len(list.Items) != 1 || list.Items[0].ID != dl.ID || list.Items[0].Prompt != "" {
		t.Errorf("deliveries %+v", list.Items)
	}
	ended := read[api.Page[api.Incident]](s.caller, "/incidents"+queryOf("namespace", s.shop, "status", "resolved"))
	gone := read[api.IncidentDetail](s.caller, "/incidents/"+ended.Items[0].ID)
	tells(t, gone.Timeline, "the resource was deleted")
	s.get("/incidents/none").problem(t, http.StatusNotFound, "no")
}

// tells checks that a timeline is in the order of time and says some things, not before one another.
func tells(t *testing.T, line []api.TimelineEntry, want ...string) {
	t.Helper()
	if !slices.IsSortedFunc(line, func(a, b api.TimelineEntry) int { return a.At.Compare(b.At) }) {
		t.Errorf("not in the order of time: %+v", line)
	}
	var all []string
	for _, e := range line {
		all = append(all, e.Text)
	}
	for _, w := range want {
		if !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, w) }) {
			t.Errorf("the timeline does not tell %q:\n%s", w, strings.Join(all, "\n"))
		}
	}
}
