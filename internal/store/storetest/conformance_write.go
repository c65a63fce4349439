package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

func (s *suite) roundTrip() {
	ctx := s.Context()
	var inc *incident.Incident
	var c *store.Changes
	s.must(s.st.Write(ctx, func(tx *store.Tx) error {
		inc, c = record(tx, observed("k", start))
		d := c.Deliveries[0]
		d.EvenIfRecovered, d.VerifyWindow, d.RetryOf, d.RequestedBy, d.CancelRequestedBy = true, time.Minute, "another", "ann", "ben"
		d.State, d.Question, d.QuestionID, d.NeedsApproval, d.Replies = delivery.InputRequired, "may I?", "q", true, 1
		d.StallAfter, d.OnStall, d.HeardAt, d.HeardSum, d.StalledSince = time.Hour, delivery.OnStallRetry, start, 7, start.Add(time.Minute)
		d.Stop, d.StopAt = delivery.StopAsked, start.Add(time.Hour)
		d.HeldBack = &delivery.HeldBack{OverBudget: 2, LoopGuard: 3, Since: start, Until: start.Add(time.Hour), Resources: []string{"a", "b"}}
		d.Reply = &delivery.Reply{N: 1, Text: "yes", Decision: delivery.Approve, By: "ann", At: start, QuestionID: "q", SentAt: start}
		c.Entries = []delivery.Entry{{DeliveryID: d.ID, N: 1, At: start, Kind: delivery.EntryCall, By: "agent", Text: "hello"}}
		c.Groups = []*delivery.GroupState{{
			GroupKey: d.Key(), HookUID: "u", Hold: delivery.OverBudget, Why: "because", HoldEnds: start.Add(time.Hour), NeedsPerson: true,
			ResumedAt: start, ResumedBy: "ann", Held: delivery.HeldBack{OverBudget: 1, LoopGuard: 2, Paused: 3, Since: start, Until: start, Resources: []string{"a"}},
		}}
		return tx.Save(ctx, c)
	}))
	d := c.Deliveries[0]
	people := s.st.Reader()
	for name, read := range map[string]struct {
		want any
		got  func() (any, error)
	}{
		"incident":            {inc, func() (any, error) { return s.st.Incident(ctx, inc.ID) }},
		"incident for people": {inc, func() (any, error) { return people.Incident(ctx, inc.ID) }},
		"open incidents":      {[]*incident.Incident{inc}, func() (any, error) { return s.st.OpenIncidents(ctx) }},
		"events":              {c.Events, func() (any, error) { return s.st.IncidentEvents(ctx, inc.ID, 10) }},
		"delivery":            {d, func() (any, error) { return s.st.Delivery(ctx, d.ID) }},
		"delivery for people": {d, func() (any, error) { return people.Delivery(ctx, d.ID) }},
		"its incidents":       {[]*incident.Incident{inc}, func() (any, error) { return s.st.DeliveryIncidents(ctx, d.ID, 10) }},
		"its log":             {c.Entries, func() (any, error) { return s.st.DeliveryEntries(ctx, d.ID) }},
		"its group":           {c.Groups, func() (any, error) { return s.st.HeldGroups(ctx, someHook, start, 10) }},
		"due deliveries":      {[]*delivery.Delivery{withoutTexts(d)}, func() (any, error) { return s.st.UnfinishedDeliveries(ctx, start, 10) }},
		"IDs of deliveries":   {[]string{d.ID}, func() (any, error) { return s.st.DeliveryIDsOfIncidents(ctx, []string{inc.ID}) }},
		"stalled deliveries":  {[]*delivery.Delivery{withoutTexts(d)}, func() (any, error) { return s.st.StalledDeliveries(ctx, someHook, 10) }},
		"how many stalled":    {1, func() (any, error) { return s.st.Stalled(ctx) }},
		"how many, by state":  {map[delivery.State]int{d.State: 1}, func() (any, error) { return s.st.Unfinished(ctx) }},
	} {
		got, err := read.got()
		s.must(err)
		s.same(name, read.want, got)
	}
}

