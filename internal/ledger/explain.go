package ledger

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// maxOpenOfPod is how many open incidents of the same Pod are looked at: causes and effects are among them.
const maxOpenOfPod = 100

// Explain says what would be decided about an incident now, if it were seen to go on, by each configuration of a Hook in
// the order of its list: why nobody is called for it, or who is. ev is the event that is asked about, whose values are
// matched rather than the incident's; nil for none. It goes the ledger's own way, in a dry run that reads as people do and writes nothing,
// so any replica can say it. It asks one Hook only, and evaluates within that Hook's budget.
func Explain(ctx context.Context, cfg Config, reader *store.Reader, hooks *hook.Set, ref delivery.HookRef, inc *incident.Incident, ev *incident.Event) ([]delivery.Checklist, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	m := newMatcher(hooks)
	m.configs[ref.Namespace] = m.of(ref) // the others are not asked, and have nothing to do with it
	open, err := openOfPod(ctx, reader, inc)
	if err != nil {
		return nil, err
	}
	l := &Ledger{cfg: cfg, from: reader.Cluster().Origin(), hooks: hooks, open: newOpenSet(open), settled: map[delivery.HookRef]settledHook{}}
	b := newBatch(l, nil, m)
	if err := b.foreseeSettled(ctx, reader, ref); err != nil {
		return nil, err
	}
	f := b.factsOf(inc)
	if ev != nil {
		f.Signal = signalOfEvent(ev, inc)
	}
	f.Signal.Kind = incident.Ongoing
	var all []delivery.Checklist
	for _, c := range m.configs[ref.Namespace] {
		list, err := b.explain(ctx, c, f)
		if err != nil {
			return nil, err
		}
		all = append(all, list)
	}
	return all, nil
}

// openOfPod are the open incidents of an incident's Pod, itself included.
func openOfPod(ctx context.Context, reader *store.Reader, inc *incident.Incident) ([]*incident.Incident, error) {
	found, _, err := reader.ListIncidents(ctx, store.IncidentQuery{
		Namespace: inc.Resource.Namespace, Name: inc.Resource.Name, Status: incident.Firing, Descending: true,
	}, store.Paging{Limit: maxOpenOfPod})
	var open []*incident.Incident
	for _, other := range found {
		if other.Resource.UID == inc.Resource.UID && other.ID != inc.ID && other.Cluster == inc.Cluster {
			open = append(open, other)
		}
	}
	if inc.Open() {
		own := *inc
		open = append(open, &own)
	}
	return open, err
}

// signalOfEvent is what an event says, with the labels that its incident has.
func signalOfEvent(ev *incident.Event, inc *incident.Incident) *incident.Signal {
	s := &incident.Signal{Kind: incident.Observed, Type: ev.Type, At: ev.At, Observation: ev.Observation, Count: ev.Count}
	pod := s.Attributes.PodOrZero()
	pod.Labels = inc.Attributes.PodOrZero().Labels
	s.Attributes.Pod = &pod
	return s
}

// foreseeSettled does what settle would, but for writing: a Hook that was edited since the last decision for it has its
// calls in the history under the keys that it had before.
func (b *batch) foreseeSettled(ctx context.Context, reader *store.Reader, ref delivery.HookRef) error {
	configs := b.matcher.in(ref.Namespace)
	known, err := reader.Configurations(ctx, ref)
	if err != nil {
		return err
	}
	now, moved := b.edited(known, configs)
	b.settled[ref], b.history = settledHook{configs: now}, reader.Precedents(moved)
	return nil
}

// explain says how far an incident would come with one configuration.
func (b *batch) explain(ctx context.Context, c *hook.Config, f incident.Facts) (delivery.Checklist, error) {
	list := delivery.Checklist{Config: c.Key, Agent: c.Agent}
	fit, checks := b.matcher.meter.Explain(c, f)
	for _, check := range checks {
		if check.Question == hook.AskedNamespace && check.OK {
			continue // of no interest: it can't be otherwise but by a mistake
		}
		list.Steps = append(list.Steps, delivery.CheckStep{Name: delivery.StepName(check.Question), OK: check.OK, Text: check.Text})
	}
	if fit == hook.NoMatch {
		return list, nil
	}
	if _, no := list.First(); !no {
		if !f.Incident.Open() {
			list.Steps = append(list.Steps, delivery.CheckStep{Name: delivery.StepOpen, Text: fmt.Sprintf(
				"the incident has ended (%s, %s): nobody is called about it any more, and a new occurrence opens another one", f.Incident.Resolution, instant(f.Incident.ResolvedAt))})
			return list, nil
		}
		list.Steps = append(list.Steps, delivery.CheckStep{Name: delivery.StepOpen, OK: true, Text: "the incident is open since " + instant(f.Incident.FirstSeen)})
	}
	r, err := b.rule(ctx, match{Config: c, tooCostly: fit == hook.TooCostly}, f, nil)
	if err != nil {
		return list, err
	}
	list.Disposition, list.DeliveryID = r.Disposition, r.deliveryID
	if r.Disposition != delivery.Invalid { // which the checks told already
		list.Steps = append(list.Steps, b.stepsOf(c, f, r)...)
	}
	return list, nil
}

