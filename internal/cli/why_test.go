package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// answering is a server that answers each request with a document, and remembers what it was asked.
func answering(t *testing.T, document string) (url string, asked func() string) {
	t.Helper()
	last := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = r.URL.String()
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, document)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() string { return last }
}

func TestWhyAsksForPodsIncidentsAndEvents(t *testing.T) {
	const id = "5e7c1d1e-0c5b-4b0e-9d55-3f2f6a1f0c11"
	for args, want := range map[string]string{
		"cart-1 -n shop":               "/api/v1/why?namespace=shop&pod=cart-1",
		"shop/cart-1":                  "/api/v1/why?namespace=shop&pod=cart-1",
		"cart-1 --hook shop/memory":    "/api/v1/hooks/shop/memory/why?pod=cart-1",
		"cart-1 --hook memory -n shop": "/api/v1/hooks/shop/memory/why?pod=cart-1",
		id:                             "/api/v1/why?incident=" + id,
		id + " --hook shop/memory":     "/api/v1/hooks/shop/memory/why?incident=" + id,
		"42":                           "/api/v1/why?event=42",
		"42 -n shop":                   "/api/v1/why?event=42&namespace=shop",
	} {
		url, asked := answering(t, `{"hooks": [], "answers": []}`)
		code, _, errs := khook(t, append([]string{"why", "--server", url}, strings.Fields(args)...)...)
		if got := asked(); code != 0 || got != want {
			t.Errorf("%s: %d %s asked %s, want %s", args, code, errs, got, want)
		}
	}
	for args, want := range map[string]string{
		"cart-1":                           "which namespace is Pod \"cart-1\" in?",
		"pay/cart-1 --hook shop/memory":    "a Hook watches its own namespace only",
		"cart-1 --hook shop/memory -n pay": "a Hook watches its own namespace only",
		"Cart/x":                           "is no Pod, and no ID",
		"x --hook memory":                  "names no Hook",
	} {
		if code, _, errs := khook(t, append([]string{"why", "--server", "http://127.0.0.1:1"}, strings.Fields(args)...)...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
}

func TestWhyPrintsTheWayUpToTheFirstNo(t *testing.T) {
	hook := func(name string, fits bool, step, text string) string {
		return fmt.Sprintf(`{"hook": {"namespace": "shop", "name": %q}, "incidentId": "i", "eventId": 42, "fits": %t, "answers": [{"basis": "now", "config": "oom", "steps": [
			{"step": "seen", "ok": true, "text": "khook recorded it"}, {"step": %q, "ok": false, "text": "%s"}]}]}`, name, fits, step, text)
	}
	url, _ := answering(t, `{"hooks": [`+hook("near", false, "selector", "track=canary, the Pod has none"+`\u001b[2J`)+`, `+hook("far", false, "type", "the configuration is about pod-restart, and this is oom-kill")+`]}`)
	code, out, errs := khook(t, "why", "shop/cart-1", "--server", url)
	want := `Hook shop/near, configuration oom: no configuration fits, and this came nearest
     STEP       WHY
ok   seen       khook recorded it
NO   selector   track=canary, the Pod has none[2J

1 Hook more in the namespace: --hook NS/NAME shows what keeps one from it.
`
	if code != 0 || out != want {
		t.Errorf("%d %s\n got %q\nwant %q", code, errs, out, want)
	}
	if _, out, _ := khook(t, "why", "shop/cart-1", "--server", url, "-o", "json"); !strings.Contains(out, `"step": "selector"`) {
		t.Errorf("%s", out)
	}
}
