package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
)

// pausing pauses in the history alone; broken keeps it from being written.
type pausing struct {
	store  *store.Store
	broken error
}

func (p *pausing) Pauses(ctx context.Context) (delivery.Pauses, error) { return p.store.Pauses(ctx) }

func (p *pausing) Pause(ctx context.Context, wanted delivery.Pause) (int, error) {
	if p.broken != nil {
		return 0, p.broken
	}
	return 2, p.store.Write(ctx, func(tx *store.Tx) error { return tx.SavePause(ctx, &wanted) })
}

func (p *pausing) Resume(ctx context.Context, scope delivery.PauseScope, _ string) (ended bool, err error) {
	err = p.store.Write(ctx, func(tx *store.Tx) error { ended, err = tx.EndPause(ctx, scope); return err })
	return ended, err
}

// post sends JSON as somebody.
func (f *fixture) post(t *testing.T, token, path, body string, want int) string {
	t.Helper()
	w := askServer(f.Server, http.MethodPost, api.Base+path, body, "Content-Type", "application/json", "Authorization", "Bearer "+token)
	if w.Code != want {
		t.Fatalf("%s to %s as %s: %d, want %d: %s", body, path, token, w.Code, want, w.Body)
	}
	return w.Body.String()
}

func TestAPauseIsShownToWhoeverWondersWhyNobodyIsCalled(t *testing.T) {
	f := newFixture(t)
	var done api.Paused
	if err := json.Unmarshal([]byte(f.post(t, "", "/pause", `{"namespace": "shop", "hook": "memory", "reason": " it does\u001b[31m harm ", "for": "2h", "cancel": true}`, http.StatusOK)), &done); err != nil {
		t.Fatal(err)
	}
	if p := done.Pause; p.Hook != "memory" || strings.Contains(p.Reason, "\x1b") || !strings.Contains(p.Reason, "harm") || p.Ends.Sub(p.At) != 2*time.Hour || !p.Cancel || done.Canceled != 2 || done.Hooks == nil || *done.Hooks != 1 || p.By != unknownPerson {
		t.Errorf("%+v", done)
	}
	f.post(t, "", "/pause", `{"all": true, "reason": "all of them"}`, http.StatusOK)
	var hook api.Hook
	if err := json.Unmarshal(askServer(f.Server, http.MethodGet, api.Base+"/hooks/shop/memory", "").Body.Bytes(), &hook); err != nil || hook.Paused == nil || hook.Paused.Reason != "all of them" {
		t.Errorf("the Hook says %+v, %v", hook.Paused, err)
	}
	var list api.Pauses
	if err := json.Unmarshal(askServer(f.Server, http.MethodGet, api.Base+"/pauses?namespace=shop", "").Body.Bytes(), &list); err != nil || len(list.Items) != 2 || list.Items[0].Reason != "all of them" {
		t.Errorf("the list of pauses: %+v, %v", list, err)
	}
	if h := f.Health(t.Context()); h.Status != api.Healthy || len(h.Warnings) != 2 || !strings.Contains(h.Warnings[0], "all of them") {
		t.Errorf("the health says %s, %v", h.Status, h.Warnings)
	}
	var page api.Page[api.Hook]
	if err := json.Unmarshal(askServer(f.Server, http.MethodGet, api.Base+"/hooks?namespace=shop", "").Body.Bytes(), &page); err != nil || len(page.Items) != 1 || page.Items[0].Paused == nil {
		t.Errorf("the list says %+v, %v", page, err)
	}
	var resumed api.Resumed
	if err := json.Unmarshal([]byte(f.post(t, "", "/resume", `{"all": true}`, http.StatusOK)), &resumed); err != nil || !resumed.Ended || len(resumed.Still) != 1 || resumed.Still[0].Hook != "memory" {
		t.Errorf("%+v, %v", resumed, err)
	}
	if err := json.Unmarshal([]byte(f.post(t, "", "/resume", `{"namespace": "shop"}`, http.StatusOK)), &resumed); err != nil || resumed.Ended || len(resumed.Still) != 1 {
		t.Errorf("a scope that is not paused: %+v, %v", resumed, err)
	}
}

