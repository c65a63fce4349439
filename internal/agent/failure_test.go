package agent_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

// failures are bad answers to a Send, and what must be known of each.
var failures = map[string]struct {
	fault    kagenttest.Fault
	kind     delivery.Fault
	noEffect bool
	after    time.Duration
	says     string
}{
	"a broken connection": {kagenttest.Fault{Drop: true}, delivery.Lost, false, 0, "broke before its answer was complete"},
	"half an answer":      {kagenttest.Fault{Accept: true, Drop: true, CutAfter: 20}, delivery.Lost, false, 0, "broke before its answer was complete"},
	"no answer at all":    {kagenttest.Fault{Hang: true}, delivery.Lost, false, 0, "gave no complete answer within 500ms"},
	"a server error":      {kagenttest.Fault{Status: 500, Body: "database is\nlocked\x07"}, delivery.Lost, false, 0, "500 Internal Server Error: database is locked"},
	"a gateway's error":   {kagenttest.Fault{Status: 502, Body: "upstream connect error"}, delivery.Lost, false, 0, "502 Bad Gateway: upstream connect error"},
	"overload":            {kagenttest.Fault{Status: 503}, delivery.Lost, false, 0, "503 Service Unavailable"},
	"overload for 7 s":    {kagenttest.Fault{Status: 503, Header: map[string]string{"Retry-After": "7"}}, delivery.Lost, false, 7 * time.Second, "503"},
	"a gateway's timeout": {kagenttest.Fault{Status: 504}, delivery.Lost, false, 0, "504 Gateway Timeout"},
	"a rate limit":        {kagenttest.Fault{Status: 429, Header: map[string]string{"Retry-After": "2"}, Body: "slow down"}, delivery.RateLimited, true, 2 * time.Second, "429 Too Many Requests: slow down"},
	"a limit for ever":    {kagenttest.Fault{Status: 429, Header: map[string]string{"Retry-After": "999999999"}}, delivery.RateLimited, true, time.Hour, "429"},
	"a bad request":       {kagenttest.Fault{Status: 400, Body: `{"why":"bad"}`, Times: -1}, delivery.Refused, true, 0, "400 Bad Request"},
	"another version":     {kagenttest.Fault{Status: 400, Body: "unsupported A2A version", Times: -1}, delivery.WrongDialect, true, 0, "unsupported A2A version"},
	"too large a message": {kagenttest.Fault{Status: 413}, delivery.Refused, true, 0, "413"},
	"no token":            {kagenttest.Fault{Status: 401, Body: "Unauthorized"}, delivery.Unauthorized, true, time.Minute, "Check khook's token"},
	"no permission":       {kagenttest.Fault{Status: 403}, delivery.Unauthorized, true, time.Minute, "403 Forbidden"},
	"a login":             {kagenttest.Fault{Status: 302, Header: map[string]string{"Location": "/login"}, Body: "<html>"}, delivery.Astray, true, 0, "302 Found"},
	"a bill":              {kagenttest.Fault{Status: 402, Body: "<html>"}, delivery.Astray, true, 0, "402"},
	"misdirected":         {kagenttest.Fault{Status: 421}, delivery.Astray, true, 0, "421"},
	"too early":           {kagenttest.Fault{Status: 425}, delivery.Astray, true, 0, "425"},
	"a gateway's JSON":    {kagenttest.Fault{Status: 403, Body: `{"error":{"code":403,"message":"no"}}`}, delivery.Unauthorized, true, time.Minute, "403 Forbidden"},
	"a gateway's limit":   {kagenttest.Fault{Status: 429, Body: `{"error":{"code":429}}`, Header: map[string]string{"Retry-After": "3"}}, delivery.RateLimited, true, 3 * time.Second, "429"},
	"no agent behind it":  {rpcFault(200, -32603, `failed to send HTTP request: Post \"http://medic.kagent:8080\": dial tcp 10.0.0.1:8080: connect: connection refused`), delivery.AgentDown, true, 0, "connection refused"},
	"an agent that says":  {rpcFault(200, -32603, "the tool failed: dial tcp 10.0.0.1:80: connection refused"), delivery.Lost, false, 0, "the tool failed"},
	"an unread answer":    {rpcFault(200, -32603, "failed to decode response: json: cannot unmarshal object into Go struct field Error.error.data"), delivery.Unreadable, false, 0, "failed to decode"},
	"a conflict":          {kagenttest.Fault{Status: 409}, delivery.Lost, false, 0, "409 Conflict"},
	"a redirect":          {kagenttest.Fault{Status: 307, Header: map[string]string{"Location": "http://evil.example/"}}, delivery.Astray, true, 0, "to http://evil.example/: use the right URL"},
	"an empty answer":     {kagenttest.Fault{Accept: true}, delivery.BadAnswer, false, 0, "not JSON"},
	"204":                 {kagenttest.Fault{Status: 204}, delivery.BadAnswer, false, 0, "204 No Content"},
	"a web page":          {kagenttest.Fault{Body: "<html>\u202eLog in</html>"}, delivery.BadAnswer, false, 0, "the answer is not JSON: <html>Log in</html>"},
	"a huge answer":       {kagenttest.Fault{Accept: true, Huge: 9 << 20, Body: "{}"}, delivery.BadAnswer, false, 0, "larger than the 1048576 bytes"},
	"a huge refusal":      {kagenttest.Fault{Status: 500, Huge: 9 << 20}, delivery.Lost, false, 0, "500"},
	"another JSON":        {kagenttest.Fault{Body: `{"hello":"world"}`}, delivery.BadAnswer, false, 0, "not what A2A says"},
	"a null result":       {kagenttest.Fault{Body: `{"jsonrpc":"2.0","id":"1","result":null}`}, delivery.BadAnswer, false, 0, "not what A2A says"},
	"no task ID":          {kagenttest.Fault{Body: `{"jsonrpc":"2.0","id":"1","result":{"kind":"task","status":{"state":"working"},"task":{"status":{"state":"TASK_STATE_WORKING"}}}}`}, delivery.BadAnswer, false, 0, "no usable task ID"},
	"a task ID of lines":  {kagenttest.Fault{Body: `{"jsonrpc":"2.0","id":"1","result":{"kind":"task","id":"a\nb","status":{"state":"working"},"task":{"id":"a\nb","status":{"state":"TASK_STATE_WORKING"}}}}`}, delivery.BadAnswer, false, 0, "no usable task ID"},
	"an internal error":   {rpcFault(200, -32603, "agent is\tdown"), delivery.Lost, false, 0, "error -32603: agent is down"},
	"an unknown error":    {rpcFault(200, -32099, "boom"), delivery.Lost, false, 0, "error -32099: boom"},
	"invalid parameters":  {rpcFault(200, -32602, "no parts"), delivery.Refused, true, 0, "error -32602: no parts"},
	"400 with a reason":   {rpcFault(400, -32600, "bad request"), delivery.Refused, true, 0, "error -32600: bad request"},
	"an unknown method":   {rpcFault(200, -32601, "no such method"), delivery.WrongDialect, true, 0, "error -32601"},
	"a version refused":   {rpcFault(200, -32009, "only 2.0"), delivery.WrongDialect, true, 0, "error -32009: only 2.0"},
	"a user refused":      {rpcFault(200, -31401, "who?"), delivery.Unauthorized, true, time.Minute, "error -31401: who?"},
	"an invalid agent":    {rpcFault(200, -32006, "no events"), delivery.BadAnswer, false, 0, "error -32006"},
	"a task not found":    {rpcFault(200, -32001, "task not found"), delivery.BadAnswer, false, 0, "error -32001"},
	"500 and JSON-RPC":    {rpcFault(500, -32603, "panic"), delivery.Lost, false, 0, "error -32603: panic"},
}

