package server

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/go-logr/logr/funcr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/stream"
)

// browser keeps cookies, and asks as a page does.
type browser struct {
	server  *Server
	host    string // and port, that is in the address bar
	from    string // the address that khook sees
	header  http.Header
	tls     bool
	cookies map[string]*http.Cookie
}

func (f *fixture) browser(host, from string, headers ...string) *browser {
	b := &browser{server: f.Server, host: host, from: from, header: http.Header{}, cookies: map[string]*http.Cookie{}}
	for i := 0; i+1 < len(headers); i += 2 {
		b.header.Set(headers[i], headers[i+1])
	}
	return b
}

func (b *browser) ask(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://"+b.host+target, strings.NewReader(body))
	r.RemoteAddr = b.from + ":40000"
	r.Header = b.header.Clone()
	if b.tls {
		r.TLS = &tls.ConnectionState{}
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	for _, c := range b.cookies {
		if strings.HasPrefix(r.URL.Path, c.Path) {
			r.AddCookie(c)
		}
	}
	w := httptest.NewRecorder()
	b.server.Handler().ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if delete(b.cookies, c.Name); c.MaxAge > 0 {
			b.cookies[c.Name] = c
		}
	}
	return w
}

func (b *browser) logIn(token string) *httptest.ResponseRecorder {
	body, _ := json.Marshal(map[string]string{"token": token}) //nolint:errchkjson // a text
	return b.ask(http.MethodPost, sessionPath, string(body))
}

