package storetest

import (
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

func (s *suite) counters() {
	ctx, people := s.Context(), s.st.Reader()
	events := s.crowd("k", 200)
	for _, r := range []struct{ from, to time.Duration }{
		{0, 4 * time.Hour}, {0, 30 * time.Minute}, {7 * time.Minute, 2*time.Hour + 11*time.Minute}, {time.Hour, time.Hour + time.Minute},
	} {
		from, to := start.Add(r.from), start.Add(r.to)
		for _, namespace := range []string{"", "pay"} {
			want := map[incident.EventType]int64{}
			for _, e := range events {
				if !e.At.Before(from) && e.At.Before(to) && e.Status == incident.Firing && (namespace == "" || e.Resource.Namespace == namespace) {
					want[e.Type]++
				}
			}
			counts, err := people.EventCounts(ctx, from, to, namespace)
			s.must(err)
			got := map[incident.EventType]int64{}
			for _, c := range counts {
				if c.Status == incident.Firing {
					got[c.Type] += c.N
				}
			}
			s.same(fmt.Sprintf("events of %q from %s to %s", namespace, r.from, r.to), want, got)
		}
	}
	total := func(counts []store.TrendCount, err error) (n int64) {
		s.must(err)
		for _, c := range counts {
			n += c.N
		}
		return n
	}
	whole := start.Add(4 * time.Hour)
	firing := total(people.Trend(ctx, start, whole, 10*time.Minute, ""))
	if byHour := total(people.Trend(ctx, start, whole, time.Hour, "")); firing != byHour || firing != 160 {
		s.Errorf("the trend counts %d by ten minutes and %d by the hour, of 160", firing, byHour)
	}
	if n := total(people.TrendByNamespace(ctx, start, whole, time.Hour)); n != 160 {
		s.Errorf("the trend by namespace counts %d of 160", n)
	}
	active, err := people.ActiveEvents(ctx, "pay")
	s.must(err)
	n := int64(0)
	for _, c := range active {
		n += c.N
	}
	if n != 80 {
		s.Errorf("%d events of the namespace are active, not 80", n)
	}
}

func (s *suite) summaries() {
	ctx, people := s.Context(), s.st.Reader()
	s.crowd("k", 60)
	hooks := []delivery.HookRef{someHook}
	for i := range 150 { // more than go into one statement
		hooks = append(hooks, delivery.HookRef{Namespace: "ns", Name: fmt.Sprint(i)})
	}
	from, to := start, start.Add(45*time.Minute)
	found, err := people.HookSummaries(ctx, hooks, from, to, from)
	s.must(err)
	if len(found) != len(hooks) {
		s.Errorf("%d of %d Hooks", len(found), len(hooks))
	}
	for _, hook := range hooks[:3] {
		want := &store.HookSummary{}
		want.Open, want.LastFired, err = s.st.HookSummary(ctx, hook)
		s.must(err)
		want.Deliveries, err = people.HookDeliveriesMade(ctx, hook, from, to)
		s.must(err)
		want.Counts, err = people.HookCounts(ctx, hook, from, to)
		s.must(err)
		budgeted, err := people.Precedents(nil).CountDeliveries(ctx, hook, "", from, 1000)
		s.must(err)
		want.Budgeted = int64(budgeted)
		s.same("Hook "+hook.String(), want, found[hook])
	}
	if of := found[someHook]; of.Open == 0 || of.LastFired.IsZero() || of.Deliveries == 0 || of.Budgeted == 0 || of.Counts["disposition:"+string(delivery.Delivered)] == 0 {
		s.Errorf("nothing is known of the Hook: %+v", of)
	}
}

func (s *suite) prune() {
	ctx := s.Context()
	end := func(key string, at time.Time, delivered bool) *incident.Incident {
		inc, c := s.added(key, at) //nolint:contextcheck // it has that of the test
		inc.Resolve(incident.Recovered, at.Add(time.Minute))
		changed := &store.Changes{Incidents: []*incident.Incident{inc}}
		if delivered {
			d := c.Deliveries[0]
			d.State, d.EndedAt = delivery.Succeeded, at.Add(time.Minute)
			changed.Deliveries = c.Deliveries
		}
		s.must(save(ctx, s.st, changed))
		return inc
	}
	before := start.Add(24 * time.Hour)
	old, waits, later := end("old", start, true), end("its delivery goes on", start, false), end("later", before.Add(time.Hour), true)
	open, _ := s.added("open", start)
	if _, err := s.st.Prune(ctx, before); err != nil {
		s.Fatal(err)
	}
	s.nothingOf(s.st, "old")
	if events, err := s.st.IncidentEvents(ctx, old.ID, 10); err != nil || len(events) > 0 {
		s.Errorf("%d events of the old incident are left: %v", len(events), err)
	}
	for name, inc := range map[string]*incident.Incident{"whose delivery goes on": waits, "that ended later": later, "that is open": open} {
		events, err := s.st.IncidentEvents(ctx, inc.ID, 10)
		s.must(err)
		if _, err := s.st.Incident(ctx, inc.ID); err != nil || len(events) != 1 {
			s.Errorf("of the incident %s %d events are left: %v", name, len(events), err)
		}
		if _, err := s.st.Delivery(ctx, "delivery of "+inc.Resource.Name); err != nil {
			s.Errorf("the delivery of the incident %s: %v", name, err)
		}
	}
	if n, err := s.st.Prune(ctx, before); err != nil || n != 0 {
		s.Errorf("%d more are deleted the second time: %v", n, err)
	}
}
