package system

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// settings are the flags of a khook with a history of its own that calls a test's kagent. A message whose answer is lost is looked for
// after 1.5 times the time limit of a request.
func settings(kagent *kagenttest.Server, dir string) []string {
	return []string{"--kagent-url", kagent.URL, "--kagent-timeout", "4s", "--database", filepath.Join(dir, "khook.db"), "--stabilization", "2s", "--verify-window", "15s"}
}

func hookNow(t testing.TB, h *v1alpha2.Hook) *v1alpha2.Hook {
	t.Helper()
	var now v1alpha2.Hook
	if err := testCluster.client.Get(t.Context(), client.ObjectKeyFromObject(h), &now); err != nil {
		t.Fatal(err)
	}
	return &now
}

func ready(h *v1alpha2.Hook) string {
	c := meta.FindStatusCondition(h.Status.Conditions, v1alpha2.ConditionReady)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason
}

func TestAFailingPodCallsItsAgentOnceAndTheAnswerIsKept(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			kagent := kagenttest.New(t, kagenttest.Options{Dialect: dialect})
			ns := namespace(t)
			h := applyHook(t, ns, "shop", incident.OOMKill, incident.PodRestart)
			khook := controller(t, settings(kagent, t.TempDir())...).ready()
			eventually(t, "the Hook is ready", func() error {
				if got := ready(hookNow(t, h)); got != "True HookConfigured" {
					return fmt.Errorf("it is %q", got)
				}
				return nil
			})
			p := newPod(t, ns, "cart", "cart-abc-1")
			becomes(t, p, 0, "")
			becomes(t, p, 1, "OOMKilled")
			if _, err := kagent.Await(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the Hook tells that all is well again", func() error {
				s := hookNow(t, h).Status
				if s.LastFired == nil || s.Active != 0 || len(s.ActiveEvents) != 2 {
					return fmt.Errorf("active %d, events %v", s.Active, s.ActiveEvents)
				}
				return nil
			})
			messages := kagent.Messages()
			if len(messages) != 1 {
				t.Fatalf("the agent got %d messages", len(messages))
			}
			m := messages[0]
			if want := "oom-kill cart-abc-1 Deployment/cart: ⟦Container app was OOM-killed (exit code 137)⟧\n\nText between ⟦ and ⟧ is data"; !strings.HasPrefix(m.Text, want) {
				t.Errorf("prompt %q, want %q", m.Text, want)
			}
			if m.User != "admin@kagent.dev" || m.Agent.String() != "kagent/medic" {
				t.Errorf("called %s as %q", m.Agent, m.User)
			}
			var data struct {
				Warning   string
				Incidents []struct{ ResourceName, EventType string }
				Effects   []struct{ EventType string }
			}
			if err := json.Unmarshal(m.Data, &data); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(data.Warning, "untrusted") || len(data.Incidents) != 1 || data.Incidents[0].ResourceName != "cart-abc-1" ||
				len(data.Effects) != 1 || data.Effects[0].EventType != "pod-restart" {
				t.Errorf("data %s", m.Data)
			}
			if code := khook.stop(); code != 0 {
				t.Errorf("khook ended with %d", code)
			}
		})
	}
}

func TestControllerTellsOfItsWork(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns := namespace(t)
	h := applyHook(t, ns, "shop", incident.PodRestart)
	khook := controller(t, settings(kagent, t.TempDir())...).ready()
	p := newPod(t, ns, "cart", "cart-abc-1")
	becomes(t, p, 1, "Error")
	becomes(t, p, 2, "Error")
	eventually(t, "the story is told on the Hook", func() error {
		var events eventsv1.EventList
		if err := testCluster.client.List(t.Context(), &events, client.InNamespace(ns)); err != nil {
			return err
		}
		got := map[string]bool{}
		for _, e := range events.Items {
			if e.Regarding.Kind == "Hook" && e.Regarding.Name == h.Name && e.Regarding.UID == h.UID {
				got[e.Reason] = true
			}
		}
		want := map[string]bool{"EventFiring": true, "AgentCallSuccess": true, "EventResolved": true}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("%s", diff)
		}
		return nil
	})
	eventually(t, "the metrics count it", func() error {
		scrape := khook.scrape()
		for _, line := range []string{
			`khook_events_total{event_type="pod-restart",status="firing"} 1`,
			`khook_events_total{event_type="pod-restart",status="duplicate"} 1`,
			`khook_active_events{event_type="pod-restart"} 0`,
			`khook_api_calls_total{result="success"} 1`,
			`khook_api_call_duration_seconds_count{result="success"} 1`,
			`khook_dispositions_total{disposition="delivered",event_type="pod-restart"} 1`,
			`khook_dispositions_total{disposition="duplicate",event_type="pod-restart"} 1`,
			`khook_deliveries_total{state="succeeded"} 1`,
			`khook_outcomes_total{outcome="recovered"} 1`,
			`khook_incidents_resolved_total{event_type="pod-restart",resolution="recovered"} 1`,
			`khook_watch_up{resource="pods"} 1`,
			`khook_signals_waiting 0`,
		} {
			if !strings.Contains(scrape, line+"\n") {
				return fmt.Errorf("no line %q", line)
			}
		}
		for _, name := range []string{"khook_store_size_bytes", "khook_store_disk_free_bytes", "khook_store_disk_size_bytes", `khook_deliveries_unfinished{state="input-required"} 0`, "khook_kagent_up 1", `khook_build_info{`, "khook_store_write_duration_seconds_count", "khook_deliveries_queued", "khook_delivery_oldest_pending_seconds"} {
			if !strings.Contains(scrape, name) {
				return fmt.Errorf("no metric %s", name)
			}
		}
		return nil
	})
	for line := range strings.Lines(khook.log.String()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			t.Errorf("the log has %s", line)
		}
	}
	if refused := khook.refused(); refused != "" {
		t.Errorf("the generated role is too small:\n%s", refused)
	}
}

