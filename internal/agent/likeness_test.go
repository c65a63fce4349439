package agent_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

// rpcSays is the JSON-RPC error that the server answers with; zero for none.
func rpcSays(t *testing.T, s *kagenttest.Server, method, params string) (code int, message string) {
	t.Helper()
	return rpcSaysTo(t, s, http.Header{"X-User-Id": {"khook"}}, method, params)
}

// rpcSaysTo is rpcSays to who makes himself known by the header.
func rpcSaysTo(t *testing.T, s *kagenttest.Server, caller http.Header, method, params string) (code int, message string) {
	t.Helper()
	url, version := s.URL+"/api/a2a/kagent/k8s-agent/", "1.0"
	switch s.Dialect() {
	case agent.Kagent10:
		url = s.URL + "/agents/kagent/k8s-agent"
	case agent.Kagent05:
		version = ""
		method = map[string]string{"GetTask": "tasks/get", "CancelTask": "tasks/cancel", "SubscribeToTask": "tasks/resubscribe", "ListTasks": "tasks/list"}[method]
	}
	body := `{"jsonrpc":"2.0","id":"1","method":"` + method + `","params":` + params + `}`
	req, err := http.NewRequestWithContext(within(t), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = caller.Clone()
	req.Header.Set("Content-Type", "application/json")
	if version != "" {
		req.Header.Set("A2A-Version", version)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Error struct {
			Code    int
			Message string
		}
	}
	_, after, found := bytes.Cut(text, []byte("data: "))
	if found {
		text = after
	}
	_ = json.Unmarshal(bytes.TrimSpace(text), &got)
	return got.Error.Code, got.Error.Message
}

// What the real controllers said is in the table of kagenttest.
func TestTheTestsKagentSaysNoAsTheRealOneDoes(t *testing.T) {
	eachDialect(t, kagenttest.Options{Cancels: true}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		task, err := c.Send(within(t), newRequest("shop"))
		if err != nil {
			t.Fatal(err)
		}
		until(t, c, task.ID, agent.Completed)
		old := s.Dialect() == agent.Kagent05 || s.Dialect() == agent.Kagent097
		for _, ask := range []struct {
			method, id, says string
			code             int
		}{
			{"GetTask", "nobody", "failed to decode response: json: cannot unmarshal object", -32001},
			{"CancelTask", "nobody", "failed to decode response: json: cannot unmarshal object", -32001},
			{"CancelTask", task.ID, "failed to decode response: json: cannot unmarshal object", 0},
			{"SubscribeToTask", task.ID, "failed to parse SSE data: json: cannot unmarshal object", 0},
		} {
			code, message := rpcSays(t, s, ask.method, `{"id":"`+ask.id+`"}`)
			if old && (code != -32603 || !strings.HasPrefix(message, ask.says)) || !old && code != ask.code {
				t.Errorf("%s of %s: %d %s", ask.method, ask.id, code, message)
			}
		}
		// khook knows nevertheless.
		if _, err := c.Task(within(t), helper, "nobody"); !agent.TaskGone(err) {
			t.Errorf("an unknown task: %v", err)
		}
	})
}

