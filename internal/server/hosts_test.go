package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/stream"
)

// rebinds sends a request for a host, and returns the answer.
func (l *liveFixture) rebinds(method, path, host string, headers ...string) *http.Response {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, l.base+path, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Host = host
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// misdirectedTo checks that an answer is a problem document that says how to let the host in.
func misdirectedTo(t *testing.T, resp *http.Response, host string) {
	t.Helper()
	var problem struct{ Detail string }
	err := json.NewDecoder(resp.Body).Decode(&problem)
	if resp.StatusCode != http.StatusMisdirectedRequest || resp.Header.Get("Content-Type") != problemType || err != nil || !strings.Contains(problem.Detail, "--allowed-hosts="+host) {
		t.Errorf("%s: %s %q %v", host, resp.Status, problem.Detail, err)
	}
}

func TestWithoutAuthenticationAPageThatRebindsItsNameReadsNothing(t *testing.T) {
	l := goLive(t, func(c *Config) { c.Hosts = []string{"khook", "khook.kagent.svc", "dash.example.com"} })
	for _, path := range []string{"/events", "/incidents", "/deliveries", "/hooks", "/health", "/diagnostics", "/metrics", "/openapi.json", "/nowhere"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			misdirectedTo(t, l.rebinds(method, api.Base+path, "evil.example:8082", "X-Forwarded-Host", "localhost"), "evil.example")
		}
	}
	misdirectedTo(t, l.rebinds(http.MethodGet, streamPath, "evil.example", "Accept", stream.ContentType), "evil.example")
	_, resp, err := websocket.Dial(t.Context(), strings.Replace(l.base, "http", "ws", 1)+streamPath, &websocket.DialOptions{Host: "evil.example", HTTPHeader: http.Header{"Origin": {"http://evil.example"}}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a WebSocket: %+v %v", resp, err)
	}
	for _, host := range []string{
		"khook.kagent.svc.evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a.localhost", "khook.other.svc", "xkhook", "[::1", "127.0.0.1:80:80",
	} {
		if resp := l.rebinds(http.MethodGet, api.Base+"/events", host); resp.StatusCode != http.StatusMisdirectedRequest && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", host, resp.Status)
		}
	}
	for _, host := range []string{
		"127.0.0.1", "127.0.0.1:8082", "10.1.2.3", "[::1]", "[::1]:8082", "[fd00::1]:80", "localhost", "LocalHost:8082", "localhost.", "localhost.:8082",
		"khook", "khook:8082", "KHOOK.kagent.svc.:80", "dash.example.com",
	} {
		if resp := l.rebinds(http.MethodGet, api.Base+"/events", host); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", host, resp.Status)
		}
	}
}

func TestARequestWithoutAHostIsToldToNameOne(t *testing.T) {
	l := goLive(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s/events HTTP/1.0\r\n\r\n", api.Base)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusMisdirectedRequest {
		t.Fatalf("%+v %v", resp, err)
	}
	defer resp.Body.Close()
}

func TestWithAuthenticationEveryHostWillDo(t *testing.T) {
	d := &doorman{}
	d.open.Store(true)
	l := goLive(t, func(c *Config) { c.Access = d })
	if resp := l.rebinds(http.MethodGet, api.Base+"/events", "khook.example.com", "Authorization", "Bearer t0ken"); resp.StatusCode != http.StatusOK {
		t.Errorf("%s", resp.Status)
	}
}

func TestARefusedHandshakeIsAProblemDocument(t *testing.T) {
	l := goLive(t)
	for name, c := range map[string]struct {
		code    int
		headers []string
	}{
		"of another origin":   {http.StatusForbidden, []string{"Origin", "https://evil.example", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}},
		"of an old version":   {http.StatusBadRequest, []string{"Sec-WebSocket-Version", "8", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}},
		"without a key":       {http.StatusBadRequest, []string{"Sec-WebSocket-Version", "13"}},
		"that is no real one": {http.StatusUpgradeRequired, []string{"Connection", "close"}},
	} {
		resp := l.rebinds(http.MethodGet, streamPath, "localhost", append([]string{"Upgrade", "websocket", "Connection", "Upgrade"}, c.headers...)...)
		var problem struct {
			Status int
			Detail string
		}
		err := json.NewDecoder(resp.Body).Decode(&problem)
		if resp.StatusCode != c.code || resp.Header.Get("Content-Type") != problemType || err != nil || problem.Status != c.code || problem.Detail == "" {
			t.Errorf("one %s: %s %q %+v %v", name, resp.Status, resp.Header.Get("Content-Type"), problem, err)
		}
	}
}

func TestOnlyTheStreamTakesATokenAsSubprotocol(t *testing.T) {
	d := &doorman{}
	d.open.Store(true)
	l := goLive(t, func(c *Config) { c.Access = d })
	upgrade := []string{"Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Protocol", stream.TokenProtocol + "t0ken"}
	for _, path := range []string{"/events", "/incidents", "/hooks", "/openapi.json"} {
		if resp := l.rebinds(http.MethodGet, api.Base+path, "localhost", upgrade...); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if resp := l.rebinds(http.MethodPost, api.Base+"/hooks/validate", "localhost", upgrade...); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("validate: %s", resp.Status)
	}
}
