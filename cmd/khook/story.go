package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/dispatch"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/store"
)

// storyBacklog bounds how many commits with resolved incidents wait to be told. What is more is
// not told as Kubernetes Events; the history and the status have it all the same.
const storyBacklog = 1000

// story passes on what was committed: to the dispatcher, the metrics, the status of the Hooks and
// the Kubernetes Events on them.
type story struct {
	meters *meters
	status *hook.StatusWriter
	teller *hook.Teller
	store  *store.Store
	log    logr.Logger
	wake   func(ids ...string)
	// committed is called after each commit of the ledger; it must not block.
	committed func()
	resolved  chan []*incident.Incident
}

// applied is told of each commit of the ledger.
func (s *story) applied(a ledger.Applied) {
	s.meters.applied(a)
	s.putAside(a)
	s.status.MatchTooCostly(a.TooCostly)
	s.committed()
	for _, d := range a.Deliveries {
		s.wake(d.ID)
		s.teller.Tell(d.Hook, d.HookUID, hook.ReasonEventFiring,
			fmt.Sprintf("%s in %s: calling agent %s (delivery %s)", d.EventType, d.Group, d.Agent, d.ID))
	}
	hooks := map[delivery.HookRef]bool{}
	for _, d := range a.Decisions {
		hooks[d.Hook] = true
	}
	for _, d := range a.Deliveries {
		hooks[d.Hook] = true
	}
	for _, h := range a.Held {
		hooks[h] = true
	}
	for ref := range hooks {
		s.status.Touch(ref)
	}
	if len(a.Resolved) == 0 {
		return
	}
	select {
	case s.resolved <- a.Resolved:
	default:
		s.log.Info("too many incidents end at once: not all are told as Kubernetes Events", "incidents", len(a.Resolved))
	}
}

// putAside tells the log of what could not be recorded.
func (s *story) putAside(a ledger.Applied) {
	for _, d := range a.SetAside {
		r := d.Signal.Resource
		s.log.Info("what khook saw can't be recorded and was put aside: see khook dead-letters", "letter", d.ID, "fault", d.Fault, "error", d.Error,
			"namespace", r.Namespace, "resource", r.Name, "eventType", d.Signal.Type, "signal", d.Signal.Kind, "eventRecorded", d.Recorded)
	}
	if a.Dropped > 0 {
		s.log.Info("too much was put aside: the oldest dead letters are lost", "letters", a.Dropped)
	}
}

// tellHolds tells, as Kubernetes Events, that calls are held back, and that they no longer are.
func tellHolds(teller *hook.Teller) func(delivery.HookRef, string, metav1.Condition) {
	reasons := map[string]string{
		v1alpha2.ConditionOverBudget: hook.ReasonOverBudget, v1alpha2.ConditionLoopGuard: hook.ReasonLoopGuard,
		v1alpha2.ConditionMatchTooCostly: hook.ReasonEventProcessingError,
	}
	return func(ref delivery.HookRef, uid string, c metav1.Condition) {
		if reason := reasons[c.Type]; reason != "" && c.Status == metav1.ConditionTrue {
			teller.Tell(ref, uid, reason, c.Message)
		}
	}
}

// run looks up whom the ends of incidents concern, beside the way of the data.
func (s *story) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case ended := <-s.resolved:
			if err := s.ended(ctx, ended); err != nil && ctx.Err() == nil {
				s.log.Error(err, "cannot tell the end of incidents", "incidents", len(ended))
			}
		}
	}
}

func (s *story) ended(ctx context.Context, ended []*incident.Incident) error {
	ids := make([]string, len(ended))
	for i, inc := range ended {
		ids[i] = inc.ID
	}
	deliveries, err := s.store.DeliveriesOfIncidents(ctx, ids)
	if err != nil {
		return err
	}
	for _, d := range deliveries {
		s.wake(d.ID)
	}
	hooks, err := s.store.IncidentHooks(ctx, ids)
	if err != nil {
		return err
	}
	for _, inc := range ended {
		for _, h := range hooks[inc.ID] {
			s.status.Touch(h.Hook)
			s.teller.Tell(h.Hook, h.UID, hook.ReasonEventResolved,
				fmt.Sprintf("%s: %s after %s", hook.Subject(inc), inc.Resolution, inc.ResolvedAt.Sub(inc.FirstSeen).Round(time.Second)))
		}
	}
	return nil
}

// dispatched is told of each committed change of a delivery.
func (s *story) dispatched(c dispatch.Change) {
	d := c.Delivery
	s.meters.dispatched(c)
	if c.Took > 0 || c.Err != nil {
		s.status.AgentHealth(d.Agent, reachable(c.Err))
	}
	if d.State == c.From && c.Err == nil {
		return
	}
	s.status.Touch(d.Hook)
	if reason, what := newsOf(c); reason != "" {
		s.teller.Tell(d.Hook, d.HookUID, reason, fmt.Sprintf("%s in %s: %s; see khook deliveries show %s", d.EventType, d.Group, what, d.ID))
	}
}

// newsOf is the reason of the Kubernetes Event about a change of a delivery, and what it says; "" for
// none. What an agent said or asked is not in it: Events are kept where that does not belong.
func newsOf(c dispatch.Change) (reason, what string) {
	d := c.Delivery
	switch {
	case d.Skipped == delivery.SkipRecovered:
		return hook.ReasonEventResolved, fmt.Sprintf("agent %s was not called, all had ended before", d.Agent)
	case d.Skipped != "":
		return hook.ReasonEventProcessingError, fmt.Sprintf("agent %s was not called (%s)", d.Agent, d.Skipped)
	case d.State == delivery.Succeeded:
		return hook.ReasonAgentCallSuccess, fmt.Sprintf("agent %s finished its task", d.Agent)
	case d.State == delivery.InputRequired:
		return hook.ReasonEventProcessingError, fmt.Sprintf("agent %s waits for a person", d.Agent)
	case c.Err != nil:
		return hook.ReasonAgentCallFailure, fmt.Sprintf("agent %s, attempt %d: %s", d.Agent, d.Attempt, agent.Brief(c.Err))
	case d.State.Ended():
		return hook.ReasonAgentCallFailure, fmt.Sprintf("agent %s ended as %s", d.Agent, d.State)
	}
	return "", ""
}

// reachable keeps of an agent's error what the condition of the Hooks is about: without what kagent or the
// agent said, since everybody reads conditions who may read the Hook.
func reachable(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, agent.ErrNoAgent) {
		return errors.New("kagent has no such agent: create it, or correct the name")
	}
	return errors.New(agent.Brief(err))
}
