package storetest

import (
	"cmp"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// crowd records a number of events, in no order of time, of two namespaces, three workloads and all types, some of which
// have ended, with what a Hook decided about those of its namespace.
func (s *suite) crowd(prefix string, n int) []*incident.Event {
	s.Helper()
	var events []*incident.Event
	s.must(s.st.Write(s.Context(), func(tx *store.Tx) error {
		all := &store.Changes{}
		for i := range n {
			sig := observed(fmt.Sprint(prefix, i), start.Add(time.Duration(i*37%n)*time.Minute))
			sig.Type = incident.EventTypes()[i%len(incident.EventTypes())]
			sig.Workload.Name = fmt.Sprint("workload-", i%3)
			sig.Resource.Namespace = []string{someHook.Namespace, "pay"}[i/2%2]
			inc, c := record(tx, sig)
			if i%5 == 0 {
				c.Events[0].Status = incident.Resolved
				inc.Resolve(incident.Recovered, sig.At.Add(time.Minute))
			}
			events = append(events, c.Events[0])
			all.Events, all.Incidents = append(all.Events, c.Events...), append(all.Incidents, c.Incidents...)
			if sig.Resource.Namespace == someHook.Namespace {
				all.Deliveries, all.Decisions = append(all.Deliveries, c.Deliveries...), append(all.Decisions, c.Decisions...)
			}
		}
		return tx.Save(s.Context(), all)
	}))
	return events
}

// eventQueries are some of the ways in which people ask, each with what it should find.
func eventQueries() map[string]struct {
	query store.EventQuery
	finds func(*incident.Event) bool
} {
	between := sql.Null[time.Time]{V: start.Add(20 * time.Minute), Valid: true}
	return map[string]struct {
		query store.EventQuery
		finds func(*incident.Event) bool
	}{
		"all":       {store.EventQuery{}, func(*incident.Event) bool { return true }},
		"namespace": {store.EventQuery{Namespace: "pay"}, func(e *incident.Event) bool { return e.Resource.Namespace == "pay" }},
		"type":      {store.EventQuery{Type: incident.OOMKill}, func(e *incident.Event) bool { return e.Type == incident.OOMKill }},
		"status":    {store.EventQuery{Status: incident.Firing}, func(e *incident.Event) bool { return e.Status == incident.Firing }},
		"name":      {store.EventQuery{Name: "k7"}, func(e *incident.Event) bool { return e.Resource.Name == "k7" }},
		"workload":  {store.EventQuery{Workload: "workload-1"}, func(e *incident.Event) bool { return e.Workload.Name == "workload-1" }},
		"hook":      {store.EventQuery{Hook: someHook}, func(e *incident.Event) bool { return e.Resource.Namespace == someHook.Namespace }},
		"from":      {store.EventQuery{From: between}, func(e *incident.Event) bool { return !e.At.Before(between.V) }},
		"to":        {store.EventQuery{To: between}, func(e *incident.Event) bool { return e.At.Before(between.V) }},
		"nothing":   {store.EventQuery{Namespace: "none"}, func(*incident.Event) bool { return false }},
		"several": {store.EventQuery{Namespace: "pay", Workload: "workload-2", Status: incident.Resolved}, func(e *incident.Event) bool {
			return e.Resource.Namespace == "pay" && e.Workload.Name == "workload-2" && e.Status == incident.Resolved
		}},
	}
}

// selected are the IDs of the events that a query should find, in its order.
func selected(events []*incident.Event, q store.EventQuery, finds func(*incident.Event) bool) []int64 {
	found := slices.DeleteFunc(slices.Clone(events), func(e *incident.Event) bool { return !finds(e) })
	slices.SortFunc(found, func(a, b *incident.Event) int {
		order := cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
		switch q.Sort {
		case store.ByType:
			order = cmp.Or(cmp.Compare(a.Type, b.Type), order)
		case store.ByName:
			order = cmp.Or(cmp.Compare(a.Resource.Name, b.Resource.Name), order)
		}
		if q.Descending {
			return -order
		}
		return order
	})
	ids := []int64{}
	for _, e := range found {
		ids = append(ids, e.ID)
	}
	return ids
}

// readAll reads all pages of a query; between is called after each but the last.
func (s *suite) readAll(q store.EventQuery, limit int, between func()) (ids []int64, totals []int) {
	s.Helper()
	ids = []int64{}
	for p := (store.Paging{Limit: limit, Count: true}); ; between() {
		events, total, err := s.st.Reader().ListEvents(s.Context(), q, p)
		s.must(err)
		totals = append(totals, total.N)
		for _, e := range events {
			ids = append(ids, e.ID)
		}
		if !total.More {
			return ids, totals
		}
		if len(events) != limit {
			s.Fatalf("a page of %d has %d, and there are more", limit, len(events))
		}
		p.After = q.Position(events[limit-1])
	}
}

func (s *suite) lists() {
	events := s.crowd("k", 60)
	for name, ask := range eventQueries() {
		for _, sort := range []string{store.ByTime, store.ByType, store.ByName} {
			for _, descending := range []bool{false, true} {
				q := ask.query
				q.Sort, q.Descending = sort, descending
				want := selected(events, q, ask.finds)
				got, totals := s.readAll(q, 7, func() {})
				s.same(fmt.Sprintf("%s by %q, descending: %t", name, sort, descending), want, got)
				for _, n := range totals {
					if n != len(want) {
						s.Errorf("%s: %d are counted, there are %d", name, n, len(want))
					}
				}
			}
		}
	}
	page, total, err := s.st.Reader().ListEvents(s.Context(), store.EventQuery{}, store.Paging{Limit: 5, Offset: 57, Count: true})
	if s.must(err); len(page) != 3 || total != (store.Total{N: 60}) {
		s.Errorf("beyond an offset there are %d: %+v", len(page), total)
	}
}

func (s *suite) pages() {
	events := s.crowd("k", 60)
	for i, q := range []store.EventQuery{{}, {Descending: true}, {Sort: store.ByName}, {Sort: store.ByType, Descending: true}, {Hook: someHook, Descending: true}} {
		n := 0
		got, _ := s.readAll(q, 11, func() { // others write
			n++
			s.crowd(fmt.Sprint("new", i, "-", n, "-"), 3)
		})
		sorted := slices.Sorted(slices.Values(got))
		if len(slices.Compact(sorted)) != len(got) {
			s.Errorf("%+v shows an event twice", q)
		}
		for _, id := range selected(events, q, func(e *incident.Event) bool { return q.Hook.Name == "" || e.Resource.Namespace == q.Hook.Namespace }) {
			if !slices.Contains(got, id) {
				s.Errorf("%+v leaves out event %d", q, id)
			}
		}
	}
}

func (s *suite) stories() {
	ctx, people := s.Context(), s.st.Reader()
	s.crowd("k", 40)
	all := store.Paging{Limit: 100, Count: true}
	some, err := s.st.AllDeliveries(ctx, 2)
	s.must(err)
	some[0].StalledSince, some[1].StalledSince, some[1].Stop = start, start, delivery.StopAsking
	s.must(s.st.Write(ctx, func(tx *store.Tx) error { return tx.Save(ctx, &store.Changes{Deliveries: some}) }))
	for name, q := range map[string]struct {
		query store.IncidentQuery
		want  int
	}{
		"all": {store.IncidentQuery{}, 40}, "open": {store.IncidentQuery{Status: incident.Firing}, 32}, "ended": {store.IncidentQuery{Status: incident.Resolved}, 8},
		"namespace": {store.IncidentQuery{Namespace: "pay"}, 20}, "name": {store.IncidentQuery{Name: "k3", Namespace: "pay"}, 1},
		"workload": {store.IncidentQuery{Workload: "workload-0"}, 14}, "type": {store.IncidentQuery{Type: incident.OOMKill}, 10},
	} {
		found, total, err := people.ListIncidents(ctx, q.query, all)
		s.must(err)
		if len(found) != q.want || total.N != q.want {
			s.Errorf("incidents, %s: %d, counted %d, there are %d", name, len(found), total.N, q.want)
		}
	}
	for name, q := range map[string]struct {
		query store.DeliveryQuery
		want  int
	}{
		"all": {store.DeliveryQuery{}, 20}, "hook": {store.DeliveryQuery{Namespace: someHook.Namespace, Hook: someHook.Name}, 20},
		"state": {store.DeliveryQuery{State: delivery.Failed}, 0}, "stalled": {store.DeliveryQuery{Stalled: true}, 2}, "left to people": {store.DeliveryQuery{Stalled: true, LeftToPeople: true}, 1}, "agent": {store.DeliveryQuery{Agent: delivery.AgentRef{Namespace: "kagent", Name: "medic"}}, 20},
	} {
		found, total, err := people.ListDeliveries(ctx, q.query, all)
		s.must(err)
		if len(found) != q.want || total.N != q.want {
			s.Errorf("deliveries, %s: %d, counted %d, there are %d", name, len(found), total.N, q.want)
		}
		for _, d := range found {
			if d.Prompt != "" {
				s.Fatalf("a list has the texts of delivery %s", d.ID)
			}
		}
	}
}
