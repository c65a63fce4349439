//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// seenByBrowser is what the page notes of each message.
type seenByBrowser struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
}

// follow makes a page follow the stream as the docs say, and note what comes.
const follow = `window.seen = []; window.events = new EventSource("/api/v1/events/stream?namespace=%s");
events.addEventListener("ready", e => { window.ready = true });
events.addEventListener("gap", e => window.seen.push({id: e.lastEventId, name: "gap", status: e.data}));
events.addEventListener("event", e => { const d = JSON.parse(e.data); window.seen.push({id: e.lastEventId, name: d.resourceName, status: d.status}) }); true`

func TestABrowserFollowsTheEventsOverARestartOfKhook(t *testing.T) {
	c := connect(t)
	installCRD(t)
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns := newNamespace(t, c)
	dir, address := t.TempDir(), "127.0.0.1:18482"
	args := []string{"--api-auth", "none", "--api-bind-address", address}
	kill := startKhook(t, dir, kagent.URL, args...)
	page := browser(t)
	await(t, "the page is served", func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if _, err := chromedp.Run(page, chromedp.Navigate("http://"+address+"/api/v1/health")); err != nil {
		t.Fatal(err)
	}
	if err := holds(page, fmt.Sprintf(follow, ns)); err != nil {
		t.Fatal(err)
	}
	if err := holds(page, "window.logged = []; console.log = (...words) => logged.push(words.join(' ')); true"); err != nil {
		t.Fatal(err)
	}
	if err := holds(page, snippet(t)+"; true"); err != nil {
		t.Fatal(err)
	}
	await(t, "the stream begins", func() error { return holds(page, "window.ready === true") })
	crash := func(name string) {
		t.Helper()
		d := deployment(ns, name, 1, corev1.PodSpec{Containers: []corev1.Container{container("sleep 1; exit 7")}})
		if err := c.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	crash("before")
	await(t, "the browser sees the first crash", func() error { return sees(page, "before-") })
	await(t, "the snippet of the docs logs it", func() error { return holds(page, "logged.some(l => l.includes('restarted'))") })
	kill()
	crash("meanwhile")
	startKhook(t, dir, kagent.URL, args...)
	await(t, "the browser comes back and sees what happened meanwhile", func() error { return sees(page, "meanwhile-") })
	sameAsTheHistory(t, page, "http://"+address+"/api/v1/events/"+ns)
}

// snippet is the first one for browsers in docs/api.md.
func snippet(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```js\n(.*?)^```$").FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/api.md has no snippet for browsers")
	}
	return string(found[1])
}

// sameAsTheHistory holds what the browser saw against a query afterwards: each event once, in order.
func sameAsTheHistory(t *testing.T, page context.Context, url string) {
	t.Helper()
	seen, err := seenBy(page)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, s := range seen {
		if slices.Contains(ids, s.ID) || s.Name == "gap" {
			t.Errorf("%+v came twice, or is missing", s)
		}
		ids = append(ids, s.ID)
	}
	resp, err := http.Get(url + "?sort=timestamp")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct {
		Items []struct{ ID int64 } `json:"items"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	await(t, "the browser has seen all events of the history", func() error {
		seen, err := seenBy(page)
		for _, e := range list.Items {
			if !slices.ContainsFunc(seen, func(s seenByBrowser) bool { return s.ID == fmt.Sprint(e.ID) }) {
				return fmt.Errorf("event %d is not among %+v, %w", e.ID, seen, err)
			}
		}
		return err
	})
}

// browser starts Chromium without a window.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("no Chromium is installed: apt-get install chromium")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true))
	allocated, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	page, leave := chromedp.NewContext(allocated)
	t.Cleanup(leave)
	return page
}

func holds(page context.Context, expression string) error {
	ok, err := chromedp.Run(page, chromedp.Evaluate[bool](expression))
	if err != nil || !ok {
		return fmt.Errorf("%s: %v, %w", expression, ok, err)
	}
	return nil
}

func seenBy(page context.Context) ([]seenByBrowser, error) {
	return chromedp.Run(page, chromedp.Evaluate[[]seenByBrowser]("window.seen"))
}

func sees(page context.Context, prefix string) error {
	seen, err := seenBy(page)
	if !slices.ContainsFunc(seen, func(s seenByBrowser) bool { return strings.HasPrefix(s.Name, prefix) }) {
		return fmt.Errorf("%+v, %w", seen, err)
	}
	return nil
}
