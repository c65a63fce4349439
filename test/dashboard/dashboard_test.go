package dashboard

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/storetest"
)

// TestTheDashboard plays one scene, and looks at it in one browser: what is only read comes first, then what people do.
func TestTheDashboard(t *testing.T) {
	s := newScene(t)
	s.play()
	b := openTab(t, s.admin+prefix)
	for _, part := range []struct {
		name  string
		test  func(*testing.T, *scene, *tab)
		noisy bool // it lets requests fail, which a browser complains of
	}{
		{"each page is whole, in both themes and three widths", eachPageIsWhole, false},
		{"nothing that others say runs", nothingThatOthersSayRuns, false},
		{"the address is the state, and keys do what the mouse does", keysAndAddresses, false},
		{"a Hook is checked as it is written", tryAHook, false},
		{"who may not act sees why, and a session that ends leads back", withoutRights, true},
		{"an approval shows exactly what is approved, and asks once", approval, false},
		{"a question is answered, and a task canceled", answersAndCancels, false},
		{"what happens is seen as it happens, also after a restart of khook", live, true},
		{"what is not there is said", notFound, true},
	} {
		t.Run(part.name, func(t *testing.T) {
			here := *s
			here.TB = t
			tabHere := &tab{TB: t, ctx: b.ctx, base: b.base}
			b.complained()
			part.test(t, &here, tabHere)
			if said := b.complained(); !part.noisy && len(said) > 0 {
				t.Errorf("the browser complains:\n%s", strings.Join(said, "\n"))
			}
		})
	}
}

// incident is the newest one of a workload that no other one caused.
func (s *scene) incident(workload string) string {
	s.Helper()
	for _, i := range read[api.Page[api.Incident]](s, "/incidents?workload="+workload+"&limit=10").Items {
		if i.CausedBy == "" {
			return i.ID
		}
	}
	s.Fatalf("%s has no incident", workload)
	return ""
}

