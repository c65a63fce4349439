package system

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/api"
)

func TestCLIShowsWhatTheAPIHas(t *testing.T) {
	s := serve(t)
	flags := []string{"--server", "http://" + s.api, "--token", s.token}
	run := func(args ...string) string {
		t.Helper()
		code, out, errs := runCLI(t, append(args, flags...)...)
		if code != 0 {
			t.Fatalf("%v: %d %s", args, code, errs)
		}
		return out
	}
	table := strings.Split(strings.TrimSpace(run("events", "-n", s.shop, "--workload", "cart", "--sort", "timestamp")), "\n")
	if got := strings.Fields(table[0]); !slices.Equal(got, []string{"ID", "AGE", "TYPE", "STATUS", "RESOURCE", "CONTAINER", "MESSAGE"}) || len(table) != 5 {
		t.Errorf("%s", strings.Join(table, "\n"))
	}
	if got := run("events", "--hook", s.shop+"/memory", "--type", "oom-kill", "-o", "wide"); !strings.Contains(got, "delivered") || !strings.Contains(got, "duplicate") || !strings.Contains(got, "Deployment/cart") {
		t.Errorf("%s", got)
	}
	var events []api.Event
	if err := json.Unmarshal([]byte(run("events", "-n", s.pay, "-o", "json", "--since", "1h")), &events); err != nil || len(events) != 1 || events[0].ResourceName != "till-abc-1" {
		t.Errorf("%v %+v", err, events)
	}
	if err := yaml.Unmarshal([]byte(run("events", "-n", s.pay, "-o", "yaml")), &events); err != nil || len(events) != 1 {
		t.Errorf("%v %+v", err, events)
	}
	for _, list := range []string{"incidents", "deliveries"} { // what a list shows is taken, and what owns the Pod
		row := strings.Fields(strings.Split(run(list, "-n", s.pay), "\n")[1])
		if story := run(list, "show", row[0], "-n", s.pay); len(row[0]) != 8 || !strings.Contains(story, row[0]+"-") {
			t.Errorf("%s: %s", row, story)
		}
		if last := run(list, "show", "--last", "-n", s.pay, "-o", "name"); last != run(list, "-n", s.pay, "--limit", "1", "-o", "name") || !strings.Contains(last, "/"+row[0]) {
			t.Errorf("%s: %s", row, last)
		}
	}
	if story := run("incidents", "deploy/till", "-n", s.pay); !strings.Contains(story, s.pay+"/till-abc-1") {
		t.Errorf("%s", story)
	}
	if ids := run("incidents", "-n", s.pay, "-o", "jsonpath={[*].resourceName}"); ids != "till-abc-1\n" {
		t.Errorf("%s", ids)
	}
	story := run("incidents", read[api.Page[api.Incident]](s.caller, "/incidents?eventType=oom-kill&namespace="+s.shop).Items[0].ID)
	for _, part := range []string{"oom-kill of " + s.shop + "/cart-abc-1", "Timeline, in ", "call to kagent/medic about Deployment/cart for Hook " + s.shop + "/memory: called ", ", finished ", "Answer of kagent/medic (delivery ", "Prompt to kagent/medic", "raise the memory limit"} {
		if !strings.Contains(story, part) {
			t.Errorf("the story does not tell %q:\n%s", part, story)
		}
	}
	delivery := run("deliveries", read[api.Page[api.Delivery]](s.caller, "/deliveries?namespace="+s.pay).Items[0].ID)
	if !strings.Contains(delivery, s.pay+"/till (pod-restart-444d4e85)") || !strings.Contains(delivery, "raise the memory limit") {
		t.Errorf("%s", delivery)
	}
	if list := run("deliveries", "-n", s.shop, "--hook", "memory", "--agent", "kagent/medic", "--state", "succeeded"); strings.Count(list, "kagent/medic") != 2 {
		t.Errorf("%s", list)
	}
	if list := run("hooks", "-n", s.shop); !strings.Contains(list, "memory") || !strings.Contains(list, "READY") {
		t.Errorf("%s", list)
	}
	if manifest := run("hooks", s.shop+"/memory", "-o", "yaml"); manifest != s.get("/hooks/"+s.shop+"/memory?format=yaml").body {
		t.Errorf("%s", manifest)
	}
	if sum := run("stats", "-n", s.shop); !strings.HasPrefix(sum, "5 events in 24h: 2 duplicates, 1 incident ended; 2 are firing now") || !strings.Contains(sum, "60.0%") {
		t.Errorf("%s", sum)
	}
	if trends := run("stats", "trends", "-n", s.shop, "--range", "1h", "--interval", "30m"); !strings.Contains(trends, "█") || !strings.Contains(trends, "POD-RESTART") {
		t.Errorf("%s", trends)
	}
	if hook := run("stats", "hook", s.shop+"/memory"); !strings.Contains(hook, "2 scheduled, 2 ended, 100.0% of them succeeded") || !strings.Contains(hook, "explained") {
		t.Errorf("%s", hook)
	}
	why := run("why", "cart-abc-1", "-n", s.shop, "--hook", s.shop+"/memory")
	for _, part := range []string{"Hook " + s.shop + "/memory, configuration oom-kill-", "about event ", "as it would be decided now", "NO   window", "within the window (delivery ", "no further call before ", "Agent kagent/medic WAS called for it at "} {
		if !strings.Contains(why, part) {
			t.Errorf("why does not say %q:\n%s", part, why)
		}
	}
	if why := run("why", "till-abc-1", "-n", s.pay); !strings.Contains(why, "a call to its agent was scheduled") {
		t.Errorf("%s", why)
	}
	if why := run("why", "never-was", "-n", s.shop); !strings.Contains(why, "NO   seen") || !strings.Contains(why, "it watches since") {
		t.Errorf("%s", why)
	}
	if code, out, errs := runCLI(t, append([]string{"events", "-n", "nowhere"}, flags...)...); code != 0 || out != "" || errs != "No events found in namespace nowhere.\n" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	for args, says := range map[string]string{
		"incidents 00000000-0000-5000-8000-000000000000": "nothing with that ID", "incidents 000000": "no incident has an ID that begins with 000000",
		"stats --range 99d": "khook: --range: must be from", "hooks " + s.shop + "/other": "no Hook other",
	} {
		if code, _, errs := runCLI(t, append(strings.Fields(args), flags...)...); code != 1 || !strings.Contains(errs, says) {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
	for args, says := range map[string]string{
		"events --since soon": "--since", "events --start 2026-01-01T00:00:00Z --since 1h": "use one of them", "incidents --limit 0": "--limit", "deliveries --since soon": "--since",
		"events --hook nobody": "NAMESPACE/NAME", "incidents no-such": "names no incident",
	} {
		if code, _, errs := runCLI(t, append(strings.Fields(args), flags...)...); code != 2 || !strings.Contains(errs, says) {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
	if code, _, errs := runCLI(t, "events", "--server", "http://"+s.api); code != 1 || !strings.Contains(errs, "--token") {
		t.Errorf("without a token: %d %s", code, errs)
	}
}

func TestCLIFindsKhookThroughTheKubeContext(t *testing.T) {
	ns := namespace(t)
	says := func(want string, args ...string) {
		t.Helper()
		if code, _, errs := runCLI(t, append([]string{"events", "--khook-namespace", ns}, args...)...); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	says("has no bearer token", "--kubeconfig", adminKubeconfig(t))
	admin := []string{"--kubeconfig", adminKubeconfig(t), "--token", "x"}
	says("no Service khook in namespace "+ns, admin...)
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "khook"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "khook"}, Ports: []corev1.ServicePort{{Name: "api", Port: 8082}},
	}}
	if err := testCluster.client.Create(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	says("no Pod of Service "+ns+"/khook is ready", admin...)
	p := newPod(t, ns, "khook", "khook-abc-1") // that no node runs
	setStatus(p, 0, "")
	if err := testCluster.client.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	says("forward a port to Pod "+ns+"/khook-abc-1", admin...)
}
