package system

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/lint"
)

// FR5: Provide API endpoints for managing Hook configurations.
func TestFR5HookConfigurationManagement(t *testing.T) {
	s := serve(t)
	t.Run("GET /api/v1/hooks: List all Hook configurations with status", func(t *testing.T) {
		page := read[api.Page[api.Hook]](s.caller, "/hooks")
		var names []string
		for _, h := range page.Items {
			names = append(names, h.Namespace+"/"+h.Name)
		}
		if !slices.IsSorted(names) || !slices.Contains(names, s.shop+"/memory") || !slices.Contains(names, s.pay+"/till") || page.Total != len(names) {
			t.Errorf("%v of %d", names, page.Total)
		}
		var paged []string
		for next := ""; ; {
			p := read[api.Page[api.Hook]](s.caller, "/hooks"+queryOf("limit", "1", "cursor", next))
			for _, h := range p.Items {
				paged = append(paged, h.Namespace+"/"+h.Name)
			}
			if next = p.Next; next == "" {
				break
			}
		}
		if !slices.Equal(paged, names) {
			t.Errorf("by cursor %v, want %v", paged, names)
		}
	})
	t.Run("GET /api/v1/hooks/{namespace}/{name}: Display Hook processing statistics", func(t *testing.T) {
		var h api.Hook
		eventually(t, "the status is written", func() error {
			h = read[api.Hook](s.caller, "/hooks/"+s.shop+"/memory")
			if len(h.Status.ActiveEvents) == 0 {
				return os.ErrNotExist
			}
			return nil
		})
		if h.Ready != "True" || h.Reason != v1alpha2.ReasonHookConfigured || meta.FindStatusCondition(h.Status.Conditions, "Ready") == nil {
			t.Errorf("%s %s %+v", h.Ready, h.Reason, h.Status.Conditions)
		}
		st := h.Statistics
		if st.ActiveIncidents != 2 || st.Events != 5 || st.Deliveries != 2 || st.Succeeded != 2 || st.Failed != 0 || time.Since(st.LastFired) > time.Hour {
			t.Errorf("statistics %+v", st)
		}
		if !slices.Equal(h.Events, []string{"oom-kill", "pod-restart"}) || !slices.Equal(h.Agents, []string{"kagent/medic"}) || len(h.Spec.EventConfigurations) != 2 {
			t.Errorf("%+v", h)
		}
		s.get("/hooks/"+s.shop+"/other").problem(t, http.StatusNotFound, "no Hook other")
	})
	t.Run("Export Hook configurations in YAML format", func(t *testing.T) {
		for _, r := range []reply{s.get("/hooks?format=yaml"), s.get("/hooks", "Accept: application/yaml"), s.get("/hooks/" + s.shop + "/memory?format=yaml")} {
			if r.code != http.StatusOK || r.header.Get("Content-Type") != "application/yaml" {
				t.Fatalf("%d %s %s", r.code, r.header.Get("Content-Type"), r.body)
			}
			for _, set := range []string{"status:", "resourceVersion", "uid:", "creationTimestamp", "generation", "managedFields"} {
				if strings.Contains(r.body, set) {
					t.Errorf("the export has %s, which the server sets:\n%s", set, r.body)
				}
			}
			file := filepath.Join(t.TempDir(), "hooks.yaml")
			if err := os.WriteFile(file, []byte(r.body), 0o600); err != nil {
				t.Fatal(err)
			}
			kubectl := exec.Command(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "--kubeconfig", adminKubeconfig(t), "diff", "--server-side", "--force-conflicts", "-f", file)
			if out, err := kubectl.CombinedOutput(); err != nil && strings.Contains(string(out), "prompt:") {
				t.Errorf("kubectl would change the Hooks: %v\n%s", err, out)
			}
			apply := exec.Command(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "--kubeconfig", adminKubeconfig(t), "apply", "--validate=strict", "-f", file)
			if out, err := apply.CombinedOutput(); err != nil {
				t.Errorf("kubectl apply: %v\n%s", err, out)
			}
		}
	})
	t.Run("POST /api/v1/hooks/validate: Validate Hook configurations before deployment", func(t *testing.T) { checkValidate(t, s) })
}

