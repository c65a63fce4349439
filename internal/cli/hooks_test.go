package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/api"
)

func TestCLIListsAllHooks(t *testing.T) {
	var asked []string
	url := answers(t, func(r *http.Request) any {
		asked = append(asked, r.URL.RawQuery)
		page := api.Page[api.Hook]{Total: 2, Items: []api.Hook{{Namespace: "shop", Name: fmt.Sprintf("h%d", len(asked)), Ready: "True"}}}
		if len(asked) == 1 {
			page.Next = "c"
		}
		return page
	})
	_, out, errs := khook(t, "hooks", "-n", "shop", "--all", "--server", url)
	if got := lines(out); len(got) != 3 || errs != "" {
		t.Errorf("%q %q", got, errs)
	}
	if diff := cmp.Diff([]string{"limit=1000&namespace=shop", "cursor=c&limit=1000&namespace=shop"}, asked); diff != "" {
		t.Error(diff)
	}
	if code, _, _ := khook(t, "hooks", "--limit", "0", "--server", url); code != 2 {
		t.Errorf("--limit 0: %d", code)
	}
}

func TestCLIExportsManifestsAsTheServerWroteThem(t *testing.T) {
	const manifest = "kind: Hook\nspec:\n  prompt: |\n    a\tb ü\n"
	for body, want := range map[string]string{
		manifest:                           manifest,
		manifest + "---\n" + manifest:      manifest + "---\n" + manifest,
		"a: x\u202ey\n---\nb: |\n  <>\n":   "a: \"x\\U0000202ey\"\n---\nb: |\n  <>\n",
		"no yaml: \"\x1b[2J\u009b\u202e\n": "no yaml: \"[2J\n",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		t.Cleanup(s.Close)
		if _, out, _ := khook(t, "hooks", "shop/memory", "-o", "yaml", "--server", s.URL); out != want {
			t.Errorf("%q, want %q", out, want)
		}
	}
}

func TestCLITakesOnlyNamesOfHooks(t *testing.T) {
	for text, want := range map[string]string{"shop/memory": "shop memory", "hook/shop/memory": "shop memory", "memory": "ns memory", "a/b/c": "", "../x": "", "shop/..": "", "sh op/x": "", "": "", "/x": "", "x/": "", "shop/a?b": "", "shop/a.b-c": "shop a.b-c"} {
		ns, name, err := hookName(text, "ns")
		if got := ns + " " + name; (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
}

func TestCLIShowsWhatIsLeftOfBudgetsAndWhatIsPaused(t *testing.T) {
	six, tokens := int32(6), int64(5000)
	h := api.Hook{Namespace: "shop", Name: "memory", Ready: "True", Statistics: api.HookStatistics{CallsLastHour: 3, Tokens: 1200}}
	h.Spec.MaxCallsPerHour, h.Spec.MaxTokensPerDay = &six, &tokens
	plain := api.Hook{Namespace: "shop", Name: "plain", Ready: "True", Paused: &api.Pause{By: "ann", Reason: "it does harm"}}
	url := answers(t, func(*http.Request) any { return api.Page[api.Hook]{Total: 2, Items: []api.Hook{h, plain}} })
	_, out, _ := khook(t, "hooks", "-n", "shop", "--server", url)
	for _, want := range []string{"3 of 6/h", "1200 of 5000", "Paused"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if _, names, _ := khook(t, "hooks", "-n", "shop", "-o", "name", "--server", url); names != "hook/shop/memory\nhook/shop/plain\n" {
		t.Errorf("-o name: %q", names)
	}
	plain.Statistics = api.HookStatistics{Deliveries: 3, Succeeded: 1, Skipped: 2}
	url = answers(t, func(*http.Request) any { return plain })
	if _, out, _ = khook(t, "hook", "hook/shop/plain", "--server", url); !strings.Contains(out, "3 calls: 1 succeeded, 0 failed, 2 without a call, 0 recovered") {
		t.Errorf("%s", out)
	}
	if _, out, _ = khook(t, "hook", "shop/plain", "--server", url); !strings.Contains(out, "calls of all Hooks are paused until somebody resumes them (ann: it does harm)") || !strings.Contains(out, "no limit of calls per hour") {
		t.Errorf("%s", out)
	}
}
