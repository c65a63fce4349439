package server

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

const (
	maxUncalled = 1000 // incidents of a configuration that are looked at, and failures in all that are judged
	fewOutcomes = 10   // known ones are too few for a rate
)

// baseline judges how failures ended that nobody was called for.
type baseline struct {
	*Server
	from, now time.Time
	meter     *hook.Meter
	seen      map[string]bool                // incidents that an earlier configuration is about
	counted   map[delivery.Failure]time.Time // until when each is watched
	judged    int
	rate      api.BaseRate
}

// baseRate says how failures that the Hook is about end without a call, whatever kept it from being made: that the Hook was suspended, over
// its budget, or not there yet. What the Hook is about is said by its configurations of now. nil if there are none.
func (s *Server) baseRate(ctx context.Context, ref delivery.HookRef, from, now time.Time) (*api.BaseRate, error) {
	if s.cfg.Configurations == nil {
		return nil, nil //nolint:nilnil // it is not known
	}
	return s.baseRateOf(ctx, s.cfg.Configurations(ref), from, now)
}

// baseRateOf is the base rate of some configurations together; nil if there are none, or no room to find it out.
func (s *Server) baseRateOf(ctx context.Context, configs []*hook.Config, from, now time.Time) (*api.BaseRate, error) {
	for _, c := range configs {
		if !c.Evaluates() {
			continue
		}
		turn, err := s.enterValidation(ctx)
		if err != nil {
			return nil, nil //nolint:nilnil // there is no room to find out, and the rest can be told
		}
		defer turn.Leave()
		break
	}
	if len(configs) == 0 {
		return nil, nil //nolint:nilnil // there is no such Hook, or none of it
	}
	b := &baseline{Server: s, from: from, now: now, meter: hook.NewMeter(), seen: map[string]bool{}, counted: map[delivery.Failure]time.Time{}}
	for _, c := range configs {
		if err := b.add(ctx, c); err != nil {
			return nil, err
		}
	}
	if known := b.rate.Recovered + b.rate.Relapsed + b.rate.Persisting; known >= fewOutcomes {
		b.rate.Rate = percentOf(b.rate.Recovered, known)
	}
	return &b.rate, nil
}

// add judges the failures that a configuration is about, if their window is over.
func (b *baseline) add(ctx context.Context, c *hook.Config) error {
	window := c.Verify
	if window == 0 {
		window = b.cfg.VerifyWindow
	}
	if c.Invalid != "" {
		return nil
	}
	found, err := b.cfg.Reader.Uncalled(ctx, store.UncalledQuery{
		Namespace: c.Hook.Namespace, Type: c.EventType, From: b.from, To: b.now.Add(-window), Window: window, Limit: maxUncalled,
	})
	if err != nil {
		return err
	}
	for _, inc := range found {
		if b.seen[inc.ID] || b.judged >= maxUncalled || b.meter.Judge(c, incident.Facts{Cluster: inc.Cluster, Signal: inc.LastSignal(), Incident: inc}) != hook.Match {
			continue
		}
		b.seen[inc.ID] = true
		if err := b.judge(ctx, inc, window); err != nil {
			return err
		}
	}
	return nil
}

// judge counts how a failure ended that began with an incident, by the same rule as those with a call. What began within the window of an
// earlier one is part of that.
func (b *baseline) judge(ctx context.Context, inc *incident.Incident, window time.Duration) error {
	f := delivery.Failure{Type: inc.Type, Namespace: inc.Resource.Namespace, Workload: inc.Workload, Container: inc.Container}
	if until, ok := b.counted[f]; ok && !inc.FirstSeen.After(until) {
		return nil
	}
	until := inc.FirstSeen.Add(window)
	b.counted[f] = until
	b.judged++
	a, err := b.cfg.Reader.FailedAnew(ctx, f, inc.FirstSeen.Add(-time.Microsecond), until)
	if err != nil || a == nil {
		return err
	}
	if !a.FirstRecovery.IsZero() {
		if a.Relapse, err = b.cfg.Reader.FirstFailure(ctx, f, a.FirstRecovery, until); err != nil {
			return err
		}
	}
	b.count(delivery.Judge([]delivery.Aftermath{*a}, until, time.Time{}, func() delivery.Health { return delivery.HealthUnknown }).Outcome)
	return nil
}

func (b *baseline) count(o delivery.Outcome) {
	b.rate.Failures++
	switch o {
	case delivery.OutcomeRecovered:
		b.rate.Recovered++
	case delivery.OutcomeRelapsed:
		b.rate.Relapsed++
	case delivery.OutcomePersisting:
		b.rate.Persisting++
	case delivery.OutcomeUnknown:
		b.rate.Unknown++
	}
}
