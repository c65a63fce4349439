package app

import (
	"context"
	"net/http"
	"strings"

	"k8s.io/utils/clock"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/notify"
)

// newTellers reads the notifiers. What can't be used of them keeps khook from starting: nobody would be told that nobody is told.
func (a *App) newTellers(wrap func(http.RoundTripper) http.RoundTripper) (*notify.Tellers, error) {
	notifiers := &notify.Config{}
	if a.options.NotifiersFile != "" {
		var err error
		if notifiers, err = notify.Load(a.options.NotifiersFile); err != nil {
			return nil, err
		}
	}
	return notify.New(notifiers, notify.Options{
		Store: a.store, Cluster: a.options.Cluster, Version: a.version, ExternalURL: strings.TrimSuffix(a.options.ExternalURL, "/"), Dashboard: a.options.hasPages(), Unwell: a.unwell,
		Clock: clock.RealClock{}, Registerer: ctrlmetrics.Registry, Log: a.log.WithName("notify"), Wrap: wrap,
	})
}

// unwell are the parts of khook without which it can't do its work, and why they fail.
func (a *App) unwell(ctx context.Context) map[string]string {
	parts := map[string]string{}
	if err := a.store.Check(ctx); err != nil && ctx.Err() == nil {
		parts["the history can't be written"] = err.Error()
	}
	if leader := a.leader.Load(); leader != nil {
		if err := leader.sources.Check(); err != nil {
			parts["the cluster is not watched"] = err.Error()
		}
	}
	if k := a.kagent.health(); k.Status != api.Healthy && !k.CheckedAt.IsZero() {
		parts["kagent does not answer"] = k.Reason
	}
	return parts
}

// warnings are of the settings, and of what goes on.
func (a *App) warnings() []string { return append(a.plan.Shrunk(), a.tellers.Warnings()...) }