// rpcFault is a JSON-RPC error whose data is of no shape that the SDK knows.
func rpcFault(status, code int, message string) kagenttest.Fault {
	quoted := strings.ReplaceAll(message, "\t", `\t`)
	body := `{"jsonrpc":"2.0","id":null,"error":{"code":` + strconv.Itoa(code) + `,"message":"` + quoted + `","data":"a string"}}`
	return kagenttest.Fault{Status: status, Body: body, Times: -1}
}

func TestEachBadAnswerToASendIsToldApart(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		t.Parallel()
		c := dial(t, s, func(cfg *agent.Config) { cfg.MaxResponse = 1 << 20 })
		slow := hurried(t, s)
		for name, f := range failures {
			s.Heal()
			if err := c.Exists(within(t), helper); err != nil {
				t.Fatal(err)
			}
			f.fault.On = kagenttest.Send
			s.Inject(f.fault)
			caller := c
			if f.fault.Hang {
				caller = slow
			}
			_, err := caller.Send(within(t), newRequest(name))
			var e *agent.Error
			if !errors.As(err, &e) {
				t.Errorf("%s: %v is no Error", name, err)
				continue
			}
			if e.Kind != f.kind || agent.NoEffect(err) != f.noEffect || agent.RetryAfter(err) != f.after || !strings.Contains(agent.Explain(err), f.says) {
				t.Errorf("%s: kind %s, no effect %t, retry after %s: %s", name, e.Kind, agent.NoEffect(err), agent.RetryAfter(err), agent.Explain(err))
			}
			if told := strings.Contains(err.Error(), "may have arrived"); told == f.noEffect {
				t.Errorf("%s: %s", name, err)
			}
			if len(agent.Explain(err)) > delivery.MaxError || !strings.HasPrefix(err.Error(), "call agent kagent/k8s-agent: ") {
				t.Errorf("%s: %s", name, err)
			}
		}
	})
}