func TestAPauseThatMeansNothingIsRefused(t *testing.T) {
	f := newFixture(t)
	for body, says := range map[string]string{
		`{"reason": "x"}`: "say whose calls",
		`{"all": true, "namespace": "shop", "reason": "x"}`:           "leave namespace and hook out",
		`{"namespace": "shop", "hook": "x\u001b]0;x", "reason": "x"}`: "must be names",
		`{"namespace": "Shop/x", "reason": "x"}`:                      "must be names",
		`{"hook": "memory", "reason": "x"}`:                           "a namespace and a hook",
		`{"all": true, "reason": "  "}`:                               "say why",
		`{"all": true, "reason": "x", "for": "soon"}`:                 "a duration such as 2h",
		`{"all": true, "reason": "x", "for": "-1h"}`:                  "a duration such as 2h",
		`{"namespace": "shop", "reason": "x", "for": "100000h"}`:      "at most 720h",
	} {
		if got := f.post(t, "", "/pause", body, http.StatusBadRequest); !strings.Contains(got, says) {
			t.Errorf("%s: %s", body, got)
		}
	}
	if got, err := f.store.Pauses(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestWhoMayPauseIsAskedForWhatIsPaused: a right in a namespace stops no other one's calls, and none to act on deliveries does.
func TestWhoMayPauseIsAskedForWhatIsPaused(t *testing.T) {
	who := people()
	who.rights["pauses memory"] = []access.Right{access.PauseCalls(delivery.PauseScope{Namespace: shop, Hook: "memory"})}
	who.rights["pauses shop"] = []access.Right{access.PauseCalls(delivery.PauseScope{Namespace: shop})}
	who.rights["pauses all"] = []access.Right{access.PauseCalls(delivery.PauseScope{})}
	f := newFixture(t, func(c *Config) { c.Access = who })
	one, namespace, all := `{"namespace": "shop", "hook": "memory", "reason": "x"}`, `{"namespace": "shop", "reason": "x"}`, `{"all": true, "reason": "x"}`
	for name, may := range map[string][]string{
		"pauses memory": {one}, "pauses shop": {one, namespace}, "pauses all": {one, namespace, all}, "responder": nil, "approver": nil, "editor": nil, "viewer": nil,
	} {
		for _, body := range []string{one, namespace, all} {
			want := http.StatusForbidden
			for _, allowed := range may {
				if allowed == body {
					want = http.StatusOK
				}
			}
			f.post(t, name, "/pause", body, want)
			got := f.post(t, name, "/resume", strings.Replace(body, `, "reason": "x"`, "", 1), want)
			if want == http.StatusForbidden && !strings.Contains(got, "hooks/pause") {
				t.Errorf("%s is not told what to ask for: %s", name, got)
			}
		}
	}
	for name, want := range map[string]int{"viewer": http.StatusOK, "elsewhere": http.StatusForbidden} {
		if w := askServer(f.Server, http.MethodGet, api.Base+"/pauses?namespace=shop", "", "Authorization", "Bearer "+name); w.Code != want {
			t.Errorf("the pauses of shop as %s: %d", name, w.Code)
		}
	}
}

func TestAPauseThatCannotBeRecordedSaysWhatToDo(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Pausing = &pausing{broken: errors.Join(ErrNotDurable, errors.New("disk full"))} })
	got := f.post(t, "", "/pause", `{"all": true, "reason": "x"}`, http.StatusServiceUnavailable)
	if !strings.Contains(got, "#problem-not-durable") || !strings.Contains(got, "paused in this process") || !strings.Contains(got, "--replicas=0") || strings.Contains(got, "disk full") {
		t.Errorf("%s", got)
	}
}
