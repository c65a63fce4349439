package agent_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

func TestDetectionHasNoSideEffectsAndIsRemembered(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		if err := c.Exists(within(t), helper); err != nil {
			t.Fatal(err)
		}
		for _, q := range s.Requests() {
			if q.Method != http.MethodGet {
				t.Errorf("detection made a %s %s", q.Method, q.Path)
			}
		}
		looked := len(s.Requests(kagenttest.Card, kagenttest.Version, kagenttest.Nothing))
		for range 3 {
			r := newRequest("shop")
			r.Title = ""
			if _, err := c.Send(within(t), r); err != nil {
				t.Fatal(err)
			}
		}
		if again := len(s.Requests(kagenttest.Card, kagenttest.Version, kagenttest.Nothing)); again != looked {
			t.Errorf("three calls looked %d more times which dialect it is", again-looked)
		}
	})
}

func TestAnUpgradeWhileRunningIsNoticedByEachCall(t *testing.T) {
	for _, from := range agent.Dialects() {
		for _, to := range agent.Dialects() {
			t.Run(from+" to "+to, func(t *testing.T) {
				s := kagenttest.New(t, kagenttest.Options{Dialect: from})
				c := dial(t, s)
				before, err := c.Send(within(t), newRequest("before"))
				if err != nil {
					t.Fatal(err)
				}
				until(t, c, before.ID, agent.Completed)
				s.SetDialect(to)
				if task, err := c.Task(within(t), helper, before.ID); err != nil || task.State != agent.Completed {
					t.Errorf("the task from before: %+v, %v", task, err)
				}
				after := newRequest("after")
				if _, err := c.Send(within(t), after); err != nil {
					t.Fatal(err)
				}
				if n := s.Executions(after.MessageID); n != 1 {
					t.Errorf("the message after the upgrade was executed %d times", n)
				}
				if err := c.Exists(within(t), helper); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestASendIsTheFirstToNoticeAnUpgrade(t *testing.T) {
	for _, from := range agent.Dialects() {
		for _, to := range agent.Dialects() {
			s := kagenttest.New(t, kagenttest.Options{Dialect: from})
			c := dial(t, s)
			if err := c.Exists(within(t), helper); err != nil {
				t.Fatal(err)
			}
			s.SetDialect(to)
			r := newRequest("shop")
			if _, err := c.Send(within(t), r); err != nil || s.Executions(r.MessageID) != 1 {
				t.Errorf("%s to %s: %v, %d executions", from, to, err, s.Executions(r.MessageID))
			}
		}
	}
}

func TestAMissingAgentIsNoAgent(t *testing.T) {
	opts := kagenttest.Options{Agents: []delivery.AgentRef{helper}}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		r := newRequest("shop")
		r.Agent.Name = "nobody"
		_, err := c.Send(within(t), r)
		for _, err := range []error{err, c.Exists(within(t), r.Agent)} {
			if !errors.Is(err, agent.ErrNoAgent) || !agent.NoEffect(err) || agent.Final(err) {
				t.Errorf("%v: kind %v", err, err)
			}
			if !strings.Contains(agent.Explain(err), "agent kagent/nobody: kagent has no such agent") {
				t.Error(agent.Explain(err))
			}
		}
		if err := c.Exists(within(t), helper); err != nil {
			t.Error(err)
		}
	})
}

func TestAnAgentThatIsDeletedLaterIsNoAgent(t *testing.T) {
	s := kagenttest.New(t, kagenttest.Options{Dialect: agent.Kagent097})
	c := dial(t, s)
	if err := c.Exists(within(t), helper); err != nil {
		t.Fatal(err)
	}
	s.Inject(kagenttest.Fault{Status: http.StatusNotFound, Body: "Agent kagent/k8s-agent not found", Times: -1})
	r := newRequest("shop")
	r.Title = ""
	if _, err := c.Send(within(t), r); !errors.Is(err, agent.ErrNoAgent) {
		t.Error(err)
	}
	s.Heal()
	if _, err := c.Send(within(t), r); err != nil {
		t.Error("after it came back:", err)
	}
}

func TestAWebPageForEveryPathIsNoAgent(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<!doctype html><title>kagent</title>"))
	}))
	defer s.Close()
	c, err := agent.New(agent.Config{BaseURL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exists(within(t), helper); !errors.Is(err, agent.ErrNoAgent) {
		t.Error(err)
	}
}

func TestTheConfiguredDialectIsNotQuestioned(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s, func(cfg *agent.Config) { cfg.Dialect = s.Dialect() })
		r := newRequest("shop")
		r.Title = ""
		task, err := c.Send(within(t), r)
		if err != nil || len(s.Requests()) != 1 {
			t.Fatalf("%v, %d requests, want 1", err, len(s.Requests()))
		}
		if task, err = c.Follow(within(t), helper, task.ID, func(agent.Task) {}); err != nil || task.State != agent.Completed {
			t.Errorf("Follow: %+v, %v", task, err)
		}
		for _, other := range agent.Dialects() {
			s.SetDialect(other)
			r := newRequest(other)
			if _, err := c.Send(within(t), r); (err == nil) != (s.Executions(r.MessageID) == 1) || err != nil && !agent.NoEffect(err) {
				t.Errorf("%s spoken to %s: %v, %d executions", task.Dialect, other, err, s.Executions(r.MessageID))
			}
		}
	})
}