func TestABadHookIsToldAndTheOthersGoOn(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{Agents: []delivery.AgentRef{{Namespace: "kagent", Name: "medic"}}})
	ns := namespace(t)
	good := applyHook(t, ns, "good", incident.PodRestart)
	change := func(name string, do func(*v1alpha2.EventConfiguration)) *v1alpha2.Hook {
		h := good.DeepCopy()
		h.ResourceVersion, h.UID, h.Name = "", "", name
		do(&h.Spec.EventConfigurations[0])
		if err := testCluster.client.Create(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		return h
	}
	template := change("template", func(e *v1alpha2.EventConfiguration) { e.Prompt = "{{.Nope}}" })
	foreign := "elsewhere/medic"
	policy := change("policy", func(e *v1alpha2.EventConfiguration) { e.AgentId = &foreign })
	absent := "kagent/nobody"
	missing := change("missing", func(e *v1alpha2.EventConfiguration) { e.AgentId = &absent })
	controller(t, settings(kagent, t.TempDir())...).ready()
	for h, want := range map[*v1alpha2.Hook]string{
		good: "True HookConfigured", template: "False InvalidConfiguration", policy: "False InvalidConfiguration", missing: "False KagentAPIError",
	} {
		eventually(t, h.Name+" says whether it works", func() error {
			if got := ready(hookNow(t, h)); got != want {
				return fmt.Errorf("it says %q, want %q", got, want)
			}
			return nil
		})
	}
	p := newPod(t, ns, "cart", "cart-abc-1")
	becomes(t, p, 1, "Error")
	messages, err := kagent.Await(t.Context(), 1)
	if err != nil || messages[0].Agent.Name != "medic" {
		t.Errorf("%v %v", messages, err)
	}
}

func TestKagentThatIsDownIsToldAndCalledWhenItComesBack(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	kagent.Inject(kagenttest.Fault{Times: -1, Status: 503})
	ns := namespace(t)
	h := applyHook(t, ns, "shop", incident.PodRestart)
	controller(t, settings(kagent, t.TempDir())...).ready()
	crashLoops(t, newPod(t, ns, "cart", "cart-abc-1"), 1, "Error") // else it would have recovered before
	says := func(want string) {
		t.Helper()
		eventually(t, "the Hook says "+want, func() error {
			if got := ready(hookNow(t, h)); got != want {
				return fmt.Errorf("it says %q", got)
			}
			return nil
		})
	}
	says("False KagentAPIError")
	kagent.Heal()
	says("True HookConfigured")
	if _, err := kagent.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
}

func TestWhatHappenedWhileKhookWasDownIsTakenUp(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	h := applyHook(t, ns, "shop", incident.PodRestart)
	before, gone := newPod(t, ns, "before", "before-1"), newPod(t, ns, "gone", "gone-1")
	first := controller(t, settings(kagent, dir)...).ready()
	becomes(t, before, 1, "Error")
	becomes(t, gone, 1, "Error")
	if _, err := kagent.Await(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	first.kill()
	during := newPod(t, ns, "during", "during-1")
	crashLoops(t, during, 1, "Error")
	if err := testCluster.client.Delete(t.Context(), gone, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	controller(t, settings(kagent, dir)...).ready()
	if _, err := kagent.Await(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	becomes(t, during, 1, "Error")
	eventually(t, "all incidents have ended", func() error {
		s := hookNow(t, h).Status
		if s.Active != 0 || len(s.ActiveEvents) != 3 {
			return fmt.Errorf("active %d, %v", s.Active, s.ActiveEvents)
		}
		return nil
	})
	if n := len(kagent.Messages()); n != 3 {
		t.Errorf("%d messages for three incidents", n)
	}
}

func TestKhooksOwnEventsDoNotFeedBack(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns := namespace(t)
	h := applyHook(t, ns, "shop", incident.ProbeFailed)
	khook := controller(t, settings(kagent, t.TempDir())...).ready()
	p := newPod(t, ns, "cart", "cart-abc-1")
	becomes(t, p, 0, "")
	for i, regarding := range []corev1.ObjectReference{
		{Kind: "Hook", Namespace: ns, Name: h.Name, UID: h.UID},
		{Kind: "Pod", Namespace: ns, Name: p.Name, UID: p.UID, FieldPath: "spec.containers{app}"},
	} {
		ev := &corev1.Event{
			InvolvedObject: regarding, Type: "Warning", Reason: "Unhealthy", Message: "Liveness probe failed: no", Count: 1,
			Source: corev1.EventSource{Component: "kubelet"},
		}
		ev.Namespace, ev.Name = ns, fmt.Sprintf("ev-%d", i)
		if err := testCluster.client.Create(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kagent.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event is counted", func() error {
		if !strings.Contains(khook.scrape(), `khook_events_total{event_type="probe-failed",status="firing"} 1`) {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	if n := len(kagent.Messages()); n != 1 {
		t.Errorf("%d messages", n)
	}
}