func eachPageIsWhole(t *testing.T, s *scene, b *tab) {
	axe, err := os.ReadFile(filepath.Join("..", "..", "web", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Log("npm ci was not run in web, so there is no axe-core: accessibility is NOT CHECKED")
		if os.Getenv("KHOOK_NEEDS_NODE") != "" {
			t.Fatal(err)
		}
	}
	cart := s.incident("cart")
	for _, page := range []struct{ path, shows string }{
		{"/", "Needs a person"}, {"/incidents", "inventory"}, {"/incidents/" + cart, "Looked at"}, {"/incidents/" + cart + "?show=all", "memory profile"},
		{"/deliveries", "Deployment/cart"}, {"/deliveries?tab=inbox", "k8s_patch_resource"}, {"/deliveries/" + s.delivery("Deployment/checkout").ID, "k8s_patch_resource"},
		{"/hooks", "probes"}, {"/hooks/shop/shop", "memory-analyzer"}, {"/why?namespace=shop&incident=" + cart, "The agent was called"},
		{"/agents", "restart-doctor"}, {"/trends", "Top workloads"}, {"/health", "kagent"}, {"/try", "Manifest"}, {"/login", "Sign in"},
	} {
		b.do(chromedp.EmulateViewport(1280, 900))
		b.open(page.path)
		if page.path != "/try" && page.path != "/login" {
			b.shows(page.shows)
		}
		for _, screen := range []struct {
			width  int64
			themes []string
		}{{360, []string{"light"}}, {1280, []string{"light", "dark"}}, {3840, []string{"dark"}}} { // what is too pale is so at each width
			b.do(chromedp.EmulateViewport(screen.width, 900))
			if over := eval[int](b, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
				t.Errorf("%s is %d pixels wider than a screen of %d", page.path, over, screen.width)
			}
			for _, theme := range screen.themes {
				if axe != nil {
					b.theme(theme)
					b.accessible(fmt.Sprintf("%s, %d pixels wide, %s", page.path, screen.width, theme), axe)
				}
			}
		}
	}
	b.do(chromedp.EmulateViewport(1280, 900))
}

func nothingThatOthersSayRuns(t *testing.T, s *scene, b *tab) {
	pages := []string{"/incidents/" + s.incident("web") + "?show=all", "/deliveries/" + s.delivery("Deployment/web").ID}
	pages = append(pages, "/deliveries/"+s.delivery("Deployment/imports").ID, "/incidents/"+s.incident("imports")+"?show=all")
	for _, page := range pages {
		b.open(page)
		b.holds("an answer is shown", `document.querySelector(".markdown") !== null`)
		if eval[bool](b, "window.owned !== undefined") {
			t.Errorf("%s: a script of an agent ran", page)
		}
		for _, never := range []string{".markdown script", ".markdown img", ".markdown iframe", ".markdown svg", ".markdown a[href]", "[onerror]", "[onload]", "main style"} {
			if n := eval[int](b, fmt.Sprintf("document.querySelectorAll(%s).length", quoted(never))); n > 0 {
				t.Errorf("%s: %d %s", page, n, never)
			}
		}
		if elsewhere := eval[[]string](b, `performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith(location.origin + "/"))`); len(elsewhere) > 0 {
			t.Errorf("%s: loaded %v", page, elsewhere)
		}
	}
	b.open(pages[1])
	if eval[bool](b, `/[\u202a-\u202e\u2066-\u2069\u200b\u2060]/.test(document.body.innerText)`) {
		t.Error("the page has characters that can't be seen")
	}
	b.shows("<script>")
	b.click(".markdown button.link", "https://good.example")
	b.holds("the target of a link is shown before it opens", `document.querySelector("dialog[open] .target").innerText.includes("https://evil.example/")`)
	b.holds("it opens without a way back", `document.querySelector("dialog[open] a").rel.includes("noopener") && document.querySelector("dialog[open] a").rel.includes("noreferrer")`)
	b.click("dialog[open] button", "Cancel")
}

func keysAndAddresses(t *testing.T, _ *scene, b *tab) {
	b.open("/")
	b.keys("gi")
	b.holds("g i leads to the incidents", `location.pathname.endsWith("/incidents")`)
	b.settled()
	// As a browser does it, in which the character of a key that was taken goes nowhere.
	eval[bool](b, `document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "/", bubbles: true, cancelable: true}))`)
	b.holds("/ goes to the field", `document.activeElement?.dataset.search !== undefined`)
	b.keys("cart")
	b.holds("the filter is in the address", `location.search === "?text=cart"`)
	b.holds("and in the list", `[...document.querySelectorAll(".rows .row")].length > 0 && [...document.querySelectorAll(".rows .workload")].every(w => w.innerText.endsWith("cart"))`)
	address := eval[string](b, "location.href")
	b.do(chromedp.Navigate(address))
	b.settled()
	if got := eval[string](b, `document.querySelector("[data-search]").value`); got != "cart" {
		t.Errorf("after a reload the filter is %q", got)
	}
	b.holds("the same rows", `[...document.querySelectorAll(".rows .workload")].length > 0`)
	b.keys("j")
	b.holds("j selects a row", `document.querySelector(".row.selected") !== null`)
	b.keys("\r")
	b.holds("Enter opens it", `/\/incidents\/.+/.test(location.pathname)`)
	b.shows("Looked at")
	b.keys("\x1b")
	b.holds("Escape leads back", `location.pathname.endsWith("/incidents")`)
	b.settled()
	b.keys("?")
	b.holds("? lists the keys", `document.querySelector("dialog[open] kbd") !== null`)
	b.keys("\x1b")
	b.holds("Escape closes it", `document.querySelector("dialog[open]") === null`)
}

func notFound(_ *testing.T, _ *scene, b *tab) {
	b.open("/incidents/no-such-incident")
	b.shows("Not found")
	b.open("/hooks/shop/shop/more")
	b.shows("There is no such page")
}

func tryAHook(_ *testing.T, _ *scene, b *tab) {
	b.open("/try")
	b.shows("Valid")
	b.holds("the prompt is rendered", `document.querySelector(".prompt mark") !== null`)
	eval[bool](b, `(() => { const a = document.querySelector("textarea"); Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(a, a.value.replace("oom-kill", "oom-kil")); a.dispatchEvent(new Event("input", {bubbles: true})); return true })()`)
	b.shows("Not valid")
	b.holds("the line is marked", `document.querySelector(".gutter .bad")?.innerText.trim() === "9"`)
}

func withoutRights(t *testing.T, s *scene, _ *tab) {
	b := openTab(t, s.url)
	ask := "/deliveries/" + s.delivery("Deployment/checkout").ID
	b.do(chromedp.Navigate(b.base + ask))
	b.holds("nobody is known, so the page asks for a token", `document.querySelector("input[name=token]") !== null`)
	b.do(chromedp.SendKeys("input[name=token]", "no-token"))
	b.click("button[type=submit]", "Sign in")
	b.shows("That did not work")
	b.do(chromedp.Navigate(b.base + ask))
	b.holds("it asks again", `document.querySelector("input[name=token]") !== null`)
	b.do(chromedp.SendKeys("input[name=token]", viewer(t)))
	b.click("button[type=submit]", "Sign in")
	b.holds("it leads back to where it began", fmt.Sprintf(`location.pathname === %s`, quoted(ask)))
	b.shows("k8s_patch_resource")
	b.holds("Approve is disabled, and says which right it takes", `document.querySelector("[data-action=approve]").ariaDisabled === "true" && document.querySelector("[data-action=approve]").title.includes("approve on hooks/deliveries")`)
	b.click("[data-action=approve]", "")
	if eval[bool](b, `document.querySelector("dialog[open]") !== null`) {
		t.Error("who may not approve is asked whether to")
	}
	if cookies := eval[string](b, "document.cookie"); cookies != "" {
		t.Errorf("scripts can read the cookies %s", cookies)
	}
	eval[bool](b, `fetch("/api/v1/session", {method: "DELETE"}).then(() => { window.left = true }), true`)
	b.holds("the session is ended", "window.left === true")
	b.open("/incidents?status=firing")
	b.holds("a session that has ended leads to the login", `document.querySelector("input[name=token]") !== null`)
	b.do(chromedp.SendKeys("input[name=token]", viewer(t)))
	b.click("button[type=submit]", "Sign in")
	b.holds("and back, with the filter", `location.pathname === "/incidents" && location.search === "?status=firing"`)
	b.shows("ledger")
}

func approval(t *testing.T, s *scene, b *tab) {
	d := s.delivery("Deployment/checkout")
	b.open("/")
	b.click(".card.approval [data-action=approve]", "Approve")
	b.holds("the dialog has the tool and its arguments as they are", `(e => e?.tagName === "PRE" && e.innerText.includes('k8s_patch_resource') && e.innerText.includes('{"namespace":"shop"}') && getComputedStyle(e).fontFamily.includes("mono"))(document.querySelector("dialog[open] .exact"))`)
	if got := s.delivery("Deployment/checkout"); got.State != delivery.InputRequired {
		t.Errorf("before it is confirmed the delivery is %s", got.State)
	}
	b.click("dialog[open] [data-confirm=approve]", "Approve")
	b.holds("it is not waited for any more, without a reload", `document.querySelector(".card.approval") === null && document.querySelector("dialog[open]") === null`)
	eventually(t, "the agent goes on", func() error {
		if got := read[api.DeliveryDetail](s, "/deliveries/"+d.ID); got.State != delivery.Succeeded || got.Replies != 1 {
			return fmt.Errorf("it is %s after %d replies", got.State, got.Replies)
		}
		return nil
	})
}

func answersAndCancels(_ *testing.T, s *scene, b *tab) {
	asked, works := s.delivery("Deployment/ledger"), s.delivery("Deployment/indexer")
	b.open("/deliveries?tab=inbox")
	b.click(".card.question [data-action=reply]", "Answer")
	b.do(chromedp.SendKeys("dialog[open] textarea", "Only ledger-1, please."))
	b.click("dialog[open] [data-confirm=reply]", "Answer")
	b.shows("Nobody is waited for")
	b.open("/deliveries/" + asked.ID)
	b.shows("Only ledger-1, please.")
	b.open("/deliveries/" + works.ID)
	b.click("[data-action=cancel]", "Cancel the task")
	b.click("dialog[open] [data-confirm=cancel]", "Cancel the task")
	b.holds("it ends as canceled, without a reload", `document.querySelector("h1").innerText.includes("canceled")`)
}

func live(t *testing.T, s *scene, b *tab) {
	b.open("/incidents?status=firing")
	b.holds("rows are there", `document.querySelectorAll(".rows .row").length > 0`)
	first := eval[string](b, `document.querySelector(".rows .row").innerText.replace(/\d+ \w+ ago|\d+ \w+( \d+ \w+)?$/gm, "")`)
	s.status(s.pod(shop, "fresh", "fresh-6c9f-1"), 1, "Error", true)
	b.holds("the new one announces itself", `document.querySelector(".fresh")?.innerText.includes("1 new incident")`)
	if now := eval[string](b, `document.querySelector(".rows .row").innerText.replace(/\d+ \w+ ago|\d+ \w+( \d+ \w+)?$/gm, "")`); now != first {
		t.Errorf("the rows have moved: %q is where %q was", now, first)
	}
	b.click(".fresh", "")
	b.holds("it is shown when it is wanted", `document.querySelector(".rows .row")?.innerText.includes("fresh")`)
	b.open("/")
	s.kill()
	b.holds("a lost connection is told, and since when", `/Connection lost since/.test(document.querySelector(".lost-banner")?.innerText ?? "")`)
	s.status(s.pod(shop, "meanwhile", "meanwhile-6c9f-1"), 1, "Error", true)
	s.start(s)
	b.holds("it comes back by itself", `document.querySelector(".lost-banner") === null && document.querySelector(".side .live").innerText === "Live"`)
	b.shows("meanwhile")
}

// TestTenThousandIncidentsAreAsManyNodesAsAHundred scrolls over more than a browser could hold.
func TestTenThousandIncidentsAreAsManyNodesAsAHundred(t *testing.T) {
	dir := t.TempDir()
	st, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "khook.db")})
	if err != nil {
		t.Fatal(err)
	}
	if err := storetest.Fill(t.Context(), st, 50_000, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	k := startKhook(t, "--database", filepath.Join(dir, "khook.db"), "--kagent-url", "http://127.0.0.1:1")
	b := openTab(t, authenticatingProxy(t, k.url)+prefix)
	b.open("/incidents")
	b.holds("rows are there", `document.querySelectorAll(".rows .row").length > 10`)
	few := eval[int](b, "document.querySelectorAll('*').length")
	for n := 0; n < 9_000; n = eval[int](b, `Math.round(document.querySelector(".rows").getBoundingClientRect().height / 38)`) {
		b.holds("more rows come", fmt.Sprintf(`(() => { scrollTo(0, document.documentElement.scrollHeight); return document.querySelector(".rows").getBoundingClientRect().height / 38 > %d || %d >= 9000 })()`, n+50, n))
	}
	b.holds("the last rows are shown", `document.querySelectorAll(".rows .row").length > 10`)
	if many := eval[int](b, "document.querySelectorAll('*').length"); many > few*3/2 {
		t.Errorf("10,000 rows are %d nodes, and the first 100 were %d", many, few)
	}
	b.quiet("10,000 rows")
}

// TestScreenshots takes the README's pictures: make screenshots.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("KHOOK_SCREENSHOTS")
	if dir == "" {
		t.Skip("KHOOK_SCREENSHOTS names no folder")
	}
	s := newScene(t)
	s.play()
	eventually(t, "the verdict on the cart is known", func() error {
		if d := s.delivery("Deployment/cart"); d.Outcome == "" {
			return fmt.Errorf("it is not: %s", d.State)
		}
		return nil
	})
	b := openTab(t, s.admin+prefix)
	for name, path := range map[string]string{"dashboard-now": "/", "dashboard-incident": "/incidents/" + s.incident("cart")} {
		b.do(chromedp.EmulateViewport(1360, 880))
		b.open(path)
		b.holds("it is live", `document.querySelector(".side .live").innerText === "Live"`)
		picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
