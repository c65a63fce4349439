//go:build attack

package attack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// kagent is a genuine A2A server, with agents among its own that answer more than anybody can take.
type kagent struct {
	url    string
	hungry atomic.Bool  // the gluttons answer as they do
	meals  atomic.Int64 // answers of theirs that were sent whole
	cards  atomic.Int64 // requests about agents whose name begins with unheard-of
}

// The names of the agents that do not just complete their task.
const (
	glutton = "glutton" // the beginning of the name: it answers maxAnswer bytes
	asker   = "asker"   // it asks for an approval
)

// maxAnswer is the most that khook takes of an agent, in bytes.
const maxAnswer = 8 << 20

func newKagent(t *testing.T) *kagent {
	genuine := kagenttest.New(t, kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if m.Agent.Name == asker && !m.Reply {
			return kagenttest.Act{Approve: "delete_everything"}
		}
		return kagenttest.Act{Answer: "the secret answer of " + m.Agent.Namespace}
	}})
	to, err := url.Parse(genuine.URL)
	if err != nil {
		t.Fatal(err)
	}
	k := &kagent{}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, ErrorLog: silent, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if k.hungry.Load() && r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/"+glutton) {
			k.feast(w, r)
			return
		}
		if strings.Contains(r.URL.Path, "/unheard-of") {
			k.cards.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.CloseClientConnections)
	k.url = front.URL
	return k
}

// feast answers with a completed task of as many small parts as an answer can have: decoded they take
// many times the memory.
func (k *kagent) feast(w http.ResponseWriter, r *http.Request) {
	var call struct {
		ID json.RawMessage `json:"id"`
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if json.Unmarshal(body, &call) != nil || call.ID == nil {
		http.Error(w, "no call", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	head := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"task":{"id":"t-1","contextId":"c-1","status":{"state":"TASK_STATE_COMPLETED"},"artifacts":[{"artifactId":"a-1","parts":[{"text":"a"}`, call.ID)
	const part, end = `,{"text":"a"}`, `]}]}}}`
	parts := bytes.Repeat([]byte(part), (maxAnswer-len(head)-len(end))/len(part))
	_, err := w.Write(append(append([]byte(head), parts...), end...))
	if err == nil {
		k.meals.Add(1)
	}
}
