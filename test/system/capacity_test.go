package system

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/incident"
)

// sample is the value of a metric without labels, or with those that are given.
func (p *process) sample(name string) float64 {
	p.t.Helper()
	for line := range strings.Lines(p.scrape()) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return n
		}
	}
	p.t.Fatalf("there is no metric %s", name)
	return 0
}

func TestWhatTheControllerNeedsToStart(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	// With a collector that runs that often the heap is little more than what is live.
	khook := controllerWith(t, []string{"GOGC=5"}, append(settings(kagent, t.TempDir()), "--api-auth", "none")...).ready()
	applyHook(t, namespace(t), "shop", incident.OOMKill) // which makes the environments of expressions and prompts
	manifest := `{"apiVersion":"kagent.dev/v1alpha2","kind":"Hook","metadata":{"name":"a","namespace":"shop"},"spec":{"eventConfigurations":[{"eventType":"oom-kill","agentRef":{"name":"x"},"prompt":"{{.EventMessage}}"}]}}`
	resp, err := http.Post("http://"+khook.api+api.Base+"/hooks/validate", "application/json", strings.NewReader(manifest))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
	took := int64(khook.sample("go_memstats_heap_alloc_bytes") + khook.sample("go_memstats_stack_inuse_bytes"))
	t.Logf("khook with nothing to do takes %s, planned are %s", capacity.Text(took), capacity.Text(capacity.Base))
	if took > capacity.Base {
		t.Errorf("khook with nothing to do takes %s, and the plan of the memory takes it for %s", capacity.Text(took), capacity.Text(capacity.Base))
	}
}

func TestSettingsThatDoNotFitIntoTheMemoryAreShrunkAndTold(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	khook := controllerWith(t, []string{"GOMEMLIMIT=96MiB"}, append(settings(kagent, t.TempDir()), "--api-auth", "none", "--api-max-streams", "10000")...).ready()
	_, body := get(t, "http://"+khook.api+api.Base+"/health")
	var h api.Health
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		t.Fatal(err)
	}
	if len(h.Warnings) == 0 || !strings.Contains(h.Warnings[0], "--api-max-streams is 10000, and the memory limit has room for") {
		t.Errorf("the health warns of %q", h.Warnings)
	}
	if h.Memory.LimitBytes != 96<<20 {
		t.Errorf("the limit is told as %d", h.Memory.LimitBytes)
	}
	if n := khook.sample(`khook_capacity_limit{resource="streams"}`); n < 1 || n >= 10_000 {
		t.Errorf("the bound of streams is told as %v", n)
	}
	if n := khook.sample("khook_memory_limit_bytes"); n != 96<<20 {
		t.Errorf("the limit is told as %v by the metric", n)
	}
	if !strings.Contains(khook.log.String(), "a setting does not fit into the memory") {
		t.Error("the log does not tell")
	}
}

func TestKhookDoesNotStartInMemoryThatDetectionDoesNotFitInto(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "controller", "--kubeconfig", testCluster.kubeconfig, "--database", t.TempDir()+"/khook.db")
	cmd.Env = append(os.Environ(), asKhook+"=1", "GOMEMLIMIT=24MiB")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "khook needs at least") || !strings.Contains(string(out), "resources.limits.memory") {
		t.Errorf("%v: %s", err, tail(string(out), 1000))
	}
}

func TestManyConnectionsToTheHealthPortKeepTheKubeletFromNothing(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	khook := controller(t, settings(kagent, t.TempDir())...).ready()
	for i := range 4 * 64 /* times what the port takes at once */ {
		c, err := net.Dial("tcp", khook.health)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%3 == 0 {
			_, _ = fmt.Fprint(c, "GET /healthz HTTP/1.1\r\n")
		}
	}
	for _, path := range []string{"/healthz", "/healthz/ping", "/readyz", "/readyz/watch", "/readyz?verbose"} {
		if code, body := get(t, "http://"+khook.health+path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}