// oncall is a ServiceAccount of the real API server that may list Hooks in shop, with a token of it.
func oncall(t *testing.T) (name, token string, forget func()) {
	t.Helper()
	clients, err := kubernetes.NewForConfig(testServer.Config)
	if err != nil {
		t.Fatal(err)
	}
	account, err := clients.CoreV1().ServiceAccounts(shop).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: "person-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account.Name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"kagent.dev"}, Resources: []string{"hooks"}, Verbs: []string{"list"}},
		{APIGroups: []string{"kagent.dev"}, Resources: []string{"hooks/deliveries"}, ResourceNames: []string{"memory"}, Verbs: []string{"get", "update"}},
	}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: shop, Name: account.Name}},
	}
	if _, err := clients.RbacV1().Roles(shop).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := clients.RbacV1().RoleBindings(shop).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	made, err := clients.CoreV1().ServiceAccounts(shop).CreateToken(t.Context(), account.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return "system:serviceaccount:shop:" + account.Name, made.Status.Token, func() {
		if err := clients.CoreV1().ServiceAccounts(shop).Delete(t.Context(), account.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// withPeople asks the real API server.
func withPeople(t *testing.T, change ...func(*Config)) *fixture {
	t.Helper()
	control, err := access.New(testServer.Config, access.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return newFixture(t, append([]func(*Config){func(c *Config) { c.Access = control }}, change...)...)
}

func wantAnswer(t *testing.T, what string, w *httptest.ResponseRecorder, code int, has string) {
	t.Helper()
	if w.Code != code || !strings.Contains(w.Body.String(), has) {
		t.Errorf("%s: %d %.500s; want %d with %q", what, w.Code, w.Body, code, has)
	}
}

const shopEvents = api.Base + "/events?namespace=shop"

func TestABrowserLogsInWithATokenAndIsKnownByItsCookies(t *testing.T) {
	f := withPeople(t)
	name, token, _ := oncall(t)
	b := f.browser("127.0.0.1:8082", "127.0.0.1")
	wantAnswer(t, "before", b.ask(http.MethodGet, shopEvents, ""), http.StatusUnauthorized, "problem-unauthenticated")
	wantAnswer(t, "before", b.ask(http.MethodGet, sessionPath, ""), http.StatusOK, `"state":"none","login":{"allowed":true}`)
	wantAnswer(t, "a token that is none", b.logIn("no-token"), http.StatusUnauthorized, "problem-unauthenticated")
	w := b.logIn(token)
	wantAnswer(t, "login", w, http.StatusOK, `"state":"active","name":"`+name)
	if strings.Contains(w.Body.String(), token) {
		t.Error("the answer has the token, which no page is to see")
	}
	for _, c := range b.cookies {
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" || c.MaxAge > 3600 || c.MaxAge < 3000 {
			t.Errorf("%+v", c)
		}
	}
	wantAnswer(t, "reading", b.ask(http.MethodGet, shopEvents, ""), http.StatusOK, `"items":[{`)
	wantAnswer(t, "in another namespace", b.ask(http.MethodGet, api.Base+"/events?namespace=pay", ""), http.StatusForbidden, name)
	wantAnswer(t, "session", b.ask(http.MethodGet, sessionPath, ""), http.StatusOK, `"state":"active"`)
	wantAnswer(t, "me", b.ask(http.MethodGet, api.Base+"/me", ""), http.StatusOK, `"authentication":"session"`)
	wantAnswer(t, "a bearer token wins", b.ask(http.MethodGet, shopEvents, "", "Authorization", "Bearer nobodys"), http.StatusUnauthorized, "problem-unauthenticated")
	w = b.ask(http.MethodPost, api.Base+"/deliveries/"+f.delivery+"/retry", "", "Sec-Fetch-Site", "same-origin")
	wantAnswer(t, "a page of khook's acts", w, http.StatusConflict, "")

	wantAnswer(t, "logout", b.ask(http.MethodDelete, sessionPath, ""), http.StatusOK, `"state":"none"`)
	if len(b.cookies) > 0 {
		t.Errorf("it keeps %v", b.cookies)
	}
	wantAnswer(t, "after it", b.ask(http.MethodGet, shopEvents, ""), http.StatusUnauthorized, "problem-unauthenticated")
}

func TestASessionWhoseTokenWasTakenBackHasEnded(t *testing.T) {
	f := withPeople(t)
	_, token, forget := oncall(t)
	b := f.browser("localhost:8082", "127.0.0.1")
	for _, c := range (site{local: true, path: "/"}).cookies(token, time.Now().Add(time.Hour), time.Now()) {
		b.cookies[c.Name] = &c
	}
	forget() // before the API server saw the token, which it would remember
	wantAnswer(t, "reading", b.ask(http.MethodGet, shopEvents, ""), http.StatusUnauthorized, "problem-session-ended")
	wantAnswer(t, "session", b.ask(http.MethodGet, sessionPath, ""), http.StatusOK, `"state":"ended"`)
	wantAnswer(t, "the health", b.ask(http.MethodGet, api.Base+"/health", ""), http.StatusOK, "status")
	wantAnswer(t, "login", b.logIn(token), http.StatusUnauthorized, "problem-unauthenticated")
}

// TestAnyReplicaKnowsASession: there is no state of it.
func TestAnyReplicaKnowsASession(t *testing.T) {
	one, other := withPeople(t), withPeople(t)
	_, token, _ := oncall(t)
	b := one.browser("localhost:8082", "127.0.0.1")
	b.logIn(token)
	b.server = other.Server
	wantAnswer(t, "another one", b.ask(http.MethodGet, shopEvents, ""), http.StatusOK, "items")
}

func TestNoTokenIsTakenOverPlainHTTP(t *testing.T) {
	f := withPeople(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	_, token, _ := oncall(t)
	const https, forwarded = "X-Forwarded-Proto", "Forwarded"
	for name, c := range map[string]struct {
		b      *browser
		cookie string // empty: refused
	}{
		"another machine":                          {f.browser("ops.example.com", "192.0.2.7"), ""},
		"another machine that says it is local":    {f.browser("localhost:8082", "192.0.2.7"), ""},
		"a proxy on this machine":                  {f.browser("ops.example.com", "127.0.0.1"), ""},
		"a proxy on this machine that is not told": {f.browser("ops.example.com", "127.0.0.1", https, "https"), ""},
		"a stranger that says it had TLS":          {f.browser("ops.example.com", "192.0.2.7", https, "https"), ""},
		"the same by Forwarded":                    {f.browser("ops.example.com", "192.0.2.7", forwarded, "proto=https"), ""},
		"a trusted proxy without TLS":              {f.browser("ops.example.com", "10.1.1.1", https, "http"), ""},
		"a trusted proxy that does not say":        {f.browser("ops.example.com", "10.1.1.1"), ""},
		"a way with a part in plain":               {f.browser("ops.example.com", "10.1.1.1", https, "http, https"), ""},
		"a trusted proxy":                          {f.browser("ops.example.com", "10.1.1.1", https, "https"), "__Host-khook-session.0"},
		"a trusted proxy by Forwarded":             {f.browser("ops.example.com", "10.1.1.1", forwarded, `for=192.0.2.9;proto=https`), "__Host-khook-session.0"},
		"a port-forward":                           {f.browser("[::1]:8082", "127.0.0.1"), "khook-session.0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.b.logIn(token)
			if c.cookie == "" {
				wantAnswer(t, "login", w, http.StatusForbidden, "problem-insecure-login")
				wantAnswer(t, "login", w, http.StatusForbidden, "--trusted-proxies")
				wantAnswer(t, "session", c.b.ask(http.MethodGet, sessionPath, ""), http.StatusOK, `"allowed":false,"reason":"khook was reached by plain HTTP`)
				if len(c.b.cookies) > 0 {
					t.Errorf("it set %v", c.b.cookies)
				}
				return
			}
			wantAnswer(t, "login", w, http.StatusOK, "active")
			if got := c.b.cookies[c.cookie]; got == nil || got.Secure != strings.HasPrefix(c.cookie, "__") {
				t.Errorf("it set %v", c.b.cookies)
			}
			wantAnswer(t, "reading", c.b.ask(http.MethodGet, shopEvents, ""), http.StatusOK, "items")
		})
	}
	// A session that was begun over TLS is no session where all can read it.
	b := f.browser("ops.example.com", "10.1.1.1", https, "https")
	b.logIn(token)
	b.header.Del(https)
	wantAnswer(t, "the same cookies in plain", b.ask(http.MethodGet, shopEvents, ""), http.StatusUnauthorized, "problem-unauthenticated")
}

// longToken is a token as some identity providers make them, with the rights of a person: it takes several cookies.
func longToken(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%07dabc", i)
	}
	return b.String()
}

func TestALongTokenIsCutIntoCookiesOfWhichNoneMayBeMissing(t *testing.T) {
	g := people()
	token := longToken(15_000)
	g.rights[token] = g.rights["viewer"]
	g.rights["viewer"] = append(g.rights["viewer"], access.ReadHooks("pay"))
	f := newFixture(t, func(c *Config) { c.Access = g })
	b := f.browser("localhost", "127.0.0.1")
	b.logIn(token)
	wantAnswer(t, "all of them", b.ask(http.MethodGet, shopEvents, ""), http.StatusOK, "items")
	if len(b.cookies) != 4 {
		t.Fatalf("%d cookies", len(b.cookies))
	}
	for name, c := range b.cookies {
		if len(name)+len(c.Value) > 4000 {
			t.Errorf("%s has %d bytes, which not every browser keeps", name, len(c.Value))
		}
	}
	whole := func() *browser {
		fresh := f.browser("localhost", "127.0.0.1")
		for name, c := range b.cookies {
			own := *c
			fresh.cookies[name] = &own
		}
		return fresh
	}
	broken := func(what string, change func(*browser)) {
		t.Helper()
		fresh := whole()
		change(fresh)
		wantAnswer(t, what, fresh.ask(http.MethodGet, shopEvents, ""), http.StatusUnauthorized, "problem-session-ended")
		wantAnswer(t, what, fresh.ask(http.MethodGet, sessionPath, ""), http.StatusOK, `"state":"ended"`)
	}
	for i := range 4 {
		name := fmt.Sprint("khook-session.", i)
		broken(name+" is missing", func(b *browser) { delete(b.cookies, name) })
		broken(name+" has another bit", func(b *browser) {
			text := []byte(b.cookies[name].Value)
			text[len(text)-1] ^= 1
			b.cookies[name].Value = string(text)
		})
	}
	broken("two are swapped", func(b *browser) {
		b.cookies["khook-session.1"].Value, b.cookies["khook-session.3"].Value = b.cookies["khook-session.3"].Value, b.cookies["khook-session.1"].Value
	})
	broken("one is there twice", func(b *browser) {
		b.cookies["another"] = &http.Cookie{Name: "khook-session.0", Value: "1.99999999999.viewer", Path: "/"}
	})
	broken("the end is another one", func(b *browser) {
		_, rest, _ := strings.Cut(b.cookies["khook-session.0"].Value, ".")
		_, rest, _ = strings.Cut(rest, ".")
		b.cookies["khook-session.0"].Value = "4.99999999999." + rest
	})
	broken("it is over", func(b *browser) {
		_, rest, _ := strings.Cut(b.cookies["khook-session.0"].Value, ".")
		_, rest, _ = strings.Cut(rest, ".")
		b.cookies["khook-session.0"].Value = fmt.Sprintf("4.%d.%s", time.Now().Add(-time.Second).Unix(), rest)
	})
	// A shorter one after it leaves nothing of it behind.
	wantAnswer(t, "a shorter one", b.logIn("viewer"), http.StatusOK, "active")
	wantAnswer(t, "a shorter one", b.ask(http.MethodGet, api.Base+"/events?namespace=pay", ""), http.StatusOK, "items")
	if len(b.cookies) != 1 {
		t.Errorf("it keeps %d cookies", len(b.cookies))
	}
	wantAnswer(t, "no token at all", f.browser("localhost", "127.0.0.1").logIn("a b; c"), http.StatusUnauthorized, "not valid")
}

func TestASessionEndsWithItsTokenAndAfterTwelveHoursAtTheLatest(t *testing.T) {
	now := time.Now()
	for token, want := range map[string]time.Time{
		"opaque": now.Add(12 * time.Hour), tokenUntil(now.Add(time.Hour)): now.Add(time.Hour), tokenUntil(now.Add(48 * time.Hour)): now.Add(12 * time.Hour),
	} {
		if got := sessionEnd(token, now); got.Sub(want).Abs() > time.Second {
			t.Errorf("%s ends at %s, not %s", token, got, want)
		}
	}
}

func TestPagesOfOtherSitesCanDoNothingWithASession(t *testing.T) {
	g := people()
	f := newFixture(t, func(c *Config) { c.Access = g })
	b := f.browser("khook.example.com", "192.0.2.1")
	b.tls = true
	wantAnswer(t, "login", b.logIn("admin"), http.StatusOK, "active")
	body, retry := `{"all": true, "reason": "evil"}`, api.Base+"/deliveries/"+f.delivery+"/retry"
	for _, evil := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "https://other.example.com"}, {"Origin", "null"}, {"Origin", "https://khook.example.com:444"},
	} {
		for _, route := range []struct{ method, target, body string }{
			{http.MethodPost, api.Base + "/pause", body}, {http.MethodPost, retry, ""}, {http.MethodDelete, sessionPath, ""}, {http.MethodPost, sessionPath, `{"token": "viewer"}`},
		} {
			wantAnswer(t, fmt.Sprint(evil, route), b.ask(route.method, route.target, route.body, evil...), http.StatusForbidden, "problem-cross-origin")
		}
		wantAnswer(t, fmt.Sprint("WebSocket ", evil), b.ask(http.MethodGet, streamPath, "", append(slices.Clone(evil), "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")...),
			http.StatusForbidden, "problem-cross-origin")
	}
}

