package agent_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// TestCredentialsThatAServerEchoesAreNotKept: neither in an answer nor in the reason of a failure.
func TestCredentialsThatAServerEchoesAreNotKept(t *testing.T) {
	const token, key = "token-that-nobody-may-read", "key-that-nobody-may-read"
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	echo := "you sent " + token + " and " + key
	opts := kagenttest.Options{Token: token, Script: func(kagenttest.Message) kagenttest.Act { return kagenttest.Act{Answer: echo} }}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s, func(cfg *agent.Config) { cfg.TokenFile, cfg.Headers = path, map[string]string{"X-Api-Key": key} })
		task, err := c.Send(within(t), newRequest("shop"))
		if err != nil {
			t.Fatal(err)
		}
		said := until(t, c, task.ID, agent.Completed).Answer
		for _, f := range []kagenttest.Fault{
			{Status: 500, Body: echo}, {Status: 400, Body: echo}, {Body: echo}, {Status: 302, Header: map[string]string{"Location": "/?t=" + token + key}},
			{Body: `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"` + echo + `"}}`}, {Status: http.StatusUnauthorized, Body: echo},
		} {
			f.On = kagenttest.Send
			s.Inject(f)
			_, err := c.Send(within(t), newRequest("other"))
			said += " " + agent.Explain(err) + " " + agent.Brief(err)
		}
		if strings.Contains(said, token) || strings.Contains(said, key) || !strings.Contains(said, "[redacted]") {
			t.Error(said)
		}
	})
}
