package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/ledger"
)

// whyFixture is a server with the Hook of the test beside shop/memory, and a ledger that decides by it.
func whyFixture(t *testing.T, h *v1alpha2.Hook, change ...func(*Config)) (*fixture, *ledger.Ledger) {
	t.Helper()
	h.Namespace = shop
	if err := testServer.client.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = testServer.client.Delete(t.Context(), h) })
	f := newFixture(t, change...)
	set := hook.NewSet(hook.Policy{AgentNamespaces: []string{"kagent"}})
	set.Put(h)
	set.Put(theHook())
	book, err := ledger.New(t.Context(), ledger.Config{}, f.store, set)
	if err != nil {
		t.Fatal(err)
	}
	f.cfg.Explain = explainBy(f.store, set)
	return f, book
}

func configured(eventType incident.EventType, change func(*v1alpha2.EventConfiguration)) *v1alpha2.Hook {
	agent := "kagent/medic"
	ec := v1alpha2.EventConfiguration{EventType: string(eventType), AgentId: &agent, Prompt: "Look"}
	change(&ec)
	h := &v1alpha2.Hook{}
	h.Spec.EventConfigurations = []v1alpha2.EventConfiguration{ec}
	return h
}

func failureOf(kind incident.EventType, pod string, labels map[string]string) incident.Signal {
	return incident.Signal{
		Key: fmt.Sprint(kind, pod, time.Now().UnixNano()), Kind: incident.Observed, Type: kind, At: time.Now(), Count: 1,
		Observation: incident.Observation{
			Resource: incident.Resource{Kind: "Pod", Namespace: shop, Name: pod, UID: "uid-" + pod}, Container: "app",
			Workload: incident.Workload{Kind: "Deployment", Name: pod}, Attributes: incident.Attributes{Pod: &incident.PodAttributes{Labels: labels}},
			Reason: "OOMKilled", Message: "it was killed",
		},
	}
}

// whyOfHook asks and returns the answer, with its last step as text.
func (f *fixture) whyOfHook(t *testing.T, name, query string) (api.Why, string) {
	t.Helper()
	w := askServer(f.Server, http.MethodGet, api.Base+"/hooks/shop/"+name+"/why?"+query, "")
	var why api.Why
	if err := json.Unmarshal(w.Body.Bytes(), &why); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	last := why.Answers[0].Steps[len(why.Answers[0].Steps)-1]
	return why, fmt.Sprintf("%s %t: %s", last.Step, last.OK, last.Text)
}

func TestWhyNamesTheLabelThatKeptAHookFromAPod(t *testing.T) {
	h := configured(incident.OOMKill, func(ec *v1alpha2.EventConfiguration) {
		ec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"track": "canary"}}
	})
	h.Name = "canaries"
	f, book := whyFixture(t, h)
	if err := book.Apply(t.Context(), []incident.Signal{failureOf(incident.OOMKill, "till-1", map[string]string{"app": "till"})}); err != nil {
		t.Fatal(err)
	}
	why, last := f.whyOfHook(t, "canaries", "pod=till-1")
	if why.Fits || why.Answers[0].Basis != "now" || last != "selector false: track=canary, the Pod has none" {
		t.Errorf("%s %+v", last, why)
	}
	// The other Hook called for it: it comes first where all of the namespace are asked.
	w := askServer(f.Server, http.MethodGet, api.Base+"/why?namespace=shop&pod=till-1", "")
	var all api.WhyHooks
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || len(all.Hooks) != 2 || all.Hooks[0].Hook.Name != "memory" || !all.Hooks[0].Fits || all.Hooks[1].Fits {
		t.Errorf("%v %s", err, w.Body)
	}
}