func TestASessionOpensWebSocketsOfItsOwnPagesOnly(t *testing.T) {
	g := people()
	f := newFixture(t, func(c *Config) { c.Access = g })
	srv := httptest.NewServer(f.Handler())
	defer srv.Close()
	own := strings.TrimPrefix(srv.URL, "http://")
	b := f.browser(own, "127.0.0.1")
	b.logIn("viewer")
	open := func(origin string) (*websocket.Conn, *http.Response, error) {
		header := http.Header{"Origin": {origin}}
		for _, c := range b.cookies {
			header.Add("Cookie", c.Name+"="+c.Value)
		}
		return websocket.Dial(t.Context(), srv.URL+streamPath+"?namespace=shop", &websocket.DialOptions{HTTPHeader: header, Subprotocols: []string{stream.Protocol}})
	}
	conn, _, err := open("http://" + own)
	if err != nil {
		t.Fatal(err)
	}
	if _, text, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(text), "ready") {
		t.Errorf("%s %v", text, err)
	}
	_ = conn.CloseNow()
	if _, resp, err := open("http://evil.example"); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site: %v", err)
	}
}

func TestNothingOfASessionIsLogged(t *testing.T) {
	var log bytes.Buffer
	f := withPeople(t, func(c *Config) {
		c.Log = funcr.New(func(_, args string) { log.WriteString(args + "\n") }, funcr.Options{Verbosity: 10})
	})
	_, token, _ := oncall(t)
	secret := token[len(token)-40:]
	b := f.browser("localhost", "127.0.0.1")
	b.logIn(token)
	b.ask(http.MethodGet, shopEvents, "")
	b.ask(http.MethodGet, api.Base+"/nothing", "")
	b.ask(http.MethodPost, sessionPath, `{"token": "`+token+`", "more": 1}`)
	b.ask(http.MethodPost, sessionPath, `{"token": "`+token)
	b.logIn(token[1:])
	b.cookies["khook-session.0"].Value += "x"
	b.ask(http.MethodGet, shopEvents, "")
	f = withPeople(t, func(c *Config) {
		unreachable, err := access.New(&rest.Config{Host: "https://127.0.0.1:1"}, access.Config{})
		if err != nil {
			t.Fatal(err)
		}
		c.Access, c.Log = unreachable, funcr.New(func(_, args string) { log.WriteString(args + "\n") }, funcr.Options{Verbosity: 10})
	})
	b.server = f.Server
	wantAnswer(t, "while Kubernetes is away", b.logIn(token), http.StatusServiceUnavailable, "kubernetes-unavailable")
	b.ask(http.MethodGet, shopEvents, "")
	b.ask(http.MethodDelete, sessionPath, "")
	if text := log.String(); !strings.Contains(text, "a person logged in") || !strings.Contains(text, "cannot ask Kubernetes") || strings.Contains(text, secret) {
		t.Errorf("%.3000s", text)
	}
}

