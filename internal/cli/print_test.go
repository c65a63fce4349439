package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// lines are what a command printed, without the padding of its columns.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		all = append(all, strings.Join(strings.Fields(line), " "))
	}
	return all
}

func TestCLITellsThatATaskIsStalledAndWhatToDo(t *testing.T) {
	since := time.Now().Add(-20 * time.Minute)
	for stop, want := range map[delivery.Stop]string{
		"": "cancel it, or wait for its end", delivery.StopAsking: "its agent is asked to stop", delivery.StopInVain: "it can't be stopped: look at its agent",
	} {
		d := &api.Delivery{State: delivery.Working, StalledSince: since, Stop: stop}
		if got := stalled(newDisplay(Env{Out: &bytes.Buffer{}}, "table"), d); got != "nothing new of the task for 20m; "+want || stateOf(d) != "working (stalled)" {
			t.Errorf("%s: %s", stateOf(d), got)
		}
	}
	if d := (&api.Delivery{State: delivery.Working}); stalled(nil, d) != "" || stateOf(d) != "working" {
		t.Errorf("%s", stateOf(d))
	}
}

func TestCLIPrintsEventsInAlignedColumns(t *testing.T) {
	now := time.Now()
	url := answers(t, func(*http.Request) any {
		return api.Page[api.Event]{Total: 1234, Next: "more", Items: []api.Event{
			{ID: 7, Status: incident.Firing, Timestamp: now.Add(-192 * time.Second), IncidentID: "i1", Subject: api.Subject{
				EventType: api.EventType(incident.OOMKill), Namespace: "shop", ResourceName: "cart-1", Container: "app", Node: "n1",
				Workload: api.Workload{Kind: "Deployment", Name: "cart"}, Message: "used more than 128Mi"}},
			{Status: incident.Duplicate, Timestamp: now.Add(-50 * time.Hour), Subject: api.Subject{EventType: api.EventType(incident.PodPending), Namespace: "s", ResourceName: "web"}},
		}}
	})
	_, out, errs := khook(t, "events", "--server", url, "--limit", "2")
	want := []string{
		"ID AGE TYPE STATUS NAMESPACE RESOURCE CONTAINER MESSAGE",
		"7 3m12s oom-kill firing shop cart-1 app used more than 128Mi",
		"0 2d2h pod-pending duplicate s web - -",
	}
	if diff := cmp.Diff(want, lines(out)); diff != "" {
		t.Error(diff)
	}
	rows := strings.Split(out, "\n")
	for _, column := range []string{"TYPE", "RESOURCE"} {
		at := strings.Index(rows[0], column)
		if rows[1][at] == ' ' || rows[1][at-1] != ' ' || rows[2][at] == ' ' || rows[2][at-1] != ' ' {
			t.Errorf("column %s is not aligned:\n%s", column, out)
		}
	}
	if errs != "2 of 1234; show more with --limit or --all\n" {
		t.Errorf("%q", errs)
	}
	if _, out, _ := khook(t, "events", "--server", url, "--limit", "2", "-o", "wide"); !strings.Contains(lines(out)[1], "Deployment/cart n1 i1 used more") {
		t.Errorf("%s", out)
	}
}

func TestCLICutsLinesToTheTerminal(t *testing.T) {
	var out bytes.Buffer
	p := &display{out: &out, form: "table", width: 40}
	if err := p.table([]string{"A", "MESSAGE"}, [][]string{{"1", strings.Repeat("ü", 100)}}); err != nil {
		t.Fatal(err)
	}
	if got := []rune(strings.Split(out.String(), "\n")[1]); len(got) != 40 || string(got[39]) != incident.Ellipsis {
		t.Errorf("%d: %s", len(got), string(got))
	}
}

func TestCLIShowsNoAgeThatIsNone(t *testing.T) {
	p := &display{now: time.Now()}
	for want, at := range map[string]time.Time{"": {}, "0s": p.now.Add(5 * time.Second), "3m12s": p.now.Add(-192 * time.Second), "5h": p.now.Add(-5 * time.Hour)} {
		if got := p.age(at); got != want {
			t.Errorf("%s: %q, want %q", at, got, want)
		}
	}
}

// evilText has what terminals obey: ESC, BEL, the one-character CSI, DEL, and what turns text around.
const evilText = "a\x1b[2J\x07b\u009b2Jc\x7fd\u202ee\u2066f"

func obeyed(text string) bool { return strings.ContainsAny(text, "\x1b\x07\u009b\x7f\u202e\u2066\r") }

