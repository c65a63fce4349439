package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
)

func TestCLIShowsWhatTheAPIHas(t *testing.T) {
	s := serve(t)
	flags := []string{"--server", "http://" + s.api, "--token", s.token}
	run := func(args ...string) string {
		t.Helper()
		code, out, errs := khook(t, append(args, flags...)...)
		if code != 0 {
			t.Fatalf("%v: %d %s", args, code, errs)
		}
		return out
	}
	table := strings.Split(strings.TrimSpace(run("events", "-n", s.shop, "--workload", "cart", "--sort", "timestamp")), "\n")
	if got := strings.Fields(table[0]); !slices.Equal(got, []string{"AGE", "TYPE", "STATUS", "NAMESPACE", "RESOURCE", "CONTAINER", "MESSAGE"}) || len(table) != 5 {
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
	story := run("incidents", read[api.Page[api.Incident]](s.caller, "/incidents?eventType=oom-kill&namespace="+s.shop).Items[0].ID)
	for _, part := range []string{"oom-kill of " + s.shop + "/cart-abc-1", "Timeline:", "was called (attempt 1)", "Prompt to kagent/medic", "raise the memory limit"} {
		if !strings.Contains(story, part) {
			t.Errorf("the story does not tell %q:\n%s", part, story)
		}
	}
	delivery := run("deliveries", read[api.Page[api.Delivery]](s.caller, "/deliveries?namespace="+s.pay).Items[0].ID)
	if !strings.Contains(delivery, s.pay+"/till (pod-restart)") || !strings.Contains(delivery, "raise the memory limit") {
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
	if sum := run("stats", "-n", s.shop); !strings.HasPrefix(sum, "5 events in 24h: 2 duplicates, 1 incidents ended; 2 are firing now") || !strings.Contains(sum, "60.0%") {
		t.Errorf("%s", sum)
	}
	if trends := run("stats", "trends", "-n", s.shop, "--range", "1h", "--interval", "30m"); !strings.Contains(trends, "█") || !strings.Contains(trends, "POD-RESTART") {
		t.Errorf("%s", trends)
	}
	if hook := run("stats", "hook", s.shop+"/memory"); !strings.Contains(hook, "2 made due, 2 ended, 100.0% of them succeeded") || !strings.Contains(hook, "explained") {
		t.Errorf("%s", hook)
	}
	if code, out, errs := khook(t, append([]string{"events", "-n", "nowhere"}, flags...)...); code != 0 || out != "" || errs != "No events found.\n" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	for args, says := range map[string]string{
		"events --hook nobody": "NAMESPACE/NAME", "incidents no-such": "nothing with that ID",
		"stats --range 99d": "timeRange", "hooks " + s.shop + "/other": "no Hook other",
	} {
		if code, _, errs := khook(t, append(strings.Fields(args), flags...)...); code != 1 || !strings.Contains(errs, says) {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
	for args, says := range map[string]string{
		"events --since soon": "--since", "events --start 2026-01-01T00:00:00Z --since 1h": "use one of them", "incidents --limit 0": "--limit", "deliveries --since soon": "--since",
	} {
		if code, _, errs := khook(t, append(strings.Fields(args), flags...)...); code != 2 || !strings.Contains(errs, says) {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
	if code, _, errs := khook(t, "events", "--server", "http://"+s.api); code != 1 || !strings.Contains(errs, "--token") {
		t.Errorf("without a token: %d %s", code, errs)
	}
}

// answers is a server that answers each request by a function.
func answers(t *testing.T, answer func(*http.Request) any) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer(r))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestCLIFollowsTheCursorsAsFarAsItIsTold(t *testing.T) {
	var asked []string
	url := answers(t, func(r *http.Request) any {
		asked = append(asked, r.URL.Query().Get("cursor")+" "+r.URL.Query().Get("limit"))
		n := map[string]int{"": 1, "a": 2, "b": 3}[r.URL.Query().Get("cursor")]
		page := api.Page[api.Event]{Total: 3000, Items: slices.Repeat([]api.Event{{ID: int64(n)}}, 1000)}
		page.Next = map[int]string{1: "a", 2: "b"}[n]
		return page
	})
	_, out, errs := khook(t, "events", "--server", url, "--all", "--max", "3000", "-o", "json")
	var events []api.Event
	if err := json.Unmarshal([]byte(out), &events); err != nil || len(events) != 3000 || events[2999].ID != 3 || errs != "" {
		t.Errorf("%d events, %v, %q", len(events), err, errs)
	}
	if diff := cmp.Diff([]string{" 1000", "a 1000", "b 1000"}, asked); diff != "" {
		t.Error(diff)
	}
	_, out, errs = khook(t, "events", "--server", url, "--limit", "1000")
	if strings.Count(out, "\n") != 1001 || errs != "1000 of 3000; show more with --limit or --all\n" {
		t.Errorf("%d lines, %q", strings.Count(out, "\n"), errs)
	}
}

func TestCLILetsNoTextOfTheClusterReachTheTerminalAsMoreThanText(t *testing.T) {
	const evil = "a\x1b[2J\x1b]0;owned\x07b\r\nc\u202ed\tz"
	url := answers(t, func(r *http.Request) any {
		e := api.Event{Subject: api.Subject{Message: evil, ResourceName: evil, Namespace: evil, EventType: incident.OOMKill}, Timestamp: time.Now()}
		if strings.Contains(r.URL.Path, "/incidents/") {
			return api.IncidentDetail{Incident: api.Incident{ID: evil, Subject: e.Subject}, Timeline: []api.TimelineEntry{{Text: evil}},
				Deliveries: []api.Delivery{{Prompt: "first\nsecond " + evil, Answer: evil, Error: evil}}}
		}
		return api.Page[api.Event]{Items: []api.Event{e}, Total: 1}
	})
	for _, args := range [][]string{{"events"}, {"events", "-o", "wide"}, {"incidents", "x"}, {"events", "-o", "json"}, {"events", "-o", "yaml"}} {
		code, out, errs := khook(t, append(args, "--server", url)...)
		forbidden := "\x1b\x07\r"
		if !slices.Contains(args, "-o") || slices.Contains(args, "wide") {
			forbidden += "\u202e"
		}
		if code != 0 || strings.ContainsAny(out+errs, forbidden) {
			t.Errorf("%v: %d %q %q", args, code, out, errs)
		}
	}
}

func TestCLIKeepsItsTokenToItself(t *testing.T) {
	var got []string
	elsewhere := answers(t, func(r *http.Request) any { got = append(got, r.Header.Get("Authorization")); return nil })
	redirects := httptest.NewServer(http.RedirectHandler(elsewhere, http.StatusTemporaryRedirect))
	t.Cleanup(redirects.Close)
	if code, _, errs := khook(t, "events", "--server", redirects.URL, "--token", "secret"); code != 1 || !strings.Contains(errs, "--server") || len(got) != 0 {
		t.Errorf("%d %s %v", code, errs, got)
	}
	if code, _, errs := khook(t, "events", "--server", "http://khook.example:8082", "--token", "secret"); code != 1 || !strings.Contains(errs, "without TLS") || strings.Contains(errs, "secret") {
		t.Errorf("%d %s", code, errs)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("of a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, _ = khook(t, "events", "--server", elsewhere, "--token-file", file)
	if !slices.Equal(got, []string{"Bearer of a file"}) {
		t.Errorf("%q", got)
	}
	if _, help, _ := khook(t, "events", "--help"); strings.Contains(help, "secret") {
		t.Error("the help tells the token")
	}
}

func TestCLIFindsKhookThroughTheKubeContext(t *testing.T) {
	ns := namespace(t)
	says := func(want string, args ...string) {
		t.Helper()
		if code, _, errs := khook(t, append([]string{"events", "--khook-namespace", ns}, args...)...); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	says("has no bearer token", "--kubeconfig", adminKubeconfig(t))
	admin := []string{"--kubeconfig", adminKubeconfig(t), "--token", "x"}
	says("no Service khook in namespace "+ns, admin...)
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "khook"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "khook"}, Ports: []corev1.ServicePort{{Name: "api", Port: 8082}},
	}}
	if err := world.client.Create(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	says("no Pod of Service "+ns+"/khook is ready", admin...)
	p := pod(t, ns, "khook", "khook-abc-1") // that no node runs
	setStatus(p, 0, "")
	if err := world.client.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	says("forward a port to Pod "+ns+"/khook-abc-1", admin...)

	if token, err := contextToken(t.Context(), mustConfig(t, tokenKubeconfig(t, "of-the-context"))); err != nil || token != "of-the-context" {
		t.Errorf("%q %v", token, err)
	}
}

// tokenKubeconfig is the file of a context with a bearer token.
func tokenKubeconfig(t *testing.T, token string) string {
	t.Helper()
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: world.Config.Host, CertificateAuthorityData: world.Config.CAData}
	cfg.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token}
	cfg.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	cfg.CurrentContext = "x"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCLICompletesCommandsFlagsAndValues(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	_, script, errs := khook(t, "completion", "bash")
	if errs != "" {
		t.Fatal(errs)
	}
	for line, want := range map[string][]string{
		"khook ev":                              {"events"},
		"khook stats tr":                        {"trends"},
		"khook events --st":                     {"--start", "--status"},
		"khook events --output ":                {"json", "table", "wide", "yaml"},
		"khook stats trends --by n":             {"namespace"},
		"khook completion f":                    {"fish"},
		"khook controller --api-open-to-everyb": {"--api-open-to-everybody-on-the-network"},
	} {
		words := strings.Split(line, " ")
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = fmt.Sprintf("%q", w)
		}
		cmd := exec.Command(bash, "-c", fmt.Sprintf("%s\nCOMP_WORDS=(%s); COMP_CWORD=%d; _khook; printf '%%s\\n' \"${COMPREPLY[@]}\"", script, strings.Join(quoted, " "), len(words)-1))
		out, err := cmd.CombinedOutput()
		got := strings.Fields(string(out))
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q (%v)", line, got, want, err)
		}
	}
	for _, shell := range []string{"zsh", "fish"} {
		if _, out, errs := khook(t, "completion", shell); !strings.Contains(out, "trends") || errs != "" {
			t.Errorf("%s: %s %s", shell, out, errs)
		}
	}
}
