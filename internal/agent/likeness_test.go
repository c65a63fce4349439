package agent_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// rpcSays is the JSON-RPC error that the server answers with; zero for none.
func rpcSays(t *testing.T, s *kagenttest.Server, method, params string) (code int, message string) {
	t.Helper()
	url, version := s.URL+"/api/a2a/kagent/k8s-agent/", "1.0"
	switch s.Dialect() {
	case agent.Kagent10:
		url = s.URL + "/agents/kagent/k8s-agent"
	case agent.Kagent05:
		version = ""
		method = map[string]string{"GetTask": "tasks/get", "CancelTask": "tasks/cancel", "SubscribeToTask": "tasks/resubscribe"}[method]
	}
	body := `{"jsonrpc":"2.0","id":"1","method":"` + method + `","params":` + params + `}`
	req, err := http.NewRequestWithContext(within(t), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-User-Id", "khook")
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
			{"CancelTask", task.ID, "failed to decode response: json: cannot unmarshal object", -32002},
			{"SubscribeToTask", task.ID, "failed to parse SSE data: json: cannot unmarshal object", 0},
		} {
			code, message := rpcSays(t, s, ask.method, `{"id":"`+ask.id+`"}`)
			if old && (code != -32603 || !strings.HasPrefix(message, ask.says)) || !old && ask.code != 0 && code != ask.code {
				t.Errorf("%s of %s: %d %s", ask.method, ask.id, code, message)
			}
		}
		// khook knows nevertheless.
		if _, err := c.Task(within(t), helper, "nobody"); !agent.TaskGone(err) {
			t.Errorf("an unknown task: %v", err)
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