func TestBelowAPathThatAProxyKeepsOrTakesOff(t *testing.T) {
	g := people()
	external, err := url.Parse("https://ops.example.com/khook/")
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *Config) {
		c.Access, c.ExternalURL, c.TrustedProxies = g, external, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	for name, c := range map[string]struct{ host, prefix string }{"keeps": {"khook.kagent:8082", "/khook"}, "takes it off": {"ops.example.com", ""}} {
		t.Run(name, func(t *testing.T) {
			b := f.browser(c.host, "10.1.1.1", "X-Forwarded-Proto", "https")
			if r := b.ask(http.MethodPost, c.prefix+sessionPath, `{"token": "viewer"}`, "Origin", "https://ops.example.com"); r.Code != http.StatusOK {
				t.Fatalf("%d %s", r.Code, r.Body)
			}
			cookie := b.cookies["__Secure-khook-session.0"]
			if cookie == nil || cookie.Path != "/khook/" || !cookie.Secure {
				t.Fatalf("%v", b.cookies)
			}
			cookie.Path = "/" // what the browser would compare it with is the path before the proxy
			wantAnswer(t, "reading", b.ask(http.MethodGet, c.prefix+shopEvents, ""), http.StatusOK, "items")
		})
	}
	wantAnswer(t, "no route", f.browser("x", "10.1.1.1").ask(http.MethodGet, "/khook/api/v1/no", ""), http.StatusNotFound, "no-such-route")
	wantAnswer(t, "another word that begins so", f.browser("x", "10.1.1.1").ask(http.MethodGet, "/khookapi/v1/health", ""), http.StatusNotFound, "no-such-route")
	wantAnswer(t, "without the path", f.browser("x", "10.1.1.1").ask(http.MethodGet, api.Base+"/health", ""), http.StatusOK, "status")
	if w := f.browser("x", "10.1.1.1").ask(http.MethodGet, "/khook", ""); w.Code != http.StatusPermanentRedirect || w.Header().Get("Location") != "/khook/" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// tokenUntil is a JSON Web Token that says when it ends.
func tokenUntil(end time.Time) string {
	part := func(v any) string {
		text, _ := json.Marshal(v) //nolint:errchkjson // texts and numbers
		return strings.TrimRight(base64URL(text), "=")
	}
	return part(map[string]any{"alg": "RS256"}) + "." + part(map[string]any{"exp": end.Unix()}) + ".c2ln"
}