// withoutTexts is a delivery as lists have it.
func withoutTexts(d *delivery.Delivery) *delivery.Delivery {
	line := *d
	line.Prompt, line.Data, line.Answer, line.Question, line.Error, line.Reply, line.HeldBack = "", "", "", "", "", nil, nil
	return &line
}

func (s *suite) versions() {
	ctx := s.Context()
	_, c := s.added("k", start)
	id := c.Deliveries[0].ID
	mine, err := s.st.Delivery(ctx, id)
	s.must(err)
	others, err := s.st.Delivery(ctx, id)
	s.must(err)
	others.CancelRequestedBy = "ann"
	s.must(save(ctx, s.st, &store.Changes{Deliveries: []*delivery.Delivery{others}}))
	mine.State = delivery.Working
	read := mine.Version
	if err := save(ctx, s.st, &store.Changes{Deliveries: []*delivery.Delivery{mine}}); !errors.Is(err, store.ErrConflict) {
		s.Errorf("a delivery that was changed is overwritten: %v", err)
	}
	if mine.Version != read {
		s.Errorf("a write that was refused changed the version from %d to %d", read, mine.Version)
	}
	others.State = delivery.Canceled // its version is the new row's
	s.must(save(ctx, s.st, &store.Changes{Deliveries: []*delivery.Delivery{others}}))
	now, err := s.st.Delivery(ctx, id)
	s.must(err)
	s.same("delivery", others, now)
}

func (s *suite) resolved() {
	ctx := s.Context()
	inc, c := s.added("k", start)
	inc.Resolve(incident.Recovered, start.Add(time.Minute))
	s.must(save(ctx, s.st, &store.Changes{Incidents: []*incident.Incident{inc}}))
	events, err := s.st.IncidentEvents(ctx, inc.ID, 10)
	s.must(err)
	if len(events) != 1 || events[0].Status != incident.Resolved {
		s.Errorf("%d events: %+v", len(events), events)
	}
	s.whatBecame(inc, c.Deliveries[0].ID)
	last, err := s.st.LastChange(ctx)
	s.must(err)
	changes, err := s.st.EventChanges(ctx, store.ChangeFilter{Namespace: someHook.Namespace}, 0, last, 10)
	s.must(err)
	var told []incident.Status
	for _, change := range changes {
		told = append(told, change.Event.Status)
	}
	s.same("changes of the event", []incident.Status{incident.Firing, incident.Resolved}, told)
	if none, err := s.st.EventChanges(ctx, store.ChangeFilter{Name: "another"}, 0, last, 10); err != nil || len(none) > 0 {
		s.Errorf("%d changes of a Pod that is not there: %v", len(none), err)
	}
	if first, err := s.st.FirstChange(ctx); err != nil || first != c.Events[0].ID {
		s.Errorf("the change log begins with %d, not with %d: %v", first, c.Events[0].ID, err)
	}
}

// whatBecame sums up what became of an incident that recovered after a minute.
func (s *suite) whatBecame(inc *incident.Incident, deliveryID string) {
	ctx, end := s.Context(), start.Add(time.Minute)
	f := delivery.Failure{Type: inc.Type, Namespace: inc.Resource.Namespace, Workload: inc.Workload, Container: inc.Container}
	want := delivery.Aftermath{Failure: f, LastEnd: end, FirstRecovery: end}
	all, err := s.st.Aftermath(ctx, deliveryID, end)
	s.must(err)
	s.same("what became of a delivery's incidents", []delivery.Aftermath{want}, all)
	anew, err := s.st.FailedAnew(ctx, f, start.Add(-time.Second), end)
	s.must(err)
	s.same("what became of a failure", &want, anew)
	first, err := s.st.FirstFailure(ctx, f, start.Add(-time.Second), end)
	s.must(err)
	s.same("when it first failed", start, first)
	last, err := s.st.LastRecovery(ctx, deliveryID, f, end)
	s.must(err)
	s.same("when it last recovered", end, last)
	uncalled, err := s.st.Reader().Uncalled(ctx, store.UncalledQuery{Namespace: f.Namespace, Type: f.Type, From: start, To: end, Window: time.Minute, Limit: 10})
	s.must(err)
	if len(uncalled) > 0 {
		s.Errorf("%d failures that nobody was called for, of one that somebody was", len(uncalled))
	}
}

