package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

// screen is what a command has printed so far.
type screen struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *screen) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lines(s.all.String())
}

// watchHistory is what a command prints that watches a server which answers the next thing each time that it is asked, and
// then the last one again. It is told to end at the second answer after the last.
func watchHistory(t *testing.T, pages []any, args ...string) (code int, out, errs []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer := pages[min(asked, len(pages)-1)]
		if asked++; asked > len(pages)+1 {
			cancel()
		}
		w.Header().Set("Content-Type", "application/json")
		if problem, ok := answer.(*huma.ErrorModel); ok {
			w.WriteHeader(problem.Status)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer s.Close()
	var stdout, stderr screen
	code = Main(ctx, append(args, "--server", s.URL, "--watch", "--interval", "100ms"), Env{Out: &stdout, Err: &stderr})
	cancel()
	return code, stdout.lines(), stderr.lines()
}

var watchedAt = time.Now()

func deliveriesOf(states ...delivery.State) any {
	page := api.Page[api.Delivery]{}
	for i, s := range states { // the newest first, as the API has them
		n := len(states) - i
		page.Items = append(page.Items, api.Delivery{ID: strings.Repeat(string(rune('0'+n)), 8) + anID[8:], State: s, CreatedAt: watchedAt.Add(-time.Duration(n) * time.Minute)})
	}
	return page
}

func TestCLIWatchesWhatComesAndChanges(t *testing.T) {
	overloaded := &huma.ErrorModel{Status: http.StatusServiceUnavailable, Detail: "too much to do"}
	code, out, errs := watchHistory(t, []any{
		deliveriesOf(delivery.Working, delivery.Succeeded), overloaded, deliveriesOf(delivery.Pending, delivery.Pending, delivery.Failed, delivery.Succeeded),
	}, "deliveries", "-o", "jsonpath={.id} {.state}")
	want := []string{
		"22222222" + anID[8:] + " working", "11111111" + anID[8:] + " succeeded",
		"22222222" + anID[8:] + " failed", "33333333" + anID[8:] + " pending", "44444444" + anID[8:] + " pending",
	}
	if diff := cmp.Diff(want, out); code != 0 || diff != "" {
		t.Errorf("%d %s", code, diff)
	}
	if diff := cmp.Diff([]string{"khook: too much to do; trying again"}, errs); diff != "" {
		t.Error(diff)
	}
}

func TestCLIWatchesInColumnsWithoutRepeatingWhatOnlyGetsOlder(t *testing.T) {
	at := func(lasted float64, events int64, status string) any {
		return api.Page[api.Incident]{Items: []api.Incident{{ID: anID, Status: status, Events: events, DurationSeconds: lasted, FirstSeen: watchedAt.Add(-241 * time.Hour)}}}
	}
	for form, want := range map[string][]string{
		"table": {"ID AGE TYPE STATUS NAMESPACE RESOURCE EVENTS LASTED MESSAGE", "5013d5ac 10d - firing - - 1 10s -", "5013d5ac 10d - firing - - 2 30s -", "5013d5ac 10d - resolved - - 2 40s -"},
		"name":  {"incident/" + anID, "incident/" + anID, "incident/" + anID},
	} {
		_, out, errs := watchHistory(t, []any{at(10, 1, "firing"), at(20, 1, "firing"), at(30, 2, "firing"), at(40, 2, "resolved"), at(50, 2, "resolved")}, "incidents", "-o", form)
		if diff := cmp.Diff(want, out); diff != "" || len(errs) != 0 {
			t.Errorf("%s: %q %s", form, errs, diff)
		}
	}
}

func TestCLIEndsAWatchThatIsRefused(t *testing.T) {
	empty, refusal := api.Page[api.Event]{}, &huma.ErrorModel{Status: http.StatusForbidden, Detail: "ann may not list hooks.kagent.dev in namespace shop"}
	code, out, errs := watchHistory(t, []any{empty, refusal}, "events")
	if diff := cmp.Diff([]string{"No events yet; waiting for them.", "khook: " + refusal.Detail}, errs); code != 1 || len(out) != 0 || diff != "" {
		t.Errorf("%d %q %s", code, out, diff)
	}
}

func TestCLISortsWhatItShows(t *testing.T) {
	var asked string
	url := answers(t, func(r *http.Request) any {
		asked = r.URL.Query().Get("sort")
		return api.Page[api.Incident]{Total: 9, Next: "more", Items: []api.Incident{{ID: "a", Events: 2}, {ID: "b", Events: 7}, {ID: "c", Events: 2}}}
	})
	for sortBy, want := range map[string]struct{ ids, asked, says string }{
		"":           {"a b c", "-firstSeen", "3 of 9; show more with --limit or --all\n"},
		"firstSeen":  {"a b c", "firstSeen", "3 of 9; show more with --limit or --all\n"},
		"events":     {"a c b", "", "3 of 9, the newest; show more with --limit or --all\n"},
		"-events":    {"b a c", "", "3 of 9, the newest; show more with --limit or --all\n"},
		"-namespace": {"a b c", "", "3 of 9, the newest; show more with --limit or --all\n"},
	} {
		args := []string{"incidents", "--server", url, "--limit", "3"}
		if sortBy != "" {
			args = append(args, "--sort-by="+sortBy)
		}
		_, out, errs := khook(t, append(args, "--no-headers")...)
		_, raw, _ := khook(t, append(args, "-o", "jsonpath={[*].id}")...)
		if raw != want.ids+"\n" || asked != want.asked || errs != want.says || strings.Join(strings.Fields(out), "")[:1] != want.ids[:1] {
			t.Errorf("--sort-by=%s: %q, asked %q, %q\n%s", sortBy, raw, asked, errs, out)
		}
	}
	if code, _, errs := khook(t, "incidents", "--server", url, "--sort-by", "age"); code != 2 || !strings.Contains(errs, `--sort-by must be one of "firstSeen","-firstSeen","lastSeen"`) {
		t.Errorf("%d %s", code, errs)
	}
}

// TestCLISelectsIncidentsByLabels looks through the pages for them, with as few requests as it takes.
func TestCLISelectsIncidentsByLabels(t *testing.T) {
	asked := 0
	url := answers(t, func(r *http.Request) any {
		asked++
		page, from := api.Page[api.Incident]{Total: 3000, Next: "next"}, 0
		if r.URL.Query().Has("cursor") {
			from = asked * 10_000
		}
		n, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		for i := range n {
			app := "cart"
			if i%100 == 7 {
				app = "web"
			}
			page.Items = append(page.Items, api.Incident{ID: fmt.Sprint(from + i), Labels: map[string]string{"app": app}})
		}
		return page
	})
	for _, c := range []struct {
		args, want, says string
		asked            int
	}{
		{"-l app=web --limit 3", "20007 20107 20207", "", 2},
		{"-l app!=cart,app --limit 1", "20007", "", 2},
		{"-l app=other --max 2500", "", "", 4},
		{"-l app=cart --limit 2", "0 1", "", 1},
	} {
		asked = 0
		_, out, errs := khook(t, append([]string{"incidents", "--server", url, "-o", "jsonpath={[*].id}"}, strings.Fields(c.args)...)...)
		if strings.TrimSpace(out) != c.want || errs != c.says || asked != c.asked {
			t.Errorf("%s: %q %q after %d requests", c.args, out, errs, asked)
		}
	}
	if _, _, errs := khook(t, "incidents", "--server", url, "-l", "app=web", "--limit", "3"); errs != "3 of more than 3; show more with --limit or --all\n" {
		t.Errorf("%q", errs)
	}
	if _, _, errs := khook(t, "incidents", "--server", url, "-l", "app=other", "--max", "100"); errs != "No incidents found among the newest that were looked through; --max looks through more.\n" {
		t.Errorf("%q", errs)
	}
	if code, _, errs := khook(t, "incidents", "--server", url, "-l", "a=b=c"); code != 2 || !strings.Contains(errs, "--selector: ") {
		t.Errorf("%d %s", code, errs)
	}
}