func TestCLINeutralizesTheTextOfEveryCommand(t *testing.T) {
	at := time.Now()
	subject := api.Subject{EventType: evilText, Namespace: evilText, ResourceName: evilText, Container: evilText, Node: evilText, Message: evilText, Workload: api.Workload{Kind: evilText, Name: evilText}}
	name := api.Name{Namespace: evilText, Name: evilText}
	delivery := api.Delivery{ID: evilText, Hook: name, Agent: name, State: evilText, Outcome: evilText, Config: evilText, Group: evilText, EventType: evilText, Prompt: evilText, Answer: evilText, Error: evilText, TaskID: evilText, TaskState: evilText}
	one := api.Incident{ID: evilText, Status: evilText, Resolution: evilText, CausedBy: evilText, Subject: subject}
	hook := api.Hook{Namespace: evilText, Name: evilText, Ready: evilText, Reason: evilText, Message: evilText, Events: []string{evilText}, Agents: []string{evilText}}
	for command, answer := range map[string]any{
		"events":             api.Page[api.Event]{Items: []api.Event{{Subject: subject, Status: evilText, IncidentID: evilText}}},
		"incidents":          api.Page[api.Incident]{Items: []api.Incident{one}},
		"incidents " + anID:  api.IncidentDetail{Incident: one, Effects: []api.Incident{one}, Deliveries: []api.Delivery{delivery}, Timeline: []api.TimelineEntry{{At: at, Text: evilText}}},
		"deliveries":         api.Page[api.Delivery]{Items: []api.Delivery{delivery}},
		"deliveries " + anID: api.DeliveryDetail{Delivery: delivery, Incidents: []api.Incident{one}},
		"hooks":              api.Page[api.Hook]{Items: []api.Hook{hook}},
		"hooks a/b":          hook,
		"stats":              api.EventStats{Summary: api.EventSummary{TimeRange: evilText}},
		"stats by-type":      api.EventStats{Summary: api.EventSummary{TimeRange: evilText}},
		"stats trends":       api.Trends{Keys: []string{evilText}, Buckets: []api.Bucket{{Start: at, Total: 1, Counts: map[string]int64{evilText: 1}}}},
		"stats hook a/b":     api.HookMetrics{Hook: name, TimeRange: evilText},
		"deliveries --all":   api.Page[api.Delivery]{Items: []api.Delivery{delivery}},
		"events --hook a/b":  api.Page[api.Event]{Items: []api.Event{{Subject: subject, Dispositions: []api.Decision{{Disposition: evilText}}}}},
		"events --status=''": nil,
	} {
		url := answers(t, func(*http.Request) any { return answer })
		for _, form := range []string{"table", "wide", "json", "yaml"} {
			code, out, errs := khook(t, append(strings.Fields(command), "--server", url, "-o", form)...)
			if obeyed(out + errs) {
				t.Errorf("%s -o %s: %d %q %q", command, form, code, out, errs)
			}
		}
	}
}

func TestCLIPrintsItemsOfTheAPIUnchanged(t *testing.T) {
	const body = `{"items":[{"id":9007199254740993,"message":"<a> & \u001b[2J \u009b \u202e ü","unknown":{"x":1.50}}],"total":1}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
	t.Cleanup(s.Close)
	var want struct{ Items []map[string]any }
	if err := json.Unmarshal([]byte(body), &want); err != nil {
		t.Fatal(err)
	}
	for form, read := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": func(text []byte, v any) error { return yaml.Unmarshal(text, v) }} {
		_, out, _ := khook(t, "events", "--server", s.URL, "-o", form)
		var got []map[string]any
		if err := read([]byte(out), &got); err != nil {
			t.Fatalf("%s: %v\n%s", form, err, out)
		}
		if diff := cmp.Diff(want.Items, got); diff != "" {
			t.Errorf("%s: %s", form, diff)
		}
		if !strings.Contains(out, "9007199254740993") || obeyed(out) {
			t.Errorf("%s: %q", form, out)
		}
	}
}

func TestCLIKeepsTheShapeOfPromptsAndAnswers(t *testing.T) {
	long := strings.Repeat("word ", 1000) + "end"
	url := answers(t, func(*http.Request) any {
		return api.DeliveryDetail{Delivery: api.Delivery{Prompt: "first\n\n  - indented\tby two\n", Answer: long}}
	})
	_, out, _ := khook(t, "deliveries", anID, "--server", url)
	if !strings.Contains(out, "\n  first\n\n    - indented    by two\n") || !strings.Contains(out, long) {
		t.Errorf("%s", out)
	}
}
