package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// introspection tells the HTTP API how the parts of the process do. What it needs of the history it reads as people do.
type introspection struct {
	app    *App
	reader *store.Reader
}

// Leader implements server.State.
func (i introspection) Leader() bool { return i.app.leader.Load() != nil }

// Replica implements server.State.
func (i introspection) Replica(ctx context.Context) api.ReplicaHealth { return i.app.replica(ctx) }

// Hooks implements server.State.
func (i introspection) Hooks() int { return i.app.hooks.Len() }

// Kagent implements server.State.
func (i introspection) Kagent() api.KagentHealth { return i.app.kagent.health() }

// Pipeline implements server.State.
func (i introspection) Pipeline(ctx context.Context) api.PipelineHealth {
	h := api.PipelineHealth{State: "standby", PartHealth: api.PartHealth{Status: api.Healthy}}
	oldest, _ := oldestPending(ctx, i.reader) // what keeps it from being known is told of the history
	h.OldestPendingSeconds = oldest.Seconds()
	work := i.app.leader.Load()
	if work == nil {
		return h
	}
	h.State, h.OpenIncidents = "leading", work.ledger.OpenCount()
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
		h.PartHealth = i.aside(ctx)
	}
	return h
}

// aside is degraded while there are dead letters. They do not make khook unready: that would take it
// from its users for what one of them may have made.
func (i introspection) aside(ctx context.Context) api.PartHealth {
	n, err := i.app.deadLetters(ctx, i.reader) // an error is told of the history
	if err != nil || n == 0 {
		return api.PartHealth{Status: api.Healthy}
	}
	return api.PartHealth{Status: api.Degraded, Reason: fmt.Sprintf("%s from the cluster could not be recorded and %s put aside: "+
		"khook dead-letters shows what is there, to be replayed or dropped", incident.Counted(n, "signal"), incident.Are(n))}
}

// stuckAfter is how long a delivery may wait for its agent before khook calls itself degraded.
const stuckAfter = 10 * time.Minute

// Plugins implements server.State.
func (i introspection) Plugins() []api.PluginHealth {
	work := i.app.leader.Load()
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
func (i introspection) Queues(ctx context.Context) []api.Queue {
	stories := api.Queue{Name: "resolved-incidents-to-tell", Depth: len(i.app.publisher.resolved), Limit: cap(i.app.publisher.resolved)}
	work := i.app.leader.Load()
	if work == nil {
		return []api.Queue{stories}
	}
	waiting := 0
	for _, w := range work.sources.Health() {
		waiting = max(waiting, w.Waiting)
	}
	oldest, _ := oldestPending(ctx, i.reader)
	pending := api.Queue{Name: "deliveries-waiting-for-their-agent", Depth: work.dispatcher.Waiting(), OldestAgeSeconds: oldest.Seconds()}
	return []api.Queue{
		{Name: "signals-to-record", Depth: waiting}, {Name: "delivery-steps-due", Depth: work.dispatcher.Queued()}, pending, stories,
	}
}
