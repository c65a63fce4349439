package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// serveProblem is a server that refuses each request.
func serveProblem(t *testing.T, model huma.ErrorModel) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(model.Status)
		_ = json.NewEncoder(w).Encode(model)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestCLIExplainsWhatTheServerRefuses(t *testing.T) {
	sort := &huma.ErrorDetail{Location: "query.sort", Message: `expected value to be one of "firstSeen, -firstSeen"`, Value: "age"}
	limit := &huma.ErrorDetail{Location: "query.limit", Message: "expected number <= 1000", Value: 5000}
	for name, c := range map[string]struct {
		problem huma.ErrorModel
		want    string
	}{
		"the parameter is named once": {huma.ErrorModel{Status: 400, Detail: "query parameter sort: " + sort.Message, Errors: []*huma.ErrorDetail{sort}},
			`khook: --sort-by: expected value to be one of "firstSeen, -firstSeen"` + "\n"},
		"each parameter is named": {huma.ErrorModel{Status: 400, Detail: "validation failed", Errors: []*huma.ErrorDetail{sort, limit}},
			`khook: --sort-by: expected value to be one of "firstSeen, -firstSeen"; --limit: expected number <= 1000` + "\n"},
		"who asks for too much is told what to type": {huma.ErrorModel{Status: 403, Detail: "ann may not list hooks.kagent.dev in all namespaces: name one namespace (namespace=...), or ask for a ClusterRole with that right"},
			"khook: ann may not list hooks.kagent.dev in all namespaces: name one namespace (-n NAMESPACE), or ask for a ClusterRole with that right\n"},
		"the flag is meant and not the parameter": {huma.ErrorModel{Status: 400, Detail: "query parameter interval: must be whole hours if timeRange is more than 24h"},
			"khook: --interval: must be whole hours if --range is more than 24h\n"},
		"what a body has too": {huma.ErrorModel{Status: 400, Detail: "validation failed", Errors: []*huma.ErrorDetail{{Location: "body.for", Message: "is no duration"}}},
			"khook: --for: is no duration\n"},
		"a khook that is older says so": {huma.ErrorModel{Status: 400, Detail: "query parameter idPrefix: there is no such parameter; this route takes namespace, limit"},
			"khook: the khook that answers is older than this command: it does not know the parameter idPrefix\n"},
		"a token for an audience": {huma.ErrorModel{Status: 401, Detail: `send a token of the cluster, such as: -H "Authorization: Bearer $(kubectl create token SERVICEACCOUNT --audience khook)"`},
			`khook: khook does not know who you are: pass --token "$(kubectl create token SERVICEACCOUNT -n NAMESPACE --audience khook)"` + "\n"},
		"a token that is over": {huma.ErrorModel{Status: 401, Detail: "the bearer token is not valid, or no longer"},
			`khook: khook does not know who you are: pass --token "$(kubectl create token SERVICEACCOUNT -n NAMESPACE)" (the bearer token is not valid, or no longer)` + "\n"},
		"who may not read is told so": {huma.ErrorModel{Status: 403, Detail: "ann may not get events in namespace shop"},
			"khook: ann may not get events in namespace shop\n"},
		"also without a reason": {huma.ErrorModel{Status: 403},
			"khook: you may not read this (403 Forbidden): ask for a narrower -n NAMESPACE, or for the right to read Hooks there\n"},
		"who is not known is told what to pass": {huma.ErrorModel{Status: 401},
			`khook: khook does not know who you are: pass --token "$(kubectl create token SERVICEACCOUNT -n NAMESPACE)"` + "\n"},
	} {
		code, out, errs := khook(t, "events", "--server", serveProblem(t, c.problem))
		if code != 1 || out != "" || errs != c.want {
			t.Errorf("%s: %d %q\n got %s want %s", name, code, out, errs, c.want)
		}
	}
}

// TestCLILetsNoStatusLineMoveTheCursor has a server of its own: net/http writes no such line.
func TestCLILetsNoStatusLineMoveTheCursor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = fmt.Fprint(conn, "HTTP/1.1 500 \x1b[2Jowned\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}()
	code, _, errs := khook(t, "events", "--server", "http://"+l.Addr().String())
	_ = l.Close()
	<-done
	if code != 1 || !strings.Contains(errs, "500") || strings.ContainsAny(errs, "\x1b") {
		t.Errorf("%d %q", code, errs)
	}
}

func TestCLITellsNoTokenOfTheEnvironment(t *testing.T) {
	t.Setenv("KHOOK_TOKEN", "very-secret")
	for _, args := range [][]string{
		{"events", "--help"}, {"stats", "trends", "--help"}, {"completion", "bash"}, {"events", "--server", "http://khook.example:8082"},
		{"events", "--server", "http://127.0.0.1:1"}, {"events", "--no-such-flag"},
	} {
		if _, out, errs := khook(t, args...); strings.Contains(out+errs, "very-secret") {
			t.Errorf("%v tells the token:\n%s%s", args, out, errs)
		}
	}
}

func TestCLIHidesThePasswordOfAURL(t *testing.T) {
	for _, url := range []string{"ftp://ann:hunter2@khook.example", "http://ann:hunter2@khook.example:8082"} {
		if code, _, errs := khook(t, "events", "--server", url, "--token", "x"); code != 1 || strings.Contains(errs, "hunter2") {
			t.Errorf("%s: %d %s", url, code, errs)
		}
	}
}
