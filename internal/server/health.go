package server

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// State is how the parts of khook do beside the server. All of it must be quick, and safe for
// concurrent use.
type State interface {
	Leader() bool
	Pipeline(ctx context.Context) PipelineHealth
	Plugins() []PluginHealth
	Kagent() KagentHealth
	Queues(ctx context.Context) []Queue
	Hooks() int
}

// healthTTL is for how long a health is told again: whoever asks costs little.
const healthTTL = time.Second

// healthCache keeps the newest health.
type healthCache struct {
	mu   sync.Mutex
	at   time.Time
	last Health
}

// healthAnswer has a Health or a PublicHealth in its body.
type healthAnswer struct {
	Status int
	Body   any
}

func (s *Server) registerHealth() {
	get(s, "diagnostics", "/diagnostics", tagHealth, "Tell why khook does as it does", "For people who look for a cause. Needs the right for all namespaces, or to get the nonResourceURL /diagnostics.", s.diagnostics)
	registerOpen(s)
}

// Health says how khook does.
func (s *Server) Health(ctx context.Context) Health {
	c := &s.health
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > healthTTL {
		// Whoever asked first may be gone; the answer is for all.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		c.last, c.at = s.lookAtHealth(ctx), time.Now()
	}
	h := c.last
	h.UptimeSeconds = time.Since(s.started).Seconds()
	h.Server.InFlight = s.meters.open.Load()
	return h
}

func (s *Server) lookAtHealth(ctx context.Context) Health {
	st := s.cfg.State
	h := Health{
		Version: s.cfg.Version, StartedAt: s.started.UTC(), Leader: st.Leader(), Plugins: st.Plugins(), Pipeline: st.Pipeline(ctx), Kagent: st.Kagent(),
		Server: APIHealth{PartHealth: PartHealth{Status: Healthy}, Requests: s.meters.answered.Load(), Errors: s.meters.broken.Load()},
		Store:  PartHealth{Status: Healthy},
	}
	if err := s.cfg.Store.Check(ctx); err != nil {
		h.Store = PartHealth{Unhealthy, err.Error()}
	}
	if h.Plugins == nil {
		h.Plugins = []PluginHealth{}
	}
	h.Memory, h.Warnings = s.memory(ctx), append([]string{}, s.cfg.Warnings...)
	judge(&h)
	return h
}

// judge finds the worst of the parts, and the reasons.
func judge(h *Health) {
	h.Status, h.Reasons = Healthy, []string{}
	for _, part := range []struct {
		name string
		PartHealth
	}{{"server", h.Server.PartHealth}, {"history", h.Store}, {"pipeline", h.Pipeline.PartHealth}, {"kagent", h.Kagent.PartHealth}} {
		if part.Status == Healthy {
			continue
		}
		h.Reasons = append(h.Reasons, part.name+": "+part.Reason)
		if part.Status == Unhealthy || h.Status == Healthy {
			h.Status = part.Status
		}
	}
}

func (s *Server) healthOf(ctx context.Context, _ *struct{}) (*healthAnswer, error) {
	h := s.Health(ctx)
	answer := &healthAnswer{http.StatusOK, PublicHealth{h.Status}}
	if h.Status == Unhealthy {
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
	ok, err := s.may(ctx, ReadHooks(""), GetPath(diagnosticsPath))
	return ok && err == nil
}
