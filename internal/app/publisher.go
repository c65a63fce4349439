package app

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
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/status"
	"github.com/kagent-dev/khook/internal/store"
)

// resolvedBacklog bounds how many commits with incidents that ended or were opened again wait to be published. What is more gets no
// Kubernetes Events; the history and the status have it all the same.
const resolvedBacklog = 1000

// publisher passes on what was committed: to the dispatcher, the metrics, the live streams, the status of the Hooks
// and the Kubernetes Events on them. It only tells: nothing is lost if it is late or the process ends before it, since
// whatever must be done is in the history, and is read from there by the next leader.
type publisher struct {
	metrics   *metrics
	status    *status.Writer
	events    *status.EventRecorder
	store     *store.Store
	log       logr.Logger
	wake      func(ids ...string)       // has the dispatcher look at deliveries now, if this replica leads
	committed func()                    // is called after each commit of the ledger; it must not block
	resolved  chan []*incident.Incident // that ended, or were opened again: their Hooks are looked up beside the way of the data
}

// onRecorded is told of each commit of the ledger.
func (p *publisher) onRecorded(a ledger.Applied) {
	p.metrics.recorded(a)
	p.logDeadLetters(a)
	p.status.MatchTooCostly(a.TooCostly)
	p.committed()
	for _, d := range a.Deliveries {
		p.wake(d.ID)
		p.events.Record(d.Hook, d.HookUID, status.ReasonEventFiring,
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
		p.status.Touch(ref)
	}
	for _, changed := range [][]*incident.Incident{a.Resolved, a.Reopened} {
		if len(changed) == 0 {
			continue
		}
		select {
		case p.resolved <- changed:
		default:
			p.log.Info("too many incidents end at once: not all are told as Kubernetes Events", "incidents", len(changed))
		}
	}
}

// logDeadLetters tells the log of what could not be recorded.
func (p *publisher) logDeadLetters(a ledger.Applied) {
	for _, d := range a.SetAside {
		r := d.Signal.Resource
		p.log.Info("what khook saw can't be recorded and was put aside: see khook dead-letters", "letter", d.ID, "fault", d.Fault, "error", d.Error,
			"namespace", r.Namespace, "resource", r.Name, "eventType", d.Signal.Type, "signal", d.Signal.Kind, "eventRecorded", d.Recorded)
	}
	if a.Dropped > 0 {
		p.log.Info("too much was put aside: the oldest dead letters are lost", "letters", a.Dropped)
	}
}

// recordHolds records as Kubernetes Events that calls are held back, paused or resumed, or tasks stalled.
func recordHolds(events *status.EventRecorder) func(delivery.HookRef, string, metav1.Condition) {
	reasons := map[string]string{
		v1alpha2.ConditionOverBudget: status.ReasonOverBudget, v1alpha2.ConditionLoopGuard: status.ReasonLoopGuard,
		v1alpha2.ConditionMatchTooCostly: status.ReasonEventProcessingError, v1alpha2.ConditionStalled: status.ReasonStalled,
		v1alpha2.ConditionPaused: status.ReasonPaused,
	}
	return func(ref delivery.HookRef, uid string, c metav1.Condition) {
		if c.Type == v1alpha2.ConditionPaused && c.Status == metav1.ConditionFalse {
			events.Record(ref, uid, status.ReasonResumed, c.Message)
			return
		}
		if reason := reasons[c.Type]; reason != "" && c.Status == metav1.ConditionTrue {
			events.Record(ref, uid, reason, c.Message)
		}
	}
}

// run looks up whom the ends of incidents concern, and that some had not ended, beside the way of the data.
func (p *publisher) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case ended := <-p.resolved:
			if err := p.ended(ctx, ended); err != nil && ctx.Err() == nil {
				p.log.Error(err, "cannot tell the end of incidents", "incidents", len(ended))
			}
		}
	}
}

func (p *publisher) ended(ctx context.Context, ended []*incident.Incident) error {
	ids := make([]string, len(ended))
	for i, inc := range ended {
		ids[i] = inc.ID
	}
	deliveries, err := p.store.DeliveryIDsOfIncidents(ctx, ids)
	if err != nil {
		return err
	}
	p.wake(deliveries...)
	hooks, err := p.store.IncidentHooks(ctx, ids)
	if err != nil {
		return err
	}
	for _, inc := range ended {
		reason, note := status.ReasonEventResolved, fmt.Sprintf("%s: %s after %s", inc.Subject(), inc.Resolution, inc.ResolvedAt.Sub(inc.FirstSeen).Round(time.Second))
		if inc.Open() {
			reason, note = status.ReasonEventFiring, fmt.Sprintf("%s: had ended as quiet, and is seen to go on", inc.Subject())
		}
		for _, h := range hooks[inc.ID] {
			p.status.Touch(h.Hook)
			p.events.Record(h.Hook, h.UID, reason, note)
		}
	}
	return nil
}

// onDelivery is told of each committed change of a delivery.
func (p *publisher) onDelivery(c dispatch.Change) {
	d := c.Delivery
	p.metrics.delivered(c)
	if c.Took > 0 || c.Err != nil {
		p.status.AgentHealth(d.Agent, reachable(c.Err))
	}
	if d.State == c.From && c.Err == nil && c.Stall == delivery.StallNone && !c.Asks {
		return
	}
	p.status.Touch(d.Hook)
	if reason, what := eventFor(c); reason != "" {
		p.events.Record(d.Hook, d.HookUID, reason, fmt.Sprintf("%s in %s: %s; see khook deliveries show %s", d.EventType, d.Group, what, d.ID))
	}
}

// eventFor is the reason of the Kubernetes Event about a change of a delivery, and what it says; "" for
// none. What an agent said or asked is not in it: Events are kept where that does not belong.
func eventFor(c dispatch.Change) (reason, what string) {
	d := c.Delivery
	switch {
	case d.Skipped == delivery.SkipRecovered:
		return status.ReasonEventResolved, fmt.Sprintf("agent %s was not called, all had ended before", d.Agent)
	case d.Skipped != "":
		return status.ReasonEventProcessingError, fmt.Sprintf("agent %s was not called (%s)", d.Agent, d.Skipped)
	case d.State == delivery.Succeeded:
		return status.ReasonAgentCallSuccess, fmt.Sprintf("agent %s finished its task", d.Agent)
	case d.State == delivery.InputRequired && (c.From != d.State || c.Asks):
		return status.ReasonAgentAsks, fmt.Sprintf("agent %s waits for a person, who must %s: khook deliveries reply %s", d.Agent, wanted(d), d.ID)
	case c.Err != nil:
		return status.ReasonAgentCallFailure, fmt.Sprintf("agent %s, attempt %d: %s", d.Agent, d.Attempt, agent.Brief(c.Err))
	case d.State.Ended():
		return status.ReasonAgentCallFailure, fmt.Sprintf("agent %s ended as %s", d.Agent, d.State)
	}
	return "", ""
}

// wanted is what an agent that asks waits for. The question itself is the agent's text.
func wanted(d *delivery.Delivery) string {
	switch {
	case d.NeedsApproval:
		return "approve or reject what it wants to do"
	case d.TaskState == string(agent.AuthRequired):
		return "give it credentials"
	}
	return "answer its question"
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
