package app

import (
	"context"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/server"
	"github.com/kagent-dev/khook/internal/store"
)

// explain says what would be decided, on any replica: by what people read, and by the Hooks that this replica knows.
func (a *App) explain(reader *store.Reader) server.Explain {
	cfg := ledger.Config{MaxCallsPerHour: a.options.MaxCallsPerHour, PageURL: a.options.pageURL()}
	return func(ctx context.Context, hook delivery.HookRef, inc *incident.Incident, ev *incident.Event) ([]delivery.Checklist, error) {
		if err := a.pauses.follow(ctx, reader); err != nil {
			return nil, err
		}
		return ledger.Explain(ctx, cfg, reader, a.hooks, hook, inc, ev)
	}
}
