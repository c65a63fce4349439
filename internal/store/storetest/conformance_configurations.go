package storetest

import (
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

func (s *suite) configurations() {
	ctx := s.Context()
	medic := delivery.AgentRef{Namespace: "kagent", Name: "medic"}
	first := []delivery.Configuration{
		{Key: "b", Content: "1", EventType: incident.OOMKill, Agent: medic},
		{Key: "a", Content: "2", EventType: incident.PodRestart, Agent: medic, EditedAt: start},
	}
	for _, want := range [][]delivery.Configuration{nil, first, {first[1]}, first} {
		s.must(s.st.Write(ctx, func(tx *store.Tx) error { return tx.SaveConfigurations(ctx, someHook, want) }))
		s.must(s.st.Write(ctx, func(tx *store.Tx) error {
			got, err := tx.Configurations(ctx, someHook)
			s.same("the configurations of a hook", want, got)
			if none, err := tx.Configurations(ctx, delivery.HookRef{Namespace: someHook.Namespace, Name: "another"}); err != nil || len(none) > 0 {
				s.Errorf("another hook has %v, %v", none, err)
			}
			return err
		}))
	}
}

// heldBack makes a delivery and a hold for each of the configurations, all about one group; the one "of another" is the
// configuration a of another Hook. The n-th hold has n calls held back.
func (s *suite) heldBack(configs ...string) map[string]*delivery.Delivery {
	ctx := s.Context()
	made := map[string]*delivery.Delivery{}
	for n, config := range configs {
		s.must(s.st.Write(ctx, func(tx *store.Tx) error {
			_, c := record(tx, observed(config, start.Add(time.Duration(n)*time.Minute)))
			d := c.Deliveries[0]
			d.Config, d.Group, c.Decisions[0].Config = config, "Pod/x", config
			if config == "of another" {
				d.Hook, d.Config = delivery.HookRef{Namespace: someHook.Namespace, Name: "another"}, "a"
			}
			c.Groups = []*delivery.GroupState{{
				GroupKey: d.Key(), HookUID: "u", Hold: delivery.OverBudget, Why: d.Config, HoldEnds: start.Add(time.Hour),
				Held: delivery.HeldBack{OverBudget: int64(n + 1), Since: start, Until: start},
			}}
			made[config] = d
			return tx.Save(ctx, c)
		}))
	}
	return made
}

// renamed swaps the keys of two configurations, and gives a third one a key under which there is something already.
func (s *suite) renamed() {
	ctx := s.Context()
	made := s.heldBack("a", "b", "c", "there", "stays", "of another")
	s.must(s.st.Write(ctx, func(tx *store.Tx) error {
		return tx.RenameConfigurations(ctx, someHook, []delivery.Renaming{{From: "a", To: "b"}, {From: "b", To: "a"}, {From: "c", To: "there"}, {From: "none", To: "new"}})
	}))
	for was, now := range map[string]string{"a": "b", "b": "a", "c": "there", "there": "there", "stays": "stays", "of another": "a"} {
		d, err := s.st.Delivery(ctx, made[was].ID)
		s.must(err)
		if d.Config != now {
			s.Errorf("the delivery of %s is of %s now, want %s", was, d.Config, now)
		}
	}
	s.must(s.st.Write(ctx, func(tx *store.Tx) error {
		for key, want := range map[string]struct {
			newest string
			held   int64
		}{"a": {"b", 2}, "b": {"a", 1}, "there": {"there", 3 + 4}, "c": {"", 0}, "stays": {"stays", 5}} {
			of := delivery.GroupKey{Hook: someHook, Config: key, Group: "Pod/x"}
			past, err := tx.GroupDeliveries(ctx, of, 10)
			s.must(err)
			group, err := tx.GroupState(ctx, of)
			s.must(err)
			if group.Held.OverBudget != want.held || (len(past) > 0) != (want.newest != "") || len(past) > 0 && past[0].ID != made[want.newest].ID {
				s.Errorf("%s has %d deliveries and %+v, want that of %s and %d", key, len(past), group.Held, want.newest, want.held)
			}
		}
		return nil
	}))
	// Who had read a delivery before goes on with it, and does not take its new key back.
	d := made["a"]
	d.State = delivery.Working
	s.must(save(ctx, s.st, &store.Changes{Deliveries: []*delivery.Delivery{d}}))
	got, err := s.st.Delivery(ctx, d.ID)
	s.must(err)
	if got.Config != "b" || got.State != delivery.Working {
		s.Errorf("the delivery is of %s, and %s", got.Config, got.State)
	}
}

// covers holds which deliveries count as calls for an incident.
func (s *suite) covers() {
	ctx := s.Context()
	inc, c := s.added("k", start)
	first := c.Deliveries[0]
	add := func(id string, at time.Time, change func(*delivery.Delivery)) {
		d := newDelivery(id, inc)
		d.CreatedAt, d.Config = at, "of "+id
		change(d)
		s.must(save(ctx, s.st, &store.Changes{Deliveries: []*delivery.Delivery{d}, Covers: []store.DeliveryIncident{{DeliveryID: id, IncidentID: inc.ID}}}))
	}
	ends := func(d *delivery.Delivery) { d.State, d.EndedAt = delivery.Succeeded, d.CreatedAt.Add(time.Minute) }
	add("ended", start.Add(2*time.Hour), ends)
	add("ended long ago", start.Add(time.Minute), ends)
	add("skipped", start.Add(2*time.Hour), func(d *delivery.Delivery) { ends(d); d.State, d.Skipped = delivery.Canceled, delivery.SkipRecovered })
	add("later", start.Add(4*time.Hour), ends)
	add("another type", start.Add(2*time.Hour), func(d *delivery.Delivery) { d.EventType = incident.ProbeFailed })
	add("another hook", start.Add(2*time.Hour), func(d *delivery.Delivery) { d.Hook.Name = "another" })
	s.must(s.st.Write(ctx, func(tx *store.Tx) error {
		found, err := tx.Covers(ctx, someHook, first.EventType, inc.ID, start.Add(time.Hour))
		s.same("the calls for the incident", []store.Cover{
			{DeliveryID: "later", Config: "of later", CreatedAt: start.Add(4 * time.Hour)},
			{DeliveryID: "ended", Config: "of ended", CreatedAt: start.Add(2 * time.Hour)},
			{DeliveryID: first.ID, Config: first.Config, CreatedAt: start},
		}, found)
		none, again := tx.Covers(ctx, someHook, first.EventType, "another", start)
		if again != nil || len(none) > 0 {
			s.Errorf("another incident has %v, %v", none, again)
		}
		return err
	}))
}
