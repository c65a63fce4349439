// Package storetest holds histories to what khook relies on, whatever their engine (Conformance), and fills them for
// benchmarks (Fill). It uses what package store exports, so that an engine's own tests can call it.
package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// What a filled history has much of, whatever its size: a quarter of all events are of this
// workload.
const (
	Namespace = "ns-7"
	Workload  = "workload-7-3"
)

// Hook is the name of the Hook in each namespace that decides about all its events.
const Hook = "hook"

const days = 7

// Batch is how many events are recorded in one transaction.
const Batch = 1000

// Fill records a number of events, which must be a multiple of 1,000, that happened in the seven
// days before end: in 40 namespaces and 2,000 workloads, of all types, one in five an incident that
// has ended, the last 50 firing, all with the decision of a hook.
func Fill(ctx context.Context, st *store.Store, events int, end time.Time) error {
	rnd := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // the same each time
	step := days * 24 * time.Hour / time.Duration(events)
	for n := 0; n < events; n += Batch {
		err := st.WriteRelaxed(ctx, func(tx *store.Tx) error {
			c := &store.Changes{}
			for i := n; i < n+Batch; i++ {
				one(tx, c, rnd, i, end.Add(-step*time.Duration(events-i)), i >= events-50)
			}
			return tx.Save(ctx, c)
		})
		if err != nil {
			return fmt.Errorf("fill the history: %w", err)
		}
	}
	return nil
}

// FillMore records one more batch of a history that has a number of events.
func FillMore(ctx context.Context, st *store.Store, have int, at time.Time) error {
	rnd := rand.New(rand.NewPCG(7, uint64(have))) //nolint:gosec // the same each time
	return st.WriteRelaxed(ctx, func(tx *store.Tx) error {
		c := &store.Changes{}
		for i := have; i < have+Batch; i++ {
			one(tx, c, rnd, i, at, false)
		}
		return tx.Save(ctx, c)
	})
}

func one(tx *store.Tx, c *store.Changes, rnd *rand.Rand, i int, at time.Time, firing bool) {
	ns, w := rnd.IntN(40), rnd.IntN(50)
	if rnd.IntN(4) == 0 {
		ns, w = 7, 3
	}
	workload := fmt.Sprintf("workload-%d-%d", ns, w)
	s := &incident.Signal{
		Key: fmt.Sprint("filled ", i), Kind: incident.Observed, Type: incident.EventTypes()[rnd.IntN(4)], At: at, Count: 1,
		Observation: incident.Observation{
			Resource: incident.Resource{Kind: "Pod", Namespace: fmt.Sprint("ns-", ns), Name: fmt.Sprintf("%s-%d", workload, i/20), UID: fmt.Sprint("uid-", i)},
			Workload: incident.Workload{Kind: "Deployment", Name: workload}, Container: "app", Node: fmt.Sprint("node-", rnd.IntN(30)),
			Reason: "Error", Message: "Container app restarted (restart 3): it had ended with exit code 1 (Error)",
		},
	}
	inc := incident.Open(incident.Origin{}, s)
	e := incident.NewEvent(inc, s, at)
	e.ID = tx.NextEvent()
	switch {
	case firing:
		c.Incidents = append(c.Incidents, inc)
	case i%5 == 0:
		e.Status = incident.Resolved
		inc.Resolve(incident.Recovered, at.Add(time.Minute))
		c.Incidents = append(c.Incidents, inc)
	default:
		e.Status = incident.Duplicate
	}
	c.Events = append(c.Events, e)
	c.Decisions = append(c.Decisions, delivery.Decision{
		EventID: e.ID, IncidentID: inc.ID, Hook: delivery.HookRef{Namespace: s.Resource.Namespace, Name: Hook}, Config: string(s.Type), Disposition: delivery.Duplicate, At: at,
	})
}