func TestNamesThatAreOtherPathsAreRefused(t *testing.T) {
	s := kagenttest.New(t, kagenttest.Options{})
	c := dial(t, s)
	for _, name := range []string{"", "..", "a/b", "a%2fb", "A", "a?b"} {
		r := newRequest("shop")
		r.Agent.Name = name
		if _, err := c.Send(within(t), r); !agent.Final(err) || !agent.NoEffect(err) {
			t.Errorf("%q: %v", name, err)
		}
		if err := c.Exists(within(t), r.Agent); !errors.Is(err, agent.ErrNoAgent) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestAnAgentWithoutStreamsIsToBePolled(t *testing.T) {
	eachDialect(t, kagenttest.Options{NoStream: true}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		task, err := c.Send(within(t), newRequest("shop"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Follow(within(t), helper, task.ID, func(agent.Task) {}); !errors.Is(err, agent.ErrNoStream) {
			t.Error(err)
		}
	})
}

func TestFollowTellsTheNewsAndReturnsTheWholeTask(t *testing.T) {
	var finish chan struct{}
	opts := kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		switch m.Text {
		case "ask":
			return kagenttest.Act{Until: finish, Ask: "Shall I?"}
		case "auth":
			return kagenttest.Act{Until: finish, Ask: "Who are you?", Auth: true}
		}
		return kagenttest.Act{Until: finish, Chunks: []string{"It ran ", "out of", " memory."}, Status: "done"}
	}}
	ends := map[string]agent.State{"chunks": agent.Completed, "ask": agent.InputRequired, "auth": agent.AuthRequired}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		for prompt, want := range ends {
			finish = make(chan struct{})
			r := newRequest(prompt)
			r.Prompt = prompt
			task, err := c.Send(within(t), r)
			if err != nil {
				t.Fatal(err)
			}
			news := 0
			got, err := c.Follow(within(t), helper, task.ID, func(agent.Task) {
				if news++; news == 1 {
					close(finish)
				}
			})
			if err != nil || got.State != want {
				t.Fatalf("%s: %+v, %v", prompt, got, err)
			}
			if want == agent.Completed && got.Answer != "It ran out of memory." {
				t.Errorf("answer %q", got.Answer)
			}
			if want != agent.Completed && got.Question == "" {
				t.Errorf("%s: no question", want)
			}
			if len(s.Requests(kagenttest.Stream)) == 0 {
				t.Error("nothing was streamed")
			}
			if want == agent.AuthRequired {
				_, _ = c.Cancel(within(t), helper, task.ID, agent.Permit{})
			}
		}
	})
}

