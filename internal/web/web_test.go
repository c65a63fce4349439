package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func newDashboard(t *testing.T) *Dashboard {
	t.Helper()
	d, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *Dashboard) ask(method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

var loadedFirst = regexp.MustCompile(`(?:src|href)="\./(assets/[^"]+\.js)"`)

func TestThePageFindsItsFilesBelowAnyPath(t *testing.T) {
	d := newDashboard(t)
	for path, want := range map[string]string{"/": "./", "/incidents": "./", "/incidents/1": "../", "/hooks/shop/memory": "../../", "/hooks/shop/": "../../"} {
		w := d.ask(http.MethodGet, path)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `<base href="`+want+`">`) {
			t.Errorf("%s: %d, no base %s in %.200s", path, w.Code, want, w.Body)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s: %s", path, got)
		}
	}
	for _, name := range loadedFirst.FindAllStringSubmatch(d.index, -1) {
		if d.files[name[1]] == nil {
			t.Errorf("the page loads %s, which is not there", name[1])
		}
	}
	if regexp.MustCompile(`(?i)(src|href)="(/|https?:)`).MatchString(d.index) {
		t.Error("the page has an address that is not relative")
	}
}

func TestNothingInlineIsInThePage(t *testing.T) {
	d := newDashboard(t)
	if found := regexp.MustCompile(`(?is)<script(?:[^>]*)>[^<]+</script>|<style|\son\w+=|\sstyle=`).FindString(d.index); found != "" {
		t.Errorf("the policy refuses %s", found)
	}
	for _, path := range []string{"/", "/favicon.svg", "/" + loadedFirst.FindStringSubmatch(d.index)[1]} {
		if got := d.ask(http.MethodGet, path).Header().Get("Content-Security-Policy"); got != Policy {
			t.Errorf("%s is served with the policy %q", path, got)
		}
	}
}

func TestFilesAreKeptByBrowsersAndSentOnce(t *testing.T) {
	d := newDashboard(t)
	path := "/" + loadedFirst.FindStringSubmatch(d.index)[1]
	plain := d.ask(http.MethodGet, path)
	if got := plain.Header().Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("a file whose name has its hash: %s", got)
	}
	if got := plain.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/javascript") {
		t.Errorf("a script is %s", got)
	}
	small := d.ask(http.MethodGet, path, "Accept-Encoding", "br, gzip;q=0.8")
	if small.Header().Get("Content-Encoding") != "gzip" || small.Header().Get("ETag") == plain.Header().Get("ETag") || small.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("compressed: %v", small.Header())
	}
	unpacked, err := gzip.NewReader(small.Body)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(unpacked); err != nil || string(text) != plain.Body.String() {
		t.Errorf("compressed it is another text (%v)", err)
	}
	for _, refused := range []string{"gzip;q=0", "identity", ""} {
		if w := d.ask(http.MethodGet, path, "Accept-Encoding", refused); w.Header().Get("Content-Encoding") != "" {
			t.Errorf("with Accept-Encoding %q it comes compressed", refused)
		}
	}
	again := d.ask(http.MethodGet, path, "Accept-Encoding", "gzip", "If-None-Match", `"other", `+small.Header().Get("ETag"))
	if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("who has it already gets %d with %d bytes", again.Code, again.Body.Len())
	}
	if w := d.ask(http.MethodHead, path); w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("Content-Length") == "0" {
		t.Errorf("HEAD: %d, %d bytes, %s", w.Code, w.Body.Len(), w.Header().Get("Content-Length"))
	}
	if w := d.ask(http.MethodPost, "/"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

func TestOnlyThePagesOwnPathsAreServed(t *testing.T) {
	d := newDashboard(t)
	for _, path := range []string{"/", "/incidents/x", "/hooks/a/b", "/favicon.svg"} {
		if !d.Serves(path) {
			t.Errorf("%s is not served", path)
		}
	}
	for _, path := range []string{"/api/v1/nope", "/debug/pprof", "/wp-login.php", "/assets/none.js", "/index.html", "/metrics"} {
		if d.Serves(path) {
			t.Errorf("%s is served", path)
		}
	}
	source, err := os.ReadFile(filepath.Join("..", "..", "web", "src", "app.tsx"))
	if err != nil {
		t.Fatal(err)
	}
	var routed []string
	for _, route := range regexp.MustCompile(`(?m)(?:\["|<Route path=")/([a-z]*)`).FindAllStringSubmatch(string(source), -1) {
		if routed = append(routed, route[1]); !pages[route[1]] {
			t.Errorf("web/src/app.tsx has the path /%s, which is not served", route[1])
		}
	}
	for page := range pages {
		if !slices.Contains(routed, page) {
			t.Errorf("/%s is served, and web/src/app.tsx has no page for it", page)
		}
	}
}

// firstLoad bounds what a first look at the page loads of scripts, compressed: the files that index.html names, and the largest of the rest.
const firstLoad = 150 << 10

func TestAFirstLookLoadsLittle(t *testing.T) {
	d := newDashboard(t)
	sum, largest := 0, 0
	first := map[string]bool{}
	for _, name := range loadedFirst.FindAllStringSubmatch(d.index, -1) {
		first[name[1]] = true
		sum += len(d.files[name[1]].compressed)
	}
	for name, f := range d.files {
		if strings.HasSuffix(name, ".js") && !first[name] {
			largest = max(largest, len(f.compressed))
		}
	}
	if sum+largest > firstLoad {
		t.Errorf("a first look loads %d KiB of scripts, more than %d KiB", (sum+largest)>>10, firstLoad>>10)
	}
}