func TestReadsNeverHaveAnEffect(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		t.Parallel()
		c := dial(t, s)
		task, err := c.Send(within(t), newRequest("shop"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []kagenttest.Fault{{Drop: true}, {Status: 500}, {Body: "garbage"}, {Hang: true}} {
			f.On = kagenttest.Get
			s.Inject(f)
			if f.Hang {
				c = hurried(t, s)
			}
			if _, err := c.Task(within(t), helper, task.ID); err == nil || !agent.NoEffect(err) || agent.TaskGone(err) || agent.Final(err) {
				t.Errorf("%+v: %v", f, err)
			}
		}
	})
}

func TestATaskThatVanishedIsGone(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		task, err := c.Send(within(t), newRequest("shop"))
		if err != nil {
			t.Fatal(err)
		}
		until(t, c, task.ID, agent.Completed)
		s.Vanish(task.ID)
		if _, err := c.Task(within(t), helper, task.ID); !agent.TaskGone(err) || agent.Final(err) {
			t.Error(err)
		}
		if _, err := c.Cancel(within(t), helper, task.ID, agent.Permit{}); !agent.TaskGone(err) {
			t.Error(err)
		}
	})
}

func TestATaskThatOnlyItsAgentForgotIsReadFromKagent(t *testing.T) {
	for _, dialect := range []string{agent.Kagent05, agent.Kagent097} {
		s := kagenttest.New(t, kagenttest.Options{Dialect: dialect, Script: func(kagenttest.Message) kagenttest.Act { return kagenttest.Act{Answer: "kept"} }})
		c := dial(t, s)
		task, err := c.Send(within(t), newRequest("shop"))
		if err != nil {
			t.Fatal(err)
		}
		until(t, c, task.ID, agent.Completed)
		gone := rpcFault(200, -32001, "task not found")
		gone.On = kagenttest.Get
		s.Inject(gone)
		if got, err := c.Task(within(t), helper, task.ID); err != nil || got.Answer != "kept" || got.State != agent.Completed {
			t.Errorf("%s: %+v, %v", dialect, got, err)
		}
	}
}

