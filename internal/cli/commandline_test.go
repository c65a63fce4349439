package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
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

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
)

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
		e := api.Event{Subject: api.Subject{Message: evil, ResourceName: evil, Namespace: evil, EventType: api.EventType(incident.OOMKill)}, Timestamp: time.Now()}
		if strings.Contains(r.URL.Path, "/incidents/") {
			return api.IncidentDetail{Incident: api.Incident{ID: evil, Subject: e.Subject}, Timeline: []api.TimelineEntry{{Text: evil}},
				Deliveries: []api.Delivery{{Prompt: "first\nsecond " + evil, Answer: evil, Error: evil}}}
		}
		return api.Page[api.Event]{Items: []api.Event{e}, Total: 1}
	})
	for _, args := range [][]string{{"events"}, {"events", "-o", "wide"}, {"incidents", anID}, {"events", "-o", "json"}, {"events", "-o", "yaml"}} {
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

func TestCLIIsAPluginOfKubectlByItsName(t *testing.T) {
	for called, want := range map[string]string{"khook": "Usage: khook events (event,ev) [flags]", "kubectl-khook": "Usage: kubectl khook events (event,ev) [flags]", "": "Usage: khook events (event,ev) [flags]"} {
		var out, errs bytes.Buffer
		if code := Main(t.Context(), []string{"events", "--help"}, Env{Out: &out, Err: &errs, Program: called}); code != 0 || !strings.HasPrefix(out.String(), want+"\n") {
			t.Errorf("%s: %d %s", called, code, out.String())
		}
		if code := Main(t.Context(), []string{"evnts"}, Env{Out: &out, Err: &errs, Program: called}); code != 2 || !strings.Contains(errs.String(), `Run "`+Env{Program: called}.name()+` --help"`) {
			t.Errorf("%s: %d %s", called, code, errs.String())
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
		"khook events --output ":                {"json", "jsonpath=", "name", "table", "wide", "yaml"},
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

func TestCLIWaitsForAClusterOnlySoLong(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // that never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	kubeconfig := write(t, "kubeconfig", fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "x",
"clusters": [{"name": "c", "cluster": {"server": "http://%s"}}], "users": [{"name": "u", "user": {}}],
"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}`, silent.Addr()))
	code, _, errs := khook(t, "events", "--kubeconfig", kubeconfig, "--token", "very-secret", "--timeout", "100ms")
	if code != 1 || !strings.Contains(errs, "look for khook's Service") || strings.Contains(errs, "very-secret") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := khook(t, "events", "--kubeconfig", kubeconfig, "--context", "other"); code != 1 || !strings.Contains(errs, "--context") {
		t.Errorf("%d %s", code, errs)
	}
}
