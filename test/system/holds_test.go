package system

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/incident"
)

// saysHold waits until a condition of the Hook is True for a reason, and returns its message.
func saysHold(t *testing.T, h *v1alpha2.Hook, condition, reason string) (message string) {
	t.Helper()
	eventually(t, "the Hook says "+condition, func() error {
		c := meta.FindStatusCondition(hookNow(t, h).Status.Conditions, condition)
		if c == nil || c.Status != metav1.ConditionTrue || c.Reason != reason {
			return fmt.Errorf("%+v", c)
		}
		message = c.Message
		return nil
	})
	return message
}

// eventsOf counts the Kubernetes Events on Hooks of a namespace with a reason.
func eventsOf(t *testing.T, ns, reason string) (n int) {
	t.Helper()
	var events eventsv1.EventList
	if err := testCluster.client.List(t.Context(), &events, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if e.Reason == reason {
			n++
		}
	}
	return n
}

func awaitMetric(t *testing.T, p *process, line string) {
	t.Helper()
	eventually(t, "the metrics have "+line, func() error {
		if !strings.Contains(p.scrape(), line+"\n") {
			return fmt.Errorf("they have not")
		}
		return nil
	})
}

func TestAHookSaysThatItsBudgetHoldsCallsBack(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	h := applyHook(t, ns, "shop", incident.OOMKill)
	one := int32(1)
	h.Spec.MaxCallsPerHour = &one
	if err := testCluster.client.Update(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	khook := controller(t, append(settings(kagent, dir), "--stabilization=1h")...).ready()
	crashLoops(t, newPod(t, ns, "cart", "cart-1"), 1, "OOMKilled")
	if _, err := kagent.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	pay := newPod(t, ns, "pay", "pay-1")
	for n := range 3 {
		crashLoops(t, pay, n+1, "OOMKilled")
	}
	if says := saysHold(t, h, "OverBudget", "MaxCallsPerHour"); says != "Deployment/pay (oom-kill-b1f4b8c4): spec.maxCallsPerHour of the Hook, 1, is used up. The agent is told of them with the next call." {
		t.Errorf("it says %q", says)
	}
	if got := ready(hookNow(t, h)); got != "True HookConfigured" {
		t.Errorf("ready is %q", got)
	}
	awaitMetric(t, khook, `khook_groups_held_back{why="over-budget"} 1`)
	eventually(t, "a Kubernetes Event tells", func() error { return mustEqual(eventsOf(t, ns, "OverBudget"), 1, "Events") })
	for n := range 5 {
		crashLoops(t, newPod(t, ns, fmt.Sprint("more", n), fmt.Sprintf("more%d-1", n)), 1, "OOMKilled")
	}
	awaitMetric(t, khook, `khook_groups_held_back{why="over-budget"} 6`)
	if n := eventsOf(t, ns, "OverBudget"); n != 1 {
		t.Errorf("%d Kubernetes Events tell of one thing", n)
	}
	two := int32(2)
	now := hookNow(t, h)
	now.Spec.MaxCallsPerHour = &two // somebody allows one more
	if err := testCluster.client.Update(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	messages, err := kagent.Await(t.Context(), 2)
	if err != nil || !strings.Contains(string(messages[1].Data), `"heldBack":{"overBudget":`) {
		t.Errorf("%v: the agent is told %s", err, messages[len(messages)-1].Data)
	}
}

func TestTheSixthRepetitionWaitsForAPerson(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	h := applyHook(t, ns, "shop", incident.OOMKill)
	h.Spec.EventConfigurations[0].DedupWindow = &metav1.Duration{Duration: time.Second}
	if err := testCluster.client.Update(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	khook := controller(t, append(settings(kagent, dir), "--stabilization=1h", "--api-auth=none")...).ready()
	p := newPod(t, ns, "cart", "cart-1")
	n := 0
	eventually(t, "six calls were made, and the next one needs a person", func() error {
		if n++; n%5 == 0 {
			crashLoops(t, p, n/5, "OOMKilled")
		}
		c := meta.FindStatusCondition(hookNow(t, h).Status.Conditions, "LoopGuard")
		if c == nil || c.Reason != "NeedsPerson" {
			return fmt.Errorf("%d calls, %+v", len(kagent.Messages()), c)
		}
		return nil
	})
	if says := saysHold(t, h, "LoopGuard", "NeedsPerson"); !strings.Contains(says, "was called 6 times within a day for Deployment/cart") || !strings.Contains(says, "khook deliveries resume") {
		t.Errorf("it says %q", says)
	}
	awaitMetric(t, khook, `khook_groups_held_back{why="needs-person"} 1`)
	if calls := len(kagent.Messages()); calls != 6 {
		t.Errorf("%d calls", calls)
	}
	delivery := readDeliveries(t, filepath.Join(dir, "khook.db"))[0].ID
	if code, out, errs := khookCLI(t, khook, "deliveries", "resume", delivery); code != 0 {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	messages, err := kagent.Await(t.Context(), 7)
	if err != nil || !strings.Contains(string(messages[6].Data), `"loopGuard":`) {
		t.Errorf("%v: the agent is told %s", err, messages[len(messages)-1].Data)
	}
	eventually(t, "the Hook says that it is over", func() error {
		if c := meta.FindStatusCondition(hookNow(t, h).Status.Conditions, "LoopGuard"); c == nil || c.Status != metav1.ConditionFalse {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

func khookCLI(t *testing.T, p *process, args ...string) (code int, out, errs string) {
	t.Helper()
	return runCLI(t, append(args, "--server", "http://"+p.api)...)
}
