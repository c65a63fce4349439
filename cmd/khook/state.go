package main

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
)

// state tells the HTTP API how the parts of the process do.
type state struct {
	*pipeline
	kagent *kagentCheck
}

// Leader implements server.State.
func (s *state) Leader() bool { return s.working.Load() != nil }

// Hooks implements server.State.
func (s *state) Hooks() int { return s.hooks.Len() }

// Kagent implements server.State.
func (s *state) Kagent() api.KagentHealth { return s.kagent.health() }

// Pipeline implements server.State.
func (s *state) Pipeline(ctx context.Context) api.PipelineHealth {
	h := api.PipelineHealth{State: "standby", PartHealth: api.PartHealth{Status: api.Healthy}}
	oldest, _ := s.oldestPending(ctx) // what keeps it from being known is told of the history
	h.OldestPendingSeconds = oldest.Seconds()
	work := s.working.Load()
	if work == nil {
		return h
	}
	h.State, h.OpenIncidents = "leading", work.book.OpenCount()
	if !work.sources.Synced() {
		h.State = "starting"
	}
	switch err := work.sources.Check(); {
	case err != nil:
		h.PartHealth = api.PartHealth{Status: api.Unhealthy, Reason: err.Error()}
	case work.dispatcher.BreakerOpen():
		h.PartHealth = api.PartHealth{Status: api.Degraded, Reason: "calls wait because kagent failed repeatedly"}
	case oldest > stuckAfter:
		h.PartHealth = api.PartHealth{Status: api.Degraded, Reason: fmt.Sprintf("a delivery has waited for its agent for %s", oldest.Truncate(time.Second))}
	default:
		h.PartHealth = s.aside(ctx)
	}
	return h
}

// aside is degraded while there are dead letters. They do not make khook unready: that would take it
// from its users for what one of them may have made.
func (s *state) aside(ctx context.Context) api.PartHealth {
	n, err := s.deadLetters(ctx) // an error is told of the history
	if err != nil || n == 0 {
		return api.PartHealth{Status: api.Healthy}
	}
	return api.PartHealth{Status: api.Degraded, Reason: fmt.Sprintf("%d signals from the cluster could not be recorded and were put aside: "+
		"look at them with khook dead-letters, then replay or drop them", n)}
}

// stuckAfter is how long a delivery may wait for its agent before khook calls itself degraded.
const stuckAfter = 10 * time.Minute

// Plugins implements server.State.
func (s *state) Plugins() []api.PluginHealth {
	work := s.working.Load()
	if work == nil {
		return nil
	}
	var plugins []api.PluginHealth
	for _, w := range work.sources.Health() {
		p := api.PluginHealth{
			Name: w.Source + "-" + w.Stream, Namespace: w.Namespace, State: "up", Since: w.Since, LagSeconds: w.Lag.Seconds(),
			LastEvent: w.LastEvent, LastContact: w.LastContact, Restarts: w.Restarts, Error: w.Error,
		}
		switch {
		case !w.Up && w.LastContact.IsZero():
			p.State = "starting"
		case !w.Up:
			p.State = "down"
		}
		plugins = append(plugins, p)
	}
	slices.SortFunc(plugins, func(a, b api.PluginHealth) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace))
	})
	return plugins
}

// Queues implements server.State.
func (s *state) Queues(ctx context.Context) []api.Queue {
	stories := api.Queue{Name: "resolved-incidents-to-tell", Depth: len(s.story.resolved), Limit: cap(s.story.resolved)}
	work := s.working.Load()
	if work == nil {
		return []api.Queue{stories}
	}
	waiting := 0
	for _, w := range work.sources.Health() {
		waiting = max(waiting, w.Waiting)
	}
	oldest, _ := s.oldestPending(ctx)
	pending := api.Queue{Name: "deliveries-waiting-for-their-agent", Depth: work.dispatcher.Waiting(), OldestAgeSeconds: oldest.Seconds()}
	return []api.Queue{
		{Name: "signals-to-record", Depth: waiting}, {Name: "delivery-steps-due", Depth: work.dispatcher.Queued()}, pending, stories,
	}
}

// effective are the settings as they count, for people who look for a cause. What may be secret is
// left out: the values of headers, and what a URL holds beside host and path.
func (c *controllerCmd) effective() map[string]any {
	settings := map[string]any{}
	v := reflect.ValueOf(*c)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous || hidden(f) || !f.IsExported() || f.Name == "Config" {
			continue
		}
		name := f.Tag.Get("name")
		if name == "" {
			name = flagName(f.Name)
		}
		switch value := v.Field(i).Interface().(type) {
		case time.Duration:
			settings[name] = value.String()
		case map[string]string:
			names := make([]string, 0, len(value))
			for header := range value {
				names = append(names, header)
			}
			slices.Sort(names)
			settings[name] = names
		default:
			settings[name] = value
		}
	}
	settings["api-bind-address"], settings["metrics-bind-address"], settings["health-probe-bind-address"] = c.apiAddress(), c.metricsAddress(), c.healthAddress()
	settings["kagent-url"] = withoutSecrets(c.KagentURL)
	return settings
}

// settings are the effective settings, with what the memory has room for where it was not said.
func (p *pipeline) settings() map[string]any {
	settings := p.cmd.effective()
	settings["api-max-streams"], settings["api-max-connections"] = p.plan.N(capacity.Streams), p.plan.N(capacity.Connections)
	return settings
}

func hidden(f reflect.StructField) bool {
	_, ok := f.Tag.Lookup("hidden")
	return ok
}

// flagName is how kong names the flag of a field.
func flagName(field string) string {
	var b strings.Builder
	for i, r := range field {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}
