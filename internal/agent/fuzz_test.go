package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/delivery"
)

// fuzzAnswers is a transport that gives one answer to everything.
type fuzzAnswers struct {
	status int
	kind   string
	body   string
}

func (a fuzzAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	closeBody(req)
	return &http.Response{
		StatusCode: a.status, Header: http.Header{"Content-Type": {a.kind}}, Request: req,
		Body: io.NopCloser(strings.NewReader(a.body)),
	}, nil
}

func facing(t testing.TB, a fuzzAnswers, dialect string) *Client {
	t.Helper()
	c, err := New(Config{BaseURL: "http://kagent", Dialect: dialect, Transport: a, MaxResponse: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sane checks what everybody relies on, whatever an agent answers.
func sane(t *testing.T, task Task, err error) {
	t.Helper()
	if err != nil {
		text := Explain(err)
		if text == "" || len(text) > delivery.MaxError || strings.ContainsAny(text, "\n\x00\x1b") || !utf8.ValidString(text) {
			t.Errorf("a bad sentence: %q", text)
		}
		return
	}
	if len(task.Answer) > delivery.MaxAnswer || len(task.Question) > delivery.MaxAnswer || len(task.ID) > maxID || len(task.ContextID) > maxID {
		t.Errorf("unbounded: %d %d %d %d", len(task.Answer), len(task.Question), len(task.ID), len(task.ContextID))
	}
	for _, s := range []string{task.Answer, task.Question, task.ID, task.ContextID} {
		if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\x1b\u202e") {
			t.Errorf("unclean: %q", s)
		}
	}
	if len(task.Entries) > MaxEntries || task.State.Interrupted() != (task.asks != nil) {
		t.Errorf("%d entries in state %s, asks %+v", len(task.Entries), task.State, task.asks)
	}
	for _, e := range task.Entries {
		if e.Text == "" || len(e.Text) > MaxEntry || len(e.Name) > maxEntryName || !validID(e.ID) || !utf8.ValidString(e.Text) || strings.ContainsAny(e.Text+e.Name, "\x00\x1b\u202e") {
			t.Errorf("a bad entry: %+v", e)
		}
	}
	if task.State == "" || task.Usage.Total < 0 {
		t.Errorf("%+v", task)
	}
}

var seeds = []string{
	`{"jsonrpc":"2.0","id":"1","result":{"task":{"id":"t","contextId":"c","status":{"state":"TASK_STATE_COMPLETED"},"artifacts":[{"artifactId":"a","parts":[{"text":"hi"},{"data":{"a":[1,null]}}]},null]}}}`,
	`{"jsonrpc":"2.0","id":"1","result":{"kind":"task","id":"t","contextId":"c","status":{"state":"input-required","message":{"kind":"message","role":"agent","messageId":"m","parts":[{"kind":"data","data":{"name":"adk_request_confirmation","args":{"originalFunctionCall":{"name":"x","args":{}}}}}]}}}}`,
	`{"jsonrpc":"2.0","id":"1","result":{"message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"hi"},null]}}}`,
	`{"jsonrpc":"2.0","id":"1","result":{"kind":"message","messageId":"m","role":"agent","parts":[{"kind":"file","file":{"bytes":"%%","name":"x"}}]}}`,
	`{"jsonrpc":"2.0","id":"1","result":{"id":"t","contextId":"c","status":{"state":"TASK_STATE_NEW","message":null},"history":[null,{"role":"ROLE_AGENT","parts":null}],"metadata":{"kagent_usage_metadata":{"totalTokenCount":1e300}}}}`,
	`{"jsonrpc":"2.0","id":"1","result":{"tasks":[null,{"id":"t","contextId":"c"}]}}`,
	`{"jsonrpc":"2.0","id":"1","result":{"id":"t","contextId":"c","status":{"state":"TASK_STATE_INPUT_REQUIRED","message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"?"}],"metadata":{"https://kagent.dev/extensions/hitl/v1":{"type":"tool_approval_request","hint":"h","tools":[{"id":"a","name":"x","args":null}],"nested":{"subagent_name":"s","tools":[{"id":7}]}}}}},"history":[{"role":"ROLE_USER","messageId":"u","parts":[{"text":"hi"}]}]}}`,
	`{"jsonrpc":"2.0","id":"1","result":{"kind":"task","id":"t","contextId":"c","status":{"state":"input-required","message":{"kind":"message","role":"agent","messageId":"\u202e","parts":[{"kind":"data","data":{"name":"adk_request_confirmation","args":{"originalFunctionCall":{"name":"ask_user","args":{"questions":[{"question":"Which?","choices":["a"]},7]}}}}}]}}}}`,
	`{"error":{"code":-32603,"message":"\u001b[31m","data":[1]}}`,
	`{"error":"Session not found"}`, `{"error":false,"data":[{"id":"t"},{}]}`, `{"error":false,"data":{"id":"t","status":{"state":"working"}}}`,
	`null`, `[]`, `{}`, ``, "\xff\xfe", `{"result":`,
}

func FuzzEveryAnswerIsBoundedAndExplained(f *testing.F) {
	for _, seed := range seeds {
		for i := range Dialects() {
			f.Add(seed, 200, i)
		}
		f.Add(seed, 500, 0)
		f.Add(seed, 404, 1)
	}
	ref := delivery.AgentRef{Namespace: "a", Name: "b"}
	f.Fuzz(func(t *testing.T, body string, status, dialect int) {
		if status < 200 || status > 599 {
			status = 200
		}
		name := Dialects()[uint(dialect)%uint(len(Dialects()))]
		c := facing(t, fuzzAnswers{status, "application/json", body}, name)
		task, err := c.Send(t.Context(), Request{Agent: ref, MessageID: "m", ContextID: "c", Prompt: "p"})
		sane(t, task, err)
		if fate, found, lookErr := c.Look(t.Context(), ref, Permit{Dialect: name}, "c"); lookErr != nil || fate == delivery.Arrived {
			sane(t, found, lookErr)
		}
		task, err = c.Task(t.Context(), ref, "t")
		sane(t, task, err)
		task, err = c.Cancel(t.Context(), ref, "t", Permit{})
		sane(t, task, err)
		sane(t, Task{State: Unknown}, c.Exists(t.Context(), ref))
	})
}

func FuzzEveryStreamEndsBounded(f *testing.F) {
	f.Add("data: {\"result\":{\"statusUpdate\":{\"taskId\":\"t\",\"status\":{\"state\":\"TASK_STATE_COMPLETED\"}}}}\n\n", true)
	f.Add("data: {\"result\":{\"kind\":\"status-update\",\"taskId\":\"t\",\"status\":{\"state\":\"input-required\",\"message\":{\"role\":\"agent\",\"parts\":[{\"kind\":\"text\",\"text\":\"?\"}]}}}}\n\n", false)
	f.Add("data: {\"result\":{\"artifactUpdate\":{\"taskId\":\"t\"}}}\r\n\r\n: comment\n\ndata:{\"error\":{}}\n", true)
	f.Add("data: {\"result\":{\"task\":{\"id\":\"t\",\"contextId\":\"c\",\"status\":{\"state\":\"x\"}}}}\n\ndata: null\n\n", true)
	f.Fuzz(func(t *testing.T, body string, v1 bool) {
		name := Kagent05
		if v1 {
			name = Kagent10
		}
		c := facing(t, fuzzAnswers{200, eventStream, body}, name)
		start := Task{ID: "t", State: Working, Dialect: name}
		err := c.stream(t.Context(), peer{ref: delivery.AgentRef{Namespace: "a", Name: "b"}, dialect: dialects[name]}, start, func(task Task) { sane(t, task, nil) })
		if err != nil {
			sane(t, Task{}, explain("follow", err, true))
		}
	})
}

func FuzzStoredTask(f *testing.F) {
	f.Add([]byte(`{"kind":"task","id":"t","contextId":"c","status":{"state":"completed"},"artifacts":[{"artifactId":"a","parts":[{"kind":"text","text":"x"}]}]}`))
	f.Add([]byte(`{"id":"t","contextId":"c","status":{"state":"TASK_STATE_FAILED","message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"x"}]}}}`))
	f.Add([]byte(`{"id":"t","session_id":"c","data":"{}"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		task, err := storedTask(json.RawMessage(data), Kagent097, "t")
		if err != nil {
			err = explain("read", err, true)
		}
		sane(t, task, err)
		if ids, err := taskIDs(data); err == nil {
			for _, id := range ids {
				if !validID(id) {
					t.Errorf("task ID %q", id)
				}
			}
		}
	})
}

func TestATokenNeverShowsInAnError(t *testing.T) {
	for _, bad := range []string{"geheim geheim", "geheim\x00"} {
		path := t.TempDir() + "/token"
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{TokenFile: path}); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v", err)
		}
	}
}

func TestTheMemoryOfAgentsIsBounded(t *testing.T) {
	k := newPeerCache(3)
	for i := range 10 {
		ref := delivery.AgentRef{Namespace: "n", Name: fmt.Sprint(i)}
		k.put(ref, peer{ref: ref})
		k.put(ref, peer{ref: ref})
	}
	if len(k.peers) != 3 || len(k.order) != 3 {
		t.Errorf("%d agents are remembered, at most 3 are allowed", len(k.peers))
	}
	k.forget(delivery.AgentRef{Namespace: "n", Name: "8"})
	if _, ok := k.get(delivery.AgentRef{Namespace: "n", Name: "8"}); ok || len(k.order) != 2 {
		t.Error("an agent can't be forgotten")
	}
}

func TestRetryAfterIsSecondsOrADateAndBounded(t *testing.T) {
	now := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-5": 0, "7": 7 * time.Second, "99999": time.Hour, "18446744073709551616": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second, now.Add(-time.Hour).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestTheAnswerIsFoundWhereverTheAgentPutsIt(t *testing.T) {
	say := func(role a2a.MessageRole, text string) *a2a.Message {
		return a2a.NewMessage(role, a2a.NewTextPart(text))
	}
	thought := a2a.NewTextPart("hmm")
	thought.Metadata = map[string]any{"adk_thought": true}
	for want, task := range map[string]*a2a.Task{
		"one\n\ntwo":              {Artifacts: []*a2a.Artifact{{Parts: a2a.ContentParts{thought, a2a.NewTextPart("one")}}, nil, {Parts: a2a.ContentParts{a2a.NewTextPart("two")}}}, Status: a2a.TaskStatus{Message: say(a2a.MessageRoleAgent, "no")}},
		"status":                  {Status: a2a.TaskStatus{Message: say(a2a.MessageRoleAgent, "status")}, History: []*a2a.Message{say(a2a.MessageRoleAgent, "no")}},
		"last":                    {History: []*a2a.Message{say(a2a.MessageRoleAgent, "first"), say(a2a.MessageRoleAgent, "last"), say(a2a.MessageRoleUser, "no"), nil}},
		"":                        {History: []*a2a.Message{say(a2a.MessageRoleUser, "mine")}},
		`{"a":1}`:                 {Artifacts: []*a2a.Artifact{{Parts: a2a.ContentParts{a2a.NewDataPart(map[string]any{"a": 1})}}}},
		"[file x.txt text/plain]": {Artifacts: []*a2a.Artifact{{Parts: a2a.ContentParts{{Content: a2a.Raw("x"), Filename: "x.txt", MediaType: "text/plain"}}}}},
		"Hello world\nNext":       {Artifacts: []*a2a.Artifact{{Parts: a2a.ContentParts{a2a.NewTextPart("Hello"), a2a.NewTextPart(" world"), a2a.NewTextPart("Next")}}}},
	} {
		if got := answerOf(task); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestUsageIsReadInTheWordsOfEachVersion(t *testing.T) {
	for key, counts := range map[string]map[string]any{
		"kagent_usage_metadata":                  {"totalTokenCount": 30, "promptTokenCount": 20, "candidatesTokenCount": 10},
		"https://kagent.dev/extensions/usage/v1": {"totalTokens": 30, "inputTokens": 20, "outputTokens": 7, "reasoningTokens": 3, "cachedInputTokens": 5},
	} {
		if got, want := usage(map[string]any{key: counts}), (Usage{Total: 30, Prompt: 20, Completion: 10}); got != want {
			t.Errorf("%s: %+v, want %+v", key, got, want)
		}
	}
}

func TestAPathIsJoinedBelowTheBase(t *testing.T) {
	base, _ := url.Parse("https://gate/kagent/")
	c := &Client{base: base}
	p := peer{ref: delivery.AgentRef{Namespace: "a", Name: "b"}, dialect: dialects[Kagent097]}
	if got, want := c.endpoint(p), "https://gate/kagent/api/a2a/a/b/"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := c.at("api/tasks", "../x?y"), "https://gate/kagent/api/tasks/..%2Fx%3Fy"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
