package cli

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

// What people type first who come from kubectl.
func TestCLIKnowsTheHabitsOfOtherTools(t *testing.T) {
	for line, want := range map[string]string{
		"get pods": "there is no command \"get\": write khook incidents", "describe x": "write khook incidents show ID", "logs cart": "khook deliveries logs ID",
		"status": "khook incidents --status firing, or khook health", "explain cart": "khook why POD", "-n shop": "which command? Such as khook incidents -n shop",
		"record --from-history 9d97edac": "khook record -n NAMESPACE -o FILE", "incidents shwo": "did you mean khook incidents show?", "deliveries shwo 9d97edac": "did you mean khook deliveries show?",
		"deliveries cancle 9d97edac": "did you mean khook deliveries cancel?", "incdents": `did you mean "incidents"?`, "events -l app=cart": "khook incidents -l 'app=cart'", "deliveries -l app=cart": "khook incidents -l 'app=cart'",
	} {
		if code, _, errs := khook(t, strings.Fields(line)...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s, want %q", line, code, errs, want)
		}
	}
	if code, _, errs := khook(t, "dead-letters"); code != 1 || !strings.Contains(errs, "kubectl -n kagent exec deploy/khook -- /khook dead-letters") {
		t.Errorf("dead-letters: %d %s", code, errs)
	}
	if code, out, errs := khook(t, "unpause", "--help"); code != 0 || !strings.Contains(out, "resume") {
		t.Errorf("unpause: %d %s%s", code, out, errs)
	}
}

func TestCLITakesTemplatesAsKubectlsListsWantThem(t *testing.T) {
	page := api.Page[api.Incident]{Items: []api.Incident{{ID: "a", Subject: api.Subject{ResourceName: "cart-1"}}, {ID: "b", Subject: api.Subject{ResourceName: "cart-2"}}}, Total: 2}
	url := answers(t, func(*http.Request) any { return page })
	for template, want := range map[string]string{
		"{.items[*].resourceName}": "cart-1 cart-2\n", `{range .items[*]}{.id}{"\n"}{end}`: "a\nb\n", "{[*].id}": "a b\n", "{.items[1].id}": "b\n", "[0].id": "a\n",
	} {
		if code, out, errs := khook(t, "incidents", "--server", url, "-o", "jsonpath="+template); code != 0 || out != want {
			t.Errorf("%s: %d %q %s, want %q", template, code, out, errs, want)
		}
	}
	for template, want := range map[string]string{"{[*].id}": "a", "{.items[*].id}": "a", "{.id}": "a"} { // one thing, as -w prints them
		path, err := parseJSONPath(template)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := path.Execute(&b, asTemplateHasIt(template, map[string]any{"id": "a"})); err != nil || b.String() != want {
			t.Errorf("%s: %q %v, want %q", template, b.String(), err, want)
		}
	}
}

// TestCLIPrintsTheJSONOfEveryAnswer is about answers that are passed on as they came.
func TestCLIPrintsTheJSONOfEveryAnswer(t *testing.T) {
	url := answers(t, func(r *http.Request) any {
		switch {
		case strings.HasSuffix(r.URL.Path, "/pause"):
			return api.Paused{Pause: api.Pause{Reason: "maintenance"}}
		case strings.HasSuffix(r.URL.Path, "/resume"):
			return api.Resumed{Ended: true, Still: []api.Pause{}}
		}
		return api.Inbox{Items: []api.InboxItem{}}
	})
	for line, want := range map[string]string{
		"inbox -o json": `"data": []`, "inbox -o yaml": "data: []", "pause --all --reason maintenance -o json": `"reason": "maintenance"`, "resume --all -o yaml": "ended: true",
		"inbox -o jsonpath={.data}": "[]",
	} {
		if code, out, errs := khook(t, append(strings.Fields(line), "--server", url)...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: %d %q %s, want %q", line, code, out, errs, want)
		}
	}
}

func TestCLISaysWhereNothingWasFound(t *testing.T) {
	url := answers(t, func(*http.Request) any { return api.Page[api.Incident]{} })
	for line, want := range map[string]string{"incidents -n shpo": "No incidents found in namespace shpo.\n", "incidents": "No incidents found.\n"} {
		if _, _, errs := khook(t, append(strings.Fields(line), "--server", url)...); errs != want {
			t.Errorf("%s: %q, want %q", line, errs, want)
		}
	}
}

func TestCLITellsWhyOfAWorkloadThatIsNamedAsAPod(t *testing.T) {
	for name, tc := range map[string]struct{ found, asked string }{
		"a Deployment": {"oom-hog-8448b4f6c8-vs899", "incident=i"}, "a Pod of its own": {"oom-hog", "pod=oom-hog"},
	} {
		var asked string
		url := answers(t, func(r *http.Request) any {
			if strings.HasSuffix(r.URL.Path, "/incidents") {
				return api.Page[api.Incident]{Items: []api.Incident{{ID: "i", Subject: api.Subject{ResourceName: tc.found}}}}
			}
			asked = r.URL.RawQuery
			return api.WhyHooks{}
		})
		if _, _, errs := khook(t, "why", "oom-hog", "-n", "shop", "--server", url); !strings.Contains(asked, tc.asked) {
			t.Errorf("%s: asked %q: %s", name, asked, errs)
		}
	}
}

