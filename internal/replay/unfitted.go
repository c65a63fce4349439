package replay

import (
	"cmp"
	"slices"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// NotFitted are incidents of an event type that a Hook names, of which none of its configurations was about any: what kept
// the nearest one from it.
type NotFitted struct {
	Recording string `json:"recording"`
	Hook      string `json:"hook"`
	EventType string `json:"eventType"`
	Incidents int    `json:"incidents"` // that it is so of
	Step      string `json:"step"`      // such as selector or match; "" for the rest of very many reasons
	Why       string `json:"why"`       // such as: track=canary, the Pod has none
}

// maxReasons bounds the reasons that are told of a recording: a match expression has one for each value.
const maxReasons = 100

// notFitted says which Hooks were not about incidents of their types, the most frequent reason first.
func (r *replay) notFitted(recording string, incidents []*incident.Incident) ([]NotFitted, error) {
	ids := make([]string, len(incidents))
	for i, inc := range incidents {
		ids[i] = inc.ID
	}
	concerned, err := r.store.IncidentHooks(r.ctx, ids)
	if err != nil {
		return nil, err
	}
	counts := map[NotFitted]int{}
	for _, inc := range incidents {
		for _, one := range r.unfitted(inc, concerned[inc.ID]) {
			one.Recording = recording
			if _, known := counts[one]; !known && len(counts) >= maxReasons {
				one.Step, one.Why = "", "other reasons"
			}
			counts[one]++
		}
	}
	var all []NotFitted
	for one, n := range counts {
		one.Incidents = n
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b NotFitted) int {
		return cmp.Or(cmp.Compare(a.Hook, b.Hook), cmp.Compare(b.Incidents, a.Incidents), cmp.Compare(a.EventType, b.EventType), cmp.Compare(a.Step, b.Step), cmp.Compare(a.Why, b.Why))
	})
	return all, nil
}

// unfitted says what kept the Hooks that name the incident's type from it, each once, by its nearest configuration; none of
// those that decided about it. They are asked about the incident as it was last seen, as the ledger asks.
func (r *replay) unfitted(inc *incident.Incident, concerned []store.ConcernedHook) []NotFitted {
	f := incident.Facts{Incident: inc, Signal: inc.LastSignal()}
	nearest, order := map[delivery.HookRef][]hook.Check{}, []delivery.HookRef{}
	meter := hook.NewMeter()
	for _, c := range r.hooks.In(inc.Resource.Namespace) {
		decided := slices.ContainsFunc(concerned, func(h store.ConcernedHook) bool { return h.Hook == c.Hook })
		if c.EventType != inc.Type || decided {
			continue
		}
		_, checks := meter.Explain(c, f)
		if nearest[c.Hook] == nil {
			order = append(order, c.Hook)
		}
		if len(checks) > len(nearest[c.Hook]) {
			nearest[c.Hook] = checks
		}
	}
	var all []NotFitted
	for _, ref := range order {
		last := nearest[ref][len(nearest[ref])-1]
		one := NotFitted{Hook: ref.String(), EventType: string(inc.Type), Step: string(last.Question), Why: last.Text}
		if last.OK {
			one.Why = "it did not fit when it happened, and would as it was last seen"
		}
		all = append(all, one)
	}
	return all
}