func TestAnAnswerAboutAnotherTaskIsNoAnswer(t *testing.T) {
	s := kagenttest.New(t, kagenttest.Options{})
	c := dial(t, s)
	s.Inject(kagenttest.Fault{On: kagenttest.Get, Body: `{"jsonrpc":"2.0","id":"1","result":{"id":"other","contextId":"c","status":{"state":"TASK_STATE_COMPLETED"}}}`})
	if _, err := c.Task(within(t), helper, "mine"); err == nil || !strings.Contains(err.Error(), "another task") {
		t.Error(err)
	}
}

func TestNothingWasSentWithoutAConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := listener.Addr().String()
	_ = listener.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for base, says := range map[string]string{
		"http://" + free:        "refuses connections: is kagent running, and the port right?",
		"http://kagent.invalid": "can't be resolved",
		secure.URL:              "no TLS connection to kagent's host",
		strings.Replace(plain.URL, "p:", "ps:", 1): "no TLS connection to kagent's host",
	} {
		c, err := agent.New(agent.Config{BaseURL: base, Dialect: agent.Kagent10})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Send(within(t), newRequest("shop"))
		if !agent.NoEffect(err) || agent.Fault(err).Rule().Breaker != delivery.OfAll || agent.Final(err) || !strings.Contains(agent.Explain(err), says) {
			t.Errorf("%s: no effect %t: %v", base, agent.NoEffect(err), err)
		}
		c.Close()
	}
}

func TestACallGivenUpByItsCallerMayHaveArrived(t *testing.T) {
	s := kagenttest.New(t, kagenttest.Options{Script: func(kagenttest.Message) kagenttest.Act { return kagenttest.Act{Silent: true} }})
	c := dial(t, s)
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		_, _ = s.Await(ctx, 1)
		cancel()
	}()
	_, err := c.Send(ctx, newRequest("shop"))
	if !errors.Is(err, context.Canceled) || agent.NoEffect(err) {
		t.Errorf("no effect %t: %v", agent.NoEffect(err), err)
	}
	if _, err = c.Send(ctx, newRequest("other")); !agent.NoEffect(err) || s.Executions(newRequest("other").MessageID) != 0 {
		t.Error("a call after the end of its context:", err)
	}
}

func TestAMessageThatIsNoneIsRefused(t *testing.T) {
	s := kagenttest.New(t, kagenttest.Options{})
	c := dial(t, s)
	for _, change := range []func(*agent.Request){
		func(r *agent.Request) { r.MessageID = "" },
		func(r *agent.Request) { r.Prompt, r.Data = "", nil },
		func(r *agent.Request) { r.Data = []byte("[1]") },
		func(r *agent.Request) { r.Data = []byte(`{"a":`) },
		func(r *agent.Request) { r.Data = []byte(`{} {}`) },
	} {
		r := newRequest("shop")
		change(&r)
		if _, err := c.Send(within(t), r); !agent.Final(err) || !agent.NoEffect(err) {
			t.Error(err)
		}
	}
	if len(s.Messages()) != 0 {
		t.Error("the agent received something")
	}
}

func TestSettingsThatCantWorkAreRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for says, cfg := range map[string]agent.Config{
		"must begin with http":               {BaseURL: "kagent:8083"},
		"must not carry credentials":         {BaseURL: "http://u:p@kagent"},
		"neither query nor fragment":         {BaseURL: "http://kagent?a=b"},
		`unknown dialect "2.0"`:              {Dialect: "2.0"},
		"is empty":                           {TokenFile: empty},
		"can't be read: no such file":        {TokenFile: empty + "s"},
		"the user ID has characters":         {UserID: "a\nb"},
		"it would let a call be repeated":    {Headers: map[string]string{"idempotency-key": "1"}},
		`header "X Y" has a name or a value`: {Headers: map[string]string{"X Y": "1"}},
		"use the user ID":                    {Headers: map[string]string{"x-user-id": "1"}},
		"can't be negative":                  {Timeout: -1},
	} {
		if _, err := agent.New(cfg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", says, err)
		}
	}
}