func TestCLIClaimsNoTokensWhereNoneWereReported(t *testing.T) {
	for n, want := range map[int64]string{0: notReported, 7: "7"} {
		if got := tokenSum(n, notReported); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestCLITakesFlagsBeforeTheCommand(t *testing.T) {
	var asked string
	url := answers(t, func(r *http.Request) any { asked = r.URL.Path + "?" + r.URL.RawQuery; return api.Page[api.Incident]{} })
	for line, want := range map[string]string{
		"-n shop incidents": "/api/v1/incidents?limit=50&namespace=shop&sort=-firstSeen", "-A --server URL events --limit 1": "/api/v1/events?limit=1&sort=-timestamp",
		"get events --limit 1": "/api/v1/events?limit=1&sort=-timestamp", "describe hook shop/memory": "/api/v1/hooks/shop/memory?", "describe delivery " + anID: "/api/v1/deliveries/" + anID + "?", "-n hooks hooks": "/api/v1/hooks?limit=500&namespace=hooks", "--namespace=shop inc --status open": "/api/v1/incidents?limit=50&namespace=shop&sort=-firstSeen&status=firing",
	} {
		asked = ""
		args := strings.Fields(strings.ReplaceAll(line, "URL", url))
		if code, _, errs := khook(t, append(args, "--server", url)...); code != 0 || asked != want {
			t.Errorf("%s: %d %s asked %s, want %s", line, code, errs, asked, want)
		}
	}
}

func TestCLITellsFirstThatTheAgentWasCalledAndThatCallsArePaused(t *testing.T) {
	at := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	d := api.Delivery{ID: anID, State: delivery.Succeeded, Outcome: delivery.OutcomeRecovered, Agent: api.Name{Namespace: "kagent", Name: "medic"}, CreatedAt: at, CalledAt: at, EndedAt: at.Add(90 * time.Second)}
	url := answers(t, func(r *http.Request) any {
		switch {
		case strings.HasSuffix(r.URL.Path, "/pauses"):
			return api.Pauses{Items: []api.Pause{{By: "ann", Reason: "it does harm"}, {Namespace: "pay", By: "ben"}}}
		case strings.Contains(r.URL.Path, "/deliveries/"):
			return api.DeliveryDetail{Delivery: d}
		}
		again := api.WhyAnswer{Basis: "recorded", Disposition: delivery.Duplicate, DeliveryID: anID, DecidedAt: at, Steps: []api.WhyStep{{Step: delivery.StepWindow, Text: "no further call before 2026-01-15T10:10:00Z"}}}
		return api.WhyHooks{Hooks: []api.Why{{Hook: api.Name{Namespace: "shop", Name: "memory"}, IncidentID: anID, EventID: 7, Fits: true, Answers: []api.WhyAnswer{again, again}}}}
	})
	_, out, errs := khook(t, "why", "7", "--server", url)
	first, rest, _ := strings.Cut(out, "\n\n")
	got := strings.Split(first, "\n")
	if len(got) != 2 || got[0] != "PAUSED: calls of all Hooks are paused until somebody resumes them (ann: it does harm); khook resume --all ends that." ||
		!strings.HasPrefix(got[1], "Agent kagent/medic WAS called for it at "+clockZone(at)+", ") || !strings.HasSuffix(got[1], " ago (delivery 5013d5ac): it succeeded 90s later, outcome: recovered.") {
		t.Errorf("%s%s", first, errs)
	}
	if !strings.HasPrefix(rest, "Hook shop/memory") || !strings.Contains(rest, "no further call before "+clockZone(at.Add(10*time.Minute))+"\n") {
		t.Errorf("%s", rest)
	}
}

func TestCLIFindsAHookByItsNameAlone(t *testing.T) {
	six := int32(6)
	one := api.Hook{Namespace: "shop", Name: "memory", Events: []string{"oom-kill", "pod-restart"}}
	one.Spec.MaxCallsPerHour = &six
	url := answers(t, func(r *http.Request) any {
		if strings.HasSuffix(r.URL.Path, "/hooks") {
			return api.Page[api.Hook]{Items: []api.Hook{one, {Namespace: "pay", Name: "twice"}, {Namespace: "shop", Name: "twice"}}, Total: 3}
		}
		return one
	})
	for name, want := range map[string][]string{"memory": {"shop/memory", "oom-kill, pod-restart", "0 of 6 calls this hour"}, "twice": {"several Hooks are called so: pay/twice, shop/twice"}, "nobody": {"no Hook 'nobody'"}} {
		_, out, errs := khook(t, "hooks", name, "--server", url)
		for _, part := range want {
			if !strings.Contains(out+errs, part) {
				t.Errorf("%s: %q is not in\n%s%s", name, part, out, errs)
			}
		}
	}
}