// checkValidate sends good and bad manifests.
func checkValidate(t *testing.T, s *served) {
	validate := func(c caller, manifest string) lint.Report {
		t.Helper()
		r := c.do(http.MethodPost, "/hooks/validate", manifest, "Content-Type: application/yaml; charset=utf-8")
		var report lint.Report
		if err := json.Unmarshal([]byte(r.body), &report); err != nil || r.code != http.StatusOK {
			t.Fatalf("%d %s", r.code, r.body)
		}
		return report
	}
	manifest := func(ns, agent, prompt string) string {
		return "apiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata:\n  name: new\n  namespace: " + ns + "\nspec:\n  eventConfigurations:\n" +
			"  - eventType: oom-kill\n    agentId: " + agent + "\n    prompt: '" + prompt + "'\n"
	}
	good := validate(s.caller, manifest(s.shop, "kagent/medic", "Look at {{.ResourceName}}"))
	if !good.Valid || len(good.Errors) > 0 || len(good.Prompts) != 1 || !strings.HasPrefix(good.Prompts[0].Prompt, "Look at ") || strings.Contains(good.Prompts[0].Prompt, "{{") {
		t.Errorf("%+v", good)
	}
	if err := testCluster.client.Get(t.Context(), keyOf(s.shop, "new"), &v1alpha2.Hook{}); err == nil {
		t.Error("the Hook was stored")
	}
	for name, c := range map[string]struct {
		manifest, field, message string
		line                     int
	}{
		"an unknown variable":          {manifest(s.shop, "kagent/medic", "{{.Pod}}"), "spec.eventConfigurations[0].prompt", "Pod", 10},
		"a namespace that is not":      {manifest("nowhere", "kagent/medic", "x"), "metadata.namespace", "no namespace nowhere", 5},
		"an agent of somebody else":    {manifest(s.shop, s.pay+"/medic", "x"), "spec.eventConfigurations[0].agentId", "may not call", 9},
		"an agent that kagent has not": {manifest(s.shop, "kagent/nobody", "x"), "spec.eventConfigurations[0].agentId", "no agent kagent/nobody", 9},
		"an empty prompt":              {manifest(s.shop, "kagent/medic", ""), "spec.eventConfigurations[0].prompt", "empty", 10},
	} {
		report := validate(s.caller, c.manifest)
		if report.Valid || len(report.Errors) != 1 || report.Errors[0].Field != c.field || !strings.Contains(report.Errors[0].Message, c.message) || report.Errors[0].Line != c.line {
			t.Errorf("%s: %+v", name, report.Errors)
		}
	}
	other := validate(s.as(newReader(t, s.pay)), manifest(s.shop, "kagent/nobody", "x"))
	if other.Valid || len(other.Errors) != 1 || !strings.Contains(other.Errors[0].Message, "you may not list Hooks in namespace "+s.shop) {
		t.Errorf("for somebody without rights: %+v", other.Errors)
	}
	two := validate(s.caller, manifest(s.shop, "kagent/medic", "x")+"---\n"+manifest(s.shop, "kagent/medic", "{{")+"  - eventType: oom-kill\n    agentId: kagent/medic\n    prompt: y\n")
	if two.Valid || len(two.Hooks) != 2 || len(two.Errors) == 0 || two.Errors[0].Document != 2 {
		t.Errorf("two documents: %+v", two)
	}
	asJSON := s.do(http.MethodPost, "/hooks/validate", `{"apiVersion":"kagent.dev/v1alpha2","kind":"Hook","metadata":{"name":"j","namespace":"`+s.shop+`"},"spec":{"eventConfigurations":[`+
		`{"eventType":"oom-kill","agentId":"kagent/medic","prompt":"a"},{"eventType":"oom-kill","agentId":"kagent/medic","prompt":"b"}]}}`, "Content-Type: application/json")
	if asJSON.code != http.StatusOK || !strings.Contains(asJSON.body, `"valid":true`) || strings.Contains(asJSON.body, `"warnings":[]`) {
		t.Errorf("JSON with two configurations of one type: %d %s", asJSON.code, asJSON.body)
	}
	s.do(http.MethodPost, "/hooks/validate", "", "Content-Type: application/yaml").problem(t, http.StatusBadRequest, "empty")
}