// What somebody else may do with a task, by dialect.
func TestTheTestsKagentKeepsUsersApartAsTheRealOneDoes(t *testing.T) {
	opts := kagenttest.Options{Cancels: true, Script: func(kagenttest.Message) kagenttest.Act { return kagenttest.Act{Never: true} }}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		r := newRequest("shop")
		task, err := dial(t, s).Send(within(t), r)
		if err != nil {
			t.Fatal(err)
		}
		theirs, lists, list := -31403, 0, `{"contextId":"`+task.ContextID+`"}`
		switch s.Dialect() {
		case agent.Kagent05:
			theirs, lists = 0, -32601
		case agent.Kagent097:
			theirs, lists = 0, -32004
		}
		other := http.Header{"X-User-Id": {"somebody"}}
		if code, message := rpcSaysTo(t, s, other, "GetTask", `{"id":"`+task.ID+`"}`); code != theirs {
			t.Errorf("somebody else's look: %d %s", code, message)
		}
		if code, message := rpcSays(t, s, "ListTasks", list); code != lists {
			t.Errorf("the list: %d %s", code, message)
		}
		if code, message := rpcSaysTo(t, s, other, "ListTasks", list); code != min(lists, theirs) {
			t.Errorf("somebody else's list: %d %s", code, message)
		}
		if code, _ := rpcSays(t, s, "ListTasks", `{"pageSize":101,"contextId":"`+task.ContextID+`"}`); lists == 0 && code != -32602 {
			t.Errorf("a page of 101: %d", code)
		}
		if code, message := rpcSaysTo(t, s, other, "CancelTask", `{"id":"`+task.ID+`"}`); code != theirs {
			t.Errorf("somebody else's cancel: %d %s", code, message)
		}
		if got, err := dial(t, s).Task(within(t), helper, task.ID); err != nil || (got.State == agent.Canceled) != (theirs == 0) {
			t.Errorf("then its own user sees %s, %v", got.State, err)
		}
		// khook as another user: told where kagent tells, and else neither gone nor to be read.
		_, err = dial(t, s, func(cfg *agent.Config) { cfg.UserID = "somebody" }).Task(within(t), helper, task.ID)
		if theirs == 0 && err != nil || theirs != 0 && agent.Fault(err) != delivery.Unauthorized {
			t.Errorf("khook as another user: %v", err)
		}
	})
}

func TestBehindATrustedProxyTheTokenSaysWhoCalls(t *testing.T) {
	eachDialect(t, kagenttest.Options{TrustedProxy: true}, func(t *testing.T, s *kagenttest.Server) {
		with := func(token string) *agent.Client {
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
			return dial(t, s, func(cfg *agent.Config) { cfg.TokenFile = file })
		}
		if _, err := with(kagenttest.TokenFor("ann")).Send(within(t), newRequest("shop")); err != nil {
			t.Fatal(err)
		}
		if all := s.Messages(); len(all) != 1 || all[0].User != "ann" {
			t.Errorf("the agent got %+v", all)
		}
		if _, err := with("opaque").Send(within(t), newRequest("pay")); agent.Fault(err) != delivery.Unauthorized || !agent.NoEffect(err) {
			t.Errorf("with a token that says nothing: %v", err)
		}
	})
}

func TestAMessageIDIsTheMessagesOwn(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c, first, second := dial(t, s), newRequest("shop"), newRequest("shop")
		second.Prompt = "Something else."
		if _, err := c.Send(within(t), first); err != nil {
			t.Fatal(err)
		}
		_, err := c.Send(within(t), second)
		if refused := agent.Final(err) && agent.NoEffect(err); refused != (s.Dialect() == agent.Kagent10) {
			t.Errorf("another message with its ID: %v", err)
		}
	})
}

func TestAnApprovalThatNamesOtherCallsIsRefused(t *testing.T) {
	opts := kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if m.Reply {
			return kagenttest.Act{Answer: "Done."}
		}
		return kagenttest.Act{Approve: "delete_pod"}
	}}
	for _, dialect := range []string{agent.KagentMain, agent.Kagent10} {
		opts.Dialect = dialect
		s := kagenttest.New(t, opts)
		c := dial(t, s)
		task, err := c.Send(within(t), newRequest("shop"))
		if err != nil {
			t.Fatal(err)
		}
		until(t, c, task.ID, agent.InputRequired)
		if code, message := rpcSays(t, s, "SubscribeToTask", `{"id":"`+task.ID+`"}`); code != 0 { // it ends: else this would hang
			t.Errorf("%s: the stream of a task that waits: %d %s", dialect, code, message)
		}
		decide := func(id string) (int, string) {
			return rpcSays(t, s, "SendMessage", `{"message":{"messageId":"r-`+id+`","taskId":"`+task.ID+`","role":"ROLE_USER","parts":[{"text":"yes"}],"extensions":["`+kagenttest.Extension+
				`"],"metadata":{"`+kagenttest.Extension+`":{"type":"tool_approval_response","approvals":[{"id":"`+id+`","approved":true}]}}}}`)
		}
		if code, message := decide("approve-another"); code != -32600 || !strings.Contains(message, "does not match the pending input request") {
			t.Errorf("%s: another call: %d %s", dialect, code, message)
		}
		if code, message := decide("approve-delete_pod"); code != 0 {
			t.Errorf("%s: the call that waits: %d %s", dialect, code, message)
		}
	}
}
