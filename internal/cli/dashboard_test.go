package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// remoteKhook is a khook that knows one token, and notes what reaches it.
type remoteKhook struct {
	*httptest.Server
	token atomic.Value
	asked atomic.Pointer[http.Request]
}

func newRemoteKhook(t *testing.T, token string) *remoteKhook {
	t.Helper()
	k := &remoteKhook{}
	k.token.Store(token)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/me", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"name": "ann", "authentication": "token"}`)
	})
	mux.HandleFunc("POST /api/v1/pause", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("GET /api/v1/events/stream", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "event: ready\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow() //nolint:errcheck // it is over
		_ = conn.Write(r.Context(), websocket.MessageText, []byte(`{"type": "ready"}`))
		_, _, _ = conn.Read(r.Context())
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "khook-session.0", Value: "secret"})
		_, _ = io.WriteString(w, "<title>khook</title>")
	})
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+k.token.Load().(string) {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		k.asked.Store(r)
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(k.Close)
	return k
}

// openDashboard runs khook dashboard, and returns the address that it prints.
func openDashboard(t *testing.T, args ...string) (address string, end func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, append([]string{"dashboard"}, args...), Env{Out: in, Err: os.Stderr})
		_ = in.Close()
	}()
	printed := bufio.NewScanner(out)
	for printed.Scan() {
		if found := regexp.MustCompile(`http://127\.0\.0\.1:\d+/\w+/`).FindString(printed.Text()); found != "" {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return found, func() int { cancel(); return <-code }
		}
	}
	t.Fatalf("it printed no address, and ended with %d", <-code)
	return "", nil
}

// fetch asks as a program would, with headers by pairs, of which Host is the host.
func fetch(t *testing.T, method, address, body string, headers ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if r.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), resp.Header
}