func TestWhyReadsWhatWasDecidedAndSaysWhatWouldBeNow(t *testing.T) {
	h := configured(incident.OOMKill, func(ec *v1alpha2.EventConfiguration) { ec.Name, ec.Match = "kills", `event.name == "till-2"` })
	h.Name = "kills"
	f, book := whyFixture(t, h)
	if err := book.Apply(t.Context(), []incident.Signal{failureOf(incident.OOMKill, "till-2", nil), failureOf(incident.OOMKill, "till-2", nil)}); err != nil {
		t.Fatal(err)
	}
	why, last := f.whyOfHook(t, "kills", "pod=till-2")
	if !why.Fits || len(why.Answers) != 2 || why.Answers[0].Basis != "recorded" || why.Answers[1].Basis != "now" || why.Answers[0].Disposition != delivery.Duplicate ||
		!strings.HasPrefix(last, "window false: its agent had been called for this incident within the window (delivery ") {
		t.Fatalf("%s %+v", last, why)
	}
	now := why.Answers[1].Steps
	if end := now[len(now)-1]; end.Step != delivery.StepWindow || !strings.Contains(end.Text, "no further call before") && !strings.Contains(end.Text, "under way") {
		t.Errorf("%+v", end)
	}
	// The first event of the incident was called for.
	events, err := f.store.Reader().IncidentEvents(t.Context(), why.IncidentID, 1)
	if err != nil {
		t.Fatal(err)
	}
	if first, called := f.whyOfHook(t, "kills", fmt.Sprint("event=", events[0].ID)); first.EventID != events[0].ID || !strings.HasPrefix(called, "call true: a call to its agent was scheduled") {
		t.Errorf("%s %+v", last, why)
	}
	if _, byIncident := f.whyOfHook(t, "kills", "incident="+why.IncidentID); byIncident != last {
		t.Errorf("%s", byIncident)
	}
}

func TestWhySaysThatNothingWasSeen(t *testing.T) {
	for name, tc := range map[string]struct {
		state State
		want  string
	}{
		"well":              {calm{}, "nothing of the types pod-restart, pod-pending, oom-kill, probe-failed was detected"},
		"another namespace": {watching{plugin: api.PluginHealth{Name: "kubernetes-pods", State: "up", Namespace: "secret"}}, "it does not watch that namespace (its flag --namespaces)"},
		"a broken watch":    {watching{plugin: api.PluginHealth{Name: "kubernetes-pods", State: "down", Error: "secret"}}, "the watch kubernetes-pods is down since "},
		"a standby":         {watching{standby: true}, "this replica stands by"},
	} {
		f := newFixture(t, func(c *Config) { c.State = tc.state })
		why, last := f.whyOfHook(t, "memory", "pod=never-was")
		if why.Fits || !strings.HasPrefix(last, "seen false: ") || !strings.Contains(last, tc.want) || strings.Contains(last, "secret") {
			t.Errorf("%s: %s", name, last)
		}
	}
}

// watching is a khook with one watch.
type watching struct {
	calm

	plugin  api.PluginHealth
	standby bool
}

func (w watching) Leader() bool                { return !w.standby }
func (w watching) Plugins() []api.PluginHealth { return []api.PluginHealth{w.plugin} }

func TestWhyIsForThoseWhoMayReadTheHooksEvents(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Access = people() })
	for who, code := range map[string]int{"viewer": http.StatusOK, "admin": http.StatusOK, "elsewhere": http.StatusForbidden, "stranger": http.StatusForbidden, "texts only": http.StatusForbidden} {
		for _, path := range []string{"/hooks/shop/memory/why?pod=cart-1", "/why?namespace=shop&pod=cart-1"} {
			if w := f.as(who, http.MethodGet, api.Base+path, ""); w.Code != code {
				t.Errorf("%s, %s: %d %s", who, path, w.Code, w.Body)
			}
		}
		// What is somebody else's is not there.
		missing := f.as(who, http.MethodGet, api.Base+"/why?incident=none", "")
		found := f.as(who, http.MethodGet, api.Base+"/why?incident="+f.incident, "")
		if code != http.StatusOK && (found.Code != http.StatusNotFound || found.Body.String() != missing.Body.String()) {
			t.Errorf("%s: %d %s, and %s of none", who, found.Code, found.Body, missing.Body)
		}
	}
	// Nor by way of a Hook in a namespace that the caller may read.
	if w := f.as("elsewhere", http.MethodGet, api.Base+"/hooks/pay/any/why?incident="+f.incident, ""); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "cart") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWhyAsksForOneThing(t *testing.T) {
	f := newFixture(t)
	for query, want := range map[string]string{
		"/hooks/shop/memory/why":                  "one of the query parameters pod, incident and event",
		"/hooks/shop/memory/why?pod=a&incident=b": "one of the query parameters pod, incident and event",
		"/why?pod=a": "say which namespace the Pod is in",
		"/why?namespace=pay&incident=" + f.incident:        "nothing with that ID",
		"/hooks/shop/never-was/why?incident=" + f.incident: "no Hook never-was",
		"/hooks/shop/memory/why?event=999999":              "nothing with that ID",
	} {
		if w := askServer(f.Server, http.MethodGet, api.Base+query, ""); w.Code/100 != 4 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}
