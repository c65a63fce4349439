package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestPromptsAnswersAndTokensAreInTheHistoryAndNowhereElse lets canaries go all ways that words of
// prompts, agents and kagent can take, and looks for them in the log, at its most talkative, in the
// Kubernetes Events and in the status of the Hook.
func TestPromptsAnswersAndTokensAreInTheHistoryAndNowhereElse(t *testing.T) {
	const canary = "CANARY"
	ends := map[string]kagenttest.Act{
		"succeeds": {Answer: "answer CANARY"}, "fails": {End: "TASK_STATE_FAILED", Answer: "failure CANARY"}, "rejects": {End: "TASK_STATE_REJECTED", Answer: "refusal CANARY"},
		"asks": {Ask: "question CANARY"}, "approves": {Approve: "tool_CANARY"}, "says": {Direct: "message CANARY"},
	}
	kagent := kagenttest.New(t, kagenttest.Options{Token: "tokenCANARY", Script: func(m kagenttest.Message) kagenttest.Act {
		for name, act := range ends {
			if strings.Contains(string(m.Data), "Deployment/"+name+`"`) {
				return act
			}
		}
		return kagenttest.Act{Answer: "CANARY"}
	}})
	ns, dir := namespace(t), t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("tokenCANARY"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "shop"}}
	id := "kagent/medic"
	h.Spec.EventConfigurations = []v1alpha2.EventConfiguration{{EventType: string(incident.OOMKill), AgentId: &id, Prompt: "prompt CANARY"}}
	if err := testCluster.client.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	for _, f := range []kagenttest.Fault{
		{On: kagenttest.Send, Status: 500, Body: "body CANARY", Times: 2}, {On: kagenttest.Send, Body: "<html>CANARY"},
		{On: kagenttest.Send, Body: `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"CANARY"}}`}, {On: kagenttest.Get, Status: 502, Body: "CANARY", Times: 3},
	} {
		kagent.Inject(f)
	}
	args := append(settings(kagent, dir), "--kagent-token-file", token, "--kagent-header", "X-Secret=headerCANARY", "--stabilization=1h")
	khook := controller(t, args...).ready()
	for name := range ends {
		crashLoops(t, newPod(t, ns, name, name+"-1"), 1, "OOMKilled")
	}
	var deliveries []*delivery.Delivery
	eventually(t, "all deliveries are as far as they come", func() error {
		deliveries = readDeliveries(t, filepath.Join(dir, "khook.db"))
		for _, d := range deliveries {
			if !d.State.Ended() && d.State != delivery.InputRequired {
				return fmt.Errorf("delivery of %s is %s: %s", d.Group, d.State, d.Error)
			}
		}
		return mustEqual(len(deliveries), len(ends), "deliveries")
	})
	for _, d := range deliveries {
		if !strings.Contains(d.Prompt, canary) || !strings.Contains(d.Answer+d.Error+d.Question, canary) {
			t.Errorf("the history of %s lacks what was said: %q, %q, %q", d.Group, d.Answer, d.Error, d.Question)
		}
	}
	clients, err := kubernetes.NewForConfig(testCluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	var events *eventsv1.EventList
	eventually(t, "the Hook's Events are told", func() error {
		if events, err = clients.EventsV1().Events(ns).List(t.Context(), metav1.ListOptions{}); err != nil {
			return err
		}
		for _, reason := range []string{"EventFiring", "AgentCallFailure"} {
			if !strings.Contains(fmt.Sprint(events.Items), reason) {
				return fmt.Errorf("no %s yet", reason)
			}
		}
		return nil
	})
	khook.stop()
	for where, text := range map[string]string{"log": khook.log.String(), "Kubernetes Events": fmt.Sprint(events.Items), "Hook's status": fmt.Sprint(hookNow(t, h).Status)} {
		for line := range strings.Lines(text) {
			if strings.Contains(line, canary) {
				t.Errorf("in the %s:\n%.600s", where, line)
			}
		}
	}
}
