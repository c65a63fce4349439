package agent_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

func never(kagenttest.Message) kagenttest.Act { return kagenttest.Act{Never: true} }

// begun sends a message whose task never ends, and returns the task's ID.
func begun(t *testing.T, c *agent.Client) string {
	t.Helper()
	task, err := c.Send(within(t), newRequest("shop"))
	if err != nil {
		t.Fatal(err)
	}
	until(t, c, task.ID, agent.Working)
	return task.ID
}

func TestASilentStreamBreaks(t *testing.T) {
	eachDialect(t, kagenttest.Options{Script: never}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s, func(cfg *agent.Config) { cfg.StreamIdle = 50 * time.Millisecond })
		_, err := c.Follow(within(t), helper, begun(t, c), func(agent.Task) {})
		if err == nil || !agent.NoEffect(err) || !strings.Contains(err.Error(), "the stream was silent for 50ms") {
			t.Error(err)
		}
	})
}

func TestAStreamMayLastLongerThanARequestAndBeSilentBetweenComments(t *testing.T) {
	t.Parallel()
	work := make(chan struct{})
	opts := kagenttest.Options{
		KeepAlive: 10 * time.Millisecond,
		Script:    func(kagenttest.Message) kagenttest.Act { return kagenttest.Act{Until: work, Answer: "done"} },
	}
	s := kagenttest.New(t, opts)
	c := dial(t, s, func(cfg *agent.Config) { cfg.Timeout, cfg.StreamIdle = 2*time.Second, 2*time.Second })
	task, err := c.Send(within(t), newRequest("shop"))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(4*time.Second, func() { close(work) })
	got, err := c.Follow(within(t), helper, task.ID, func(agent.Task) {})
	if err != nil || got.Answer != "done" || len(s.Requests(kagenttest.Stream)) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAStreamThatBreaksOrIsNoneSendsTheCallerBackToPolling(t *testing.T) {
	faults := map[string]kagenttest.Fault{
		"broke before its answer was complete": {Drop: true},
		"500 Internal Server Error":            {Status: 500},
		"larger than the 1048576 bytes":        {Header: map[string]string{"Content-Type": "text/event-stream"}, Body: "data: x\n" + strings.Repeat("data: "+strings.Repeat("y", 1000)+"\n", 3000)},
		"not what A2A says":                    {Header: map[string]string{"Content-Type": "text/event-stream"}, Body: "data: {\"x\":1}\n\n"},
		"the stream ended before the task did": {Header: map[string]string{"Content-Type": "text/event-stream"}, Body: ": nothing\n\n"},
		"not JSON":                             {Body: "<html>"},
	}
	eachDialect(t, kagenttest.Options{Script: never}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s, func(cfg *agent.Config) { cfg.MaxNews = 1 << 20 })
		id := begun(t, c)
		for says, f := range faults {
			f.On = kagenttest.Stream
			s.Inject(f)
			if _, err := c.Follow(within(t), helper, id, func(agent.Task) {}); err == nil || !agent.NoEffect(err) || !strings.Contains(err.Error(), says) {
				t.Errorf("want %q: %v", says, err)
			}
		}
	})
}

func TestFollowOfATaskThatHasEndedReturnsIt(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		task, err := c.Send(within(t), newRequest("shop"))
		if err != nil {
			t.Fatal(err)
		}
		until(t, c, task.ID, agent.Completed)
		if task, err = c.Follow(within(t), helper, task.ID, func(agent.Task) {}); err != nil || task.State != agent.Completed || len(s.Requests(kagenttest.Stream)) != 0 {
			t.Errorf("%+v, %v", task, err)
		}
	})
}

func TestATokenIsReadAgainWhenItRotates(t *testing.T) {
	eachDialect(t, kagenttest.Options{Token: "first"}, func(t *testing.T, s *kagenttest.Server) {
		path := filepath.Join(t.TempDir(), "token")
		write := func(token string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("first")
		c := dial(t, s, func(cfg *agent.Config) { cfg.TokenFile = path })
		if _, err := c.Send(within(t), newRequest("one")); err != nil {
			t.Fatal(err)
		}
		s.SetToken("second")
		_, err := c.Send(within(t), newRequest("two"))
		if err == nil || !agent.NoEffect(err) || agent.Final(err) || agent.RetryAfter(err) != time.Minute || strings.Contains(err.Error(), "first") {
			t.Error(err)
		}
		write("second")
		if _, err := c.Send(within(t), newRequest("two")); err != nil {
			t.Error(err)
		}
		write("")
		if _, err := c.Send(within(t), newRequest("three")); !agent.NoEffect(err) || agent.Final(err) || !strings.Contains(err.Error(), "is empty") {
			t.Error(err)
		}
	})
}

func TestARedirectNeverTakesTheTokenToAnotherHost(t *testing.T) {
	var strangers atomic.Int32
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		strangers.Add(1)
		_, _ = fmt.Fprint(w, `{"name":"trap"}`)
	}))
	defer stranger.Close()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := kagenttest.New(t, kagenttest.Options{Token: "secret"})
	c := dial(t, s, func(cfg *agent.Config) { cfg.TokenFile = path })
	for _, status := range []int{301, 302, 303, 307, 308} {
		s.Inject(kagenttest.Fault{Status: status, Header: map[string]string{"Location": stranger.URL}})
		if err := c.Exists(within(t), helper); err == nil || !strings.Contains(err.Error(), "redirects are not followed") {
			t.Errorf("%d: %v", status, err)
		}
		s.Inject(kagenttest.Fault{On: kagenttest.Send, Status: status, Header: map[string]string{"Location": stranger.URL}})
		if _, err := c.Send(within(t), newRequest("shop")); agent.Fault(err) != delivery.Astray || !agent.NoEffect(err) {
			t.Errorf("%d: %v", status, err)
		}
	}
	if strangers.Load() != 0 {
		t.Errorf("another host was asked %d times", strangers.Load())
	}
	s.Inject(kagenttest.Fault{Status: 302, Header: map[string]string{"Location": s.URL + "/agents/kagent/k8s-agent/.well-known/agent-card.json"}})
	if err := c.Exists(within(t), helper); err != nil {
		t.Error("a redirect of a read on the same host:", err)
	}
}
