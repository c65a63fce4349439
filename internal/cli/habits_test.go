package cli

import (
	"net/http"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/api"
)

// What people type first who come from kubectl.
func TestCLIKnowsTheHabitsOfOtherTools(t *testing.T) {
	for line, want := range map[string]string{
		"get incidents": "there is no command \"get\": write khook incidents", "describe incident x": "write khook incidents show ID", "logs cart": "khook deliveries logs ID",
		"status": "khook incidents --status firing, or khook health", "explain cart": "khook why POD", "-n shop incidents": "flags go after the command, such as khook incidents -n shop",
	} {
		if code, _, errs := khook(t, strings.Fields(line)...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s, want %q", line, code, errs, want)
		}
	}
	if code, out, errs := khook(t, "unpause", "--help"); code != 0 || !strings.Contains(out, "resume") {
		t.Errorf("unpause: %d %s%s", code, out, errs)
	}
}

func TestCLITakesTemplatesAsKubectlsListsWantThem(t *testing.T) {
	page := api.Page[api.Incident]{Items: []api.Incident{{ID: "a", Subject: api.Subject{ResourceName: "cart-1"}}, {ID: "b", Subject: api.Subject{ResourceName: "cart-2"}}}, Total: 2}
	url := answers(t, func(*http.Request) any { return page })
	for template, want := range map[string]string{
		"{.items[*].resourceName}": "cart-1 cart-2\n", `{range .items[*]}{.id}{"\n"}{end}`: "a\nb\n", "{[*].id}": "a b\n", "{.items[1].id}": "b\n", "[0].id": "a\n",
	} {
		if code, out, errs := khook(t, "incidents", "--server", url, "-o", "jsonpath="+template); code != 0 || out != want {
			t.Errorf("%s: %d %q %s, want %q", template, code, out, errs, want)
		}
	}
	for template, want := range map[string]string{"{[*].id}": "a", "{.items[*].id}": "a", "{.id}": "a"} { // one thing, as -w prints them
		path, err := parseJSONPath(template)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := path.Execute(&b, asTemplateHasIt(template, map[string]any{"id": "a"})); err != nil || b.String() != want {
			t.Errorf("%s: %q %v, want %q", template, b.String(), err, want)
		}
	}
}

// TestCLIPrintsTheJSONOfEveryAnswer is about answers that are passed on as they came.
func TestCLIPrintsTheJSONOfEveryAnswer(t *testing.T) {
	url := answers(t, func(r *http.Request) any {
		switch {
		case strings.HasSuffix(r.URL.Path, "/pause"):
			return api.Paused{Pause: api.Pause{Reason: "maintenance"}}
		case strings.HasSuffix(r.URL.Path, "/resume"):
			return api.Resumed{Ended: true, Still: []api.Pause{}}
		}
		return api.Inbox{Items: []api.InboxItem{}}
	})
	for line, want := range map[string]string{
		"inbox -o json": `"data": []`, "inbox -o yaml": "data: []", "pause --all --reason maintenance -o json": `"reason": "maintenance"`, "resume --all -o yaml": "ended: true",
		"inbox -o jsonpath={.data}": "[]",
	} {
		if code, out, errs := khook(t, append(strings.Fields(line), "--server", url)...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: %d %q %s, want %q", line, code, out, errs, want)
		}
	}
}

func TestCLISaysWhereNothingWasFound(t *testing.T) {
	url := answers(t, func(*http.Request) any { return api.Page[api.Incident]{} })
	for line, want := range map[string]string{"incidents -n shpo": "No incidents found in namespace shpo.\n", "incidents": "No incidents found.\n"} {
		if _, _, errs := khook(t, append(strings.Fields(line), "--server", url)...); errs != want {
			t.Errorf("%s: %q, want %q", line, errs, want)
		}
	}
}

func TestCLITellsWhyOfAWorkloadThatIsNamedAsAPod(t *testing.T) {
	for name, tc := range map[string]struct{ found, asked string }{
		"a Deployment": {"oom-hog-8448b4f6c8-vs899", "incident=i"}, "a Pod of its own": {"oom-hog", "pod=oom-hog"},
	} {
		var asked string
		url := answers(t, func(r *http.Request) any {
			if strings.HasSuffix(r.URL.Path, "/incidents") {
				return api.Page[api.Incident]{Items: []api.Incident{{ID: "i", Subject: api.Subject{ResourceName: tc.found}}}}
			}
			asked = r.URL.RawQuery
			return api.WhyHooks{}
		})
		if _, _, errs := khook(t, "why", "oom-hog", "-n", "shop", "--server", url); !strings.Contains(asked, tc.asked) {
			t.Errorf("%s: asked %q: %s", name, asked, errs)
		}
	}
}

func TestCLIClaimsNoTokensWhereNoneWereReported(t *testing.T) {
	for n, want := range map[int64]string{0: notReported, 7: "7"} {
		if got := tokenSum(n, notReported); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