// stepsOf says what a ruling was made of.
func (b *batch) stepsOf(c *hook.Config, f incident.Facts, r ruling) []delivery.CheckStep {
	end := delivery.StoppedAt(r.Disposition)
	var steps []delivery.CheckStep
	for _, s := range []struct {
		name delivery.StepName
		tell func(c *hook.Config, f incident.Facts, r ruling, ok bool) string
	}{
		{delivery.StepSuspended, tellSuspended}, {delivery.StepCause, b.tellCause}, {delivery.StepWindow, b.tellWindow},
		{delivery.StepPaused, tellPaused}, {delivery.StepLoopGuard, b.tellGuard}, {delivery.StepBudget, tellBudget}, {delivery.StepCall, tellCall},
	} {
		ok := s.name != end || r.Disposition == delivery.Delivered
		steps = append(steps, delivery.CheckStep{Name: s.name, OK: ok, Text: s.tell(c, f, r, ok)})
		if s.name == end {
			break
		}
	}
	return steps
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func tellSuspended(_ *hook.Config, _ incident.Facts, _ ruling, ok bool) string {
	if ok {
		return "the Hook is not suspended"
	}
	return "spec.suspend is true: the Hook calls nobody"
}

func (b *batch) tellCause(c *hook.Config, f incident.Facts, r ruling, ok bool) string {
	switch other, cause := b.explanation(c, f); {
	case ok && !c.OnePerCause:
		return "onePerCause is false: causes and effects are each called for"
	case ok:
		return "no cause or effect of it is called for by this Hook"
	case other != nil:
		return fmt.Sprintf("it was caused by %s (incident %s), for which the configuration %s of this Hook calls%s", cause.Type, cause.ID, other.Key, madeBy(r))
	}
	return "this Hook has called for an effect of it" + madeBy(r)
}

func madeBy(r ruling) string {
	if r.deliveryID == "" {
		return ""
	}
	return " (delivery " + r.deliveryID + ")"
}

func (b *batch) tellWindow(c *hook.Config, _ incident.Facts, r ruling, ok bool) string {
	switch {
	case ok && len(r.group.past) == 0:
		return "nobody was called for " + r.group.Group + " yet"
	case ok:
		return fmt.Sprintf("the last call for %s was made due at %s, longer ago than dedupWindow, %s", r.group.Group, instant(r.group.past[0].CreatedAt), c.Window)
	case len(r.group.past) == 0 || r.group.past[0].ID != r.deliveryID:
		return "delivery " + r.deliveryID + " stands for it: it was made for this incident before its group changed, or before an edit of the Hook"
	}
	newest := r.group.past[0]
	if until := newest.CreatedAt.Add(c.Window); until.After(b.now) {
		return fmt.Sprintf("delivery %s for %s was made due at %s: no further call before %s (dedupWindow, %s)",
			newest.ID, r.group.Group, instant(newest.CreatedAt), instant(until), c.Window)
	}
	return fmt.Sprintf("delivery %s for %s, made due at %s, is under way (%s)", newest.ID, r.group.Group, instant(newest.CreatedAt), newest.State)
}

func tellPaused(_ *hook.Config, _ incident.Facts, r ruling, ok bool) string {
	if ok {
		return "calls are not paused"
	}
	return r.held.why
}

func (b *batch) tellGuard(c *hook.Config, _ incident.Facts, r ruling, ok bool) string {
	switch {
	case ok:
		return fmt.Sprintf("%s within a day for %s: the loop guard has no objection", incident.Counted(loopGuardOf(c, r.group).repeats(b.now), "call"), r.group.Group)
	case !r.held.person:
		return r.held.why // which has until when
	case len(r.group.past) == 0:
		return r.held.why + ": a person must let the next one through (khook deliveries resume ID), or it waits until " + instant(r.held.until)
	}
	return fmt.Sprintf("%s: a person must let the next one through (khook deliveries resume %s), or it waits until %s", r.held.why, r.group.past[0].ID, instant(r.held.until))
}

func tellBudget(_ *hook.Config, _ incident.Facts, r ruling, ok bool) string {
	var used []string
	for _, one := range r.budgets {
		last := "hour"
		if one.within == budgetDay {
			last = "24 hours"
		}
		used = append(used, fmt.Sprintf("%d of %d %s used in the last %s (%s)", one.used, one.most, one.of, last, one.name))
	}
	switch {
	case !ok:
		return fmt.Sprintf("%s, until %s: %s", r.held.why, instant(r.held.until), strings.Join(used, ", "))
	case len(used) == 0:
		return "there is no limit of calls or tokens"
	}
	return strings.Join(used, ", ")
}

func tellCall(c *hook.Config, _ incident.Facts, r ruling, _ bool) string {
	return fmt.Sprintf("agent %s would be called for %s now", c.Agent, r.group.Group)
}
