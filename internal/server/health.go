package server

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
)

// State is how the parts of khook do beside the server. All of it must be quick, and safe for
// concurrent use.
type State interface {
	Leader() bool
	Replica(ctx context.Context) api.ReplicaHealth
	Pipeline(ctx context.Context) api.PipelineHealth
	Plugins() []api.PluginHealth
	Kagent() api.KagentHealth
	Queues(ctx context.Context) []api.Queue
	Hooks() int
}

// healthTTL is for how long a health is told again: whoever asks costs little.
const healthTTL = time.Second

// recent keeps what was found out last, for healthTTL. What goes through it takes the turn of the history's writer, and
// must not cost more the more people ask.
type recent[T any] struct {
	mu   sync.Mutex
	at   time.Time
	last T
}

func (c *recent[T]) get(ctx context.Context, look func(context.Context) T) T {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > healthTTL {
		// Whoever asked first may be gone; the answer is for all.
		forAll, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		c.last, c.at = look(forAll), time.Now()
	}
	return c.last
}

// healthAnswer has a Health or a PublicHealth in its body.
type healthAnswer struct {
	Status int
	Body   any
}

func (s *Server) registerHealth() {
	getRoute(s, "diagnostics", "/diagnostics", tagHealth, "Tell why khook does as it does", "For people who look for a cause. Needs the right for all namespaces, or to get the nonResourceURL /diagnostics.", s.diagnostics)
	registerOpen(s)
}

// Health says how khook does.
func (s *Server) Health(ctx context.Context) api.Health {
	h := s.health.get(ctx, s.lookAtHealth)
	h.UptimeSeconds = time.Since(s.started).Seconds()
	h.Server.InFlight = s.metrics.open.Load()
	return h
}

func (s *Server) lookAtHealth(ctx context.Context) api.Health {
	st := s.cfg.State
	h := api.Health{
		Version: s.cfg.Version, StartedAt: s.started.UTC(), Leader: st.Leader(), Replica: st.Replica(ctx), Plugins: st.Plugins(), Pipeline: st.Pipeline(ctx), Kagent: st.Kagent(),
		Server: api.APIHealth{PartHealth: api.PartHealth{Status: api.Healthy}, Requests: s.metrics.answered.Load(), Errors: s.metrics.broken.Load()},
		Store:  api.PartHealth{Status: api.Healthy},
	}
	if err := s.cfg.Reader.Check(ctx); err != nil {
		h.Store = api.PartHealth{Status: api.Unhealthy, Reason: err.Error()}
	}
	if h.Plugins == nil {
		h.Plugins = []api.PluginHealth{}
	}
	h.Memory, h.Warnings = s.memory(ctx), s.warnings(ctx)
	judge(&h)
	return h
}

// warnings are what people should know of a khook that is healthy.
func (s *Server) warnings(ctx context.Context) []string {
	all := s.pauseWarnings(ctx)
	if s.cfg.Warnings != nil {
		all = append(all, s.cfg.Warnings()...)
	}
	return all
}

// maxPauseWarnings bounds how many pauses a health tells of.
const maxPauseWarnings = 20

// pauseWarnings say what is paused: khook is healthy then, and calls nobody.
func (s *Server) pauseWarnings(ctx context.Context) []string {
	all, err := s.pausesOf(ctx) // an error is told of the history
	if err != nil {
		return []string{}
	}
	warnings := make([]string, 0, len(all))
	for i := range all[:min(len(all), maxPauseWarnings)] {
		warnings = append(warnings, all[i].Why())
	}
	if more := len(all) - maxPauseWarnings; more > 0 {
		warnings = append(warnings, fmt.Sprintf("%s: khook hooks shows which Hooks are stopped", incident.Counted(more, "more pause")))
	}
	return warnings
}

// judge finds the worst of the parts, and the reasons.
func judge(h *api.Health) {
	h.Status, h.Reasons = api.Healthy, []string{}
	for _, part := range []struct {
		name string
		api.PartHealth
	}{{"server", h.Server.PartHealth}, {"history", h.Store}, {"pipeline", h.Pipeline.PartHealth}, {"kagent", h.Kagent.PartHealth}} {
		if part.Status == api.Healthy {
			continue
		}
		h.Reasons = append(h.Reasons, part.name+": "+part.Reason)
		if part.Status == api.Unhealthy || h.Status == api.Healthy {
			h.Status = part.Status
		}
	}
}

func (s *Server) healthOf(ctx context.Context, _ *struct{}) (*healthAnswer, error) {
	h := s.Health(ctx)
	answer := &healthAnswer{http.StatusOK, api.PublicHealth{Status: h.Status}}
	if h.Status == api.Unhealthy {
		answer.Status = http.StatusServiceUnavailable
	}
	if s.mayReadHealth(ctx) {
		answer.Body = h
	}
	return answer, nil
}

// mayReadHealth says whether the caller may read more than how khook does. The reasons name namespaces and
// hosts, and quote errors: they are for those who may read the diagnostics, of which they are a part.
func (s *Server) mayReadHealth(ctx context.Context) bool {
	if s.cfg.Access != nil && callerOf(ctx) == nil {
		return false
	}
	ok, err := s.may(ctx, access.ReadHooks(""), access.GetPath(diagnosticsPath))
	return ok && err == nil
}