func TestHealthAsksEachVersionWhatItHas(t *testing.T) {
	eachDialect(t, kagenttest.Options{Token: "secret"}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		if err := c.Health(within(t)); err != nil {
			t.Error(err)
		}
		s.Inject(kagenttest.Fault{Status: http.StatusBadGateway, Body: "no healthy upstream"})
		if err := c.Health(within(t)); err == nil {
			t.Error("a gateway without kagent behind it counts as healthy:", err)
		}
		_ = s.Close()
		if err := c.Health(within(t)); err == nil || !strings.Contains(err.Error(), "refuses connections") {
			t.Error(err)
		}
	})
}

// refusing is a gateway that lets some of kagent's paths not through.
type refusing struct {
	status int
	body   string
	paths  []string
}

// RoundTrip implements http.RoundTripper.
func (g refusing) RoundTrip(r *http.Request) (*http.Response, error) {
	for _, path := range g.paths {
		if strings.HasPrefix(r.URL.Path, path) {
			return &http.Response{StatusCode: g.status, Header: http.Header{"Location": {"https://login.example"}}, Body: io.NopCloser(strings.NewReader(g.body)), Request: r}, nil
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

func TestAGatewayThatRefusesTheVersionHidesNoKagent(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		for _, paths := range [][]string{{"/version"}, {"/version", "/api/sessions"}, {"/version", "/api/sessions", "/api/tasks", "/health"}} {
			for status, body := range map[int]string{
				401: `{"error":"unauthorized"}`, 403: "RBAC: access denied", 404: "404 page not found", 405: "", 502: "no healthy upstream", 302: "", 200: "<!doctype html><title>kagent</title>",
			} {
				c := dial(t, s, func(cfg *agent.Config) { cfg.Transport = refusing{status, body, paths} })
				if p, err := c.Peer(within(t), helper); err != nil || p.Dialect != s.Dialect() {
					t.Errorf("%d for %v: %s, %v", status, paths, p.Dialect, err)
				}
				r := newRequest(fmt.Sprint(status, paths))
				r.Title = "" // its session would be named at the end
				if _, err := c.Send(within(t), r); err != nil || s.Executions(r.MessageID) != 1 {
					t.Errorf("%d for %v: %v, %d executions", status, paths, err, s.Executions(r.MessageID))
				}
			}
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections() //nolint:forcetypeassert // it is one
	})
}

// An agent that somebody brought along may have a card of its own, which lists 1.0 only as those of a later kagent do.
func TestACardAloneDoesNotMakeALaterKagent(t *testing.T) {
	s := kagenttest.New(t, kagenttest.Options{Dialect: agent.Kagent097})
	own := `{"name":"own","supportedInterfaces":[{"protocolBinding":"JSONRPC","protocolVersion":"1.0"}]}`
	s.Inject(kagenttest.Fault{On: kagenttest.Card, Body: own, Times: -1})
	c := dial(t, s, func(cfg *agent.Config) { cfg.Transport = refusing{403, "", []string{"/version"}} })
	if p, err := c.Peer(within(t), helper); err != nil || p.Dialect != agent.Kagent097 {
		t.Errorf("%s, %v", p.Dialect, err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections() //nolint:forcetypeassert // it is one
}

func TestAGatewayThatRefusesTheOnePathHidesNoKagentOnTheOther(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		other, own := "/agents/", "/api/a2a/"
		if s.Dialect() == agent.Kagent10 {
			other, own = own, other
		}
		for _, status := range []int{401, 403, 502, 302} {
			through := func(path string) *agent.Client {
				return dial(t, s, func(cfg *agent.Config) { cfg.Transport = refusing{status, "no", []string{path}} })
			}
			if p, err := through(other).Peer(within(t), helper); err != nil || p.Dialect != s.Dialect() {
				t.Errorf("%d for %s: %s, %v", status, other, p.Dialect, err)
			}
			// The other path knows no agent, and that says nothing: what counts is why kagent's own path says no.
			if err := through(own).Exists(within(t), helper); errors.Is(err, agent.ErrNoAgent) || !strings.Contains(err.Error(), fmt.Sprint(status)) {
				t.Errorf("%d for %s: %v", status, own, err)
			}
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections() //nolint:forcetypeassert // it is one
	})
}
