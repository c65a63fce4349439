package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// tab is a tab of a browser, with all that it complained of.
type tab struct {
	testing.TB
	ctx  context.Context //nolint:containedctx // of the tab
	base string          // the address of khook's page, without a slash at its end

	mu         sync.Mutex
	complaints []string
}

// openTab starts Chromium without a window.
func openTab(t testing.TB, base string) *tab {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("KHOOK_NEEDS_BROWSER") != "" {
			t.Fatal("no Chromium is installed: apt-get install chromium")
		}
		t.Skip("no Chromium is installed: the dashboard is NOT TESTED in a browser")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true))
	allocated, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, leave := chromedp.NewContext(allocated)
	t.Cleanup(leave)
	b := &tab{TB: t, ctx: ctx, base: base}
	b.do(chromedp.EmulateViewport(1280, 900))
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleWarning || m.IsException() {
				b.mu.Lock()
				b.complaints = append(b.complaints, m.String()+" "+m.URL)
				b.mu.Unlock()
			}
		}
	}()
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

// complained returns what the browser complained of since it was last asked: errors, warnings and violations of the policy.
func (b *tab) complained() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	said := b.complaints
	b.complaints = nil
	return said
}

// quiet fails if the browser complained.
func (b *tab) quiet(what string) {
	b.Helper()
	if said := b.complained(); len(said) > 0 {
		b.Errorf("%s: the browser complains:\n%s", what, strings.Join(said, "\n"))
	}
}

// eval is the value of an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// open goes to a path of the page, and waits until it shows what it has.
func (b *tab) open(path string) {
	b.Helper()
	b.do(chromedp.Navigate(b.base + path))
	b.settled()
}

// settled waits until nothing on the page is on its way.
func (b *tab) settled() {
	b.Helper()
	b.holds("the page is there", `document.querySelector("h1, .login") !== null && document.querySelector(".loading") === null`)
}

// holds waits until an expression is true.
func (b *tab) holds(what, expression string) {
	b.Helper()
	eventually(b, what, func() error {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		if err != nil || !ok {
			return fmt.Errorf("%s: %w; the page says: %.900s", expression, err, eval[string](b, `(document.querySelector("main") ?? document.body)?.innerText ?? ""`))
		}
		return nil
	})
}

// shows waits until the page has a text.
func (b *tab) shows(text string) {
	b.Helper()
	b.holds(fmt.Sprintf("the page shows %q", text), fmt.Sprintf(`document.body.innerText.includes(%s)`, quoted(text)))
}

// click clicks on the first of what a selector finds that shows a text.
func (b *tab) click(selector, text string) {
	b.Helper()
	b.holds(fmt.Sprintf("there is %s with %q", selector, text), fmt.Sprintf(`(() => {
		const found = [...document.querySelectorAll(%s)].find(e => e.innerText.includes(%s));
		found?.click();
		return found !== undefined;
	})()`, quoted(selector), quoted(text)))
}

// keys types on the page.
func (b *tab) keys(keys string) {
	b.Helper()
	b.do(chromedp.KeyEvent(keys))
}

func quoted(text string) string {
	q, _ := json.Marshal(text) //nolint:errchkjson // a text
	return string(q)
}

// theme sets how the page looks, by its own switch.
func (b *tab) theme(name string) {
	b.Helper()
	b.holds("there is a switch of the theme", fmt.Sprintf(`(() => { const s = document.querySelector('[data-theme-choice=%s]'); s?.click(); return s !== null || document.querySelector(".login") !== null })()`, name))
}

// violation is what axe finds.
type violation struct {
	ID    string   `json:"id"`
	Nodes []string `json:"nodes"`
}

// accessible fails for each rule of accessibility that the page breaks.
func (b *tab) accessible(what string, axe []byte) {
	b.Helper()
	if !eval[bool](b, "typeof axe !== 'undefined'") {
		eval[bool](b, string(axe)+"; true")
	}
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]violation](`axe.run(document).then(r => r.violations.map(v => ({id: v.id, nodes: v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + " " + n.failureSummary.slice(0, 240))})))`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatal(err)
	}
	for _, found := range v {
		b.Errorf("%s: axe finds %s: %s", what, found.ID, strings.Join(found.Nodes, "\n"))
	}
}