func TestCLIDashboardAsksAsThePersonAndKeepsTheTokenOutOfTheBrowser(t *testing.T) {
	k := newRemoteKhook(t, "mine")
	address, end := openDashboard(t, "--no-browser", "--server", k.URL, "--token", "mine")
	code, body, header := fetch(t, http.MethodGet, address, "", "Cookie", "other=1", "Authorization", "Bearer of-another-page")
	if code != http.StatusOK || !strings.Contains(body, "khook") || header.Get("Set-Cookie") != "" || header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%d %s %v", code, body, header)
	}
	if r := k.asked.Load(); r.URL.Path != "/" || r.Header.Get("Cookie") != "" {
		t.Errorf("%s %v", r.URL, r.Header)
	}
	if code, body, _ := fetch(t, http.MethodPost, address+"api/v1/pause", "why", "Origin", strings.TrimSuffix(address, address[strings.LastIndex(address[:len(address)-1], "/"):]), "Sec-Fetch-Site", "same-origin"); code != http.StatusOK || body != "why" {
		t.Errorf("its own page: %d %s", code, body)
	}
	if code, _, header := fetch(t, http.MethodGet, strings.TrimSuffix(address, "/"), ""); code != http.StatusPermanentRedirect || !strings.HasSuffix(address, header.Get("Location")) {
		t.Errorf("%d %v", code, header)
	}
	if code := end(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

func TestCLIDashboardKeepsOthersOut(t *testing.T) {
	k := newRemoteKhook(t, "mine")
	address, end := openDashboard(t, "--no-browser", "--server", k.URL, "--token", "mine")
	defer end()
	root, secret, _ := strings.Cut(strings.TrimPrefix(address, "http://"), "/")
	asked := k.asked.Load()
	for name, c := range map[string]struct {
		method, address string
		headers         []string
		want            int
	}{
		"without the secret":             {http.MethodGet, "http://" + root + "/", nil, 404},
		"another secret":                 {http.MethodGet, "http://" + root + "/AAAAAAAAAAAAAAAAAAAAAAAAAA/api/v1/me", nil, 404},
		"a part of the secret":           {http.MethodGet, "http://" + root + "/" + secret[:10] + "/api/v1/me", nil, 404},
		"the API itself":                 {http.MethodGet, "http://" + root + "/api/v1/me", nil, 404},
		"a link that is none":            {http.MethodGet, "http://" + root + "/open/", nil, 404},
		"a name that stands for it":      {http.MethodGet, address + "api/v1/me", []string{"Host", "evil.example"}, 421},
		"the same with the port":         {http.MethodGet, address + "api/v1/me", []string{"Host", "evil.example:" + root[strings.Index(root, ":")+1:]}, 421},
		"no port":                        {http.MethodGet, address + "api/v1/me", []string{"Host", "127.0.0.1"}, 421},
		"a form of another site":         {http.MethodPost, address + "api/v1/pause", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403},
		"a page of another port":         {http.MethodPost, address + "api/v1/pause", []string{"Origin", "http://127.0.0.1:1"}, 403},
		"a WebSocket of another site":    {http.MethodGet, address + "api/v1/events/stream", []string{"Origin", "https://evil.example", "Connection", "Upgrade", "Upgrade", "websocket"}, 403},
		"a WebSocket from a neighbor":    {http.MethodGet, address + "api/v1/events/stream", []string{"Sec-Fetch-Site", "same-site", "Connection", "Upgrade", "Upgrade", "WebSocket"}, 403},
		"a way out of the secret's path": {http.MethodGet, "http://" + root + "/x/../" + secret[:5] + "/api/v1/me", nil, 404},
	} {
		if code, body, _ := fetch(t, c.method, c.address, "", c.headers...); code != c.want || strings.Contains(body, "ann") {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	if k.asked.Load() != asked {
		t.Error("something reached khook")
	}
}

func TestCLIDashboardPassesStreamsOn(t *testing.T) {
	k := newRemoteKhook(t, "mine")
	address, end := openDashboard(t, "--no-browser", "--server", k.URL, "--token", "mine")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"api/v1/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "event: ready\n" || err != nil {
		t.Errorf("%q %v", line, err)
	}
	conn, _, err := websocket.Dial(ctx, address+"api/v1/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow() //nolint:errcheck // it is over
	if _, text, err := conn.Read(ctx); err != nil || !strings.Contains(string(text), "ready") {
		t.Errorf("%s %v", text, err)
	}
	if code := end(); code != 0 { // also while a stream is open
		t.Errorf("it ended with %d", code)
	}
}

func TestCLIDashboardTakesANewTokenAndComesBack(t *testing.T) {
	k := newRemoteKhook(t, "first")
	file := filepath.Join(t.TempDir(), "token")
	put := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("first")
	address, end := openDashboard(t, "--no-browser", "--server", k.URL, "--token-file", file)
	defer end()
	k.token.Store("second")
	if code, _, _ := fetch(t, http.MethodGet, address, ""); code != http.StatusUnauthorized {
		t.Errorf("with the old one: %d", code)
	}
	put("second")
	if code, body, _ := fetch(t, http.MethodPost, address+"api/v1/pause", "why"); code != http.StatusOK || body != "why" {
		t.Errorf("%d %s", code, body)
	}
	k.CloseClientConnections() // as when the Pod goes away
	if code, _, _ := fetch(t, http.MethodGet, address, ""); code != http.StatusOK {
		t.Errorf("%d", code)
	}
	k.Close()
	if code, body, _ := fetch(t, http.MethodGet, address, ""); code != http.StatusBadGateway || !strings.Contains(body, "can't be reached") {
		t.Errorf("%d %s", code, body)
	}
}

func TestCLIDashboardSaysWhyItIsRefused(t *testing.T) {
	k := newRemoteKhook(t, "mine")
	code, out, errs := khook(t, "dashboard", "--no-browser", "--server", k.URL, "--token", "another")
	if code != 1 || out != "" || !strings.Contains(errs, "does not know who you are") {
		t.Errorf("%d %q %q", code, out, errs)
	}
}

func TestTheLinkOfTheDashboardOpensOnce(t *testing.T) {
	d := newDashboard("127.0.0.1:1", http.DefaultTransport)
	open := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest(http.MethodGet, d.link(), nil))
		return w
	}
	if w := open(); w.Code != http.StatusSeeOther || w.Header().Get("Location") != fmt.Sprintf("/%s/", d.secret) || strings.Contains(d.link(), d.secret) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	select {
	case <-d.stolen:
		t.Error("it was opened once")
	default:
	}
	for range 2 {
		if w := open(); w.Code != http.StatusGone {
			t.Errorf("%d", w.Code)
		}
	}
	<-d.stolen
}