// followed has writers write while a reader asks for "all after n": a number that is given out before it is committed
// would let the reader pass over a change that comes later.
func (s *suite) followed() {
	const writers, each = 4, 25
	ctx := s.Context()
	var wg sync.WaitGroup
	failed := make(chan error, writers)
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				if _, _, err := s.add(s.st, fmt.Sprintf("%d-%d", w, n), start); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var seen []int64
	position, over := int64(0), false
	for !over {
		select {
		case err := <-failed:
			s.Fatal(err)
		case <-done:
			over = true // and what is there now is all
		default:
		}
		last, err := s.st.LastChange(ctx)
		s.must(err)
		changes, err := s.st.EventChanges(ctx, store.ChangeFilter{}, position, last, writers*each)
		s.must(err)
		for _, c := range changes {
			seen = append(seen, c.Seq)
		}
		position = last
	}
	if len(seen) != writers*each || !slices.IsSorted(seen) {
		s.Errorf("%d of %d changes were seen, in order: %t", len(seen), writers*each, slices.IsSorted(seen))
	}
}

func (s *suite) deposed() {
	ctx := s.Context()
	second := s.opened()
	s.must(s.st.Lead(ctx))
	s.added("while it leads", start)
	s.must(second.Lead(ctx))
	if _, _, err := s.add(s.st, "too late", start); !errors.Is(err, store.ErrDeposed) {
		s.Errorf("a deposed leader writes: %v", err)
	}
	if err := s.st.WriteRelaxed(ctx, func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrDeposed) {
		s.Errorf("a deposed leader writes: %v", err)
	}
	for name, err := range map[string]error{"it still leads": s.st.StillLeads(ctx), "it can write": s.st.Check(ctx)} {
		if !errors.Is(err, store.ErrDeposed) {
			s.Errorf("a deposed leader is told that %s: %v", name, err)
		}
	}
	s.nothingOf(second, "too late")
	s.must(second.StillLeads(ctx))
	_, _, err := s.add(second, "by the second", start)
	s.must(err)
	s.must(s.st.Lead(ctx))
	s.added("again", start)
}

func (s *suite) deadLetters() {
	ctx := s.Context()
	letter := incident.NewDeadLetter(incident.Origin{}, *observed("k", start), incident.BadSize, errors.New("too large"), start)
	put := func() {
		s.must(s.st.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.PutDeadLetter(ctx, letter)
			return err
		}))
	}
	put()
	put()
	found, err := s.st.DeadLetters(ctx, 10)
	s.must(err)
	if len(found) != 1 || found[0].Times != 2 || found[0].Signal.Key != "k" || found[0].Fault != incident.BadSize {
		s.Fatalf("%d letters: %+v", len(found), found)
	}
	wanted := func() int {
		letters, err := s.st.WantedDeadLetters(ctx, 10)
		s.must(err)
		return len(letters)
	}
	if n := wanted(); n != 0 {
		s.Errorf("%d are tried again before anybody wants it", n)
	}
	if n, err := s.st.ReplayDeadLetters(ctx, letter.ID); err != nil || n != 1 || wanted() != 1 {
		s.Errorf("%d letters are wanted again: %v", n, err)
	}
	if n, err := s.st.DropDeadLetters(ctx); err != nil || n != 1 {
		s.Errorf("%d letters are dropped: %v", n, err)
	}
	if n, err := s.st.CountDeadLetters(ctx); err != nil || n != 0 {
		s.Errorf("%d letters are left: %v", n, err)
	}
}
